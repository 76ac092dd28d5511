"""The example scripts on the smallest settings.

One is run on every backend as a user runs it, in a process of its own, with all its tasks where
nothing is compiled; the others here, once.
"""

import json
import os
import re
import runpy
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = (
    "--scenes 8 --held-out 4 --steps 3 --epochs 1 --batch-size 2 --image-size 32 48 "
    "--patch-size 16 --channel-windows 1 1 --decode-dim 8 --from-scratch"
).split()


once = pytest.mark.once("torch", "a script calls what is tested on every backend")


@pytest.fixture
def run(monkeypatch, capfd):
    """`run(script, *arguments)`: exit status and what was printed, in this process."""

    def call(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        code = 0
        try:
            runpy.run_path(str(EXAMPLES / script), run_name="__main__")
        except SystemExit as ended:
            code = ended.code
            if isinstance(code, str):  # as Python does at the end of a process
                print(code, file=sys.stderr)
                code = 1
        return subprocess.CompletedProcess(script, int(code or 0), *capfd.readouterr())

    return call


@pytest.fixture
def not_exported(monkeypatch):
    """The SavedModel of a training run is looked at elsewhere; another process writes it."""
    monkeypatch.setattr("keras_mtl.runs.run.export_model", lambda model, path: None)


HEADLINES = {
    "semseg": "mIoU [%]",
    "depth": "RMSE [m]",
    "normals": "mErr [degrees]",
    "edge": "F_within_2px [%]",
}
TASKS = list(HEADLINES) if keras.backend.backend() == "torch" else ["depth"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    script = [sys.executable, str(EXAMPLES / "train_nyud.py"), *SMALL, "--output", str(out)]
    done = subprocess.run(
        script if len(TASKS) == 4 else [*script, "--tasks", *TASKS],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out, done.stdout, done.stderr


def test_training_leaves_everything(trained):
    out, printed, _ = trained
    names = {path.name for path in out.iterdir()}
    wanted = {"model.keras", "saved_model", "log.csv", "tensorboard", "results.md"}
    wanted |= {"panel.png", "training_curves.png"}
    assert wanted <= names
    assert not [name for name in names if name.startswith(".")]  # no half-written file
    scores = json.loads((out / "results.json").read_text())
    assert np.isfinite(list(scores.values())).all()
    assert (out / "results.md").read_text().strip() in printed
    for task in TASKS:
        assert HEADLINES[task] in printed


def test_training_says_nothing_but_how_far_it_is(trained):
    """On standard error, where libraries write what a newcomer would wonder about."""
    *_, said = trained
    assert shows_progress_alone(said), said


def shows_progress_alone(said):
    lines = [line for line in re.split(r"[\r\n]+", said) if line.strip()]
    return bool(lines) and all(line.startswith("rendering rooms: ") for line in lines)


@once
def test_another_method_and_dataset(run, tmp_path):
    """What differs from the run above is the model and the list of tasks, not the path."""
    arguments = "--model tpanet --scenes 4 --held-out 2 --steps 2 --epochs 1 --batch-size 2"
    arguments += " --backbone vit_pico --image-size 32 48 --dim 8 --head-width 8"
    done = run("train_pascal_context.py", *arguments.split(), "--output", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert shows_progress_alone(done.stderr), done.stderr
    scores = json.loads((tmp_path / "results.json").read_text())
    assert {"semseg_mIoU", "human_parts_mIoU", "sal_maxF", "normals_mErr"} <= set(scores)
    assert (tmp_path / "saved_model").is_dir() and (tmp_path / "panel.png").is_file()


@once
def test_streets(run, not_exported, tmp_path):
    """Scenes of another kind, a task whose output is no map, and its own score."""
    arguments = "--model baseline --backbone vit_pico --head-width 8 --image-size 32 64"
    arguments += " --scenes 4 --held-out 2 --steps 2 --epochs 1 --batch-size 2"
    done = run("train_cityscapes3d.py", *arguments.split(), "--output", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "renders 4 streets to train on" in done.stdout
    scores = json.loads((tmp_path / "results.json").read_text())
    assert {"semseg_mIoU", "disparity_RMSE", "detection3d_mDS"} <= set(scores)
    table = (tmp_path / "results.md").read_text()
    assert "| detection3d | mDS [%]" in table and (tmp_path / "panel.png").is_file()


@once
def test_pretrained_weights(run, not_exported, tmp_path):
    import keras_mtl

    backbone = keras_mtl.backbones.vision_transformer("nano", (32, 32, 3), num_layers=4)
    backbone.save_to_preset(str(tmp_path / "vit"))
    out = tmp_path / "out"
    # A learning rate so small that the weights stay what they were.
    more = "--learning-rate 1e-30 --loss-weight depth=0".split()
    pretrained = [*SMALL[:-1], "--pretrained", tmp_path / "vit"]
    done = run("train_nyud.py", *pretrained, *more, "--output", out)
    assert done.returncode == 0, done.stderr[-3000:]
    trained = keras_mtl.load_model(out / "model.keras")
    block = trained.get_layer("prompted_block_2").block
    kernel = backbone.get_layer("vit_encoder").encoder_layers[1].mlp.dense_1.kernel
    np.testing.assert_array_equal(
        *(keras.ops.convert_to_numpy(x) for x in (block.mlp.dense_1.kernel, kernel))
    )


@once
def test_from_an_archive_to_a_trained_network(run, not_exported, tmp_path):
    """Rooms in the archive's layout, prepared, then trained on with another backbone."""
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


@once
def test_evaluating_what_is_not_there(run, trained, tmp_path):
    out, *_ = trained
    for arguments, problem in (
        ((tmp_path / "none.keras",), "evaluate.py: There is no file"),
        ((out / "model.keras", "--data", tmp_path), "evaluate.py: No prepared dataset"),
        ((out / "model.keras", "--boundary-ids", tmp_path / "ids"), "cannot be read"),
    ):
        done = run("evaluate.py", *arguments, "--output", tmp_path / "scores")
        assert done.returncode == 1
        assert problem in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "scores").exists()


@once
def test_papers_recipes_are_the_defaults_on_data(run):
    done = run("train_pascal_context.py", "--data", "x", "--model", "tpanet", "--help")
    text = " ".join(done.stdout.split())
    assert "Defaults are those of --model tpanet --preset tpanet_swin_tiny_pascal" in text
    for default in ("512 512", "40000", "(default 8)", "2e-05"):
        assert default in text
    done = run("train_nyud.py", "--preset", "tpanet_swin_tiny_nyud", "--dim", "8")
    assert done.returncode == 2 and "--dim would change nothing" in done.stderr


@once
def test_a_backbone_that_does_not_fit(run, tmp_path):
    small = "--backbone hrnet18 --scenes 1 --held-out 1 --image-size 32 48".split()
    done = run("train_nyud.py", *small, "--output", tmp_path / "run")
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("train_nyud.py: TaskPrompter needs a plain Transformer")


# === What a trained network gives ===


@once
def test_saved_model_repeats_the_model(trained, tmp_path):
    """Loaded by TensorFlow alone, it gives what the .keras file gives."""
    import keras_mtl

    out, *_ = trained
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


@once
def test_predict_a_photograph_of_its_own_size(run, trained, tmp_path):
    data = pytest.importorskip("skimage.data")
    out, *_ = trained
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


@once
def test_predict_a_folder(run, trained, tmp_path):
    """What cannot be read is named, and the others are done all the same."""
    data = pytest.importorskip("skimage.data")
    out, *_ = trained
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


@once
def test_predict_a_video(run, trained, tmp_path):
    av = pytest.importorskip("av")
    out, *_ = trained
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


@once
@pytest.mark.parametrize("content", [b"no film", None])
def test_a_video_that_is_none(run, tmp_path, content):
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


@once
def test_a_folder_without_photographs(run, tmp_path):
    done = run("predict.py", tmp_path / "model.keras", tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip() == f"predict.py: There is no image file in {tmp_path}."


@once
@pytest.mark.parametrize("content", [b"no picture", b"", None])
def test_a_photograph_that_is_no_image(run, tmp_path, content):
    path = tmp_path / "notes.jpg"
    if content is not None:
        path.write_bytes(content)
    done = run("predict.py", tmp_path / "model.keras", path)
    assert done.returncode == 1
    assert done.stderr.startswith("predict.py: ")
    assert str(path) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@once
def test_a_model_that_is_none(run, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    (tmp_path / "model.keras").write_bytes(b"no model")
    done = run("predict.py", tmp_path / "model.keras", tmp_path / "photo.png")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("predict.py: ")
    assert "Traceback" not in done.stderr
