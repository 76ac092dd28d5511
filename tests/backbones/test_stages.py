"""Backbones stage by stage: the backbone's own values and weights, alone and in models."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.backbones import copy_backbone, feature_pyramid, stages
from keras_mtl.computation.sublayers import every_layer

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")

# What makes the backbone, and the channels by stride of what each stage gives.
BACKBONES = {
    "ResNet": (
        lambda small: small.resnet((64, 96, 3), stages=3, blocks=2),
        [{4: 64}, {8: 64}, {16: 64}],
    ),
    "ResNet of any size, of one block a stage": (
        lambda small: feature_pyramid(small.resnet(stages=2), (50, 70, 3)),
        [{4: 64}, {8: 64}],
    ),
    "Swin": (lambda small: small.swin(), [{4: 8}, {8: 16}]),
    "HRNet": (
        lambda small: small.hrnet(modules=(1, 2, 1)),
        [{4: 256}, {4: 4, 8: 8}, {4: 4, 8: 8, 16: 16}, {4: 4, 8: 8, 16: 16, 32: 32}],
    ),
    "ViT": (lambda small: small.vit((32, 48, 3), num_layers=5), [{16: 16}] * 4),
    "ViT behind a stem": (
        lambda small: small.vit((32, 48, 3), convolutional_stem=True, stem_width=2),
        [{16: 16}] * 2,
    ),
    "ViT of fewer blocks than groups": (lambda small: small.vit((32, 48, 3)), [{16: 16}] * 2),
    "pyramid of a ViT": (
        lambda small: feature_pyramid(small.vit((32, 48, 3)), strides=(4, 8, 16, 32)),
        [{16: 16}] * 2,
    ),
}


def model_of(pyramid):
    images = keras.Input(pyramid.image_shape)
    return keras.Model(images, list(pyramid(images).values()))


def model_of_stages(pyramid, parts):
    """The same, one stage after the other."""
    features = images = keras.Input(pyramid.image_shape)
    maps = {}
    for part in parts:
        features = part(features)
        assert [tuple(x.shape)[-1] for x in features] == list(part.channels.values())
        maps |= part.maps(features)
    assert {stride: x.shape[-1] for stride, x in maps.items()} == pyramid.channels
    return keras.Model(images, [maps[stride] for stride in pyramid.channels])


def predict(model, images):
    return [np.asarray(x) for x in keras.tree.flatten(model.predict_on_batch(images))]


def some_images(image_shape, count=2):
    return np.random.default_rng(0).normal(size=(count, *image_shape)).astype("float32")


def randomize(layer):
    """Every weight, also those that start at zero or one."""
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        if "seed_generator" not in weight.path:
            spread = rng.uniform(0.5, 1.5, weight.shape) if len(weight.shape) == 1 else 0
            weight.assign(ops.convert_to_numpy(weight) * 0.9 + 0.1 * spread)


@pytest.fixture(scope="module", params=BACKBONES)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def pyramid(kind, small):
    keras.utils.set_random_seed(0)
    pyramid = feature_pyramid(BACKBONES[kind][0](small))
    model_of(pyramid)  # builds it
    randomize(pyramid)
    return pyramid


@pytest.fixture(scope="module")
def expected(pyramid):
    """Of the pyramid as a whole."""
    return predict(model_of(pyramid), some_images(pyramid.image_shape))


@pytest.mark.parametrize("last_blocks", [False, True])
def test_stage_by_stage_is_the_whole(kind, pyramid, expected, last_blocks):
    parts = stages(pyramid, last_blocks=last_blocks)
    channels = [part.channels for part in parts]
    assert channels[1::2] == BACKBONES[kind][1] if last_blocks else channels == BACKBONES[kind][1]
    model = model_of_stages(pyramid, parts)
    found = predict(model, some_images(pyramid.image_shape))
    for x, symbol, wanted in zip(found, model.outputs, expected, strict=True):
        assert (None, *x.shape[1:]) == tuple(symbol.shape) and wanted.std() > 1e-3
        np.testing.assert_allclose(x, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())
    # The very weights, each in one layer.
    own = [id(weight) for weight in model.weights]
    assert sorted(own) == sorted(id(weight) for weight in pyramid.weights)
    counts = [len(layer.weights) for layer in model.layers]
    assert sum(counts) == len(own)
    pretrained = [
        id(weight)
        for layer in model.layers[1:]
        for part in layer.pretrained_layers()
        for weight in part.weights
    ]
    whole = [id(weight) for layer in pyramid.pretrained_layers() for weight in layer.weights]
    assert sorted(pretrained) == sorted(whole)


def test_norms_meet_the_rank_they_were_built_for(kind, pyramid, expected):
    """Keras 3.16 fixes a norm's axis when it is built; before, any rank would do."""
    copy = copy_backbone(pyramid)
    for layer in every_layer(copy):
        if isinstance(layer, keras.layers.LayerNormalization):
            layer.axis = [len(layer.get_build_config()["input_shape"]) - 1]
    whole, parts = model_of(copy), model_of_stages(copy, stages(copy))
    for model in (whole, parts):
        found = predict(model, some_images(pyramid.image_shape))
        for x, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(x, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


def test_windows_are_shifted_as_written(small):
    from keras_mtl.computation.as_written import as_written, roll_by_cutting

    pyramid = small.swin()
    model = model_of_stages(pyramid, stages(pyramid))
    with as_written(model):
        assert pyramid.roll is roll_by_cutting
    assert pyramid.roll is ops.roll


def test_saved_in_a_model_and_loaded(kind, pyramid, expected, tmp_path):
    model = model_of_stages(pyramid, stages(pyramid, name="encoder"))
    assert {"encoder_stage_1", "encoder_stage_2"} <= {layer.name for layer in model.layers}
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    assert not {id(w) for w in loaded.weights} & {id(w) for w in pyramid.weights}
    found = predict(loaded, some_images(pyramid.image_shape))
    for x, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


def test_a_training_step_reaches_every_weight(kind, small):
    pyramid = feature_pyramid(BACKBONES[kind][0](small))
    model = model_of_stages(pyramid, stages(pyramid))
    before = [ops.convert_to_numpy(weight) + 0.0 for weight in model.weights]
    # Tracing the step for TensorFlow takes longer than the step.
    eager = keras.backend.backend() == "tensorflow"
    losses = [keras.losses.MeanSquaredError()] * len(model.outputs)
    model.compile(keras.optimizers.SGD(1.0), loss=losses, run_eagerly=eager)
    rng = np.random.default_rng(2)
    targets = [rng.normal(size=(2, *x.shape[1:])).astype("float32") for x in model.outputs]
    model.train_on_batch(some_images(pyramid.image_shape), targets)
    for weight, old in zip(model.weights, before, strict=True):
        change = ops.convert_to_numpy(weight) - old
        if not weight.path.endswith(("key/bias", "seed_generator_state")):  # softmax undoes it
            assert np.isfinite(change).all() and np.abs(change).max() > 1e-7, weight.path


def test_in_bfloat16(kind, small, bfloat16):
    pyramid = feature_pyramid(BACKBONES[kind][0](small))
    images = some_images(pyramid.image_shape)
    model = model_of_stages(pyramid, stages(pyramid))
    expected, found = predict(model_of(pyramid), images), predict(model, images)
    for x, symbol, wanted in zip(found, model.outputs, expected, strict=True):
        assert str(x.dtype) == str(wanted.dtype) == symbol.dtype == "bfloat16"
        x, wanted = x.astype("float32"), wanted.astype("float32")
        # XLA rounds to bfloat16's 8 bits at other places of another program.
        np.testing.assert_allclose(x, wanted, rtol=0, atol=2**-6 * np.abs(wanted).max())


def test_a_backbone_for_each_task_and_an_exchange(small, tmp_path):
    """Two encoders that average their features after every stage."""
    keras.utils.set_random_seed(0)
    backbone = small.resnet((32, 48, 3), stages=2)
    encoders = [
        stages(one, name=name)
        for one, name in ((backbone, "semseg"), (copy_backbone(backbone), "depth"))
    ]
    images = keras.Input((32, 48, 3))
    states = [images, images]
    for parts in zip(*encoders, strict=True):
        states = [part(state) for part, state in zip(parts, states, strict=True)]
        mixed = [keras.layers.average(maps) for maps in zip(*states, strict=True)]
        states = [mixed, mixed]
    (features,) = encoders[0][-1].maps(states[0]).values()
    model = keras.Model(images, features)
    assert len(model.weights) == 2 * len(backbone.weights)
    # Under PyTorch a model has one parameter of each path.
    assert len({variable.path for variable in model.weights}) == len(model.weights)

    # Copies of each other, so their average is one of them.
    whole = keras.Model(backbone.input, backbone.output)
    batch = some_images((32, 48, 3))
    expected = np.asarray(whole.predict_on_batch(batch))
    found = np.asarray(model.predict_on_batch(batch))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())

    randomize(encoders[1][0].layer)
    expected = np.asarray(model.predict_on_batch(batch))
    assert np.abs(expected - found).max() > 1e-3
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert len({variable.path for variable in loaded.weights}) == len(model.weights)
    found = np.asarray(loaded.predict_on_batch(batch))
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_copies_share_nothing(small):
    for backbone in (small.vit((32, 48, 3), num_layers=1), small.swin(depths=(1,), num_heads=(1,))):
        copy = copy_backbone(backbone)
        assert type(copy) is type(backbone) and copy.image_shape == backbone.image_shape
        for ours, theirs in zip(copy.weights, backbone.weights, strict=True):
            assert ours is not theirs
            np.testing.assert_array_equal(*map(ops.convert_to_numpy, (ours, theirs)))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda small: small.dinov2(), {}, "tokens that stand for no patch.*; use a keras_hub ViT"),
        (
            lambda small: small.vit(num_layers=1, use_class_token=True),
            {},
            "runs only as a whole; use a keras_hub ViTBackbone with use_class_token=False",
        ),
        (lambda small: small.mit(), {"last_blocks": True}, "last blocks .* are not known; leave"),
    ],
)
def test_refusals(small, make, options, message):
    with pytest.raises(ValueError, match=message) as error:
        stages(make(small), **options)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


def test_a_pyramid_of_ones_own_runs_as_a_whole(small):
    from keras_mtl.backbones import FeaturePyramid

    class Single(FeaturePyramid):
        channels = {8: 3}

    with pytest.raises(ValueError, match="Single runs only as a whole; of the backbones that"):
        stages(Single((64, 96, 3)))
