"""The layer of NDDR-CNN against loops in float64, with its statistics and with a batch's."""

import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import NDDR

SHAPE = (2, 3, 4, 5)  # (B, H, W, C)


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    return [rng.normal(size=SHAPE).astype("float32") for _ in range(3)]


def nddr(features, weights, statistics, gamma, beta):
    """`y_t = ReLU(BN_t(W_t [x_1; ...; x_T]))`, pixel by pixel; `weights[t]` is W_t, `(C, T C)`."""
    reduced = []
    for t, weight in enumerate(weights):
        y = np.zeros(SHAPE)
        for place in np.ndindex(SHAPE[:3]):
            together = np.concatenate([x[place].astype("float64") for x in features])
            y[place] = weight @ together
        mean, variance = statistics(t, y)
        reduced.append(np.maximum((y - mean) / np.sqrt(variance + 1e-5) * gamma[t] + beta[t], 0))
    return reduced


@pytest.fixture(scope="module")
def layer(features, randomise):
    layer = NDDR()
    layer(features)
    randomise(layer)
    return layer


def of_tasks(variable):
    """What of the variable is each task's: the last axis is tasks and channels."""
    return np.split(ops.convert_to_numpy(variable).astype("float64"), 3, axis=-1)


@pytest.mark.parametrize("training", [False, True])
def test_features_are_reduced_for_each_task(layer, features, training, assert_close):
    weights = [kernel[0, 0].T for kernel in of_tasks(layer.reduce.kernel)]
    means, variances = of_tasks(layer.norm.moving_mean), of_tasks(layer.norm.moving_variance)

    def statistics(t, y):
        if training:
            return y.mean((0, 1, 2)), y.var((0, 1, 2))
        return means[t], variances[t]

    shapes = map(of_tasks, (layer.norm.gamma, layer.norm.beta))
    expected = nddr(features, weights, statistics, *shapes)
    found = layer(features, training=training)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)
    if training:  # a linear map of the features' means
        own = np.concatenate([x.mean((0, 1, 2)) for x in features])
        moved = [0.95 * mean + 0.05 * weights[t] @ own for t, mean in enumerate(means)]
        assert_close(layer.norm.moving_mean, np.concatenate(moved))


def test_the_beginning():
    """Blocks of `alpha` and `beta` times the identity."""
    layer = NDDR(0.9, 0.1)
    layer.build([SHAPE] * 3)
    for t, kernel in enumerate(of_tasks(layer.reduce.kernel)):
        blocks = np.split(kernel[0, 0], 3)
        for u, block in enumerate(blocks):
            np.testing.assert_allclose(block, (0.9 if u == t else 0.1) * np.eye(5), rtol=1e-6)
