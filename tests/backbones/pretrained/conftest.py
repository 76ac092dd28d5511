"""Folders of pretrained weights that keras-hub writes, and how to compare."""

import json
import math
import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.backbones import from_preset


def random_images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def values(layer):
    return [ops.convert_to_numpy(weight) + 0.0 for weight in layer.weights]


def output(backbone, images):
    """What it makes of images, of a dict of outputs the first."""
    inputs = {name: images for name in backbone.input} if type(backbone.input) is dict else images
    return ops.convert_to_numpy(backbone(inputs, training=False))


def assert_close(found, expected, title):
    assert found.shape == expected.shape and 0.1 < expected.std() < 10
    error = np.abs(found - expected).max()
    print(f"{keras.backend.backend()}: {title}, max abs difference {error:.1e}")
    assert error < 1e-4


def build(kind):
    import keras_hub

    models = keras_hub.models
    vit = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "patch_size": 8}
    dino = {**vit, "intermediate_dim": 12, "num_register_tokens": 2}
    if kind == "vit":
        return models.ViTBackbone(image_shape=(32, 32, 3), mlp_dim=12, **vit)
    if kind == "swin":
        arguments = {"embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2), "window_size": 4}
        return models.SwinTransformerBackbone(image_shape=(32, 32, 3), **arguments)
    if kind == "swin of four stages":
        arguments = {"embed_dim": 8, "depths": (1,) * 4, "num_heads": (1,) * 4, "window_size": 2}
        return models.SwinTransformerBackbone(image_shape=(64, 64, 3), **arguments)
    if kind == "dinov2":
        shapes = {"image_shape": (32, 32, 3), "position_embedding_shape": (32, 32)}
        return models.DINOV2Backbone(**shapes, **dino)
    if kind == "dinov3":
        return models.DINOV3Backbone(image_shape=(32, 32, 3), **dino)
    if kind == "efficientnet":
        return models.EfficientNetBackbone(
            stackwise_width_coefficients=[1.0],
            stackwise_depth_coefficients=[1.0],
            stackwise_kernel_sizes=[3],
            stackwise_num_repeats=[1],
            stackwise_input_filters=[8],
            stackwise_output_filters=[8],
            stackwise_expansion_ratios=[1],
            stackwise_squeeze_and_excite_ratios=[0.25],
            stackwise_strides=[2],
            stackwise_block_types=["v1"],
        )
    return models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )


def tokens(model, images, **options):
    """The last hidden state."""
    import torch

    trunk = getattr(model, "vit", model)
    pixels = torch.tensor(images.transpose(0, 3, 1, 2), device="cpu")
    with torch.no_grad():
        return trunk(pixels, **options).last_hidden_state.numpy()


def refused(match, *arguments, **options):
    with pytest.raises(ValueError, match=match) as error:
        from_preset(*arguments, **options)
    assert "\n" not in str(error.value)


def change(folder, **entries):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    inner = config["config"] if "registered_name" in config else config
    inner.update(entries)
    path.write_text(json.dumps(config))


@pytest.fixture(scope="session")
def shared():
    """The functions above, by name."""
    functions = [random_images, values, output, assert_close, tokens, refused, change]
    return SimpleNamespace(**{function.__name__: function for function in functions})


@pytest.fixture(scope="session")
def presets(tmp_path_factory):
    """`presets(kind)`: a folder with random weights, and these."""
    made = {}

    def make(kind):
        if kind not in made:
            backbone = build(kind)
            rng = np.random.default_rng(0)
            for weight in backbone.weights:
                spread = min(0.2, math.prod(weight.shape[:-1]) ** -0.5)
                draw = rng.normal(0, spread, weight.shape)
                if len(weight.shape) == 1:  # also variances
                    draw = rng.uniform(0.5, 1.5, weight.shape)
                weight.assign(draw)
            if kind == "dinov2":
                embeddings = backbone.embeddings
                table = embeddings.interpolated_position_embeddings
                table.assign(embeddings.position_embeddings)
            folder = tmp_path_factory.mktemp("preset") / kind
            backbone.save_to_preset(str(folder))
            made[kind] = folder, backbone
        return made[kind]

    return make


@pytest.fixture
def preset(presets, tmp_path):
    """`preset(kind)`: a copy of the folder, to be spoilt."""

    def copy(kind):
        return shutil.copytree(presets(kind)[0], tmp_path / kind)

    return copy


@pytest.fixture
def folder(folders, tmp_path):
    """`folder(kind)`: a copy, to be spoilt."""

    def copy(kind):
        return shutil.copytree(folders(kind)[0], tmp_path / kind)

    return copy
