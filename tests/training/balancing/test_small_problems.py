"""What gradient rules solve, against SciPy in float64."""

import numpy as np
import pytest
from keras import ops
from scipy.optimize import minimize

from keras_mtl.training.balancing import small_problems


def draw(tasks, kind, seed=0):
    """Gradients `(tasks, 5)` and their Gramian."""
    rng = np.random.default_rng([seed, tasks])
    gradients = rng.normal(size=(tasks, 5)) * 10 ** rng.uniform(-1, 1, (tasks, 1))
    if kind == "parallel":
        gradients[-1] = 2 * gradients[0]
    if kind == "opposed":
        gradients[-1] = -gradients[0] + 0.1 * gradients[-1]
    if kind == "tiny":
        gradients *= 1e-6
    return gradients, gradients @ gradients.T


KINDS = ["plain", "parallel", "opposed", "tiny"]


def least(cost, tasks, bounds, **more):
    """The least that SciPy finds from several beginnings."""
    starts = np.random.default_rng(0).dirichlet(np.ones(tasks), 5)
    found = [
        minimize(cost, start, bounds=bounds, method="SLSQP", options={"ftol": 1e-14}, **more)
        for start in starts
    ]
    return min(each.fun for each in found)


@pytest.mark.parametrize("tasks", [2, 5, 10])
@pytest.mark.parametrize("kind", KINDS)
def test_the_least_on_the_simplex(tasks, kind):
    _, gramian = draw(tasks, kind)
    linear = np.random.default_rng(1).normal(size=tasks) * gramian.trace() / 9
    weights = small_problems.least_on_simplex(*map(tensor, (gramian, linear)))
    weights = ops.convert_to_numpy(weights).astype(float)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    scale = gramian.trace()

    def cost(w):
        return (w @ gramian @ w / 2 + linear @ w) / scale

    simplex = {"type": "eq", "fun": lambda w: w.sum() - 1}
    expected = least(cost, tasks, [(0, 1)] * tasks, constraints=[simplex])
    assert cost(weights) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("tasks", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_the_least_above_bounds(tasks, kind):
    _, gramian = draw(tasks, kind)
    found = ops.convert_to_numpy(small_problems.least_above(tensor(gramian), ops.eye(tasks)))
    scale = gramian.trace()
    for row, bounds in zip(found.astype(float), np.eye(tasks), strict=True):
        assert (row >= bounds - 1e-5).all()

        def cost(v):
            return v @ gramian @ v / scale

        expected = least(cost, tasks, [(b, None) for b in bounds])
        assert cost(row) == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("power", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("kind", ["plain", "opposed", "tiny"])
def test_the_power_of_weights_is_what_the_gramian_makes_of_them(power, kind):
    _, gramian = draw(4, kind)
    weights = ops.convert_to_numpy(small_problems.solve_power(tensor(gramian), power))
    weights = weights.astype(float)
    assert (weights > 0).all()
    np.testing.assert_allclose(gramian @ weights * weights**power, 1, rtol=2e-3)


def test_onto_the_simplex():
    rng = np.random.default_rng(3)
    for there in ([True] * 4, [True, False, True, True]):
        given = rng.normal(size=4)
        found = small_problems.onto_simplex(tensor(given), ops.convert_to_tensor(there))
        found = ops.convert_to_numpy(found)
        low, high = -9.0, 9.0  # what is taken from all, by bisection
        for _ in range(60):
            taken = (low + high) / 2
            left = np.where(there, np.maximum(given - taken, 0), 0)
            low, high = (taken, high) if left.sum() > 1 else (low, taken)
        np.testing.assert_allclose(found, left, atol=1e-5)


def test_too_many_tasks_are_refused():
    with pytest.raises(ValueError, match="There are 11 tasks, expected 10 at most"):
        small_problems.faces(11)


def tensor(x):
    return ops.convert_to_tensor(x, "float32")
