"""Task prompts: Eq. 1 and the initial values of Sec. A.3."""

import keras
import numpy as np
import pytest
import scipy.stats
from keras import ops

from keras_mtl.layers import TaskPrompts
from keras_mtl.layers.task_prompter.task_prompts import BoundedNormal


@pytest.mark.parametrize("truncated", [False, True])
def test_repeated_over_the_batch(truncated):
    layer = TaskPrompts(num_tasks=4, truncated=truncated)
    out = ops.convert_to_numpy(layer(np.ones((3, 5, 7), "float32")))
    weights = ops.convert_to_numpy(layer.prompts)
    assert weights.shape == (4, 7)
    np.testing.assert_array_equal(out, np.stack([weights] * 3))  # Eq. 1: p^1 ... p^T, every image
    assert len(layer.trainable_variables) == 1


def test_the_patches_values_do_not_matter(predict):
    layer = TaskPrompts(num_tasks=2)
    found = predict(layer, np.random.default_rng(0).normal(size=(3, 5, 7)))
    np.testing.assert_array_equal(found, np.stack([ops.convert_to_numpy(layer.prompts)] * 3))


def initial_values(**arguments):
    keras.utils.set_random_seed(0)
    layer = TaskPrompts(num_tasks=5, **arguments)
    layer.build((None, 1, 20_000))
    return ops.convert_to_numpy(layer.prompts).ravel()


def test_initial_values_are_normal():
    values = initial_values()  # A.3: normal distribution (mean=1, std=1)
    assert scipy.stats.kstest(values, scipy.stats.norm(1, 1).cdf).pvalue > 1e-3
    assert values.min() < -2 and values.max() > 4


def test_initial_values_of_the_released_network():
    values = initial_values(truncated=True)
    expected = scipy.stats.truncnorm(-3, 1, loc=1, scale=1)  # N(1, 1) cut at -2 and 2
    assert -2 <= values.min() < -1.7 and 1.99 < values.max() <= 2
    error = expected.std() / np.sqrt(len(values))
    assert abs(values.mean() - expected.mean()) < 4 * error
    assert abs(values.std() - expected.std()) < 4 * error
    assert scipy.stats.kstest(values, expected.cdf).pvalue > 1e-3


def test_bounded_normal_of_other_bounds():
    values = BoundedNormal(mean=0.5, stddev=2.0, low=0.0, high=1.5, seed=1)((100, 200))
    values = ops.convert_to_numpy(values).ravel()
    expected = scipy.stats.truncnorm(-0.25, 0.5, loc=0.5, scale=2)
    assert values.min() >= 0 and values.max() <= 1.5
    assert scipy.stats.kstest(values, expected.cdf).pvalue > 1e-3


def test_config_round_trips():
    layer = TaskPrompts(num_tasks=3, truncated=True, name="p")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert isinstance(copy, TaskPrompts)
    assert copy.get_config() == layer.get_config()
    assert (copy.num_tasks, copy.truncated, copy.name) == (3, True, "p")

    initializer = BoundedNormal(0.5, 2.0, -1.0, 3.0, seed=7)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(initializer))
    assert copy.get_config() == initializer.get_config()
    same = [ops.convert_to_numpy(drawn((4, 3))) for drawn in (initializer, copy)]
    np.testing.assert_array_equal(*same)
