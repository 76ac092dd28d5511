"""TPANet's Eq. 1-3 against a float64 reference: T + 1 grouped convolutions, one after another."""

import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import TaskPriorExtractor

B, H, W, C, T, D = 3, 4, 5, 24, 3, 16


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(1).normal(0.3, 1, (B, H, W, C)).astype("float32")


def built(randomise, groups):
    layer = TaskPriorExtractor(T, D, groups)
    layer.build((None, H, W, C))
    randomise(layer)
    return layer


def convolved(x, layer, branch, array):
    """A grouped 1x1 convolution: each group of outputs sees its group of inputs only."""
    kernel, bias = array(layer.kernel), array(layer.bias)
    maps = []
    for group, inputs in enumerate(np.split(x, layer.groups, axis=-1)):
        maps.append(inputs @ kernel[group, :, branch] + bias[branch, group])
    return np.concatenate(maps, axis=-1)


def eq_1_to_3(x, layer, array, training):
    """The result, and the batches' means and variances by branch."""
    branches, means, variances = [], [], []
    for branch in range(T + 1):
        own = slice(branch * D, (branch + 1) * D)  # of the normalization's channels
        z = convolved(x, layer, branch, array)
        means.append(z.mean((0, 1, 2)))
        variances.append(((z - means[-1]) ** 2).mean((0, 1, 2)))  # biased
        mean = means[-1] if training else array(layer.norm.moving_mean)[own]
        variance = variances[-1] if training else array(layer.norm.moving_variance)[own]
        normal = (z - mean) / np.sqrt(variance + 1e-5)
        branches.append(normal * array(layer.norm.gamma)[own] + array(layer.norm.beta)[own])
    prior = branches.pop()  # Eq. 2
    result = np.stack([task + prior for task in branches], axis=3)  # Eq. 3
    return result, np.concatenate(means), np.concatenate(variances)


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_inference(groups, features, predict, randomise, assert_close, tpanet_equations):
    layer = built(randomise, groups)
    trainable = (T + 1) * (C * D // groups + D) + 2 * (T + 1) * D
    assert sum(np.prod(weight.shape) for weight in layer.trainable_weights) == trainable
    expected, *_ = eq_1_to_3(features, layer, tpanet_equations.array, training=False)
    assert_close(predict(layer, features), expected)


@pytest.mark.parametrize("groups", [1, 8])
def test_training(groups, features, randomise, assert_close, tpanet_equations):
    layer, array = built(randomise, groups), tpanet_equations.array
    old_mean, old_variance = array(layer.norm.moving_mean), array(layer.norm.moving_variance)
    expected, mean, variance = eq_1_to_3(features, layer, array, training=True)
    assert_close(layer(features, training=True), expected)
    assert_close(layer.norm.moving_mean, 0.9 * old_mean + 0.1 * mean)
    assert_close(layer.norm.moving_variance, 0.9 * old_variance + 0.1 * variance)


def test_groups_do_not_see_each_other(features, predict, randomise):
    changed = features.copy()
    changed[..., : C // 2] += 1
    layer = built(randomise, groups=2)
    differs = np.abs(predict(layer, features) - predict(layer, changed)).max((0, 1, 2)) > 0.01
    np.testing.assert_array_equal(differs, np.tile(np.arange(D) < D // 2, (T, 1)))


def test_every_weight_learns(features, randomise, weight_gradients):
    gradients = weight_gradients(built(randomise, groups=2), features)
    assert set(gradients) == {"kernel", "bias", "norm/gamma", "norm/beta"}
    for path, values in gradients.items():
        assert (np.abs(values) > 1e-4).all(), path


@pytest.mark.parametrize(
    "channels, dim, what", [(10, 16, "10 feature channels"), (12, 10, "10 dim")]
)
def test_groups_that_do_not_divide(channels, dim, what):
    message = (
        f"^groups is 4, which does not divide the {what}; use a number that divides both the "
        "features' channels and dim.$"
    )
    with pytest.raises(ValueError, match=message):
        TaskPriorExtractor(2, dim, groups=4)(ops.ones((1, 2, 2, channels)))
