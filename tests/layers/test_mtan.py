"""MTAN's masks and what is passed on between stages, against NumPy in float64."""

import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import AttentionMask, SharedRefinement

B, H, W = 2, 5, 6


def array(variable):
    return ops.convert_to_numpy(variable).astype("float64")


def features(count, channels):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(B, H, W, channels)).astype("float32") for _ in range(count)]


def normalized(x, layer, training):
    axes = (0, 1, 2)
    mean = x.mean(axes) if training else array(layer.moving_mean)
    variance = x.var(axes) if training else array(layer.moving_variance)
    return (x - mean) / np.sqrt(variance + 1e-5) * array(layer.gamma) + array(layer.beta)


def convolved(x, layer):
    """Multiplied by each part of the kernel in turn, zeros around."""
    kernel = array(layer.kernel)
    reach = kernel.shape[0] // 2
    padded = np.pad(x, [(0, 0), (reach, reach), (reach, reach), (0, 0)])
    y = np.zeros((*x.shape[:3], kernel.shape[-1]))
    for i, j in np.ndindex(kernel.shape[:2]):
        y += padded[:, i : i + x.shape[1], j : j + x.shape[2]] @ kernel[i, j]
    return y + (array(layer.bias) if layer.use_bias else 0)


@pytest.mark.parametrize("training", [False, True])
def test_mask(training, randomise, assert_close):
    layer, (z,) = AttentionMask(8), features(1, 12)
    layer(z)
    randomise(layer)
    x = normalized(convolved(z.astype("float64"), layer.reduce), layer.reduce_norm, training)
    x = normalized(convolved(np.maximum(x, 0), layer.widen), layer.widen_norm, training)
    assert x.shape[-1] == 8 and layer.reduce.filters == 2
    assert_close(layer(z, training=training), 1 / (1 + np.exp(-x)))


@pytest.mark.parametrize("pooling", [1, 2])
def test_one_bottleneck_for_all_tasks_and_max_pooling(pooling, randomise, assert_close):
    layer, tasks = SharedRefinement(8, pooling), features(3, 4)
    layer(tasks)
    randomise(layer)
    means = [array(norm.moving_mean) for norm in layer.block.norms]
    expected = []
    for x in tasks:
        y = x = x.astype("float64")
        for n, (kernel, norm) in enumerate(
            zip(layer.block.kernels, layer.block.norms, strict=True)
        ):
            y = convolved(y, kernel)
            means[n] = 0.9 * means[n] + 0.1 * y.mean((0, 1, 2))  # one task after the other
            y = normalized(y, norm, training=True)
            y = np.maximum(y, 0) if n < 2 else y
        own = normalized(convolved(x, layer.block.projection), layer.block.projection_norm, True)
        expected.append(pooled(np.maximum(y + own, 0), pooling))
    for found, wanted in zip(layer(tasks, training=True), expected, strict=True):
        assert_close(found, wanted)
    for norm, mean in zip(layer.block.norms, means, strict=True):
        assert_close(norm.moving_mean, mean)


def pooled(x, size):
    """The largest of each square, of what is left of it at the border."""
    rows, columns = -(-x.shape[1] // size), -(-x.shape[2] // size)
    y = np.zeros((len(x), rows, columns, x.shape[-1]))
    for i, j in np.ndindex(rows, columns):
        square = x[:, i * size : i * size + size, j * size : j * size + size]
        y[:, i, j] = square.max((1, 2))
    return y


@pytest.mark.once("torch", "a check of arguments")
def test_widths_of_no_bottleneck():
    with pytest.raises(ValueError, match="channels is 6, but a bottleneck .*; use .* such as 8"):
        SharedRefinement(6)
