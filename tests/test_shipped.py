"""Trained weights that come with the package: found by name, stored in 16 bits, in the wheel."""

import tomllib

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl import shipped

once = pytest.mark.once("torch", "files know no backend")


@once
def test_a_folder_comes_before_a_name(monkeypatch, tmp_path):
    (tmp_path / "package" / "vit_rooms").mkdir(parents=True)
    (tmp_path / "package" / "vit_rooms" / "config.json").write_text("{}")
    monkeypatch.setattr(shipped, "HERE", tmp_path / "package")
    monkeypatch.chdir(tmp_path)
    assert shipped.names() == ["vit_rooms"]
    assert shipped.folder_of("vit_rooms") == tmp_path / "package" / "vit_rooms"
    for other in ("vit", "../vit_rooms", "package/vit_rooms", ""):
        assert shipped.folder_of(other) == type(tmp_path)(other)
    (tmp_path / "vit_rooms").mkdir()
    assert not shipped.folder_of("vit_rooms").is_absolute()


@once
def test_half_of_the_bytes_and_eleven_bits_of_a_number(tmp_path):
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64)])
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    before, size = model.get_weights(), path.stat().st_size
    shipped.store_in_half(path)
    assert path.stat().st_size < 0.75 * size
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    model.load_weights(path)
    assert {weight.dtype for weight in model.weights} == {"float32"}
    for found, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2**-11, atol=2**-25)


@once
def test_numbers_too_large_for_half_stay_as_they_are(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.BatchNormalization()])
    path = tmp_path / "model.weights.h5"
    model.weights[-1].assign([1.2345678e5])
    model.weights[0].assign([1 / 3])
    model.save_weights(path)
    before = model.get_weights()
    shipped.store_in_half(path)
    model.load_weights(path)
    assert model.get_weights()[-1] == before[-1]
    assert model.get_weights()[0] == np.float16(1 / 3)


@once
def test_what_comes_with_the_package():
    """In a wheel, small, and with a card."""
    package = shipped.HERE.parent
    settings = tomllib.loads((package.parent / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["keras_mtl"]
    in_wheel = {path for pattern in patterns for path in package.glob(pattern)}
    assert package / "py.typed" in in_wheel
    for name in shipped.names():
        files = list((shipped.HERE / name).iterdir())
        assert set(files) <= in_wheel
        assert sum(file.stat().st_size for file in files) <= 15_000_000
        card = (shipped.HERE / name / "README.md").read_text()
        assert card.startswith(f"# {name}\n") and "Apache-2.0" in card and "generated rooms" in card


# Skipped where there are none: no weights come with the package yet.
@pytest.mark.parametrize("network", [p.parent.name for p in shipped.HERE.glob("*/example.npz")])
def test_the_same_maps_on_every_backend(network):
    """Those of `example.npz`, which the backend wrote that trained."""
    model = keras_mtl.MultiTaskModel.from_preset(network)
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    with np.load(shipped.HERE / network / "example.npz") as example:
        raw = model.predict(example["image"][None], verbose=0)
        for name, found in raw.items():
            error = np.abs(found[0, ::8, ::8] - example[name]).max()
            assert error <= 1e-3 * max(1.0, np.abs(example[name]).max()), name
