"""The multiple-gradient descent algorithm."""

import keras
from keras import ops

from keras_mtl.training.balancing.gradient_weighting import GradientWeighting
from keras_mtl.training.balancing.small_problems import least_on_simplex


@keras.saving.register_keras_serializable(package="keras_mtl")
class MGDA(GradientWeighting):
    """Takes the shortest of all weighted means of the gradients, along which no task gets worse.

    The weights sum to 1. Solved exactly, not by the paper's Frank-Wolfe steps; 10 tasks at most.

    Args:
        **kwargs: `of`, `name` and the like; see `GradientWeighting`.

    Example:

    >>> rule = keras_mtl.balancing.MGDA()
    >>> gramian = keras.ops.array([[1.0, 0.0], [0.0, 4.0]])
    >>> np.array(rule.weigh(gramian, keras.ops.ones(2)), "float64").round(3).tolist()
    [0.8, 0.2]

    Source: Sener and Koltun, Multi-Task Learning as Multi-Objective Optimization, NeurIPS 2018,
    Eq. 3, with the features' gradients its Eq. 5.
    """

    def weigh(self, gramian, losses):
        return least_on_simplex(gramian, ops.zeros_like(losses))
