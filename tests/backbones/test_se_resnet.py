"""SE-ResNet conditioned on a task: its convolutions against their equations in float64."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.backbones import SEResNet, se_resnet
from keras_mtl.layers import AdaptedConvolution

B, H, W, C = 2, 4, 5, 3


def arrays(layer):
    return [np.array(ops.convert_to_numpy(each), "float64") for each in layer.weights]


def convolved(x, kernel, dilation=1):
    """A convolution that keeps the size, pixel by pixel."""
    size = kernel.shape[0]
    out = np.zeros((*x.shape[:3], kernel.shape[3]))
    for i, j, r, c in np.ndindex(size, size, *x.shape[1:3]):
        row, column = r + dilation * (i - size // 2), c + dilation * (j - size // 2)
        if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
            out[:, r, c] += x[:, row, column] @ kernel[i, j]
    return out


@pytest.mark.parametrize(("size", "dilation", "adapter"), [(3, 2, True), (1, 1, False)])
def test_adapted_convolution(size, dilation, adapter, assert_close):
    """A task's own parts alone make the difference, and in training its own statistics."""
    rng = np.random.default_rng(0)
    layer = AdaptedConvolution(4, size, dilation, adapter, reduction=2, num_tasks=2)
    x = rng.normal(size=(B, H, W, C)).astype("float32")
    layer(x)
    # Of a variance nothing below 0.
    layer.set_weights([np.abs(rng.normal(size=w.shape)) + 0.1 for w in layer.weights])
    for task in (0, 1):
        out = convolved(x.astype("float64"), arrays(layer.convolution)[0], dilation)
        if adapter:
            out = out + convolved(x.astype("float64"), arrays(layer.adapters[task])[0])
        gamma, beta, mean, variance = arrays(layer.norms[task])
        out = np.maximum((out - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0)
        (squeeze, b), (excite, c) = (
            arrays(each) for each in (layer.gates[task].squeeze, layer.gates[task].excite)
        )
        gate = np.maximum(out.mean(axis=(1, 2)) @ squeeze + b, 0) @ excite + c
        assert_close(layer(x, task=task), out / (1 + np.exp(-gate))[:, None, None])
    before = arrays(layer)
    layer(x, task=1, training=True)
    own = {id(each) for each in layer.own_variables(1)}
    for variable, old in zip(layer.weights, before, strict=True):
        moved = not np.array_equal(ops.convert_to_numpy(variable), old.astype("float32"))
        assert moved == ("moving" in variable.path and id(variable) in own), variable.path


def tiny(**how):
    return SEResNet((33, 50, 3), (1, 2, 1, 1), (2, 2, 3, 4), stem=4, **how)


@pytest.mark.parametrize(
    ("stride", "sizes"),
    [(16, {4: (9, 13, 8), 8: (5, 7, 8), 16: (3, 4, 16)}), (8, {4: (9, 13, 8), 8: (5, 7, 16)})],
)
def test_levels(stride, sizes):
    backbone = tiny(output_stride=stride, num_tasks=2)
    assert backbone.channels == {each: shape[-1] for each, shape in sizes.items()}
    image = np.random.default_rng(0).normal(size=(1, 33, 50, 3)).astype("float32")
    found, other = (backbone(image, task=task) for task in (0, 1))
    assert {each: tuple(x.shape[1:]) for each, x in found.items()} == sizes
    symbols = backbone(keras.Input((33, 50, 3)), task=1)
    assert {each: tuple(x.shape[1:]) for each, x in symbols.items()} == sizes
    last = backbone.stages[-1][0]
    assert last.dilation == {16: 2, 8: 4}[stride]
    for variable in backbone.stages[0][0].own_variables(1):
        variable.assign(variable + 1)
    for task, before in enumerate((found, other)):
        after = ops.convert_to_numpy(backbone(image, task=task)[4])
        assert np.array_equal(after, ops.convert_to_numpy(before[4])) == (task == 0)
    twin = SEResNet.from_config(backbone.get_config())
    assert twin.get_config() == backbone.get_config()


def test_refusals():
    with pytest.raises(ValueError, match="Unknown SE-ResNet size '18'; choose one of"):
        se_resnet("18", (32, 32, 3))
    with pytest.raises(ValueError, match="output_stride is 32, expected 16 or 8"):
        tiny(output_stride=32)
    backbone = tiny()
    backbone.condition_on(2)
    backbone.build((None, 33, 50, 3))
    backbone.built = True
    with pytest.raises(ValueError, match="was built for 2 tasks and is asked to serve 3"):
        backbone.condition_on(3)
