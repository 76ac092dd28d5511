"""The unit of cross-stitch networks, Eq. 1 for each channel, against loops in float64."""

import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import CrossStitchUnit
from keras_mtl.layers.cross_stitch import own_and_others

SHAPE = (2, 3, 4, 5)


def maps(tasks):
    rng = np.random.default_rng(0)
    return [rng.normal(size=SHAPE).astype("float32") for _ in range(tasks)]


def eq_1(features, shares):
    mixed = [np.zeros(SHAPE) for _ in features]
    for t, y in enumerate(mixed):
        for u, x in enumerate(features):
            for c in range(SHAPE[-1]):
                y[..., c] += shares[t, u, c] * x[..., c].astype("float64")
    return mixed


@pytest.mark.parametrize("tasks", [1, 3])
def test_every_task_receives_a_mix(tasks, randomise, assert_close):
    unit, features = CrossStitchUnit(), maps(tasks)
    unit(features)
    randomise(unit)
    shares = ops.convert_to_numpy(unit.shares).astype("float64")
    for found, expected in zip(unit(features), eq_1(features, shares), strict=True):
        assert_close(found, expected)


@pytest.mark.parametrize(
    ("tasks", "alpha", "beta", "first"),
    [
        (2, 0.9, None, [0.9, 0.1]),
        (5, 0.8, None, [0.8, 0.05, 0.05, 0.05, 0.05]),
        (3, 0.9, 0.1, [0.9, 0.1, 0.1]),
        (1, 0.9, 0.1, [1.0]),
    ],
)
def test_the_beginning(tasks, alpha, beta, first):
    shares = own_and_others(tasks, alpha, beta)
    for t in range(tasks):
        rest = first[1:]
        np.testing.assert_allclose(shares[t], [*rest[:t], first[0], *rest[t:]], rtol=1e-6)
    unit = CrossStitchUnit(alpha, beta)
    unit.build([SHAPE] * tasks)
    expected = np.repeat(shares[..., None], SHAPE[-1], axis=-1)
    np.testing.assert_array_equal(ops.convert_to_numpy(unit.shares), expected)
