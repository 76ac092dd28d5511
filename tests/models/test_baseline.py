"""The baseline of both papers: one map of all features, a small head for each task."""

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl import cost
from keras_mtl.backbones import (
    FeaturePyramid,
    HRNet,
    feature_pyramid,
    stages,
    swin_transformer,
    vision_transformer,
)
from keras_mtl.backbones.keras_hub import swin_stages
from keras_mtl.backbones.merged_swin import MergedSwin
from keras_mtl.images import IMAGE_MEAN, IMAGE_STD
from keras_mtl.tasks import DepthEstimation, Detection3D, SemanticSegmentation
from tests import small

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")

SIZE = (48, 64)
SEMSEG, DEPTH = SemanticSegmentation(channels=3), DepthEstimation()


class Pixels(FeaturePyramid):
    """Every so many pixels of the image, in 4 channels times the stride or 24."""

    def __init__(self, image_shape, strides, **kwargs):
        super().__init__(image_shape, **kwargs)
        self.channels = {stride: min(4 * stride, 24) for stride in strides}

    def call(self, images):
        return {
            stride: ops.tile(images, (1, 1, 1, 8))[:, ::stride, ::stride, :channels]
            for stride, channels in self.channels.items()
        }


def efficientnet():
    """With maps at strides 2, 4 and 8."""
    return keras_hub.models.EfficientNetBackbone(
        stackwise_width_coefficients=[0.1] * 3,
        stackwise_depth_coefficients=[1.0] * 3,
        stackwise_block_types=["fused"] * 3,
        stackwise_kernel_sizes=[3] * 3,
        stackwise_num_repeats=[1] * 3,
        stackwise_input_filters=[32, 16, 24],
        stackwise_output_filters=[16, 24, 40],
        stackwise_expansion_ratios=[1, 4, 4],
        stackwise_squeeze_and_excite_ratios=[0, 0, 0],
        stackwise_strides=[1, 2, 2],
    )


def vit(patch_size=16):
    return vision_transformer(
        "nano", (*SIZE, 3), patch_size, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16
    )


# What makes the backbone, the strides used, the size and channels of the features.
BACKBONES = {
    "HRNet": (
        lambda: HRNet((*SIZE, 3), width=4, bottlenecks=1, modules=(1, 1, 1), blocks=1),
        (4, 8, 16, 32),
        (12, 16, 4 + 8 + 16 + 32),
    ),
    "Swin": (
        lambda: swin_transformer(
            "tiny",
            (*SIZE, 3),
            embed_dim=8,
            depths=(1, 1, 1, 1),
            num_heads=(1, 1, 2, 2),
            window_size=2,
        ),
        (4, 8, 16, 32),
        (12, 16, 8 + 16 + 32 + 64),
    ),
    "ViT": (vit, (16,), (3, 4, 16)),
    "ViT with patches of 8 pixels": (lambda: vit(8), (8,), (6, 8, 16)),
    "EfficientNet": (
        lambda: feature_pyramid(efficientnet(), (*SIZE, 3)),
        (4, 8),
        None,  # the backbone rounds its channels; below
    ),
    "only finer than stride 4": (lambda: Pixels((*SIZE, 3), (1, 2)), (1, 2), (*SIZE, 4 + 8)),
}


@pytest.fixture(scope="module", autouse=True)
def seed():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 3)).astype("float32")


def resizings(model):
    return [layer.name for layer in model.layers if layer.name.startswith("resize_stride_")]


@pytest.mark.parametrize("name", BACKBONES)
def test_on_a_backbone(name, images):
    build, strides, shape = BACKBONES[name]
    backbone = build()
    pyramid = feature_pyramid(backbone)
    channels = sum(pyramid.channels[stride] for stride in strides)
    shape = shape or (12, 16, channels)
    assert shape[-1] == channels
    assert (min(pyramid.channels) < min(strides)) == (name == "EfficientNet")

    model = keras_mtl.MultiTaskBaseline(backbone, [SEMSEG, DEPTH])
    assert model.image_size == SIZE
    assert resizings(model) == [f"resize_stride_{stride}" for stride in strides]
    assert model.get_layer("concatenated_features").output.shape == (None, *shape)
    widths = {
        task.name: model.get_layer(f"{task.name}_head").body.layers[1].filters
        for task in model.tasks
    }
    assert widths == {"semseg": channels // 4, "depth": channels // 4}
    outputs = model.predict_on_batch(images)
    assert {name: value.shape for name, value in outputs.items()} == {
        "semseg": (2, *SIZE, 3),
        "depth": (2, *SIZE, 1),
    }
    for value in outputs.values():
        assert value.dtype == "float32" and np.isfinite(value).all() and value.std() > 1e-3
        assert np.abs(value[0] - value[1]).max() > 1e-3


def test_head_width():
    model = keras_mtl.MultiTaskBaseline(Pixels((*SIZE, 3), (4,)), [SEMSEG, DEPTH], head_width=5)
    # 3x3 convolution, batch normalization, 1x1 convolution, of each task.
    expected = sum(
        (9 * 16 * 5 + 5) + 2 * 5 + (5 * channels + channels)
        for channels in (SEMSEG.channels, DEPTH.channels)
    )
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == expected


def test_one_task_is_the_single_task_baseline(images):
    both = keras_mtl.MultiTaskBaseline(vit(), [SEMSEG, DEPTH])
    single = keras_mtl.MultiTaskBaseline(vit(), [DEPTH])
    assert set(single.output) == {"depth"}
    pairs = [(both.layers[2], single.layers[2])]
    pairs += [(both.get_layer("depth_head"), single.get_layer("depth_head"))]
    assert sum(len(alone.weights) for _, alone in pairs) == len(single.weights)
    for shared, alone in pairs:
        alone.set_weights(shared.get_weights())
    expected = both.predict_on_batch(images)["depth"]
    found = single.predict_on_batch(images)["depth"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("upsampling", [1, 2])
def test_the_whole_by_hand(resized, upsampling):
    """At an image size that no stride divides, from a map at stride 2 that is not to be used."""
    size, strides = (45, 70), (2, 4, 8, 16, 32)
    backbone = Pixels((*size, 3), strides)
    model = keras_mtl.MultiTaskBaseline(
        backbone, [SEMSEG, DEPTH], head_width=5, upsampling=upsampling
    )
    assert model.get_config()["upsampling"] == upsampling
    rng = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(rng.uniform(0.1, 1.0, weight.shape) - 0.5 * ("kernel" in weight.path))
    images = rng.uniform(0, 255, (2, *size, 3)).astype("float32")
    found = model.predict_on_batch(images)

    normalised = (images.astype("float64") - IMAGE_MEAN) / IMAGE_STD
    maps = [
        np.tile(normalised, 8)[:, ::stride, ::stride, : min(4 * stride, 24)]
        for stride in strides[1:]
    ]
    assert maps[0].shape[1:3] == (12, 18)  # rounded up
    x = np.concatenate([resized(one, (12, 18)) for one in maps], axis=-1)
    height, width = 12 * upsampling, 18 * upsampling
    x = resized(x, (height, width))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for task in (SEMSEG, DEPTH):
        weights = model.get_layer(f"{task.name}_head").get_weights()
        kernel, bias, gamma, beta, last, last_bias, mean, variance = in_order(weights)
        y = bias + sum(
            padded[:, a : a + height, b : b + width] @ kernel[a, b]
            for a in range(3)
            for b in range(3)
        )
        y = np.maximum(gamma * (y - mean) / np.sqrt(variance + 1e-5) + beta, 0)
        y = resized(y @ last[0, 0] + last_bias, size)
        assert 0.1 < (y > 0).mean()
        tolerance = 1e-5 * np.abs(y).max()
        np.testing.assert_allclose(found[task.name], y, rtol=0, atol=tolerance)


def in_order(weights):
    """A head's weights, the moving statistics last."""
    kernel, bias, gamma, beta, mean, variance, last, last_bias = map(np.asarray, weights)
    return kernel, bias, gamma, beta, last, last_bias, mean, variance


WRONG = {  # arguments, what the error says
    "no backbone": (
        lambda: (keras.Sequential(), [DEPTH]),
        "Sequential is no backbone that gives feature maps; use a keras_hub backbone with",
    ),
    "no image size": (
        lambda: (efficientnet(), [DEPTH]),
        "This EfficientNetBackbone takes images of any size; say which with keras_mtl",
    ),
    "no task": (
        lambda: (Pixels((*SIZE, 3), (4,)), []),
        r"tasks is \[\]; expected a list of keras_mtl.tasks.Task",
    ),
    "one name twice": (
        lambda: (Pixels((*SIZE, 3), (4,)), [DEPTH, DEPTH]),
        r"Task names are \['depth', 'depth'\]; give every task a name of its own",
    ),
}


def test_upsampling_is_a_positive_integer():
    for wrong in (0, 2.0):
        with pytest.raises(ValueError, match=f"upsampling is {wrong}, expected an integer >= 1"):
            keras_mtl.MultiTaskBaseline(Pixels((*SIZE, 3), (4,)), [DEPTH], upsampling=wrong)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(name):
    arguments, message = WRONG[name]
    with pytest.raises(ValueError, match=message) as error:
        keras_mtl.MultiTaskBaseline(*arguments())
    text = str(error.value)
    assert text.endswith(".") and ". " not in text and "\n" not in text


# === Merged levels ===


def merged_by_hand(merging, x):
    """Neighbours in the order (0, 0), (1, 0), (0, 1), (1, 1), layer normalization, linear."""
    near = [x[:, i::2, j::2] for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))]
    x = np.concatenate(near, axis=-1)
    kernel, gamma, beta = (ops.convert_to_numpy(w) for w in merging.weights)
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return (x * gamma + beta) @ kernel


def test_maps_behind_each_merging():
    pyramid = small.swin((32, 64))
    x = np.random.default_rng(0).normal(size=(2, 32, 64, 3)).astype("float32")
    maps = MergedSwin(pyramid)(x)
    features, expected = x, []
    for stage, part in zip(stages(pyramid), swin_stages(pyramid.backbone), strict=True):
        features = stage(features)
        if part.merging is not None:
            expected.append(merged_by_hand(part.merging, ops.convert_to_numpy(features[0])))
    expected.append(ops.convert_to_numpy(stage.maps(features)[32]))
    for found, wanted in zip(maps, expected, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(found), wanted, atol=1e-4)


def test_merged_levels(tmp_path):
    """Features of their own for each task and level, summed for maps; the model is its file."""
    boxes = Detection3D(width=4, class_branch=(4,), groups=2)
    pyramid = small.swin((64, 128))
    model = keras_mtl.MultiTaskBaseline(
        pyramid, [SEMSEG, boxes], head_width=6, levels="merged", image_scale=0.5
    )
    x = np.random.default_rng(0).uniform(0, 255, (1, 64, 128, 3)).astype("float32")
    found = model.predict(x, verbose=0)
    level = {name: model.get_layer(f"semseg_features_{name}").output for name in range(1, 5)}
    inner = keras.Model(model.input, [*level.values(), model.get_layer("semseg_prediction").output])
    *maps, raw = (ops.convert_to_numpy(each) for each in inner(x))
    size = maps[0].shape[1:3]
    assert size == (4, 8) and maps[3].shape[1:3] == (1, 2)
    summed = sum(
        ops.convert_to_numpy(ops.image.resize(each, size, interpolation="bilinear"))
        for each in maps
    )
    kernel, bias = (ops.convert_to_numpy(w) for w in model.get_layer("semseg_prediction").weights)
    np.testing.assert_allclose(raw, summed @ kernel.reshape(6, 3) + bias, atol=1e-5)
    strides = found["detection3d"][0, :, -3]  # of the image, which is halved
    assert np.unique(strides).tolist() == [16, 32, 64, 128] and (strides == 64).sum() == 4
    own = 6 * 9 * (8 + 16 + 32 + 32) + 4 * 2 * 6  # of a task: convolutions, normalizations
    shared = sum(np.prod(w.shape) for w in pyramid.backbone.trainable_weights)
    head = sum(np.prod(w.shape) for w in model.get_layer("detection3d_head").trainable_weights)
    assert cost.parameters(model) == shared + 2 * own + (6 * 3 + 3) + head
    assert model.backbone_layers == [model.get_layer("merged_levels").backbone]
    model.save(tmp_path / "model.keras")
    again = keras_mtl.load_model(tmp_path / "model.keras").predict(x, verbose=0)
    np.testing.assert_array_equal(again["detection3d"], found["detection3d"])


@pytest.mark.once("torch", "arguments are looked at before anything is built")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"levels": "all"}, 'levels is \'all\'; expected "fused" or "merged"'),
        ({"levels": "merged"}, "needs a Swin Transformer"),
        ({"image_scale": 0.5}, "image_scale is 0.5"),
    ],
)
def test_wrong_levels(arguments, said):
    with pytest.raises(ValueError, match=said):
        keras_mtl.MultiTaskBaseline(small.vit((16, 16)), [DEPTH], **arguments)
