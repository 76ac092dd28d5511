"""keras-hub's backbones as feature pyramids: the backbone's own values, told by their strides."""

import json
import math

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.backbones import (
    FeaturePyramid,
    HRNet,
    PatchMap,
    PyramidOutputs,
    SimpleFeaturePyramid,
    SwinTransformer,
    feature_pyramid,
)
from keras_mtl.backbones.stages import patch_maps
from keras_mtl.backbones.trunk import tokens_of, trunk_of

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")


def efficientnet():
    """It takes images of any size."""
    return keras_hub.models.EfficientNetBackbone(
        stackwise_width_coefficients=[0.1] * 6,
        stackwise_depth_coefficients=[1.0] * 6,
        stackwise_block_types=["fused"] * 2 + ["unfused"] * 4,
        stackwise_kernel_sizes=[3] * 6,
        stackwise_num_repeats=[1] * 6,
        stackwise_input_filters=[32, 16, 24, 40, 80, 80],
        stackwise_output_filters=[16, 24, 40, 80, 80, 80],
        stackwise_expansion_ratios=[1, 4, 4, 4, 4, 4],
        stackwise_squeeze_and_excite_ratios=[0, 0, 0.25, 0.25, 0.25, 0.25],
        stackwise_strides=[1, 2, 2, 2, 1, 2],
    )


def densenet():
    """It rounds feature sizes down."""
    return keras_hub.models.DenseNetBackbone(
        stackwise_num_repeats=[1] * 4, compression_ratio=0.5, growth_rate=4
    )


# What makes the backbone, the image size it is not told, its levels by stride, sizes and channels.
PYRAMIDS = {
    "ResNet": (
        lambda small: small.resnet((64, 96, 3)),
        None,
        {4: "P2", 8: "P3", 16: "P4", 32: "P5"},
        {4: (16, 24, 64), 8: (8, 12, 64), 16: (4, 6, 64), 32: (2, 3, 64)},
    ),
    "ResNet of any size": (
        lambda small: small.resnet(),
        (50, 70, 3),
        {4: "P2", 8: "P3", 16: "P4", 32: "P5"},
        {4: (13, 18, 64), 8: (7, 9, 64), 16: (4, 5, 64), 32: (2, 3, 64)},
    ),
    "MiT": (
        lambda small: small.mit(),
        None,
        {4: "P1", 8: "P2", 16: "P3", 32: "P4"},
        {4: (16, 16, 8), 8: (8, 8, 8), 16: (4, 4, 16), 32: (2, 2, 16)},
    ),
    "EfficientNet": (
        lambda small: efficientnet(),
        (50, 70, 3),
        {2: "P1", 4: "P2", 8: "P3", 16: "P4", 32: "P5"},
        {2: (25, 35, 8), 4: (13, 18, 8), 8: (7, 9, 8), 16: (4, 5, 8), 32: (2, 3, 128)},
    ),
}

# What makes the backbone, its stride, rows and columns of patches, tokens before the patches'.
TRANSFORMERS = {
    "DINOv2": (lambda small: small.dinov2(), 14, (4, 4), 1),
    "DINOv3": (lambda small: small.dinov3(), 16, (4, 6), 1 + 2),
    "ViT": (lambda small: small.vit(), 16, (4, 6), 0),
    "ViT with class token": (lambda small: small.vit(use_class_token=True), 16, (4, 6), 1),
}


def make(kind, small):
    """The backbone of a kind, and its pyramid."""
    if kind in PYRAMIDS:
        backbone, image_shape = PYRAMIDS[kind][0](small), PYRAMIDS[kind][1]
    else:
        backbone = TRANSFORMERS[kind][0](small)
        return backbone, PatchMap(backbone)
    return backbone, feature_pyramid(backbone, image_shape)


def model_of(pyramid):
    images = keras.Input(pyramid.image_shape)
    return keras.Model(images, pyramid(images))


def predict(pyramid, images):
    return {k: np.asarray(v) for k, v in model_of(pyramid).predict_on_batch(images).items()}


def some_images(pyramid, count=2):
    shape = (count, *pyramid.image_shape)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def ids(layer):
    return [id(weight) for weight in layer.weights]


def is_one_sentence(text):
    return text.endswith(".") and ". " not in text and "\n" not in text


@pytest.fixture(scope="module", autouse=True)
def seed():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module", params=[*PYRAMIDS, *TRANSFORMERS])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def made(kind, small):
    """Backbone, pyramid, images and the features of them, for tests that change nothing."""
    backbone, pyramid = make(kind, small)
    images = some_images(pyramid)
    return backbone, pyramid, images, predict(pyramid, images)


# === All of them ===


def test_strides_channels_and_sizes(kind, made):
    _, pyramid, _, found = made
    if kind in PYRAMIDS:
        sizes = PYRAMIDS[kind][3]
    else:
        _, stride, grid, _ = TRANSFORMERS[kind]
        sizes = {stride: (*grid, 16)}
    assert isinstance(pyramid, PyramidOutputs if kind in PYRAMIDS else PatchMap)
    assert list(pyramid.channels) == list(sizes)  # the finest first
    assert pyramid.channels == {stride: shape[-1] for stride, shape in sizes.items()}
    symbols = pyramid(keras.KerasTensor((None, *pyramid.image_shape)))
    assert list(symbols) == list(sizes)
    for stride, shape in sizes.items():
        assert tuple(symbols[stride].shape) == (None, *shape)
        assert found[stride].shape == (2, *shape)
        assert symbols[stride].dtype == str(found[stride].dtype) == "float32"


def test_weights_are_the_backbones(made):
    backbone, pyramid, _, _ = made
    assert ids(pyramid) == ids(backbone)
    assert len(ids(pyramid)) == len(set(ids(pyramid))) > 10


def from_its_config(layer):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    twin = keras.saving.deserialize_keras_object(config)
    assert type(twin) is type(layer) and twin.name == layer.name
    assert twin.image_shape == layer.image_shape and twin.channels == layer.channels
    again = keras.saving.serialize_keras_object(twin)
    assert json.dumps(again["config"]) == json.dumps(config["config"])
    return twin


def test_config_round_trips(made):
    backbone, pyramid, images, expected = made
    twin = from_its_config(pyramid)
    assert not set(ids(twin)) & set(ids(backbone))
    model_of(twin)  # builds it
    twin.set_weights(pyramid.get_weights())
    found = predict(twin, images)
    for stride, value in expected.items():
        np.testing.assert_allclose(found[stride], value, rtol=0, atol=1e-6 * np.abs(value).max())


def test_sizes_that_the_backbone_rounds_down():
    pyramid = feature_pyramid(densenet(), (50, 70, 3))
    symbols = pyramid(keras.KerasTensor((2, 50, 70, 3)))
    sizes = {stride: tuple(symbol.shape[1:3]) for stride, symbol in symbols.items()}
    assert sizes == {4: (13, 18), 8: (6, 9), 16: (3, 4), 32: (1, 2)}


@pytest.mark.parametrize("length", [16, 33, 66])
def test_strides_at_small_images(length, small):
    pyramid = feature_pyramid(small.resnet(), (length, length, 3))
    symbols = pyramid(keras.KerasTensor((None, length, length, 3)))
    sizes = {stride: symbol.shape[1] for stride, symbol in symbols.items()}
    assert sizes == {stride: math.ceil(length / stride) for stride in (4, 8, 16, 32)}


def test_a_backbone_of_one_level(small):
    pyramid = feature_pyramid(small.resnet(stages=1), (16, 16, 3))
    assert predict(pyramid, some_images(pyramid))[4].shape == (2, 4, 4, 64)


def test_in_bfloat16(kind, made, small, bfloat16):
    _, pyramid, images, expected = made
    _, half = make(kind, small)
    symbols = half(keras.KerasTensor((None, *half.image_shape)))
    half.set_weights(pyramid.get_weights())
    assert {weight.dtype for weight in half.trainable_weights} == {"float32"}
    found = predict(half, images)
    for stride, value in expected.items():
        assert symbols[stride].dtype == str(found[stride].dtype) == "bfloat16"
        # bfloat16 keeps 8 bits: near, and not the same.
        error = np.abs(found[stride].astype("float32") - value).mean() / value.std()
        assert 0 < error < 0.1


def test_a_float32_backbone_in_bfloat16(bfloat16, small):
    pyramid = feature_pyramid(small.vit(num_layers=1, dtype="float32"), strides=(16,))
    symbols = pyramid(keras.KerasTensor((None, *pyramid.image_shape)))
    found = predict(pyramid, some_images(pyramid))
    assert symbols[16].dtype == str(found[16].dtype) == "bfloat16"


# === The backbone's own values ===


@pytest.mark.parametrize("kind", PYRAMIDS, indirect=True)
def test_maps_are_the_pyramid_outputs(kind, made):
    backbone, _, images, found = made
    own = keras.Model(backbone.inputs[0], dict(backbone.pyramid_outputs)).predict_on_batch(images)
    for stride, level in PYRAMIDS[kind][2].items():
        value = np.asarray(own[level])
        assert value.std() > 1e-5
        tolerance = 1e-5 * np.abs(value).max()
        np.testing.assert_allclose(found[stride], value, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", TRANSFORMERS, indirect=True)
def test_map_is_the_tokens_row_by_row(kind, made):
    backbone, _, images, found = made
    _, stride, (rows, columns), prefix = TRANSFORMERS[kind]
    # Called, not predicted: of the DINOv3 only the symbolic shape is wrong.
    inputs = {name: images for name in backbone.input} if kind.startswith("DINO") else images
    tokens = ops.convert_to_numpy(backbone(inputs, training=False))
    assert tokens.shape == (2, prefix + rows * columns, 16)
    for row in range(rows):
        for column in range(columns):
            token = tokens[:, prefix + row * columns + column]
            np.testing.assert_allclose(found[stride][:, row, column], token, rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", TRANSFORMERS, indirect=True)
def test_a_patch_is_where_it_was_in_the_image(kind, made):
    _, pyramid, _, _ = made
    _, stride, (rows, columns), _ = TRANSFORMERS[kind]
    draws, places = 8, [(0, columns - 1), (rows - 1, 1), (1, 2)]
    images = some_images(pyramid, draws)
    batch = [images]
    for row, column in places:
        top, left = row * stride, column * stride
        changed = images.copy()
        changed[:, top : top + stride, left : left + stride] *= -1
        batch.append(changed)
    features = predict(pyramid, np.concatenate(batch))[stride]
    before, *after = np.split(features, 1 + len(places))
    for (row, column), features in zip(places, after, strict=True):
        change = np.abs(features - before).mean((0, 3))
        assert change.argmax() == row * columns + column


# === Training ===


def test_training_reaches_the_backbone(small):
    dropping = feature_pyramid(small.vit((32, 32, 3), num_layers=1, dropout_rate=0.5))
    normalizing = feature_pyramid(small.resnet(stages=2), (32, 32, 3))
    for pyramid in (dropping, normalizing):
        images, last = some_images(pyramid), max(pyramid.channels)
        trained, again, inferred = (
            ops.convert_to_numpy(pyramid(images, training=training)[last])
            for training in (True, True, False)
        )
        differ = [np.abs(trained - other).max() > 1e-3 for other in (again, inferred)]
        assert differ == [pyramid is dropping, True]
    moving = [w for w in normalizing.weights if w.path.endswith("moving_mean")]
    assert all(np.abs(ops.convert_to_numpy(mean)).max() > 1e-4 for mean in moving)


# === The pyramid of a plain Vision Transformer ===

SIMPLE = {
    "ViT": (
        lambda small: small.vit(),
        {4: (16, 24, 4), 8: (8, 12, 8), 16: (4, 6, 16), 32: (2, 3, 16)},
    ),
    "ViT of an odd grid": (
        lambda small: small.vit((48, 80, 3)),
        {4: (12, 20, 4), 8: (6, 10, 8), 16: (3, 5, 16), 32: (2, 3, 16)},
    ),
    "DINOv2": (
        lambda small: small.dinov2(),
        {4: (14, 14, 4), 8: (7, 7, 8), 16: (4, 4, 16), 32: (2, 2, 16)},
    ),
}


def simple(backbone):
    return feature_pyramid(PatchMap(backbone), strides=(4, 8, 16, 32))


def randomize(pyramid):
    """The pyramid's own weights, biases too, far from their start."""
    rng = np.random.default_rng(1)
    for branch in pyramid.branches.values():
        for weight in branch.weights:
            weight.assign(rng.normal(0.5, 0.5, weight.shape))


def deconvolved(x, kernel, bias):
    """A transposed convolution by 2, whose kernels do not overlap."""
    batch, height, width, _ = x.shape
    # The kernel is (2, 2, outputs, inputs).
    out = np.einsum("bhwi,yxoi->bhywxo", x, kernel)
    return out.reshape(batch, 2 * height, 2 * width, -1) + bias


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


@pytest.mark.parametrize("name", SIMPLE)
def test_simple_feature_pyramid(name, resized, small):
    build, shapes = SIMPLE[name]
    pyramid = simple(build(small))
    assert type(pyramid) is SimpleFeaturePyramid
    assert pyramid.channels == {stride: shape[-1] for stride, shape in shapes.items()}
    symbols = pyramid(keras.KerasTensor((None, *pyramid.image_shape)))
    assert {k: tuple(v.shape) for k, v in symbols.items()} == {
        k: (None, *shape) for k, shape in shapes.items()
    }
    randomize(pyramid)
    images = some_images(pyramid)
    found = predict(pyramid, images)
    assert {k: v.shape for k, v in found.items()} == {k: (2, *s) for k, s in shapes.items()}

    (patches,) = predict(pyramid.patch_map, images).values()
    _, height, width, channels = patches.shape
    kernel, bias, gamma, beta, *last = map(np.asarray, pyramid.branches[4].get_weights())
    x = deconvolved(patches, kernel, bias)
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    expected = {
        4: deconvolved(gelu(gamma * x + beta), *last),
        8: deconvolved(patches, *map(np.asarray, pyramid.branches[8].get_weights())),
        16: patches,
    }
    even = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
    padded = np.pad(patches, even, constant_values=-np.inf)
    windows = padded.reshape(2, math.ceil(height / 2), 2, math.ceil(width / 2), 2, channels)
    expected[32] = windows.max((2, 4))
    for stride, (*size, _) in shapes.items():
        wanted = resized(expected[stride], size)
        tolerance = 1e-5 * np.abs(wanted).max()
        np.testing.assert_allclose(found[stride], wanted, rtol=0, atol=tolerance)


def test_simple_feature_pyramid_from_its_config(small):
    pyramid = simple(small.vit(num_layers=1))
    model_of(pyramid)
    assert set(ids(pyramid.patch_map)) < set(ids(pyramid))
    randomize(pyramid)
    twin = from_its_config(pyramid)
    model_of(twin)
    twin.set_weights(pyramid.get_weights())
    images = some_images(pyramid)
    found = predict(twin, images)
    for stride, value in predict(pyramid, images).items():
        np.testing.assert_allclose(found[stride], value, rtol=0, atol=1e-6 * np.abs(value).max())


def test_simple_feature_pyramid_in_bfloat16(bfloat16, small):
    pyramid = simple(small.vit(num_layers=1))
    symbols = pyramid(keras.KerasTensor((None, *pyramid.image_shape)))
    found = predict(pyramid, some_images(pyramid))
    for stride, value in found.items():
        assert symbols[stride].dtype == str(value.dtype) == "bfloat16"
        assert np.isfinite(value.astype("float32")).all()
    assert {weight.dtype for weight in pyramid.trainable_weights} == {"float32"}


def test_a_training_step_reaches_every_weight(small):
    pyramid = simple(small.vit(num_layers=1))
    model = model_of(pyramid)
    images, rng = some_images(pyramid), np.random.default_rng(2)
    targets = {
        stride: rng.normal(size=(2, *x.shape[1:])).astype("float32")
        for stride, x in model.output.items()
    }
    # As a list: Keras wants names for the losses of a dict.
    model = keras.Model(model.input, list(model.output.values()))
    before = model.get_weights()
    # Tracing the step for TensorFlow takes longer than all the rest.
    eager = keras.backend.backend() == "tensorflow"
    model.compile(keras.optimizers.SGD(1.0), loss=["mse"] * 4, run_eagerly=eager)
    model.train_on_batch(images, list(targets.values()))
    assert len(before) == len(model.trainable_weights)
    for weight, old, new in zip(model.weights, before, model.get_weights(), strict=True):
        change = np.abs(np.asarray(new) - np.asarray(old)).max()
        if not weight.path.endswith("key/bias"):  # the softmax takes it out again
            assert np.isfinite(change) and change > 1e-7, weight.path


# === What comes back as it is, and what is refused ===


class Single(FeaturePyramid):
    """A pyramid of one level."""

    channels = {8: 3}

    def call(self, images):
        return {8: images[:, ::8, ::8]}


def test_a_feature_pyramid_comes_back_as_it_is(small):
    pyramid = Single((64, 96, 3))
    assert feature_pyramid(pyramid) is pyramid
    assert feature_pyramid(pyramid, (64, 96, 3), (8,)) is pyramid
    patch_map = feature_pyramid(small.vit(num_layers=1))
    assert feature_pyramid(patch_map, strides=(16,)) is patch_map
    assert feature_pyramid(patch_map, strides=(4, 8)).patch_map is patch_map


def test_swin_gets_its_own_layer():
    backbone = keras_hub.models.SwinTransformerBackbone(
        image_shape=(64, 64, 3), embed_dim=8, depths=(1, 1), num_heads=(1, 1), window_size=2
    )
    pyramid = feature_pyramid(backbone, (50, 70, 3))
    assert type(pyramid) is SwinTransformer
    assert pyramid.image_shape == (50, 70, 3) and pyramid.channels == {4: 8, 8: 16}
    assert feature_pyramid(backbone).image_shape == (64, 64, 3)


def classifier():
    images = keras.Input((64, 64, 3))
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(images))


ALL = (4, 8, 16, 32)
REFUSED = {  # backbone, arguments, what the error says
    "no backbone": (
        lambda small: classifier(),
        {},
        "Functional is no backbone that gives feature maps; use a keras_hub backbone with",
    ),
    "a name": (lambda small: "resnet", {}, "str is no backbone that gives feature maps; use a"),
    "no image size": (
        lambda small: efficientnet(),
        {},
        r"This EfficientNetBackbone takes images of any size; say which .*image_shape=\(height",
    ),
    "half an image size": (
        lambda small: small.resnet((64, None, 3)),
        {},
        "This ResNetBackbone takes images of any size; say which",
    ),
    "another image size": (
        lambda small: small.resnet((64, 96, 3)),
        {"image_shape": (64, 64, 3)},
        r"image_shape is \(64, 64, 3\), but this ResNetBackbone takes images of \(64, 96, 3\)",
    ),
    "another image size than the ViT's": (
        lambda small: small.vit(num_layers=1),
        {"image_shape": (96, 64, 3)},
        r"image_shape is \(96, 64, 3\), but this ViTBackbone takes images of \(64, 96, 3\)",
    ),
    "another image size than the pyramid's": (
        lambda small: HRNet((33, 50, 3)),
        {"image_shape": (50, 33, 3)},
        r"image_shape is \(50, 33, 3\), but this HRNet takes images of \(33, 50, 3\)",
    ),
    "MiT that is not square": (
        lambda small: small.mit(
            (128, 32, 3)
        ),  # whose square root is a whole number, so keras-hub takes it
        {},
        r"image_shape is \(128, 32, 3\), but keras_hub's MiTBackbone is right on square images",
    ),
    "patches that do not divide the image": (
        lambda small: small.dinov3((70, 96, 3)),
        {},
        "Images are 70x96, not multiples of this DINOV3Backbone's patches of 16 pixels; build it",
    ),
    "a stride too coarse": (
        lambda small: efficientnet(),
        {"image_shape": (64, 64, 3), "strides": (32, 64)},
        "EfficientNetBackbone gives features at strides 2, 4, 8, 16, 32, but the model needs 32, "
        "64; use",
    ),
    "a backbone cut short": (
        lambda small: small.resnet(stages=2),
        {"image_shape": (64, 64, 3), "strides": ALL},
        "ResNetBackbone gives features at strides 4, 8, but the model needs 4, 8, 16, 32; use",
    ),
    "a stride that the ViT's pyramid has not": (
        lambda small: small.vit(num_layers=1),
        {"strides": (64,)},
        "ViTBackbone gives features at strides 4, 8, 16, 32, but the model needs 64; use",
    ),
    "a pyramid of one level": (
        lambda small: Single((64, 96, 3)),
        {"strides": ALL},
        "Single gives features at strides 8, but the model needs 4, 8, 16, 32; use",
    ),
    "channels first": (
        lambda small: small.resnet((3, 64, 96), data_format="channels_first"),
        {},
        "channels come last here",
    ),
    "patches that are not square": (
        lambda small: keras_hub.models.ViTBackbone(
            image_shape=(64, 96, 3),
            patch_size=(16, 8),
            num_layers=1,
            num_heads=2,
            hidden_dim=16,
            mlp_dim=32,
        ),
        {},
        "patches of .16, 8. pixels",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name, small):
    backbone, arguments, message = REFUSED[name]
    with pytest.raises(ValueError, match=message) as error:
        feature_pyramid(backbone(small), **arguments)
    assert is_one_sentence(str(error.value))


def test_positions_that_a_dinov2_learned_are_saved(tmp_path, small):
    """Also where they grew on the whole, which keras-hub 0.32 takes for no change."""
    config = {**small.dinov2().get_config(), "position_embedding_shape": (56, 56, 3)}
    backbone = keras_hub.models.DINOV2Backbone.from_config(config)
    images = keras.Input(backbone.image_shape)
    model = keras.Model(images, PatchMap(backbone)(images)[14])
    (table,) = [w for w in model.trainable_weights if "interpolated_position" in w.path]
    rng = np.random.default_rng(0)
    table.assign(table + rng.uniform(0, 1, table.shape).astype("float32"))
    image = rng.normal(size=(1, *backbone.image_shape)).astype("float32")
    expected = model.predict_on_batch(image)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").predict_on_batch(image)
    np.testing.assert_allclose(loaded, expected, atol=1e-5)


# === Several blocks of a plain Vision Transformer ===


@pytest.mark.parametrize("kind", ["vit", "dinov2", "dinov3"])
def test_chosen_blocks(kind, small):
    """Each as the backbone has it, a DINO's normalised; the earliest makes the finest map."""
    shape = (56, 84, 3) if kind == "dinov2" else (64, 96, 3)
    backbone = keras_mtl.backbones.dinov2("small", shape, **DINO) if kind == "dinov2" else None
    backbone = backbone or getattr(small, kind)(shape)
    images = np.random.default_rng(0).normal(size=(1, *shape)).astype("float32")
    expected, patches = [], tokens_of(backbone, "tokens")(images)
    trunk = trunk_of(backbone)
    prompts = ops.zeros((1, 0, 16))
    how = {"prefix_tokens": trunk.prefix_tokens, "rotary_theta": trunk.rotary_theta}
    for n, block in enumerate(trunk.blocks, start=1):
        out = keras_mtl.layers.PromptedEncoderBlock(block, trunk.grid, **how)(prompts, patches)
        prompts, patches = out["prompts"], out["patches"]
        seen = trunk.norm(patches) if kind != "vit" or n == 2 else patches
        expected.append(ops.reshape(seen[:, trunk.prefix_tokens :], (1, 4, 6, 16)))
    both = feature_pyramid(backbone, layers=(1, 2))
    stride = both.stride
    assert both.channels == {stride: 32}
    found = ops.convert_to_numpy(both(images)[stride])
    wanted = np.concatenate([ops.convert_to_numpy(each) for each in expected], axis=-1)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    maps = patch_maps(both, keras.Input(shape))
    assert [each.shape for each in maps] == [(None, 4, 6, 16)] * 2

    pyramid = feature_pyramid(both, strides=(4, 8, 16, 32))
    levels = pyramid(images)
    for level, taken in ((8, expected[0]), (16, expected[1])):
        x = pyramid.branches[level](taken)
        if tuple(x.shape[1:3]) != tuple(levels[level].shape[1:3]):
            x = ops.image.resize(x, levels[level].shape[1:3], interpolation="bilinear")
        np.testing.assert_allclose(*map(ops.convert_to_numpy, (levels[level], x)), atol=1e-4)


DINO = {"num_layers": 2, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32}


@pytest.mark.once("torch", "what is read by default, and what is refused, know no backend")
def test_blocks_that_are_read(small):
    dino = keras_mtl.backbones.dinov3("small", (32, 48, 3), **DINO | {"num_layers": 8})
    assert feature_pyramid(dino).blocks == [2, 4, 6, 8]
    assert feature_pyramid(small.vit()).blocks is None
    pyramid = feature_pyramid(small.dinov3(), layers=(2,))
    pyramid.trainable = False
    assert not pyramid.trainable_weights
    x = pyramid(np.ones((1, 64, 96, 3), "float32"))[16]
    assert not x.requires_grad
    for layers in ((), (0, 1), (2, 1), (1, 9), (1, 1.5)):
        with pytest.raises(ValueError, match="expected numbers from 1 to 2 in ascending order"):
            feature_pyramid(small.vit(), layers=layers)
    with pytest.raises(ValueError, match="but ResNetBackbone is no plain Transformer"):
        feature_pyramid(small.resnet((64, 96, 3)), layers=(1,))
