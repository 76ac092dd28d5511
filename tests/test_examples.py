"""The example scripts, run as a user runs them, on the smallest settings."""

import json
import os
import runpy
import subprocess
import sys
from argparse import Namespace
from fractions import Fraction
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = (
    "--scenes 8 --held-out 4 --steps 3 --epochs 1 --batch-size 2 --image-size 32 48 "
    "--patch-size 16 --channel-windows 1 1 --decode-dim 8"
).split()


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, str(EXAMPLES / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    done = run("train_nyud.py", *SMALL, "--output", out)
    assert done.returncode == 0, done.stderr[-3000:]
    return out, done.stdout


def test_training_leaves_everything(trained):
    out, printed = trained
    names = {path.name for path in out.iterdir()}
    wanted = {"model.keras", "saved_model", "log.csv", "tensorboard", "results.md"}
    wanted |= {"panel.png", "training_curves.png"}
    assert wanted <= names
    assert not [name for name in names if name.startswith(".")]  # no half-written file
    scores = json.loads((out / "results.json").read_text())
    assert np.isfinite(list(scores.values())).all()
    assert (out / "results.md").read_text().strip() in printed
    for headline in ("mIoU [%]", "RMSE [m]", "mErr [degrees]", "F_within_2px [%]"):
        assert headline in printed


def test_another_method_and_dataset(tmp_path):
    """What differs from the run above is the model and the list of tasks, not the path."""
    if keras.backend.backend() != "torch":
        pytest.skip("the same script as above; PyTorch need not compile an HRNet")
    arguments = "--model tpanet --scenes 4 --held-out 2 --steps 2 --epochs 1 --batch-size 2"
    arguments += " --image-size 32 48 --dim 8 --head-width 8"
    done = run("train_pascal_context.py", *arguments.split(), "--output", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    scores = json.loads((tmp_path / "results.json").read_text())
    assert {"semseg_mIoU", "human_parts_mIoU", "sal_maxF", "normals_mErr"} <= set(scores)
    assert (tmp_path / "saved_model").is_dir() and (tmp_path / "panel.png").is_file()


def test_pretrained_weights(tmp_path):
    if keras.backend.backend() != "torch":
        pytest.skip("from_preset is tested on every backend; PyTorch compiles nothing")
    import keras_mtl

    backbone = keras_mtl.backbones.vision_transformer("nano", (32, 32, 3), num_layers=4)
    backbone.save_to_preset(str(tmp_path / "vit"))
    out = tmp_path / "out"
    # A learning rate so small that the weights stay what they were.
    more = "--learning-rate 1e-30 --loss-weight depth=0".split()
    done = run("train_nyud.py", *SMALL, "--pretrained", tmp_path / "vit", *more, "--output", out)
    assert done.returncode == 0, done.stderr[-3000:]
    trained = keras_mtl.load_model(out / "model.keras")
    block = trained.get_layer("prompted_block_2").block
    kernel = backbone.get_layer("vit_encoder").encoder_layers[1].mlp.dense_1.kernel
    np.testing.assert_array_equal(
        *(keras.ops.convert_to_numpy(x) for x in (block.mlp.dense_1.kernel, kernel))
    )


def test_from_an_archive_to_a_trained_network(tmp_path):
    """Rooms in the archive's layout, prepared, then trained on with another backbone."""
    if keras.backend.backend() != "torch":
        pytest.skip("the data comes from tf.data on every backend; PyTorch compiles nothing")
    from keras_mtl.data.archives.prepare import prepare
    from keras_mtl.data.archives.rooms import write_nyud_v2

    write_nyud_v2(tmp_path / "NYUDv2", train=6, val=3, image_size=(40, 60))
    builder = EXAMPLES.parent / "datasets" / "nyud_v2"
    data = prepare(builder, tmp_path, tmp_path / "prepared")
    arguments = "--model baseline --backbone hrnet18 --image-size 32 48 --batch-size 2 --steps 2"
    arguments += " --epochs 1 --head-width 8"
    out = tmp_path / "out"
    done = run("train_nyud.py", "--data", data, *arguments.split(), "--output", out)
    assert done.returncode == 0, done.stderr[-3000:]
    assert np.isfinite(list(json.loads((out / "results.json").read_text()).values())).all()

    done = run("evaluate.py", out / "model.keras", "--data", data, "--output", tmp_path / "scores")
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"out on {data} val, 3 images" in done.stdout
    assert "edge: nyud protocol (within 0.011 of the diagonal) on 3 images" in done.stdout
    names = {path.name for path in (tmp_path / "scores").iterdir()}
    written = {f"evaluation.{ending}" for ending in ("json", "csv", "md")}
    assert names == {*written, "precision_recall.png"}
    assert (tmp_path / "scores" / "evaluation.md").read_text().strip() in done.stdout
    command = "keras_mtl.evaluation.compare"
    done = subprocess.run(
        [sys.executable, "-m", command, tmp_path / "scores" / "evaluation.json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "| out " in done.stdout and "TaskPrompter, ViT-L" in done.stdout


def test_evaluating_what_is_not_there(trained, tmp_path):
    if keras.backend.backend() != "torch":
        pytest.skip("argument handling is the same on every backend")
    out, _ = trained
    for arguments, problem in (
        ((tmp_path / "none.keras",), "evaluate.py: There is no file"),
        ((out / "model.keras", "--data", tmp_path), "evaluate.py: No prepared dataset"),
        ((out / "model.keras", "--boundary-ids", tmp_path / "ids"), "cannot be read"),
    ):
        done = run("evaluate.py", *arguments, "--output", tmp_path / "scores")
        assert done.returncode == 1
        assert problem in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "scores").exists()


def test_papers_recipes_are_the_defaults_on_data():
    if keras.backend.backend() != "torch":
        pytest.skip("argument handling is the same on every backend")
    done = run("train_pascal_context.py", "--data", "x", "--model", "tpanet", "--help")
    text = " ".join(done.stdout.split())
    assert "Defaults are those of --model tpanet --preset tpanet_swin_tiny_pascal" in text
    for default in ("512 512", "40000", "(default 8)", "2e-05"):
        assert default in text
    done = run("train_nyud.py", "--preset", "tpanet_swin_tiny_nyud", "--dim", "8")
    assert done.returncode == 2 and "--dim would change nothing" in done.stderr


def test_a_backbone_that_does_not_fit():
    if keras.backend.backend() != "torch":
        pytest.skip("argument handling is the same on every backend")
    small = "--backbone swin_tiny --scenes 1 --held-out 1 --image-size 32 48".split()
    done = run("train_nyud.py", *small)
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("train_nyud.py: TaskPrompter needs a keras_hub ViTBackbone")


# === Arguments of the training scripts ===

PRESET = "tpanet_swin_tiny_nyud"
once = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the scripts' own code is the same on every backend"
)


@pytest.fixture
def training(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import training

    return training


@pytest.fixture
def refusal(monkeypatch, capsys):
    """The sentence that a script, run in this process, ends with."""
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def run(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(EXAMPLES / script), run_name="__main__")
        printed = capsys.readouterr().err.strip().splitlines()
        said = printed[-1] if ended.value.code == 2 else str(ended.value)  # 2: argparse
        assert "\n" not in said
        return said

    return run


def arguments_of(training, monkeypatch, *given):
    from keras_mtl.tasks import nyud

    monkeypatch.setattr(sys, "argv", ["train_nyud.py", *given])
    return training.arguments(nyud(), "nyud", "")


@once
@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("--steps 0", "--steps: '0' is no whole number of 1 or more"),
        ("--epochs 0", "--epochs: '0'"),
        ("--batch-size 2.5", "--batch-size: '2.5'"),
        ("--scenes -1", "--scenes: '-1'"),
        ("--image-size 0 48", "--image-size: '0'"),
        ("--seed -1", "--seed: '-1' is no whole number of 0 or more"),
        ("--tasks dept", "--tasks: invalid choice: 'dept'"),
        (f"--preset {PRESET} --dim=8", "--dim would change nothing about"),
        (f"--preset {PRESET} --stochastic-depth 0", "--stochastic-depth would change nothing"),
        ("--data x --patch-size=16", "--patch-size would change nothing about --preset"),
        (f"--preset {PRESET} --decode 8", "unrecognized arguments: --decode 8"),
        (f"--preset {PRESET} --backbone hrnet18", "not allowed with argument --preset"),
        (f"--preset {PRESET} --model baseline", "pass --model tpanet or leave it out"),
    ],
)
def test_arguments_that_are_refused(training, monkeypatch, capsys, given, problem):
    with pytest.raises(SystemExit):
        arguments_of(training, monkeypatch, *given.split())
    assert problem in capsys.readouterr().err.strip().splitlines()[-1]


@once
def test_what_a_preset_settles(training, monkeypatch):
    options = arguments_of(training, monkeypatch, "--preset", PRESET, "--tasks", "depth", "edge")
    assert (options.model, options.backbone, options.dim) == ("tpanet", None, None)
    assert options.image_size == (425, 560)
    assert options.output == f"runs/{PRESET}_depth_edge"
    options = arguments_of(training, monkeypatch, "--data", "x", "--model", "tpanet")
    assert (options.preset, options.output) == (PRESET, "runs/tpanet_nyud")
    options = arguments_of(training, monkeypatch, "--model", "tpanet", "--dim", "8")
    assert (options.dim, options.groups, options.preset) == (8, 1, None)


@once
def test_a_preset_with_a_pretrained_backbone(training, monkeypatch):
    import keras_mtl

    def load(name, shape):
        return keras_mtl.backbones.vision_transformer("nano", shape, num_layers=4)

    monkeypatch.setattr(keras_mtl.backbones, "from_preset", load)
    given = "--preset multitask_baseline_vit_base_pascal --pretrained x --image-size 32 48"
    options = arguments_of(training, monkeypatch, *given.split())
    model = training.build(options, keras_mtl.tasks.nyud("depth"))
    assert model.image_size == (32, 48) and set(model.output) == {"depth"}


@once
def test_data_is_looked_for_before_a_model_is_built(training, refusal, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "build", None)
    said = refusal("train_nyud.py", "--data", tmp_path / "nowhere", "--output", tmp_path / "out")
    assert said.startswith("train_nyud.py: No prepared dataset") and "--tasks" not in said


@once
def test_training_on_some_tasks(training, refusal, monkeypatch, tmp_path, capsys):
    """On data without labels for the others."""
    rng = np.random.default_rng(0)
    write_folder(tmp_path / "mine", 4, depth=lambda: rng.uniform(1, 5, (32, 48)))
    prepare(monkeypatch, tmp_path)
    data = ("--data", tmp_path / "out" / "mine", "--backbone", "vit_nano", *SMALL)
    data = (*data, "--output", tmp_path / "run")
    said = refusal("train_nyud.py", *data)
    assert "(--tasks depth takes what is there.)" in said
    monkeypatch.setattr(training, "export_model", lambda *paths: None)
    monkeypatch.setattr(sys, "argv", ["train_nyud.py", *map(str, data), "--tasks", "depth"])
    runpy.run_path(str(EXAMPLES / "train_nyud.py"), run_name="__main__")
    assert set(json.loads((tmp_path / "run" / "results.json").read_text())) == {
        "loss",
        "depth_RMSE",
    }


@once
def test_the_floor_takes_one_pass_and_few_labels(training, monkeypatch):
    import tensorflow as tf

    from keras_mtl import tasks

    class Counting(tasks.DepthEstimation):
        def constant(self, labels):
            assert len(labels) == 200
            return super().constant(labels)

    depth, edge = np.full((300, 1, 1, 1), 2.0, "float32"), np.ones((300, 1, 1, 1), "float32")
    labels = {"depth": depth, "edge": edge}
    batches = tf.data.Dataset.from_tensor_slices((np.zeros((300, 1, 1, 3)), labels)).batch(150)
    once_only = iter(batches.map(lambda x, y: (x, {**y, "depth": y["depth"] + 1})))
    both = [Counting(), tasks.BoundaryDetection()]
    scores = training._constant_scores(both, batches, once_only)
    assert scores == {"depth": pytest.approx(1.0), "edge": 0.0}


# === Search ===


@once
def test_searches_that_are_refused(refusal, tmp_path):
    pytest.importorskip("keras_tuner")
    (tmp_path / "results.json").write_text('{"depth_RMSE": 0.5}')
    (tmp_path / "broken.json").write_text("{")
    for given, problem in (
        ("--backbone vitnano", "--backbone: invalid choice: 'vitnano'"),
        ("--headline dept", "--headline: invalid choice: 'dept'"),
        ("--headline depth --tasks edge", "--headline depth is none of --tasks edge"),
        ("--trials 0", "--trials: '0' is no whole number"),
        (f"--single {tmp_path}/no.json", "no.json cannot be read"),
        (f"--single {tmp_path}/broken.json", "broken.json cannot be read"),
        (f"--single {tmp_path}/results.json", "results.json hold no semseg_mIoU; add"),
        (f"--data {tmp_path}/nowhere", "tune_nyud.py: No prepared dataset"),
        ("--image-size 50 64 --scenes 1 --held-out 1", "tune_nyud.py: "),
    ):
        said = refusal("tune_nyud.py", *given.split(), "--output", tmp_path / "out")
        assert problem in said


@once
def test_searches_are_not_mixed(training, tmp_path):
    from tune_nyud import _settle

    first = Namespace(model="taskprompter", image_size=[48, 64], trials=6, output="a", verbose=1)
    _settle(tmp_path, first, None)
    other = Namespace(**{**vars(first), "model": "tpanet"})
    _settle(tmp_path, other, None)  # nothing was searched yet
    (tmp_path / "oracle.json").write_text("{}")
    _settle(tmp_path, Namespace(**{**vars(other), "trials": 9, "image_size": (48, 64)}), None)
    with pytest.raises(SystemExit, match="model was tpanet and is taskprompter; pass another"):
        _settle(tmp_path, first, None)
    with pytest.raises(SystemExit, match="single was None and is {'depth': 0.5}"):
        _settle(tmp_path, other, {"depth": 0.5})


# === Preparing a folder ===


def write_folder(folder, count, **labels):
    """Images of 32x48 pixels, and for each task what its function returns."""
    rng = np.random.default_rng(1)
    for name in ("images", *labels):
        (folder / name).mkdir(parents=True)
    for i in range(count):
        image = rng.integers(0, 256, (32, 48, 3), "uint8")
        Image.fromarray(image).save(folder / "images" / f"{i}.png")
        for name, draw in labels.items():
            label = draw()
            if label.dtype.kind == "f":
                np.save(folder / name / f"{i}.npy", label)
            else:
                Image.fromarray(label).save(folder / name / f"{i}.png")


def prepare(monkeypatch, folder, *more):
    command = ["prepare_folder.py", folder / "mine", "--name", "mine", "--output", folder / "out"]
    monkeypatch.setattr(sys, "argv", list(map(str, [*command, *more])))
    runpy.run_path(str(EXAMPLES / "prepare_folder.py"), run_name="__main__")


def a_wide_png(folder):
    Image.fromarray(np.full((32, 48), 300, "uint16")).save(folder / "semseg" / "0.png")


def a_picture_of_depth(folder):
    (folder / "depth").mkdir()
    Image.fromarray(np.full((32, 48), 300, "uint16")).save(folder / "depth" / "0.png")


def masks_of_255(folder):
    (folder / "edge").mkdir()
    mask = np.repeat(np.array([0, 255], "uint8"), 24)[None].repeat(32, 0)
    Image.fromarray(mask).save(folder / "edge" / "0.png")


def a_turned_photograph(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (48, 32)).save(folder / "images" / "7.jpg", exif=exif)


def two_of_one_name(folder):
    Image.new("RGB", (48, 32)).save(folder / "images" / "0.jpg")


def a_broken_image(folder):
    path = folder / "images" / "0.png"
    path.write_bytes(path.read_bytes()[:500])


def a_broken_label(folder):
    (folder / "semseg" / "0.png").write_bytes(b"no picture")


@once
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (a_wide_png, "semseg/0.png: .* the value 300;"),
        (a_picture_of_depth, "depth/0.png is an image, .*store metres as .npy"),
        (masks_of_255, "edge holds the values 0 and 255 and never 1; write 1 for yes"),
        (a_turned_photograph, "7.jpg is turned by its EXIF orientation"),
        (two_of_one_name, "0.jpg and .*0.png have the same name; keep one"),
        (a_broken_image, "images/0.png cannot be read"),
        (a_broken_label, "semseg/0.png cannot be read"),
    ],
)
def test_folders_that_are_not_prepared(tmp_path, monkeypatch, spoil, problem):
    write_folder(tmp_path / "mine", 2, semseg=lambda: np.zeros((32, 48), "uint8"))
    spoil(tmp_path / "mine")
    with pytest.raises(SystemExit, match=problem) as ended:
        prepare(monkeypatch, tmp_path)
    assert "\n" not in str(ended.value)
    assert not list(tmp_path.glob("out/*")) and not list(tmp_path.glob("out/.*"))


@once
def test_preparing_a_folder_again(tmp_path, monkeypatch):
    write_folder(tmp_path / "mine", 3, semseg=lambda: np.zeros((32, 48), "uint8"))
    with pytest.raises(SystemExit, match="no.txt cannot be read"):
        prepare(monkeypatch, tmp_path, "--val-list", tmp_path / "no.txt")
    prepare(monkeypatch, tmp_path)
    (tmp_path / "mine/images/2.png").unlink()
    (tmp_path / "mine/semseg/2.png").unlink()
    with pytest.raises(SystemExit, match="out/mine/1.0.0 exists; pass --overwrite"):
        prepare(monkeypatch, tmp_path)

    def stored():
        about = json.loads((tmp_path / "out/mine/1.0.0/dataset_info.json").read_text())
        return sum(int(n) for split in about["splits"] for n in split["shardLengths"])

    label = tmp_path / "mine/semseg/1.png"
    kept = label.read_bytes()
    label.write_bytes(b"no picture")
    with pytest.raises(SystemExit, match="1.png cannot be read"):
        prepare(monkeypatch, tmp_path, "--overwrite")
    assert stored() == 3
    label.write_bytes(kept)
    prepare(monkeypatch, tmp_path, "--overwrite")
    assert stored() == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


# === What a trained network gives ===


def test_saved_model_repeats_the_model(trained, tmp_path):
    """Loaded by TensorFlow alone, it gives what the .keras file gives."""
    import keras_mtl

    out, _ = trained
    image = np.random.default_rng(0).uniform(0, 255, (1, 32, 48, 3)).astype("float32")
    np.save(tmp_path / "image.npy", image)
    code = (
        "import sys, numpy as np, tensorflow as tf; loaded = tf.saved_model.load(sys.argv[1]);"
        "maps = loaded.serve(tf.constant(np.load(sys.argv[2])));"
        "np.savez(sys.argv[3], **{k: v.numpy() for k, v in maps.items()})"
    )
    found = tmp_path / "maps.npz"
    command = [sys.executable, "-c", code, out / "saved_model", tmp_path / "image.npy", found]
    subprocess.run(command, check=True, capture_output=True)
    expected = keras_mtl.load_model(out / "model.keras").predict_on_batch(image)
    with np.load(found) as maps:
        assert set(maps) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(maps[name], value, atol=1e-4 * np.abs(value).max())


def test_predict_a_photograph_of_its_own_size(trained, tmp_path):
    data = pytest.importorskip("skimage.data")
    out, _ = trained
    photograph = data.coffee()[:317, :501]
    Image.fromarray(photograph).save(tmp_path / "coffee.jpg")
    done = run(
        "predict.py", out / "model.keras", tmp_path / "coffee.jpg", "--output", tmp_path / "maps"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "maps" / "coffee-panel.png").stat().st_size > 10_000
    with np.load(tmp_path / "maps" / "coffee-maps.npz") as maps:
        shapes = {name: maps[name].shape for name in maps}
        assert shapes == {
            "semseg": (317, 501),
            "depth": (317, 501, 1),
            "normals": (317, 501, 3),
            "edge": (317, 501, 1),
        }
        assert maps["depth"].min() >= 0
        np.testing.assert_allclose(np.linalg.norm(maps["normals"], axis=-1), 1, atol=1e-3)


def test_predict_a_folder(trained, tmp_path):
    """What cannot be read is named, and the others are done all the same."""
    data = pytest.importorskip("skimage.data")
    out, _ = trained
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for name, size in (("cup.jpg", (60, 90)), ("cup.png", (48, 40)), ("table.JPG", (40, 80))):
        picture = data.coffee()[: size[0], : size[1]]
        Image.fromarray(picture).save(photographs / name)
    (photographs / "broken.jpg").write_bytes(b"no picture")
    (photographs / "notes.txt").write_text("no picture either, and nobody says so")
    maps = tmp_path / "maps"
    done = run("predict.py", out / "model.keras", photographs, "--output", maps, "--affinity")
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("predict.py: ")]
    assert len(said) == 1 and "broken.jpg cannot be read as an image" in said[0]
    assert "Wrote panels and maps of 3 photographs" in done.stdout
    stems = ("cup.jpg", "cup.png", "table")
    endings = ("-affinity.png", "-maps.npz", "-panel.png")
    expected = sorted(stem + ending for stem in stems for ending in endings)
    assert sorted(path.name for path in maps.iterdir()) == expected
    for stem, size in zip(stems, ((60, 90), (48, 40), (40, 80)), strict=True):
        with np.load(maps / f"{stem}-maps.npz") as found:
            assert found["semseg"].shape == size


def test_predict_a_video(trained, tmp_path):
    av = pytest.importorskip("av")
    out, _ = trained
    rate, path = Fraction(30_000, 1001), tmp_path / "walk.mp4"
    with av.open(path, "w") as video:
        stream = video.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 66, 46, "yuv420p"
        for i in range(7):
            frame = np.full((46, 66, 3), 30 * i, "uint8")
            video.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        video.mux(stream.encode())
    maps = tmp_path / "maps"
    model = out / "model.keras"
    done = run("predict.py", model, path, "--output", maps, "--batch-size", 3)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [found.name for found in maps.iterdir()] == ["walk-panel.mp4"]  # nothing unfinished
    with av.open(maps / "walk-panel.mp4") as video:
        assert video.streams.video[0].average_rate == rate
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 7
    for i, frame in enumerate(frames):
        assert frame.shape == (2 * 46, 3 * 66, 3)  # the frame and four maps
        np.testing.assert_allclose(frame[25:40, 10:60], 30 * i, atol=12)  # in their order
        np.testing.assert_allclose(frame[50:, 140:], 0, atol=12)  # no sixth picture


@pytest.mark.parametrize("content", [b"no film", None])
def test_a_video_that_is_none(tmp_path, content):
    pytest.importorskip("av")
    path = tmp_path / "film.mp4"
    if content is not None:
        path.write_bytes(content)
    done = run("predict.py", tmp_path / "model.keras", path, "--output", tmp_path / "maps")
    assert done.returncode == 1
    assert done.stderr.startswith("predict.py: ")
    assert str(path) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "maps").exists()


def test_a_folder_without_photographs(tmp_path):
    done = run("predict.py", tmp_path / "model.keras", tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip() == f"predict.py: There is no image file in {tmp_path}."


@pytest.mark.parametrize("content", [b"no picture", b"", None])
def test_a_photograph_that_is_no_image(tmp_path, content):
    path = tmp_path / "notes.jpg"
    if content is not None:
        path.write_bytes(content)
    done = run("predict.py", tmp_path / "model.keras", path)
    assert done.returncode == 1
    assert done.stderr.startswith("predict.py: ")
    assert str(path) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_model_that_is_none(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    (tmp_path / "model.keras").write_bytes(b"no model")
    done = run("predict.py", tmp_path / "model.keras", tmp_path / "photo.png")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("predict.py: ")
    assert "Traceback" not in done.stderr
