"""The small problems that gradient rules solve, on the tasks' Gramian, in a compiled step.

Quadratic ones are solved exactly, on every face of what is allowed at once: T tasks have 2^T - 1
faces, and T is small.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_mtl.training.balancing.gradient_weighting import present

MOST_TASKS = 10
_RIDGE = 1e-6  # of the mean squared length: gradients may be parallel


def scale_of(gramian: Any) -> Any:
    """The mean squared length of the gradients there are; 1 if there is none.

    Args:
        gramian: tensor `(tasks, tasks)`.
    """
    squares = ops.diagonal(gramian)
    there = ops.sum(ops.cast(squares > 0, squares.dtype))
    total = ops.sum(squares)
    return ops.where(total > 0, total / ops.maximum(there, 1.0), 1.0)


def equal_weights(gramian: Any) -> Any:
    """One over the number of tasks that have a gradient, for each of these.

    Args:
        gramian: tensor `(tasks, tasks)`.
    """
    there = ops.cast(present(gramian), gramian.dtype)
    return there / ops.maximum(ops.sum(there), 1.0)


def faces(tasks: int, empty: bool = False) -> np.ndarray:
    """All sets of tasks, as float32 `(sets, tasks)` of zeros and ones.

    Args:
        tasks: how many tasks there are.
        empty: bool. Whether the set of none is among them.

    Raises:
        ValueError: if there are too many tasks.

    Example:

    >>> faces(2).tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    """
    if tasks > MOST_TASKS:
        raise ValueError(
            f"There are {tasks} tasks, expected {MOST_TASKS} at most; this rule looks at every set "
            "of tasks, so use another one, such as keras_mtl.balancing.PCGrad."
        )
    numbers = np.arange(0 if empty else 1, 2**tasks)
    return (numbers[:, None] >> np.arange(tasks) & 1).astype("float32")


def least_on_simplex(gramian: Any, linear: Any) -> Any:
    """The w that minimizes w'Gw / 2 + b'w where w >= 0 and sum(w) = 1; w is 0 for absent tasks.

    Args:
        gramian: tensor `(tasks, tasks)`, G.
        linear: tensor `(tasks,)`, b.

    Returns:
        Tensor `(tasks,)`; zeros if all tasks are absent.

    Example:

    >>> gramian = keras.ops.array([[1.0, 0.0], [0.0, 4.0]])
    >>> np.array(least_on_simplex(gramian, keras.ops.zeros(2)), "float64").round(3).tolist()
    [0.8, 0.2]
    """
    scale = scale_of(gramian)
    gramian, linear, there = gramian / scale, linear / scale, present(gramian)
    sets = ops.convert_to_tensor(faces(gramian.shape[0]))
    # On a face G w + b is the same for all its tasks, nu: w = nu G^-1 1 - G^-1 b.
    right = ops.stack([sets, -sets * linear], axis=-1)
    ones, shifts = ops.unstack(ops.solve(_on_faces(gramian, sets), right), 2, axis=-1)
    level = (1 - ops.sum(shifts, -1)) / ops.sum(ones, -1)
    found = shifts + level[:, None] * ones
    allowed = ops.all(found >= -1e-6, -1) & ops.all((sets == 0) | there, -1)
    found = ops.maximum(found, 0.0)
    found = found / ops.maximum(ops.sum(found, -1, keepdims=True), 1e-12)
    cost = ops.sum(found * (ops.matmul(found, gramian) / 2 + linear), -1)
    best = found[ops.argmin(ops.where(allowed, cost, np.inf))]
    return ops.where(there, best, 0.0)


def least_above(gramian: Any, bounds: Any) -> Any:
    """For each row u the v that minimizes v'Gv where v >= u.

    Args:
        gramian: tensor `(tasks, tasks)`, G.
        bounds: tensor `(rows, tasks)` of what is not negative.

    Returns:
        Tensor `(rows, tasks)`.

    Example:

    >>> gramian = keras.ops.array([[1.0, -0.5], [-0.5, 1.0]])
    >>> np.array(least_above(gramian, keras.ops.eye(2)), "float64").round(3).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    gramian = gramian / scale_of(gramian)
    free = ops.convert_to_tensor(faces(gramian.shape[0], empty=True))
    bound = (1 - free)[:, None] * bounds  # (sets, rows, tasks): those that are as they must be
    right = bound - free[:, None] * ops.matmul(bound, gramian)
    found = ops.swapaxes(ops.solve(_on_faces(gramian, free), ops.swapaxes(right, 1, 2)), 1, 2)
    allowed = ops.all(found >= bounds - 1e-6, -1)
    cost = ops.sum(found * ops.matmul(found, gramian), -1)
    best = ops.argmin(ops.where(allowed, cost, np.inf), 0)
    return ops.stack([found[best[row], row] for row in range(bounds.shape[0])])


def _on_faces(gramian: Any, sets: Any) -> Any:
    """For each set of tasks the matrix that is G for these and leaves the others alone."""
    both = sets[:, :, None] * sets[:, None]
    alone = 1 - sets + _RIDGE * sets
    return both * gramian + ops.eye(gramian.shape[0]) * alone[:, None]


def solve_power(gramian: Any, power: float, steps: int = 30) -> Any:
    """The w > 0 with G w = w^-power, by Newton's method; absent tasks have some, without meaning.

    It is where w'Gw / 2 less the integral of w^-power is least, which is convex. A step goes at
    most 9 tenths of the way to where a weight would be 0.

    Args:
        gramian: tensor `(tasks, tasks)`, G.
        power: float above 0.
        steps: int, of Newton's method.

    Example:

    >>> gramian = keras.ops.array([[4.0, 0.0], [0.0, 0.25]])
    >>> np.array(solve_power(gramian, 1.0), "float64").round(3).tolist()
    [0.5, 2.0]
    """
    scale = scale_of(gramian)
    gramian = gramian / scale
    lone = ops.cast(ops.logical_not(present(gramian)), gramian.dtype)
    gramian = gramian + ops.eye(gramian.shape[0]) * (lone + _RIDGE)

    def newton(_, weights):
        slope = ops.matmul(gramian, weights) - weights**-power
        curve = gramian + ops.eye(gramian.shape[0]) * (power * weights ** (-power - 1))
        step = -ops.solve(curve, slope[:, None])[:, 0]
        shrinks = ops.where(step < 0, weights / ops.maximum(-step, 1e-30), np.inf)
        return weights + ops.minimum(1.0, 0.9 * ops.min(shrinks)) * step

    start = ops.diagonal(gramian) ** (-1 / (1 + power))  # the answer for orthogonal gradients
    return repeat(newton, steps, start) * scale ** (-1 / (1 + power))


def onto_simplex(weights: Any, there: Any) -> Any:
    """The nearest weights that are not negative and sum to 1; 0 for tasks that are not there.

    Args:
        weights: tensor `(tasks,)`.
        there: bool tensor `(tasks,)`.

    Example:

    >>> weights, there = keras.ops.array([0.9, 0.5, 7.0]), keras.ops.array([True, True, False])
    >>> np.array(onto_simplex(weights, there), "float64").round(3).tolist()
    [0.7, 0.3, 0.0]
    """
    weights = ops.where(there, weights, -1e9)
    falling = -ops.sort(-weights)
    above = (ops.cumsum(falling) - 1) / np.arange(1, weights.shape[0] + 1, dtype="float32")
    taken = ops.max(above)  # from each task that keeps something
    return ops.where(there, ops.maximum(weights - taken, 0.0), 0.0)


def repeat(function: Callable, count: int, start: Any) -> Any:
    """What a function makes of a tensor, time and again.

    Args:
        function: of the number of the time, and the tensor.
        count: int.
        start: tensor.
    """
    return ops.fori_loop(0, count, function, start)
