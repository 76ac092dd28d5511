"""TPANet as a whole: its switches, scales, gradients, what it keeps apart, wrong arguments.

The numbers are checked elsewhere: the modules against the equations in tests/layers, and the
network against the published one in test_tpanet_golden.py.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl import rooms
from keras_mtl.backbones import (
    FeaturePyramid,
    HRNet,
    SimpleFeaturePyramid,
    SwinTransformer,
    swin_transformer,
    vision_transformer,
)
from keras_mtl.tasks import DepthEstimation, SemanticSegmentation, nyud

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")

SIZE = (48, 64)
T, D, W = 2, 8, 6  # tasks, dim, head_width
CHANNELS = {4: 2, 8: 4, 16: 6, 32: 8}
C, S = sum(CHANNELS.values()), 12 * 16  # channels and positions of the concatenated features
TASKS = [SemanticSegmentation(channels=3), DepthEstimation()]


class Pixels(FeaturePyramid):
    """Every so many pixels, grey, times random numbers that the tests may change."""

    channels = CHANNELS

    def build(self, images_shape):
        self.factors = {
            stride: self.add_weight(shape=(channels,), trainable=False, name=f"stride_{stride}")
            for stride, channels in self.channels.items()
        }
        rng = np.random.default_rng(0)
        for factor in self.factors.values():
            factor.assign(rng.normal(size=factor.shape))

    def call(self, images):
        grey = ops.mean(images, axis=-1, keepdims=True)
        return {
            stride: grey[:, ::stride, ::stride] * factor for stride, factor in self.factors.items()
        }


class Coarse(Pixels):
    """Only two levels."""

    channels = {16: 6, 32: 8}


class Learned(FeaturePyramid):
    """A convolution for each level."""

    channels = CHANNELS

    def build(self, images_shape):
        self.convolutions = {
            stride: keras.layers.Conv2D(channels, stride, stride, padding="same")
            for stride, channels in self.channels.items()
        }
        for convolution in self.convolutions.values():
            convolution.build(images_shape)

    def call(self, images):
        return {stride: convolve(images) for stride, convolve in self.convolutions.items()}


def tiny(backbone=None, tasks=TASKS, **arguments):
    backbone = backbone or Pixels((*SIZE, 3))
    return keras_mtl.TPANet(backbone, tasks, **{"dim": D, "head_width": W, **arguments})


BACKBONES = {
    "HRNet": lambda: HRNet((*SIZE, 3), width=4, bottlenecks=1, modules=(1, 1, 1), blocks=1),
    "Swin": lambda: swin_transformer(
        "tiny",
        (*SIZE, 3),
        embed_dim=8,
        depths=(1, 2, 1, 1),
        num_heads=(1, 1, 2, 2),
        window_size=2,
    ),
    "ViT": lambda: vision_transformer(
        "nano", (*SIZE, 3), num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16
    ),
}


@pytest.fixture(scope="module", autouse=True)
def seed():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 255, (3, *SIZE, 3)).astype("float32")


@pytest.fixture(scope="module")
def full():
    """For tests that leave it as it is."""
    return tiny()


def layer_names(model):
    return {layer.name for layer in model.layers}


def trainable(model):
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def assert_same(found, expected, relative=1e-5):
    assert set(found) == set(expected)
    for name, value in expected.items():
        tolerance = relative * np.abs(value).max()
        np.testing.assert_allclose(found[name], value, rtol=0, atol=tolerance)


def differ(found, other):
    return {name: np.abs(found[name] - value).max() > 1e-3 for name, value in other.items()}


# === The switches of the ablations (Table 3a) ===


def perceptron(channels, width):
    """Layer normalization and two linear maps."""
    return 2 * channels + (channels * width + width) + (width * channels + channels)


def heads(channels):
    each = (9 * channels * W + W) + 2 * W  # 3x3 convolution, batch normalization
    return sum(each + W * task.channels + task.channels for task in TASKS)


EXTRACTOR = (T + 1) * (C * D + D + 2 * D)  # and the shared prior's
MIXING = 2 * T * D + perceptron(S, 4) + perceptron(T * D, T * D)
ATTENTION = T * 4 * (D * D + D) + 2 * D + perceptron(D, 2 * D)  # one perceptron for all tasks

MIXING_LAYERS = {"adaptive_task_mixing"}
ATTENTION_LAYERS = {"semseg_cross_attention", "depth_cross_attention", "residual_mlp"}
OFF = {"task_prior": False, "task_mixing": False, "cross_attention": False}
SWITCHES = {  # switches, layers that are gone, parameters
    "none": ({}, set(), EXTRACTOR + MIXING + ATTENTION + heads(D)),
    "mixing": ({"task_mixing": False}, MIXING_LAYERS, EXTRACTOR + ATTENTION + heads(D)),
    "attention": ({"cross_attention": False}, ATTENTION_LAYERS, EXTRACTOR + MIXING + heads(D)),
    "both": (
        {"task_mixing": False, "cross_attention": False},
        MIXING_LAYERS | ATTENTION_LAYERS,
        EXTRACTOR + heads(D),
    ),
    "all": (OFF, MIXING_LAYERS | ATTENTION_LAYERS | {"task_prior_extractor"}, heads(C)),
}


@pytest.mark.parametrize("off", SWITCHES)
def test_layers_and_parameters_without(off, full):
    arguments, gone, parameters = SWITCHES[off]
    model = tiny(backbone=Pixels((*SIZE, 3), name="pixels"), **arguments)
    ours = {name for name in layer_names(full) if not name.startswith("pixels")}
    assert gone < ours
    assert layer_names(model) - {"pixels"} == ours - gone
    assert trainable(model) == parameters


def test_parameters_of_groups():
    fewer = (T + 1) * (C * D - C * D // 4)
    assert trainable(tiny()) - trainable(tiny(groups=4)) == fewer


@pytest.mark.parametrize("off", ["none", "mixing", "attention", "both"])
def test_what_the_modules_read(off, images):
    model = tiny(**SWITCHES[off][0])
    extracted = model.get_layer("task_prior_extractor").output
    outputs = {"extracted": extracted, "mixed": extracted}
    if "task_mixing" not in SWITCHES[off][0]:
        mixing = model.get_layer("adaptive_task_mixing")
        assert mixing.input is extracted
        outputs["mixed"] = mixing.output
    for task in TASKS:
        outputs[f"{task.name} head"] = model.get_layer(f"{task.name}_head").input
        if "cross_attention" not in SWITCHES[off][0]:
            attention = model.get_layer(f"{task.name}_cross_attention")
            outputs[f"{task.name} own"], outputs[f"{task.name} prior"] = attention.input
    values = keras.Model(model.input, outputs).predict_on_batch(images[:1])
    assert values["extracted"].shape == (1, 12, 16, T, D)
    if "task_mixing" not in SWITCHES[off][0]:
        assert np.abs(values["mixed"] - values["extracted"]).max() > 1e-3
    for t, task in enumerate(TASKS):
        own = "own" if f"{task.name} own" in values else "head"
        np.testing.assert_array_equal(values[f"{task.name} {own}"], values["mixed"][:, :, :, t])
        if own == "own":
            prior = values[f"{task.name} prior"]
            np.testing.assert_array_equal(prior, values["extracted"][:, :, :, t])
            # The attention and the perceptron are between the two.
            assert np.abs(values[f"{task.name} head"] - prior).max() > 1e-3


def test_all_off_is_the_baseline(images):
    model = tiny(**OFF)
    baseline = keras_mtl.MultiTaskBaseline(Pixels((*SIZE, 3)), TASKS, head_width=W)
    model.set_weights(baseline.get_weights())
    assert_same(model.predict_on_batch(images), baseline.predict_on_batch(images), 1e-6)
    shapes = {
        name: layer.body.layers[1].kernel.shape
        for name, layer in heads_of(tiny(head_width=None, **OFF))
    }
    assert set(shapes.values()) == {(3, 3, C, C // 4)}


def heads_of(model):
    return [(layer.name, layer) for layer in model.layers if layer.name.endswith("_head")]


def test_head_width_is_a_quarter_of_the_features_unless_given(full):
    for model, width in ((full, W), (tiny(head_width=None), C // 4)):
        kernels = [head.body.layers[1].kernel for _, head in heads_of(model)]
        assert [tuple(kernel.shape) for kernel in kernels] == [(3, 3, D, width)] * T


# === Scales (Table 3b) ===


@pytest.mark.parametrize("scales", [1, 2, 3, 4])
def test_scales_are_the_coarsest_maps(scales, images):
    backbone = Pixels((*SIZE, 3))
    model = tiny(backbone, scales=scales)
    used = list(CHANNELS)[-scales:]
    channels = sum(CHANNELS[stride] for stride in used)
    assert model.get_layer("concatenated_features").output.shape == (None, 12, 16, channels)
    before = model.predict_on_batch(images)
    assert {name: value.shape[1:] for name, value in before.items()} == {
        "semseg": (*SIZE, 3),
        "depth": (*SIZE, 1),
    }
    for stride, factor in backbone.factors.items():
        kept = ops.convert_to_numpy(factor).copy()
        factor.assign(-kept)
        changed = differ(before, model.predict_on_batch(images))
        factor.assign(kept)
        assert set(changed.values()) == {stride in used}, stride


def test_a_backbone_of_two_levels_is_enough_for_two_scales(images):
    model = tiny(Coarse((*SIZE, 3)), scales=2)
    assert model.predict_on_batch(images)["depth"].shape == (3, *SIZE, 1)


# === Attention's pooling, dropout ===


def test_key_value_pooling(images):
    plain, pooled = (
        tiny(key_value_pooling=pooling, task_mixing=False, stochastic_depth=0.0)
        for pooling in (1, 2)
    )
    pooled.set_weights(plain.get_weights())
    assert set(differ(*(m.predict_on_batch(images) for m in (plain, pooled))).values()) == {True}
    # Where all positions are the same, so are the averages.
    flat = np.broadcast_to(images[:, :1, :1], images.shape)
    assert_same(pooled.predict_on_batch(flat), plain.predict_on_batch(flat))


@pytest.mark.parametrize("arguments", [{"dropout": 0.5}, {"stochastic_depth": 0.5}])
def test_only_training_is_random(arguments, images):
    calm = tiny(stochastic_depth=0.0, task_mixing=False)
    model = tiny(task_mixing=False, **{"stochastic_depth": 0.0, **arguments})
    model.set_weights(calm.get_weights())
    assert_same(model.predict_on_batch(images), calm.predict_on_batch(images), 1e-6)
    assert_same(model.predict_on_batch(images), model.predict_on_batch(images), 0)

    def drawn(model):
        head = keras.Model(model.input, model.get_layer("depth_head").input)
        return [ops.convert_to_numpy(head(images, training=True)) for _ in range(6)]

    for draws, random in ((drawn(calm), False), (drawn(model), True)):
        assert any(np.abs(draw - draws[0]).max() > 1e-3 for draw in draws) == random


def test_one_perceptron_for_all_tasks(full):
    assert len(full.get_layer("residual_mlp")._inbound_nodes) == T


# === Backbones: prediction and training ===


@pytest.fixture(scope="module", params=list(BACKBONES))
def model(request):
    """On a backbone; for tests that leave it as it is."""
    keras.utils.set_random_seed(0)
    return tiny(BACKBONES[request.param](), groups=2, key_value_pooling=2, stochastic_depth=0.0)


def test_a_prediction_does_not_depend_on_the_rest_of_the_batch(model, images):
    first, second, third = images

    def predicted(batch, position):
        maps = model.predict_on_batch(np.stack(batch))
        return {name: value[position : position + 1] for name, value in maps.items()}

    beside = predicted([first, second, third], 0)
    assert_same(predicted([first, 255 - second, np.zeros_like(third)], 0), beside, 1e-6)
    # Batches of another size run in other kernels: activations in the hundreds, as those of an
    # untrained HRNet, and the softmax of their products enlarge what these round differently. The
    # published network's answers move by more than their own spread.
    alone = predicted([first], 0)
    assert_same(beside, alone, 1e-4)
    assert_same(predicted([second, third, first], 2), alone, 1e-4)
    # The others do differ.
    assert set(differ(predicted([second], 0), alone).values()) == {True}


def without_gradient(model):
    """Weights that no loss can move, and why."""
    # Batch normalization subtracts a bias before it.
    unmoved = [model.get_layer("task_prior_extractor").bias]
    unmoved += [head.body.layers[1].bias for _, head in heads_of(model)]
    # The softmax over the keys takes a shift of all keys out again.
    unmoved += [model.get_layer(f"{task.name}_cross_attention").key_dense.bias for task in TASKS]
    unmoved += [weight for weight in model.weights if weight.path.endswith("key/bias")]
    # A shift of a whole map: the extractor is linear, and its batch normalization subtracts it.
    backbone = model.layers[2]
    if isinstance(backbone, SwinTransformer):
        unmoved += [norm.beta for norm in (*backbone.norms, backbone.backbone.norm)]
    if isinstance(backbone, SimpleFeaturePyramid):
        unmoved += [backbone.branches[stride].layers[-1].bias for stride in (4, 8)]
    return {id(weight) for weight in unmoved}


@pytest.mark.parametrize("model", ["Swin", "ViT"], indirect=True)  # HRNet takes JAX longest
def test_a_training_step_reaches_every_weight(model, images, training_step):
    rng = np.random.default_rng(2)
    labels = {
        "semseg": rng.integers(0, 3, (3, *SIZE)),
        "depth": rng.uniform(1, 5, (3, *SIZE, 1)).astype("float32"),
    }

    def loss(outputs):
        return sum(task.loss()(labels[task.name], outputs[task.name]) for task in TASKS)

    before = model.get_weights()
    total, _, gradients = training_step(model, images, loss)
    model.set_weights(before)
    assert np.isfinite(total)
    assert set(gradients) == {id(variable) for variable in model.trainable_variables}
    largest = max(np.abs(gradient).max() for gradient in gradients.values())
    unmoved = without_gradient(model)
    for variable in model.trainable_variables:
        gradient = gradients[id(variable)]
        assert np.isfinite(gradient).all(), variable.path
        relative = np.abs(gradient).max() / largest
        if id(variable) in unmoved:
            assert relative < 1e-4, variable.path  # rounding
        else:
            assert relative > 1e-6, variable.path


def test_training_lowers_the_loss():
    tasks = nyud("semseg", "depth")
    scenes = rooms.arrays(tasks, 4, SIZE)
    model = tiny(Learned((*SIZE, 3)), tasks, groups=2)
    # Metrics and, for TensorFlow, tracing the step take longer than all the rest.
    eager = keras.backend.backend() == "tensorflow"
    model.compile(keras.optimizers.Adam(1e-2), metrics=None, run_eagerly=eager)
    losses = model.fit(*scenes, epochs=12, batch_size=4, verbose=0).history
    for name in ("loss", "semseg_loss", "depth_loss"):
        assert np.isfinite(losses[name]).all()
        assert losses[name][-1] < 0.8 * losses[name][0], name


# === Image sizes ===


def test_maps_of_a_photograph_of_another_size(full):
    photographs = [
        np.random.default_rng(3).integers(0, 256, (*size, 3), "uint8")
        for size in ((30, 100), (75, 50), SIZE)
    ]
    maps = full.predict_maps(photographs, batch_size=2)
    for photograph, decoded in zip(photographs, maps, strict=True):
        assert decoded["semseg"].shape == photograph.shape[:2]
        assert decoded["depth"].shape == (*photograph.shape[:2], 1)
        assert np.isfinite(decoded["depth"]).all() and decoded["semseg"].max() < 3
    raw = full.predict_on_batch(photographs[-1][None].astype("float32"))
    for task in TASKS:
        expected = ops.convert_to_numpy(task.decode(raw[task.name]))[0]
        np.testing.assert_allclose(maps[-1][task.name], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(64, 48), (48, 96), (96, 128)])
def test_images_of_another_size_are_refused(full, size):
    images = np.zeros((1, *size, 3), "float32")
    text = rf"expected shape=\(None, 48, 64, 3\), found shape=\(1, {size[0]}, {size[1]}, 3\)"
    with pytest.raises(ValueError, match=text):
        full(images)
    labels = {task.name: task.no_label(*SIZE)[None] for task in TASKS}
    for method in (full.fit, full.evaluate):
        with pytest.raises(ValueError, match=r"this model takes \(batch, 48, 64, 3\), RGB in"):
            method(images, labels)


@pytest.mark.parametrize("method", ["predict", "predict_on_batch"])
def test_predicting_another_size_is_refused_and_harms_nothing(method, images):
    model = tiny(**OFF)
    with pytest.raises(ValueError, match="48, 64, 3"):
        getattr(model, method)(np.zeros((1, 64, 48, 3), "float32"))
    assert np.isfinite(model.predict_on_batch(images)["depth"]).all()


# === Wrong arguments ===


WRONG = {  # arguments, what the error says
    "mixing alone": (
        {"task_prior": False, "cross_attention": False},
        "task_prior is off, but task_mixing and cross_attention work on what it extracts; turn it",
    ),
    "attention alone": (
        {"task_prior": False, "task_mixing": False},
        "task_prior is off, but .*; turn it on, or both of them off",
    ),
    "no scale": ({"scales": 0}, "scales is 0, expected an integer from 1 to 4"),
    "five scales": ({"scales": 5}, "scales is 5, expected an integer from 1 to 4"),
    "groups that do not divide the features": (
        {"groups": 8},
        "groups is 8, which does not divide the 20 feature channels; use a number that divides",
    ),
    "groups that do not divide dim": (
        {"groups": 4, "dim": 6},
        "groups is 4, which does not divide the 6 dim; use a number that divides both",
    ),
    "heads that do not divide dim": (
        {"num_heads": 3},
        "num_heads is 3, which does not divide the 8 channels; use a number that does",
    ),
    "no task": ({"tasks": []}, r"tasks is \[\]; expected a list of keras_mtl.tasks.Task"),
    "not a task": ({"tasks": ["depth"]}, r"tasks is \['depth'\]; expected a list of"),
    "one name twice": (
        {"tasks": [DepthEstimation(), DepthEstimation()]},
        r"Task names are \['depth', 'depth'\]; give every task a name of its own",
    ),
    "no backbone": (
        {"backbone": keras.Sequential()},
        "Sequential is no backbone that gives feature maps; use a keras_hub backbone",
    ),
    "too few levels": (
        {"backbone": Coarse((*SIZE, 3)), "scales": 3},
        "Coarse gives features at strides 16, 32, but the model needs 8, 16, 32; use a backbone "
        "that gives them, or a model with fewer scales",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(name):
    arguments, message = WRONG[name]
    with pytest.raises(ValueError, match=message) as error:
        tiny(**arguments)
    text = str(error.value)
    assert text.endswith(".") and ". " not in text and "\n" not in text
