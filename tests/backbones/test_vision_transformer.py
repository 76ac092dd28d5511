"""The ViT trunk walked block by block, and the same ViT at another image size."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.backbones import PatchTokens, vision_transformer
from keras_mtl.backbones.vision_transformer import (
    VIT_SIZES,
    at_image_shape,
    grid_of,
    resize_bicubic,
)

TINY = {"patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 12}


def tiny(image_shape=(16, 24, 3), **arguments):
    return vision_transformer("tiny", image_shape, **{**TINY, **arguments})


def table(backbone):
    layer = backbone.get_layer("vit_patching_and_embedding").position_embedding
    return ops.convert_to_numpy(layer.embeddings)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(2, 16, 24, 3)).astype("float32")


# === The trunk ===


def test_walking_the_blocks_is_the_backbone(images):
    backbone = tiny()
    for weight in backbone.weights:  # the initial biases would be too small to notice
        weight.assign(np.random.default_rng(1).normal(0.1, 0.3, weight.shape))
    inputs = keras.Input((16, 24, 3))
    encoder = backbone.get_layer("vit_encoder")
    tokens = PatchTokens.of(backbone)(inputs)
    for block in encoder.encoder_layers:
        tokens = block(tokens)
    walked = keras.Model(inputs, encoder.layer_norm(tokens))
    expected = backbone.predict_on_batch(images)
    assert expected.shape == (2, 6, 8)  # patches of 2 x 3, no class token
    np.testing.assert_allclose(walked.predict_on_batch(images), expected, atol=1e-5)


def test_patch_tokens_leave_the_class_token_out(images):
    backbone = tiny(use_class_token=True)
    tokens = PatchTokens.of(backbone)
    found = ops.convert_to_numpy(tokens(images))
    kernel, bias = (ops.convert_to_numpy(weight) for weight in tokens.projection.weights)
    assert len(table(backbone)) == 1 + 6
    for row, column in np.ndindex(2, 3):
        patch = images[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        n = 3 * row + column  # row by row
        expected = patch.reshape(2, -1) @ kernel.reshape(-1, 8) + bias + table(backbone)[1 + n]
        np.testing.assert_allclose(found[:, n], expected, atol=1e-5)


def test_a_models_encoder_is_the_backbone_itself(images):
    backbone = tiny()
    model = keras_mtl.TaskPrompter(
        backbone,
        [keras_mtl.tasks.DepthEstimation()],
        channel_windows=(1, 1),
        prompting_levels=1,
    )
    own = {id(variable) for variable in model.trainable_variables}
    assert {id(variable) for variable in backbone.trainable_variables} <= own
    before = model.predict_on_batch(images)["depth"]
    bias = backbone.get_layer("vit_encoder").encoder_layers[0].mlp.dense_2.bias
    bias.assign(ops.convert_to_numpy(bias) + np.linspace(-1, 1, 8))
    assert np.abs(model.predict_on_batch(images)["depth"] - before).max() > 1e-4


@pytest.mark.parametrize("size", sorted({*VIT_SIZES} - {"pico", "nano"}))  # which are our own
def test_sizes_are_the_published_ones(size):
    published = {  # width, heads; ViT, Table 1; DeiT, Table 1
        "tiny": (192, 3),
        "small": (384, 6),
        "base": (768, 12),
        "large": (1024, 16),
    }
    config = VIT_SIZES[size]
    assert (config["hidden_dim"], config["num_heads"]) == published[size]
    assert config["num_layers"] == (24 if size == "large" else 12)
    assert config["mlp_dim"] == 4 * config["hidden_dim"]


def test_epsilon_and_activation():
    encoder = tiny().get_layer("vit_encoder")
    block = encoder.encoder_layers[0]
    for norm in (block.layer_norm_1, block.layer_norm_2, encoder.layer_norm):
        assert norm.epsilon == 1e-6
    exact = 0.8413447460685429  # GELU(1) = Phi(1); the tanh form gives 0.84119
    assert abs(float(block.mlp.dense_1.activation(np.float32([1.0]))[0]) - exact) < 1e-6


def test_config_round_trips():
    tokens = PatchTokens.of(tiny())
    copy = PatchTokens.from_config(tokens.get_config())
    assert copy.projection.filters == 8 and copy.position_embedding.input_dim == 6


# === Other image sizes ===


def test_resize_bicubic_is_pytorchs():
    torch = pytest.importorskip("torch", reason="the reference is torch's bicubic")
    grid = np.random.default_rng(2).normal(size=(5, 7, 3)).astype("float32")
    channels_first = torch.tensor(grid.transpose(2, 0, 1)[None])
    for size in [(5, 7), (8, 5), (3, 14), (10, 14), (1, 2)]:
        expected = torch.nn.functional.interpolate(
            channels_first, size=size, mode="bicubic", align_corners=False
        )
        expected = expected[0].permute(1, 2, 0).cpu().numpy()
        np.testing.assert_allclose(resize_bicubic(grid, size), expected, atol=2e-5)


@pytest.mark.parametrize("use_class_token", [True, False])
def test_at_image_shape_resizes_the_grid_and_nothing_else(use_class_token):
    backbone = tiny(use_class_token=use_class_token)
    before = backbone.get_weights()
    resized = at_image_shape(backbone, (40, 32, 3))
    assert resized.image_shape == (40, 32, 3) and grid_of(resized) == (5, 4)

    extra = int(use_class_token)
    old, new = table(backbone), table(resized)
    assert new.shape == (extra + 20, 8)
    np.testing.assert_array_equal(new[:extra], old[:extra])  # the class token's entry
    expected = resize_bicubic(old[extra:].reshape(2, 3, 8), (5, 4)).reshape(20, 8)
    np.testing.assert_array_equal(new[extra:], expected)
    others = 0
    for ours, theirs in zip(backbone.weights, resized.weights, strict=True):
        if "position_embedding" not in ours.path:
            np.testing.assert_array_equal(*map(ops.convert_to_numpy, (ours, theirs)))
            others += 1
    assert others == len(backbone.weights) - 1
    for value, kept in zip(before, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(value, kept)  # the given backbone stays as it is


def test_at_the_same_image_shape_nothing_changes():
    backbone = tiny(use_class_token=True)
    same = at_image_shape(backbone, (16, 24, 3))
    for ours, theirs in zip(backbone.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# === Wrong arguments ===


def test_unknown_size():
    with pytest.raises(
        ValueError, match="'huge'; choose one of .*'tiny', 'small', 'base', 'large'"
    ):
        vision_transformer("huge", (32, 32, 3))


@pytest.mark.parametrize(
    "image_shape, wrong, works",
    [
        ((20, 24, 3), "height 20", [(16, 24, 3), (24, 24, 3)]),
        ((16, 31, 3), "width 31", [(16, 24, 3), (16, 32, 3)]),
        ((5, 24, 3), "height 5", [(8, 24, 3), (16, 24, 3)]),
    ],
)
def test_image_sizes_off_the_patches(image_shape, wrong, works):
    axis = 0 if "height" in wrong else 1
    named = " or ".join(str(shape[axis]) for shape in works)
    for build in (tiny, lambda shape: at_image_shape(tiny((32, 32, 3)), shape)):
        with pytest.raises(ValueError, match=f"{wrong} .* patch size 8; .*{named}\\.") as error:
            build(image_shape)
        assert "\n" not in str(error.value)
    for shape in works:
        assert tiny(shape).image_shape == shape
    with pytest.raises(ValueError, match=r"image_shape is \(0, 24, 3\), expected 3 positive"):
        tiny((0, 24, 3))


def test_projections_start_as_glorot_matrices():
    """Each projection is its own draw with the variance of a C x C Glorot uniform matrix."""
    block = vision_transformer("tiny", (16, 16, 3), num_layers=1).get_layer("vit_encoder")
    mha = block.encoder_layers[0].mha
    dense = (mha.query_dense, mha.key_dense, mha.value_dense, mha.output_dense)
    kernels = [ops.convert_to_numpy(layer.kernel) for layer in dense]
    for kernel in kernels:
        assert kernel.std() == pytest.approx(np.sqrt(1 / 192), rel=0.02)
    drawn = np.stack([kernel.reshape(-1) for kernel in kernels])
    assert np.abs(np.corrcoef(drawn) - np.eye(4)).max() < 0.05
