"""Dual balancing."""

import keras
from keras import ops

from keras_mtl.training.balancing.gradient_weighting import present
from keras_mtl.training.balancing.tracked_gradients import TrackedGradients


@keras.saving.register_keras_serializable(package="keras_mtl")
class DBMTL(TrackedGradients):
    """Makes losses alike by their logarithm, and gradients alike by the longest of them.

    The gradients of log L_t, g_t / L_t, are all made as long as the longest; with momentum, moving
    averages of them. (The paper always averages, for which the gradients of all shared variables
    are needed; without, those of the shared features serve.)

    Args:
        momentum: float from 0 to below 1, what stays of an average; the paper's beta.
        **kwargs: `of`, which must be `"variables"` where there is momentum, `name` and the like;
            see `TrackedGradients`, of which this is one.

    Raises:
        ValueError: if the momentum is outside, or features are to be averaged.

    Example:

    >>> rule = keras_mtl.balancing.DBMTL()
    >>> gramian = keras.ops.array([[1.0, 0.0], [0.0, 16.0]])
    >>> losses = keras.ops.array([1.0, 2.0])  # whose logarithms' gradients are 1 and 2 long
    >>> np.array(rule.weigh(gramian, losses), "float64").round(3).tolist()
    [2.0, 0.5]

    Source: Lin et al., Dual-Balancing for Multi-Task Learning, 2023, Eq. 2, 3 and 4.
    """

    def __init__(self, momentum: float = 0.0, **kwargs):
        super().__init__(momentum=momentum, **kwargs)

    def factors_of(self, losses, there):
        return 1 / ops.where(there, losses, 1.0)  # the logarithms' derivatives

    def weigh(self, gramian, losses):
        there = present(gramian)
        lengths = ops.sqrt(ops.maximum(ops.diagonal(gramian), 0.0))
        of_logarithms = lengths / ops.where(there, losses, 1.0)
        longest = ops.max(ops.where(there, of_logarithms, 0.0))
        # max |g / L| / |g / L| of g / L
        return longest / ops.where(there, lengths, 1.0)
