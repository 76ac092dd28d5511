"""A Vision Transformer behind convolutions: everywhere that a ViT goes, its stem goes with it."""

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.backbones import from_preset, vision_transformer
from keras_mtl.backbones.stemmed_vit import ConvolutionalStem, stem_of

SHAPE = (16, 24, 3)
SIZES = {"patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 12}


def stemmed(**arguments):
    sizes = {**SIZES, "stem_width": 4, "stem_blocks": 1, **arguments}
    return vision_transformer("nano", SHAPE, convolutional_stem=True, **sizes)


@pytest.fixture(scope="module")
def backbone():
    backbone, rng = stemmed(), np.random.default_rng(0)
    for weight in backbone.weights:  # statistics that are not those at the start
        weight.assign(ops.convert_to_numpy(weight) + rng.uniform(0.05, 0.2, weight.shape))
    return backbone


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(2, *SHAPE)).astype("float32")


def tokens_of(backbone, images):
    return ops.convert_to_numpy(backbone.predict_on_batch(images))


def test_stem_against_the_convolutions_written_out(backbone, images):
    stem = stem_of(backbone)
    weights = iter([ops.convert_to_numpy(w).astype("float64") for w in stem.weights])

    def convolve(x, stride):
        kernel, gamma, beta, mean, variance = (next(weights) for _ in range(5))
        rows, columns = (-(-n // stride) for n in x.shape[1:3])
        padding = max((rows - 1) * stride + 3 - x.shape[1], 0)  # "same": the odd pixel at the end
        before = padding // 2
        x = np.pad(x, ((0, 0), (before, padding - before), (before, padding - before), (0, 0)))
        out = np.zeros((len(x), rows, columns, kernel.shape[-1]))
        for i, j in np.ndindex(3, 3):
            part = x[:, i : i + stride * rows : stride, j : j + stride * columns : stride]
            out += part[:, :rows, :columns] @ kernel[i, j]
        return (out - mean) / np.sqrt(variance + 1e-5) * gamma + beta

    x = np.maximum(convolve(images.astype("float64"), 2), 0)
    for _ in range(2):
        x = np.maximum(convolve(x, 2), 0)
        branch = np.maximum(convolve(x, 1), 0)
        x = np.maximum(x + convolve(branch, 1), 0)
    assert next(weights, None) is None
    found = ops.convert_to_numpy(stem(images))
    assert found.shape == (2, 2, 3, stem.channels) == (2, 2, 3, 16)
    np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-4)


def test_tokens_are_those_of_the_transformer_on_the_stems_map(backbone, images):
    features = stem_of(backbone)(images)
    sizes = {**SIZES, "patch_size": 1, "use_class_token": False}
    vit = keras_hub.models.ViTBackbone((2, 3, 16), **sizes)
    of_the_vit = backbone.weights[len(stem_of(backbone).weights) :]
    for ours, theirs in zip(vit.weights, of_the_vit, strict=True):
        ours.assign(ops.convert_to_numpy(theirs))
    expected = tokens_of(vit, ops.convert_to_numpy(features))
    np.testing.assert_allclose(tokens_of(backbone, images), expected, atol=1e-5)


def test_folder(backbone, images, tmp_path):
    backbone.save_to_preset(str(tmp_path / "vit"))
    again = from_preset(tmp_path / "vit")
    np.testing.assert_allclose(tokens_of(again, images), tokens_of(backbone, images), atol=1e-6)
    larger = from_preset(tmp_path / "vit", (32, 24, 3))
    assert (larger.image_shape, larger.patch_size) == ((32, 24, 3), (8, 8))
    for ours, theirs in zip(stem_of(larger).weights, stem_of(backbone).weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs))


def test_model_trains_its_stem_and_keeps_it(images, tmp_path):
    tasks = keras_mtl.tasks.nyud("depth")
    model = keras_mtl.TaskPrompter(
        stemmed(), tasks, channel_windows=(1, 1), prompting_levels=1, decode_dim=4
    )
    paths = [variable.path for variable in model.backbone_variables]
    assert len(paths) == len(stemmed().weights)
    before = {v.path: ops.convert_to_numpy(v) for v in model.backbone_variables}
    model.compile(keras.optimizers.SGD(0.1))
    model.train_on_batch(50 * images + 128, {"depth": np.full((2, 16, 24, 1), 2.0, "float32")})
    for variable in model.backbone_variables:
        if "convolutional_stem" in variable.path:
            moved = np.abs(ops.convert_to_numpy(variable) - before[variable.path]).max()
            assert moved > 0, variable.path  # kernels and the norms' statistics alike
    model.save(tmp_path / "model.keras")
    again = keras_mtl.load_model(tmp_path / "model.keras")
    expected = model.predict_on_batch(images)["depth"]
    np.testing.assert_allclose(again.predict_on_batch(images)["depth"], expected, atol=1e-5)


@pytest.mark.parametrize("stride", [3, 6, 12])
def test_strides_that_are_no_powers_of_two(stride):
    with pytest.raises(ValueError, match=f"{stride} is no power of 2; take patches of 4, 8 or 16"):
        ConvolutionalStem(stride)
