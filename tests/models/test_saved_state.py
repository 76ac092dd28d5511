"""What a file keeps of a model besides its numbers, and what it must not hold."""

import io
import json
import re
import zipfile

import h5py
import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.declared import Refused
from keras_mtl.files import NotWritten
from keras_mtl.tasks import nyud
from tests import small

pytestmark = pytest.mark.once("torch", "files are the same on every backend")


SIZE = (16, 24)


def build(*names):
    return keras_mtl.MultiTaskBaseline(small.vit(SIZE), nyud(*names), head_width=4)


@pytest.fixture(scope="module")
def model():
    return build("depth", "edge")


def refused(target, file, *parts):
    """No weight has changed, and one sentence says why."""
    before = target.get_weights()
    with pytest.raises(ValueError) as error:
        target.load_weights(file)
    said = str(error.value)
    assert "\n" not in said and said.endswith(".") and all(part in said for part in parts), said
    for old, new in zip(before, target.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


# === Tasks ===


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_weights_know_their_tasks(model, tmp_path, suffix):
    file = tmp_path / f"model{suffix}"
    (model.save if suffix == ".keras" else model.save_weights)(file)
    turned = build("edge", "depth")
    refused(turned, file, str(file), "depth, edge, in this order", "has edge, depth; build it")
    with pytest.raises(ValueError, match="build it"):
        turned.load_weights(file, skip_mismatch=True)
    twin = build("depth", "edge")
    twin.load_weights(file)
    for a, b in zip(twin.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    build("depth").save_weights(tmp_path / "depth.weights.h5")
    refused(build("edge"), tmp_path / "depth.weights.h5", "the tasks depth,", "has edge;")


def test_another_class_count_by_skipping(tmp_path):
    one, other = (
        keras_mtl.MultiTaskBaseline(
            small.vit(SIZE), [keras_mtl.tasks.SemanticSegmentation(channels=n)], head_width=4
        )
        for n in (3, 5)
    )
    one.save_weights(tmp_path / "a.weights.h5")
    with pytest.warns(UserWarning, match="could not be loaded"):
        other.load_weights(tmp_path / "a.weights.h5", skip_mismatch=True)
    np.testing.assert_array_equal(other.get_weights()[0], one.get_weights()[0])


# === Frozen layers ===


def test_a_frozen_backbone_is_remembered(tmp_path):
    model = build("depth")
    model.freeze_backbone()
    head = model.get_layer("depth_head")
    head.trainable = False
    assert model.frozen_weights and not model.trainable_weights
    head.trainable = True
    count = len(model.trainable_weights)
    model.compile(keras.optimizers.Adam(1e-3))
    x = np.zeros((1, *SIZE, 3), "float32")
    model.train_on_batch(x, {"depth": np.ones((1, *SIZE, 1), "float32")})
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    again = keras_mtl.load_model(tmp_path / "model.keras", compile=True)
    preset = keras_mtl.MultiTaskModel.from_preset(tmp_path / "preset")
    assert 0 < len(again.trainable_weights) == len(preset.trainable_weights) == count
    assert int(again.optimizer.iterations) == 1
    for old, new in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (old, new)))
    again.freeze_backbone(False)
    assert len(again.trainable_weights) > count and "frozen_weights" not in again.get_config()


# === What no file may hold ===


def spoil(value):
    def change(file):
        name = []
        file["layers"].visititems(
            lambda key, item: name.append(key) if isinstance(item, h5py.Dataset) else None
        )
        dataset = file["layers"][name[0]]
        shape = dataset.shape
        del file["layers"][name[0]]
        file["layers"][name[0]] = np.full(shape, value)

    return change


def vast(file):
    file.create_dataset("layers/vast", (10**7, 10**6), "float32", chunks=(8, 8), compression="gzip")


def linked(file):
    file["layers/linked"] = h5py.ExternalLink("other.h5", "/")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (spoil(np.nan), "holds nan in "),
        (spoil(np.inf), "holds inf in "),
        (spoil(1e300), "holds 1e+300 in "),
        (spoil(1j), "holds complex128 at "),
        (vast, "declares 40,000,000 MB for /layers/vast"),
        (linked, "leads elsewhere at /layers/linked"),
    ],
    ids=["NaN", "infinity", "1e300", "complex", "vast", "link"],
)
def test_weights_that_are_none(model, tmp_path, change, said):
    file = tmp_path / "a.weights.h5"
    model.save_weights(file)
    with h5py.File(file, "a") as content:
        change(content)
    refused(build("depth", "edge"), file, str(file), said)
    packed = tmp_path / "a.keras"
    model.save(packed)
    with zipfile.ZipFile(packed) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in (members | {"model.weights.h5": file.read_bytes()}).items():
            archive.writestr(name, content)
    with pytest.raises(Refused, match=re.escape(said)):
        keras_mtl.load_model(packed)


def test_members_that_unpack_to_too_much_or_elsewhere(model, tmp_path):
    file = tmp_path / "a.keras"
    model.save(file)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("assets/zeros", "w") as member:
            for _ in range(100):
                member.write(bytes(2**20))
    refused(model, file, str(file), "declares 105 MB for assets/zeros")
    for name in ("../out", "/out", "a\\..\\out"):
        model.save(file)
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(name, "x")
        refused(model, file, str(file), "leads elsewhere")
    with pytest.raises(Refused, match="leads elsewhere"):
        keras_mtl.load_model(file)
    with pytest.raises(FileNotFoundError, match="^There is no file .*none.keras.$"):
        model.load_weights(tmp_path / "none.keras")


@pytest.mark.parametrize(
    ("text", "size", "said"),
    [('"head_width": 4', 10**9, "a size of 1,000,000,000"), ('"hidden_dim": 8', 4096, "MB for")],
)
def test_networks_that_would_take_too_much(model, tmp_path, text, size, said):
    """Neither a `.keras` file nor a folder; a size by itself, and what comes of it."""
    other = f"{text.split()[0]} {size}"
    model.save(tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = members["config.json"].decode()
    assert text in config
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        members["config.json"] = config.replace(text, other).encode()
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(Refused, match=f"^{tmp_path}/a.keras declares .*{said} .*again from somebo"):
        keras_mtl.load_model(tmp_path / "a.keras")
    model.save_to_preset(tmp_path / "preset")
    file = tmp_path / "preset/config.json"
    file.write_text(file.read_text().replace(text, other))
    with pytest.raises(Refused, match=f"^{tmp_path}/preset declares .*{said} "):
        keras_mtl.MultiTaskModel.from_preset(tmp_path / "preset")


def test_presets_with_broken_text(model, tmp_path):
    model.save_to_preset(tmp_path / "preset")
    for text in (b"\xff", b"{", b"[" * 99999):
        (tmp_path / "preset/metadata.json").write_bytes(text)
        with pytest.raises(ValueError, match="preset cannot be read as a model") as error:
            keras_mtl.MultiTaskModel.from_preset(tmp_path / "preset")
        assert "\n" not in str(error.value)


def test_no_path(model):
    """What was not found is often None."""
    for given, calls in {
        "filepath": (keras_mtl.load_model, model.save, model.save_weights, model.load_weights),
        "folder": (model.save_to_preset, keras_mtl.training.Checkpoint),
        "The name or folder": (
            keras_mtl.MultiTaskModel.from_preset,
            keras_mtl.backbones.from_preset,
        ),
        "log": (keras_mtl.visualize.training_curves,),
        "path": (lambda path: keras_mtl.export.export_model(model, path),),
    }.items():
        for call in calls:
            with pytest.raises(ValueError, match=f"^{given} is None; expected a path, [^\n]*$"):
                call(None)
    with pytest.raises(ValueError, match="^model is a NoneType; expected a model of keras_mtl"):
        keras_mtl.models.with_tasks(None, nyud("depth"))


def test_names_in_the_file(model):
    store = {}
    model.save_own_variables(store)
    stream = io.BytesIO(store["tasks"].tobytes())
    assert json.load(stream) == ["depth", "edge"]


# === A full disk ===


def test_a_full_disk(model, tmp_path, small_disk):
    """Also before HDF5's library, which ends the process, begins to write."""
    for name, save in (
        ("a.keras", model.save),
        ("a.weights.h5", model.save_weights),
        ("preset", model.save_to_preset),
    ):
        with pytest.raises(NotWritten) as error:
            save(tmp_path / name)
        assert str(error.value) == f"{tmp_path / name} cannot be written (File too large)."
    assert not list(tmp_path.iterdir())


def test_several_files_of_weights(model, tmp_path):
    with pytest.raises(ValueError, match="max_shard_size is 1e-05, but .* are one file"):
        model.save_weights(tmp_path / "a.weights.json", max_shard_size=1e-5)
