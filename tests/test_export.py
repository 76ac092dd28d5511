"""Exported files give the model's maps, from every backend; what differs is not kept."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import keras_mtl
from keras_mtl.export import agreement, export_model
from keras_mtl.tasks import (
    DepthEstimation,
    Detection3D,
    SemanticSegmentation,
    nyud,
    pascal_context,
)
from tests.small import resnet, vit

pytest.importorskip("tensorflow", reason="every format is written by TensorFlow")

BACKEND = keras.backend.backend()
EXAMPLES = Path(__file__).parents[1] / "examples"
SIZE = (32, 48)
HAS_ONNX = all(importlib.util.find_spec(name) for name in ("tf2onnx", "onnxruntime"))
once = pytest.mark.once("tensorflow", "the way is the same from every backend")
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason='needs pip install "keras-mtl[export]"')
FORMATS = [
    "saved_model",
    pytest.param("onnx", marks=[once, needs_onnx]),
    pytest.param("litert", marks=once),
]
NAMES = {"saved_model": "saved_model", "onnx": "model.onnx", "litert": "model.tflite"}


def assert_one_sentence(error, *parts):
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 350, text
    assert all(part in text for part in parts), text


def task_prompter(tasks=None):
    backbone = keras_mtl.backbones.vision_transformer(
        "tiny", (*SIZE, 3), num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    arguments = {"channel_windows": (2, 3), "prompting_levels": 1, "decode_dim": 4}
    return keras_mtl.TaskPrompter(backbone, tasks or nyud(), **arguments)


def tpanet():
    backbone = keras_mtl.backbones.swin_transformer(
        "tiny",
        (*SIZE, 3),
        embed_dim=8,
        depths=(1, 2, 1, 1),
        num_heads=(1, 1, 2, 2),
        window_size=2,
    )
    return keras_mtl.TPANet(backbone, nyud("semseg", "depth"), dim=8, head_width=8)


def baseline():
    backbone = keras_mtl.backbones.vision_transformer(
        "tiny", (*SIZE, 3), num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    return keras_mtl.MultiTaskBaseline(backbone, pascal_context(), head_width=4)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return task_prompter()


@keras.saving.register_keras_serializable(package="tests")
class OnlyHere(keras_mtl.MultiTaskModel):
    """No other process knows this class. Depth is the red channel in hundredths."""

    def __init__(self, function="relu", **kwargs):
        image = keras.Input((8, 12, 3))
        scaled = keras.layers.Rescaling(0.01)(image)
        maps = {"depth": scaled[..., :1], "semseg": keras.layers.Activation(function)(scaled)}
        tasks = [DepthEstimation(), SemanticSegmentation(channels=3)]
        super().__init__(image, maps, tasks, **kwargs)
        self._config = {"function": function}


def run(script, *arguments, blocked=()):
    """An example as a user runs it; `blocked` libraries cannot be imported."""
    code = f"import sys, runpy; sys.modules |= dict.fromkeys({blocked!r}); "
    code += "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", code, str(EXAMPLES / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLES.parent), str(EXAMPLES)])},
    )


# === Formats ===


@pytest.mark.parametrize("format", FORMATS)
def test_every_format(model, tmp_path, format, capsys):
    path = tmp_path / NAMES[format]
    exported = export_model(model, path, format)
    assert list(exported.differences) == ["semseg", "depth", "normals", "edge"]
    assert 0 < max(exported.differences.values()) < 1e-5
    assert exported.size > 50_000 and exported.note == ""
    printed = capsys.readouterr().out
    assert str(path) in printed and f"depth {exported.differences['depth']:.1e}" in printed
    assert list(tmp_path.iterdir()) == [path]


@once
@pytest.mark.parametrize("format", FORMATS[1:])
@pytest.mark.parametrize("build", [tpanet, baseline])
def test_other_networks(build, tmp_path, format):
    keras.utils.set_random_seed(0)
    exported = export_model(build(), tmp_path / NAMES[format], format, decoded=build is baseline)
    assert max(exported.differences.values()) < 1e-5


@once
@pytest.mark.parametrize("format", FORMATS)
def test_boxes_in_space(tmp_path, format):
    """A head of deformable convolutions, and a task without a final map."""
    keras.utils.set_random_seed(0)
    boxes = Detection3D(width=4, class_branch=(4,), groups=2)
    model = keras_mtl.MultiTaskBaseline(vit((16, 24)), [DepthEstimation(), boxes], head_width=2)
    exported = export_model(model, tmp_path / NAMES[format], format, decoded=format == "litert")
    assert 0 < exported.differences["detection3d"] < 1e-5
    assert exported.size < 2_000_000  # mostly operations


@once
@pytest.mark.parametrize("architecture", [keras_mtl.PAP, keras_mtl.PSD])
def test_compared_networks(architecture, tmp_path):
    """In the format that knows the fewest operations."""
    keras.utils.set_random_seed(0)
    model = architecture(resnet(SIZE), nyud("semseg", "depth"), width=8)
    exported = export_model(model, tmp_path / NAMES["litert"], "litert")
    assert max(exported.differences.values()) < 1e-5


@once
@pytest.mark.parametrize("format", FORMATS[1:])
def test_every_type_of_context(format, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras_mtl.ATRC(resnet(SIZE), nyud("depth", "edge"), genotype=[[1, 2], [3, 4]])
    for layer in model.layers:
        if layer.name.endswith("_norm") and layer.name.startswith("context"):
            layer.gamma.assign(keras.ops.ones(layer.gamma.shape))  # or context changes nothing
    exported = export_model(model, tmp_path / NAMES[format], format)
    assert max(exported.differences.values()) < 1e-5


@keras.saving.register_keras_serializable(package="tests")
class Levels(keras_mtl.MultiTaskModel):
    """Maps that are resized from one size of a pyramid's levels to the next, as HRNet does."""

    def __init__(self, sizes, interpolation="bilinear", **kwargs):
        image = x = keras.Input((8, 12, 3))
        for size in sizes:
            x = keras.ops.image.resize(x, size, interpolation=interpolation)
        super().__init__(image, {"depth": x[..., :1]}, [DepthEstimation()], **kwargs)
        self._config = {"sizes": sizes, "interpolation": interpolation}


@once
@needs_onnx
@pytest.mark.parametrize(
    "interpolation, allowed",
    [("bilinear", 1e-5), ("nearest", 1e-5), ("bicubic", 1e-3)],  # TensorFlow's cubic is a table
)
def test_sizes_whose_quotient_is_rounded_down(tmp_path, interpolation, allowed):
    """5 * float32(9 / 5) and the like lie below the whole number."""
    model = Levels([(5, 7), (9, 15), (15, 57), (29, 113), (8, 12)], interpolation)
    exported = export_model(model, tmp_path / "model.onnx", "onnx", tolerance=allowed)
    assert exported.differences["depth"] < allowed


@once
@needs_onnx
def test_onnx_operator_sets(model, tmp_path):
    import onnx

    path = tmp_path / "model.onnx"
    assert max(export_model(model, path, "onnx", opset=12).differences.values()) < 1e-5
    assert {o.domain: o.version for o in onnx.load(path).opset_import}[""] == 12


@once
@pytest.mark.parametrize("weights, allowed, share", [("float16", 1e-2, 0.75), ("int8", 0.1, 0.6)])
def test_litert_of_fewer_bits(tmp_path, weights, allowed, share):
    backbone = keras_mtl.backbones.vision_transformer(
        "tiny", (*SIZE, 3), num_layers=1, num_heads=2, hidden_dim=64, mlp_dim=256
    )
    model = keras_mtl.MultiTaskBaseline(backbone, nyud("semseg", "depth"), head_width=4)
    whole = export_model(model, tmp_path / "float32.tflite", "litert")
    exported = export_model(model, tmp_path / "model.tflite", "litert", weights=weights)
    assert exported.tolerance == allowed and exported.size < share * whole.size
    assert 1e-5 < max(exported.differences.values()) < allowed
    assert f"litert with {weights} weights" in str(exported)
    assert f"of which {allowed:g} is allowed" in str(exported)
    path = tmp_path / "strict.tflite"
    with pytest.raises(ValueError) as error:
        export_model(model, path, "litert", weights=weights, tolerance=1e-6)
    assert_one_sentence(error, "differs from the model's", "1e-06", "nothing was written")
    assert not path.exists()


@pytest.mark.parametrize(
    "format, options, parts",
    [
        ("onnx", {"opset": 11}, ("opset is 11", "12 to 18")),
        ("onnx", {"opset": 21}, ("opset is 21", "12 to 18")),
        ("litert", {"opset": 17}, ("opset is 17 for litert", 'format="onnx"')),
        ("litert", {"weights": "int4"}, ("'int4'", "float32, float16, int8")),
        ("onnx", {"weights": "int8"}, ("'int8'", 'format="litert"')),
        ("saved_model", {"weights": "float16"}, ("'float16'", 'format="litert"')),
    ],
)
def test_options_of_other_formats(model, tmp_path, format, options, parts):
    with pytest.raises(ValueError) as error:
        export_model(model, tmp_path / NAMES[format], format, **options)
    assert_one_sentence(error, *parts)
    assert not list(tmp_path.iterdir())


def test_the_reason_is_whole():
    """What onnxruntime says of a file ends with what is wrong."""
    from keras_mtl.export.formats import reason

    said = f"FAIL : Load model from /tmp/{'a' * 150}.onnx failed: Op. (Add) Incompatible dimensions"
    assert reason(RuntimeError(f"\n{said}.\n  pages")) == said
    assert reason(RuntimeError()) == "RuntimeError()"


@once
def test_queries_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_mtl.layers.attention.BLOCK", 5)
    exported = export_model(tpanet(), tmp_path / "model.tflite", "litert")
    assert max(exported.differences.values()) < 1e-5


@once
@needs_onnx
def test_onnx_names_and_sizes(tmp_path):
    import onnxruntime

    path = tmp_path / "model.onnx"
    export_model(OnlyHere(), path, "onnx", decoded=True)
    session = onnxruntime.InferenceSession(path)
    (image,) = session.get_inputs()
    assert (image.name, image.shape) == ("image", ["batch", 8, 12, 3])
    shapes = {x.name: x.shape for x in session.get_outputs()}
    assert shapes == {"depth": ["batch", 8, 12, 1], "semseg": ["batch", 8, 12]}
    about = json.loads(session.get_modelmeta().custom_metadata_map["keras_mtl"])
    assert about["decoded"] and about["image_size"] == [8, 12]


@pytest.mark.once("torch", "the network is rebuilt in float32 first")
def test_mixed_precision(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        exported = export_model(task_prompter(), tmp_path / "saved_model")
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
    assert max(exported.differences.values()) < 1e-5


# === Serving ===


@pytest.mark.once("tensorflow", "the scripts are the same on every backend")
def test_export_and_serve(model, tmp_path):
    """A photograph's maps, from a process that has TensorFlow and no Keras, are predict_maps'."""
    keras_file = tmp_path / "model.keras"
    model.save(keras_file)
    done = run("export.py", keras_file, "--format", "saved_model", "--decoded")
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"| saved_model | {tmp_path / 'saved_model'} | " in done.stdout
    photograph = np.random.default_rng(0).integers(0, 256, (300, 431, 3)).astype("uint8")
    Image.fromarray(photograph).save(tmp_path / "photo.png")
    arguments = (tmp_path / "saved_model", tmp_path / "photo.png", "--output", tmp_path / "out")
    done = run("serve.py", *arguments, blocked=("keras", "keras_mtl", "keras_hub"))
    assert done.returncode == 0, done.stderr[-3000:]
    wanted = model.predict_maps(photograph)
    with np.load(tmp_path / "out" / "photo-maps.npz") as maps:
        assert set(maps) == set(wanted)
        assert (maps["semseg"] == wanted["semseg"]).mean() > 0.999  # but for ties
        for name in ("depth", "normals", "edge"):
            np.testing.assert_allclose(maps[name], wanted[name], atol=1e-4)
    assert "photo-depth.png: 0 to " in done.stdout and " metres" in done.stdout
    pictures = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert pictures == {f"photo-{name}.png" for name in wanted}


@pytest.mark.once("tensorflow", "the server needs TensorFlow")
def test_the_server_draws_in_the_colours_of_panels(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    from serving import picture

    rng = np.random.default_rng(0)
    of_all = {task.name: task for task in (*nyud(), *pascal_context())}
    for task in of_all.values():
        raw = rng.normal(size=(1, 9, 7, task.channels)).astype("float32")
        final = keras.ops.convert_to_numpy(task.decode(raw))[0]
        drawn = picture(final, json.loads(json.dumps(task.colours())))
        expected = task.draw(final, None, task.scale_of([final]))
        assert np.abs(np.asarray(drawn).astype(int) - expected).max() <= 1, task.name


@pytest.mark.once("tensorflow", "what serves knows no backend")
def test_serving_any_size(tmp_path):
    export_model(OnlyHere(), tmp_path / "saved_model", decoded=True)
    colours = np.full((37, 20, 3), (250, 40, 10), "uint8")
    Image.fromarray(colours).save(tmp_path / "photo.png")
    arguments = (tmp_path / "saved_model", tmp_path / "photo.png", "--output", tmp_path)
    done = run("serve.py", *arguments, blocked=("keras", "keras_mtl"))
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / "photo-maps.npz") as maps:
        np.testing.assert_allclose(maps["depth"], np.full((37, 20, 1), 2.5), atol=1e-4)
        assert maps["semseg"].shape == (37, 20) and not maps["semseg"].any()
    photo, network = tmp_path / "photo.png", tmp_path / "saved_model"
    for broken in (
        (tmp_path, photo),
        (network, tmp_path / "no"),
        (network, photo, "--output", photo),
    ):
        done = run("serve.py", *broken, blocked=("keras", "keras_mtl"))
        assert done.returncode == 1
        assert done.stderr.startswith("serve.py: ") and len(done.stderr.splitlines()) == 1


# === What is refused ===


@pytest.mark.parametrize(
    "path, format, parts",
    [
        ("model", "pickle", ("'pickle'", "saved_model, onnx, litert")),
        ("model.tflite", "onnx", ("model.tflite", "ends in .onnx")),
        ("none/model.tflite", "litert", ("There is no folder", "none")),
        ("full", "saved_model", ("full", "name another path")),
        ("folder.tflite", "litert", ("folder.tflite", "name another path")),
    ],
)
def test_paths_that_cannot_be(model, tmp_path, path, format, parts):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    (tmp_path / "folder.tflite").mkdir()
    with pytest.raises(ValueError) as error:
        export_model(model, tmp_path / path, format)
    assert_one_sentence(error, *parts)
    assert (tmp_path / "full" / "thesis.txt").read_text() == "years of work"


def test_what_is_no_model(tmp_path):
    with pytest.raises(ValueError) as error:
        export_model(keras.Sequential(), tmp_path / "model")
    assert_one_sentence(error, "Sequential", ".keras file")
    with pytest.raises(ValueError) as error:
        export_model(tmp_path / "none.keras", tmp_path / "model")
    assert_one_sentence(error, "There is no file", "none.keras")


def test_missing_libraries(model, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError) as error:
        export_model(model, tmp_path / "saved_model")
    assert_one_sentence(error, 'pip install "keras-mtl[tensorflow]"')
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else True
    )
    with pytest.raises(ImportError) as error:
        export_model(model, tmp_path / "model.onnx", "onnx")
    assert_one_sentence(error, "tf2onnx", 'pip install "keras-mtl[export]"')


def test_a_class_of_the_program(tmp_path):
    path = tmp_path / "saved_model"
    if BACKEND == "tensorflow":
        assert export_model(OnlyHere(), path).differences["depth"] < 1e-6
        return
    with pytest.raises(ValueError) as error:
        export_model(OnlyHere(), path)
    assert_one_sentence(error, "OnlyHere", "KERAS_BACKEND=tensorflow")
    assert not list(tmp_path.iterdir())


@pytest.mark.once("tensorflow", "what TensorFlow's process says is passed on, see above")
def test_an_operation_that_litert_lacks(tmp_path):
    def erfinv(x):
        return keras.ops.erfinv(x / 10)

    with pytest.raises(ValueError) as error:
        export_model(OnlyHere(erfinv), tmp_path / "model.tflite", "litert")
    assert_one_sentence(error, "OnlyHere", "cannot be written as litert")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def written(monkeypatch):
    """`written(change)`: from now on files give the model's maps after this change."""

    def change_maps(change):
        def write_and_run(model, fresh, form, images):
            fresh.mkdir()
            (fresh / "saved_model.pb").write_bytes(b"new")
            maps = {n: agreement.raw_maps(model, images[:n]) for n in (1, 3)}
            if form.decoded:
                for found in maps.values():
                    for task in model.tasks:
                        found[task.name] = agreement._decoded(task, found[task.name])
            return {n: change(found) for n, found in maps.items()}

        monkeypatch.setattr("keras_mtl.export.exported.write_and_run", write_and_run)
        monkeypatch.setattr("keras_mtl.export.exported.in_another_process", write_and_run)

    return change_maps


def wrong(name, by):
    def change(maps):
        maps[name] = maps[name].copy()
        maps[name][-1, 3, 4] += by
        return maps

    return change


@pytest.mark.parametrize(
    "name, by, decoded",
    [("depth", 0.01, False), ("depth", np.nan, False), ("semseg", 1, True), ("depth", 0.01, True)],
)
def test_a_file_that_differs_is_not_kept(written, tmp_path, name, by, decoded):
    path = tmp_path / "saved_model"
    model = OnlyHere()
    written(lambda maps: maps)
    export_model(model, path, decoded=decoded)
    (path / "saved_model.pb").write_bytes(b"old")
    written(wrong(name, by))
    with pytest.raises(ValueError) as error:
        export_model(model, path, decoded=decoded)
    assert_one_sentence(error, f"map of {name}", "nothing was written")
    assert (path / "saved_model.pb").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    exported = export_model(model, path, decoded=decoded, tolerance=np.inf)
    assert exported.differences[name] > 1e-3
    assert (path / "saved_model.pb").read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_another_class_of_the_same_score_is_no_difference(written, tmp_path):
    model = OnlyHere(lambda x: x * 0)

    def other(maps):
        return {**maps, "semseg": maps["semseg"] + 2}

    written(other)
    assert export_model(model, tmp_path / "a", decoded=True).differences["semseg"] == 0


def test_where_the_model_is_unsteady_itself(written, tmp_path):
    """A millionth decides on which side of a step a pixel lies: no file can know."""
    steps = OnlyHere(lambda x: keras.ops.sign(keras.ops.sin(x * 1e7)))
    flip = {"depth": 1, "semseg": -1}
    written(lambda maps: {name: x * flip[name] for name, x in maps.items()})
    exported = export_model(steps, tmp_path / "saved_model")
    assert exported.differences["semseg"] == 2
    assert "The model itself is as unsteady" in exported.note and "semseg by" in exported.note


def test_an_untrainable_model(tmp_path):
    broken = OnlyHere(lambda x: x / 0)
    with pytest.raises(ValueError) as error:
        export_model(broken, tmp_path / "saved_model")
    assert_one_sentence(error, "semseg", "not finite")


def test_a_disk_that_is_full(written, tmp_path, monkeypatch):
    written(lambda maps: maps)
    path = tmp_path / "saved_model"
    model = OnlyHere()
    export_model(model, path)
    (path / "saved_model.pb").write_bytes(b"old")
    renamed = os.replace

    def replace(source, target):
        if Path(source).parent.name.startswith(".saving-"):
            raise OSError(28, "No space left on device")
        return renamed(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError) as error:
        export_model(model, path)
    assert_one_sentence(error, "saved_model", "No space left on device")
    assert (path / "saved_model.pb").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_export(written, tmp_path):
    written(lambda maps: maps)
    path = tmp_path / "saved_model"
    model = OnlyHere()
    export_model(model, path)
    (path / "saved_model.pb").write_bytes(b"old")

    def stop(maps):
        raise KeyboardInterrupt

    written(stop)
    with pytest.raises(KeyboardInterrupt):
        export_model(model, path)
    assert (path / "saved_model.pb").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@keras.saving.register_keras_serializable(package="tests")
class Deadly(DepthEstimation):
    """Whoever asks TensorFlow for its final map is killed."""

    def decode(self, raw):
        os.kill(os.getpid(), signal.SIGKILL)


def small(task):
    image = keras.Input((8, 12, 3))
    return keras_mtl.MultiTaskModel(image, {"depth": image[..., :1] * 0.01}, [task])


@once
def test_a_killed_export(tmp_path):
    """What was there is whole, and the next export removes what the killed one has left."""
    path = tmp_path / "saved_model"
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"old")
    command = [sys.executable, __file__, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    assert subprocess.run(command, env=environment).returncode == -signal.SIGKILL
    assert (path / "saved_model.pb").read_bytes() == b"old"
    left = {each.name for each in tmp_path.iterdir()} - {"saved_model"}
    assert len(left) == 1 and left.pop().startswith(".saving-")
    export_model(small(DepthEstimation()), path)
    assert (path / "saved_model.pb").read_bytes() != b"old"
    assert list(tmp_path.iterdir()) == [path]


if __name__ == "__main__":  # an export to kill
    export_model(small(Deadly()), sys.argv[1], decoded=True)
