"""How images are normalised: as the backbone's folder says, and as the model's file keeps it."""

import json

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.backbones import from_preset
from keras_mtl.images import IMAGE_MEAN, IMAGE_STD
from tests import small

pytestmark = pytest.mark.once("torch", "folders and configurations know no backend")

HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
CASES = {
    "none": (None, None, IMAGE_MEAN, IMAGE_STD),
    "hugging face": ("preprocessor_config.json", HALF, [127.5] * 3, [127.5] * 3),
    "one number": (
        "preprocessor_config.json",
        {"image_mean": 0.25, "image_std": 0.5, "rescale_factor": 0.5},
        [0.5] * 3,
        [1.0] * 3,
    ),
    "only rescaled": ("preprocessor_config.json", {"do_normalize": False}, [0] * 3, [255] * 3),
    "keras-hub": (
        "image_converter.json",
        {"config": {"scale": 1 / 127.5, "offset": -1}},
        [127.5] * 3,
        [127.5] * 3,
    ),
    "keras-hub's older": (
        "image_converter.json",
        {"config": {"scale": 1 / 255, "mean": [0.5, 0.4, 0.3], "variance": [0.04] * 3}},
        [127.5, 102, 76.5],
        [51] * 3,
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("preset") / "vit"
    small.vit((16, 16)).save_to_preset(str(path))
    return path


@pytest.fixture
def say(folder):
    written = []

    def write(name, content):
        if name:
            (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
            written.append(folder / name)

    yield write
    for path in written:
        path.unlink()


def normalized(model, images):
    layer = model.get_layer("image_normalization")
    return keras.ops.convert_to_numpy(layer(images))


@pytest.mark.parametrize("case", CASES)
def test_models_do_as_the_folder_says(folder, say, tmp_path, case):
    name, content, mean, std = CASES[case]
    say(name, content)
    images = np.random.default_rng(0).uniform(0, 255, (1, 16, 16, 3)).astype("float32")
    expected = (images - np.float32(mean)) / np.float32(std)
    backbone = from_preset(folder)
    model = keras_mtl.MultiTaskBaseline(backbone, keras_mtl.tasks.nyud("depth"), head_width=4)
    np.testing.assert_allclose(normalized(model, images), expected, atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras_mtl.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(normalized(loaded, images), expected, atol=1e-5)
    np.testing.assert_allclose(
        loaded.predict_on_batch(images)["depth"], model.predict_on_batch(images)["depth"], atol=1e-6
    )


def test_every_architecture_and_the_users_word(folder, say):
    say("preprocessor_config.json", HALF)
    tasks = keras_mtl.tasks.nyud("depth")
    prompter = keras_mtl.TaskPrompter(
        from_preset(folder), tasks, channel_windows=(1, 1), prompting_levels=1, decode_dim=4
    )
    tpanet = keras_mtl.TPANet(from_preset(folder), tasks, dim=4, head_width=4, scales=1)
    for model in (prompter, tpanet):
        found = normalized(model, np.full((1, 16, 16, 3), 255.0, "float32"))
        np.testing.assert_allclose(found, 1, atol=1e-6)
    own = keras_mtl.MultiTaskBaseline(
        from_preset(folder), tasks, head_width=4, image_statistics=([0] * 3, [1] * 3)
    )
    black = np.full((1, 16, 16, 3), 7.0, "float32")
    np.testing.assert_allclose(normalized(own, black), 7)
    with pytest.raises(ValueError, match="image_statistics is .* expected the mean and the pos"):
        keras_mtl.MultiTaskBaseline(from_preset(folder), tasks, image_statistics=(0.5, 0.5))


@pytest.mark.parametrize("content", ["{", "[]", '{"image_mean": [0.5], "image_std": "x"}', "{}"])
def test_a_broken_file(folder, say, content):
    say("preprocessor_config.json", content)
    said = "preprocessor_config.json (does not say how images|is no whole JSON)"
    with pytest.raises(ValueError, match=said) as no:
        from_preset(folder)
    assert "\n" not in str(no.value)
