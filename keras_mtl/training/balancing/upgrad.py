"""Unconflicting projection of gradients."""

import keras
from keras import ops

from keras_mtl.training.balancing.gradient_weighting import GradientWeighting, present
from keras_mtl.training.balancing.small_problems import equal_weights, least_above, scale_of


@keras.saving.register_keras_serializable(package="keras_mtl")
class UPGrad(GradientWeighting):
    """Takes the mean of the gradients after each was projected to where it opposes no task.

    10 tasks at most.

    Args:
        **kwargs: `of`, `name` and the like; see `GradientWeighting`.

    Example:

    >>> rule = keras_mtl.balancing.UPGrad()
    >>> gramian = keras.ops.array([[1.0, -0.5], [-0.5, 1.0]])
    >>> np.array(rule.weigh(gramian, keras.ops.ones(2)), "float64").round(3).tolist()
    [0.75, 0.75]

    Source: Quinton and Rey, Jacobian Descent for Multi-Objective Optimization, 2024, Eq. 5 and
    Proposition 1.
    """

    def weigh(self, gramian, losses):
        gramian, equal = gramian / scale_of(gramian), equal_weights(gramian)
        lone = ops.cast(ops.logical_not(present(gramian)), gramian.dtype)
        gramian = gramian + ops.eye(gramian.shape[0]) * lone  # opposes nobody
        return ops.matmul(equal, least_above(gramian, ops.eye(gramian.shape[0])))
