"""HRNet against the same network in NumPy, and what a feature pyramid keeps to."""

import json
import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.backbones.feature_pyramid import FeaturePyramid
from keras_mtl.backbones.hrnet import HRNET_SIZES, HRNet, hrnet

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")

SHAPE = (33, 50, 3)  # odd at several strides
SMALL = {"width": 4, "bottlenecks": 2, "modules": (1, 2, 1), "blocks": 2}
SMALLEST = {"width": 4, "bottlenecks": 1, "modules": (1, 1, 1), "blocks": 1}


def model_of(backbone):
    """The backbone in a model, its features as a list from fine to coarse."""
    images = keras.Input(backbone.image_shape)
    features = backbone(images)
    return keras.Model(images, [features[stride] for stride in sorted(features)])


def randomize(model):
    """Every weight and moving statistic far from its start, activations still of size one."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        kind = weight.path.split("/")[-1]
        if kind == "kernel":
            value = rng.normal(0, math.sqrt(2 / math.prod(weight.shape[:-1])), weight.shape)
        elif kind in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, weight.shape)
        else:
            value = rng.normal(0, 0.3, weight.shape)
        weight.assign(value)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(3, *SHAPE)).astype("float32")


@pytest.fixture(scope="module")
def model():
    """For tests that leave it as it is."""
    model = model_of(HRNet(SHAPE, **SMALL))
    randomize(model)
    return model


@pytest.fixture(scope="module")
def features(model, images):
    """Of the first two images."""
    return model.predict_on_batch(images[:2])


# === The network ===


class Reference:
    """The inference of HRNet in NumPy, float64; weights by their names."""

    def __init__(self, backbone, resized):
        self.resized = resized
        self.weights = {
            "/".join(weight.path.split("/")[-2:]): ops.convert_to_numpy(weight).astype("float64")
            for weight in backbone.weights
        }
        self.read = set()

    def take(self, name):
        assert name not in self.read, name
        self.read.add(name)
        return self.weights[name]

    def conv(self, x, name, stride=1):
        """Convolution with symmetric padding, then batch normalization."""
        x = convolve(x, self.take(f"{name}/kernel"), stride)
        gamma, beta, mean, variance = (
            self.take(f"{name}_norm/{kind}")
            for kind in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta

    def __call__(self, images, width, bottlenecks, modules, blocks):
        x = relu(self.conv(images.astype("float64"), "stem1", 2))
        x = relu(self.conv(x, "stem2", 2))
        for n in range(1, bottlenecks + 1):
            block = f"stage1_block{n}"
            y = relu(self.conv(x, f"{block}_conv1"))
            y = relu(self.conv(y, f"{block}_conv2"))
            y = self.conv(y, f"{block}_conv3")
            x = relu(y + (self.conv(x, f"{block}_projection") if n == 1 else x))
        assert x.shape[-1] == 256

        xs = [
            relu(self.conv(x, "stage2_transition_branch1")),
            relu(self.conv(x, "stage2_transition_branch2", 2)),
        ]
        xs = self.stage(xs, "stage2", modules[0], blocks)
        xs = [*xs, relu(self.conv(xs[1], "stage3_transition_branch3", 2))]
        xs = self.stage(xs, "stage3", modules[1], blocks)
        xs = [*xs, relu(self.conv(xs[2], "stage4_transition_branch4", 2))]
        xs = self.stage(xs, "stage4", modules[2], blocks)
        assert self.read == set(self.weights)
        assert [x.shape[-1] for x in xs] == [width, 2 * width, 4 * width, 8 * width]
        return xs

    def stage(self, xs, stage, modules, blocks):
        for m in range(1, modules + 1):
            module = f"{stage}_module{m}"
            ys = []
            for i, x in enumerate(xs, start=1):
                for n in range(1, blocks + 1):
                    block = f"{module}_branch{i}_block{n}"
                    y = relu(self.conv(x, f"{block}_conv1"))
                    x = relu(x + self.conv(y, f"{block}_conv2"))
                ys.append(x)
            xs = []
            for i, target in enumerate(ys, start=1):
                total = target
                for j, y in enumerate(ys, start=1):
                    fuse = f"{module}_fuse{j}to{i}"
                    if j > i:
                        total = total + self.resized(self.conv(y, fuse), target.shape[1:3])
                    elif j < i:
                        for n in range(1, i - j):
                            y = relu(self.conv(y, f"{fuse}_{n}", 2))
                            assert y.shape[-1] == ys[j - 1].shape[-1]
                        total = total + self.conv(y, f"{fuse}_{i - j}", 2)
                xs.append(relu(total))
        return xs


def relu(x):
    return np.maximum(x, 0)


def convolve(x, kernel, stride):
    size = len(kernel)
    pad = size // 2
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    ends = [length - size + 1 for length in x.shape[1:3]]
    return sum(
        x[:, a : a + ends[0] : stride, b : b + ends[1] : stride] @ kernel[a, b]
        for a in range(size)
        for b in range(size)
    )


def test_features_are_the_references(model, images, features, resized):
    expected = Reference(model.layers[-1], resized)(images[:2], **SMALL)
    for found, wanted in zip(features, expected, strict=True):
        assert found.shape == wanted.shape
        # Some of everything: neither all cut off by the last ReLU nor none.
        assert 0.2 < (wanted > 0).mean() < 0.98
        error = np.abs(found - wanted).max() / np.abs(wanted).max()
        print(f"{keras.backend.backend()}: map of {found.shape[1:3]}, error {error:.1e}")
        assert error < 2e-5


@pytest.mark.once("torch", "the figures need no second backend")
@pytest.mark.parametrize(("size", "parameters"), [("18_small", 3_860_720), ("48", 65_325_120)])
def test_parameters_are_the_published_ones(size, parameters):
    backbone = hrnet(size, (64, 64, 3))
    backbone.build((None, 64, 64, 3))
    assert sum(math.prod(weight.shape) for weight in backbone.trainable_weights) == parameters
    width = HRNET_SIZES[size]["width"]
    assert backbone.channels == {4: width, 8: 2 * width, 16: 4 * width, 32: 8 * width}


def test_layers_are_the_published_codes():
    backbone = HRNet(SHAPE, **SMALLEST)
    backbone.build((None, *SHAPE))
    kinds = keras.layers.Conv2D, keras.layers.BatchNormalization
    convolutions, norms = (
        [layer for layer in backbone.body.layers if isinstance(layer, kind)] for kind in kinds
    )
    assert len(norms) == len(convolutions) == len(backbone.trainable_weights) / 3
    for layer in convolutions:
        assert not layer.use_bias
        assert type(layer.kernel_initializer) is keras.initializers.HeNormal
    assert {(layer.epsilon, layer.momentum) for layer in norms} == {(1e-5, 0.9)}


# === Sizes ===


@pytest.mark.parametrize("size", [(33, 50), (64, 96), (5, 1), (425, 560)])
def test_output_sizes(size):
    backbone = HRNet((*size, 3), **SMALLEST)
    symbolic = backbone(keras.KerasTensor((None, *size, 3)))
    assert list(symbolic) == list(backbone.channels) == [4, 8, 16, 32]
    for stride, symbol in symbolic.items():
        expected = [math.ceil(length / stride) for length in size]
        assert symbol.shape == (None, *expected, stride)  # width 4: as many channels
    real = model_of(backbone).predict_on_batch(np.ones((2, *size, 3), "float32"))
    for symbol, value in zip(symbolic.values(), real, strict=True):
        assert value.shape == (2, *symbol.shape[1:])
        assert np.isfinite(value).all()


def test_sizes_at_the_crop_of_nyud():
    spec = hrnet("18_small", (425, 560, 3)).compute_output_spec(keras.KerasTensor((2, 425, 560, 3)))
    shapes = [tuple(symbol.shape) for symbol in spec.values()]
    assert shapes == [(2, 107, 140, 18), (2, 54, 70, 36), (2, 27, 35, 72), (2, 14, 18, 144)]


# === As a layer ===


def test_a_training_step_reaches_every_weight(images):
    model = model_of(HRNet(SHAPE, **SMALLEST))
    before = [ops.convert_to_numpy(weight) + 0.0 for weight in model.weights]
    loss = keras.losses.MeanSquaredError()
    # Tracing the step for TensorFlow takes longer than all the rest.
    eager = keras.backend.backend() == "tensorflow"
    model.compile(keras.optimizers.SGD(1.0), loss=[loss] * 4, run_eagerly=eager)
    rng = np.random.default_rng(2)
    targets = [rng.normal(size=(3, *x.shape[1:])).astype("float32") for x in model.outputs]
    model.train_on_batch(images, targets)
    for weight, old in zip(model.weights, before, strict=True):
        change = ops.convert_to_numpy(weight) - old
        assert np.isfinite(change).all() and np.abs(change).max() > 1e-6, weight.path

    # The moving mean starts at 0 and keeps nine tenths of itself.
    paths = [weight.path for weight in model.weights]
    kernel, mean = (
        next(n for n, path in enumerate(paths) if path.endswith(name))
        for name in ("stem1/kernel", "stem1_norm/moving_mean")
    )
    expected = 0.1 * convolve(images, before[kernel], 2).mean((0, 1, 2))
    found = ops.convert_to_numpy(model.weights[mean])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_batch_neighbours_do_not_matter(model, images, features):
    others = model.predict_on_batch(images[[0, 2]])
    for found, other in zip(features, others, strict=True):
        np.testing.assert_allclose(other[0], found[0], rtol=0, atol=1e-6 * found.max())
        assert np.abs(other[1] - found[1]).max() > 0.01


def test_built_before_any_call():
    backbone = HRNet(SHAPE, **SMALLEST)
    backbone.build((None, *SHAPE))
    before = [weight.path for weight in backbone.weights]
    assert len(before) == len(set(before)) > 100
    model_of(backbone)
    assert [weight.path for weight in backbone.weights] == before


def test_config_round_trips():
    backbone = HRNet(SHAPE, **{**SMALL, "modules": [1, 2, 1]}, name="pyramid")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(backbone)))
    for twin in (
        HRNet.from_config(backbone.get_config()),
        keras.saving.deserialize_keras_object(config),
    ):
        assert type(twin) is HRNet and isinstance(twin, FeaturePyramid)
        assert twin.get_config() == backbone.get_config()
        assert twin.image_shape == SHAPE and twin.name == "pyramid"
    arguments = {key: config["config"][key] for key in SMALL}
    assert arguments == {**SMALL, "modules": [1, 2, 1]}


def test_saved_inside_a_model(model, images, features, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[-1]) is HRNet
    for found, expected in zip(loaded.predict_on_batch(images[:2]), features, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * expected.max())


def test_in_bfloat16(model, images, features):
    half = model_of(HRNet(SHAPE, **SMALL, dtype="mixed_bfloat16"))
    half.set_weights(model.get_weights())
    assert {symbol.dtype for symbol in half.outputs} == {"bfloat16"}
    assert {weight.dtype for weight in half.trainable_weights} == {"float32"}
    inner = half.layers[-1].body.layers[1:]
    assert {layer.compute_dtype for layer in inner} == {"bfloat16"}
    for found, expected in zip(half.predict_on_batch(images[:2]), features, strict=True):
        assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
        # bfloat16 keeps 8 bits: near, and not the same.
        error = np.abs(np.asarray(found, "float32") - expected).mean() / expected.std()
        assert 0 < error < 0.1


def test_sizes_take_overrides():
    backbone = hrnet("48", SHAPE, modules=(1, 1, 1), blocks=1, name="thin")
    assert backbone.name == "thin" and backbone.width == 48
    assert backbone.get_config()["modules"] == [1, 1, 1] and backbone.blocks == 1


# === Wrong arguments ===


def test_unknown_size():
    with pytest.raises(ValueError, match="size '32'; choose one of .*'18_small', '48'"):
        hrnet("32", SHAPE)


@pytest.mark.parametrize("shape", [(None, None, 3), (None, 50, 3), (33, 0, 3), (33, 50)])
def test_image_shapes_without_a_size(shape):
    with pytest.raises(ValueError, match="expected 3 positive integers, such as") as error:
        hrnet("18_small", shape)
    assert str(shape) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("modules", [(1, 3), (1, 0, 2), (1, 4, 3, 1)])
def test_modules_that_are_not_three(modules):
    with pytest.raises(ValueError, match="modules is .* expected 3 positive integers"):
        HRNet(SHAPE, modules=modules)


def test_images_of_another_size_than_built_for():
    backbone = HRNet(SHAPE, **SMALLEST)
    for images in (np.ones((1, 33, 51, 3), "float32"), keras.KerasTensor((None, 33, 51, 3))):
        with pytest.raises(ValueError, match=r"expected shape=\(None, 33, 50, 3\)"):
            backbone(images)
