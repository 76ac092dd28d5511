"""TPANet's modules against values measured on the published network.

The published network leaves out the batch normalization of Eq. 1-2, so ours is the identity
here; its attention is taken over the tokens of one image, as Eq. 8-10 say.
"""

import functools

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl import layers
from keras_mtl.backbones import FeaturePyramid
from keras_mtl.tasks import nyud

TASKS = nyud("semseg", "depth", "normals")
CHANNELS = {4: 8, 8: 16, 16: 32, 32: 64}


class GivenFeatures(FeaturePyramid):
    """A backbone whose answer is known: the maps travel in the image's place."""

    channels = CHANNELS

    def __init__(self, maps, **kwargs):
        super().__init__((20, 24, 3), **kwargs)
        self.maps = maps

    def call(self, images):
        return dict(zip(self.channels, self.maps, strict=True))


@pytest.fixture(scope="module")
def values(golden):
    return golden("golden_tpanet_head_tiny")


@pytest.fixture(scope="module")
def state(values):
    return {key[6:]: value for key, value in values.items() if key.startswith("state/")}


def linear(state, name):
    """Kernel and bias of a linear map as Keras keeps them."""
    return [state[f"{name}.weight"].T, state[f"{name}.bias"]]


def norm(state, name):
    return [state[f"{name}.weight"], state[f"{name}.bias"]]


def conv(state, name):
    kernel = np.transpose(state[f"{name}.weight"], (2, 3, 1, 0))
    return [kernel, *([state[f"{name}.bias"]] if f"{name}.bias" in state else [])]


def mlp(state, name):
    return [
        *norm(state, f"{name}.norm"),
        *linear(state, f"{name}.fc1"),
        *linear(state, f"{name}.fc2"),
    ]


def load_extractor(layer, state):
    names = [f"specific_tasks.{t}" for t in range(3)] + ["inject_prior"]
    kernels = [state[f"{name}.weight"].reshape(2, 8, 60) for name in names]  # groups of 8 rows
    biases = [state[f"{name}.bias"].reshape(2, 8) for name in names]
    layer.kernel.assign(np.stack(kernels).transpose(1, 3, 0, 2))
    layer.bias.assign(np.stack(biases))
    ones, zeros = np.ones(64), np.zeros(64)
    layer.norm.set_weights([ones, zeros, zeros, ones - layer.norm.epsilon])  # identity


def load_mixing(layer, state):
    layer.norm.set_weights(norm(state, "adapt_task_mixing.LN"))
    layer.spatial_mlp.set_weights(mlp(state, "adapt_task_mixing.fc_s"))
    layer.channel_mlp.set_weights(mlp(state, "adapt_task_mixing.fc_c"))


def load_attention(layer, state, t):
    kernels = np.split(state[f"cross_atts.{t}.in_proj_weight"], 3)
    biases = np.split(state[f"cross_atts.{t}.in_proj_bias"], 3)
    denses = (layer.query_dense, layer.key_dense, layer.value_dense)
    for dense, kernel, bias in zip(denses, kernels, biases, strict=True):
        dense.set_weights([kernel.T, bias])
    layer.output_dense.set_weights(linear(state, f"cross_atts.{t}.out_proj"))


def load_head(head, state, task):
    _, convolution, normalization, _, logits = head.body.layers
    kernel = conv(state, f"bottleneck.{task}.conv")  # the published one has no bias
    convolution.set_weights([*kernel, np.zeros(kernel[0].shape[-1])])
    normalization.set_weights(
        [
            state[f"bottleneck.{task}.bn.{part}"]
            for part in ("weight", "bias", "running_mean", "running_var")
        ]
    )
    logits.set_weights(conv(state, f"final_logits.{task}"))


@pytest.fixture(scope="module")
def model(values, state):
    """The published network as a `TPANet`, on a backbone that gives the measured features."""
    maps = [values[f"feat{i}"].transpose(0, 2, 3, 1) for i in range(4)]
    with pytest.MonkeyPatch.context() as patch:
        # Seven hidden units, as at the paper's image size.
        mixing = functools.partial(layers.AdaptiveTaskMixing, spatial_width=7)
        patch.setattr("keras_mtl.models.tpanet.AdaptiveTaskMixing", mixing)
        model = keras_mtl.TPANet(GivenFeatures(maps), TASKS, dim=16, groups=2, head_width=30)
    load_extractor(model.get_layer("task_prior_extractor"), state)
    load_mixing(model.get_layer("adaptive_task_mixing"), state)
    residual = model.get_layer("residual_mlp")
    residual.norm.set_weights(norm(state, "norm2"))
    residual.mlp.set_weights(mlp(state, "mlp"))
    for t, task in enumerate(TASKS):
        load_attention(model.get_layer(f"{task.name}_cross_attention"), state, t)
        load_head(model.get_layer(f"{task.name}_head"), state, task.name)
    return model


@pytest.fixture(scope="module")
def found(model):
    """The model's outputs and what went in and out of the mixing."""
    mixing = model.get_layer("adaptive_task_mixing")
    inner = keras.Model(model.input, {**model.output, "in": mixing.input, "out": mixing.output})
    return inner.predict_on_batch(np.zeros((2, 20, 24, 3), "float32"))


@pytest.mark.parametrize("where", ["in", "out"])
def test_mixing(found, values, where):
    expected = values[f"inter/mix_{where}"]
    np.testing.assert_allclose(found[where].reshape(expected.shape), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("task", [task.name for task in TASKS])
def test_outputs(found, values, task):
    expected = values[f"out_batch_first/{task}"].transpose(0, 2, 3, 1)
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(found[task], expected, rtol=0, atol=1e-5)
    # The published slip, attention along the batch, gives something else.
    slip = values[f"out_released_batch_axis/{task}"].transpose(0, 2, 3, 1)
    assert np.abs(found[task] - slip).max() > 1e-2
