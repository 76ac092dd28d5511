"""Conflict-averse gradient descent."""

import keras
from keras import ops

from keras_mtl.arguments import check_number
from keras_mtl.training.balancing.gradient_weighting import GradientWeighting
from keras_mtl.training.balancing.small_problems import (
    equal_weights,
    least_on_simplex,
    repeat,
    scale_of,
)

_ROUNDS = 50


@keras.saving.register_keras_serializable(package="keras_mtl")
class CAGrad(GradientWeighting):
    """Near the mean gradient, takes the one that helps the worst task most.

    The direction d with the largest of the least products with the tasks' gradients, where
    |d - g_0| <= c |g_0|: g_0 + c |g_0| / |g_w| g_w, with g_w = sum_t w_t g_t and w on the simplex
    such that g_w g_0 + c |g_0| |g_w| is least. 10 tasks at most.

    Args:
        c: float, from 0, the mean gradient, on.
        **kwargs: `of`, `name` and the like; see `GradientWeighting`.

    Raises:
        ValueError: if c is negative.

    Example:

    >>> rule = keras_mtl.balancing.CAGrad(c=0.5)
    >>> gramian = keras.ops.array([[1.0, 0.0], [0.0, 1.0]])
    >>> np.array(rule.weigh(gramian, keras.ops.ones(2)), "float64").round(3).tolist()
    [0.75, 0.75]

    Source: Liu et al., Conflict-Averse Gradient Descent for Multi-task Learning, NeurIPS 2021,
    Eq. 3 and Algorithm 1.
    """

    def __init__(self, c: float = 0.4, **kwargs):
        super().__init__(**kwargs)
        if not check_number("c", c) >= 0:
            raise ValueError(f"c is {c!r}, expected a number from 0 on.")
        self.c = c

    def weigh(self, gramian, losses):
        # Whatever the scale: it is the same for all terms.
        gramian = gramian / scale_of(gramian)
        equal = equal_weights(gramian)
        radius = self.c * _length(gramian, equal)

        # |g_w| is the least of |g_w|^2 / 2 s + s / 2 over s, where s = |g_w|: in turns the w for s,
        # exactly, and the s for w.
        def improve(_, weights):
            length = ops.maximum(_length(gramian, weights), 1e-6)
            linear = ops.matmul(gramian, equal) * length / ops.maximum(radius, 1e-4)
            return least_on_simplex(gramian, linear)

        weights = repeat(improve, _ROUNDS, equal)
        return equal + radius / ops.maximum(_length(gramian, weights), 1e-6) * weights

    def get_config(self):
        return {**super().get_config(), "c": self.c}


def _length(gramian, weights):
    """Of the weighted sum of the gradients."""
    return ops.sqrt(ops.maximum(ops.sum(weights * ops.matmul(gramian, weights)), 0.0))
