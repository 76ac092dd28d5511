"""Dual balancing."""

import keras
from keras import ops

from keras_mtl.training.balancing.gradient_weighting import GradientWeighting, present


@keras.saving.register_keras_serializable(package="keras_mtl")
class DBMTL(GradientWeighting):
    """Makes losses alike by their logarithm, and gradients alike by the longest of them.

    The gradients of log L_t, g_t / L_t, are all made as long as the longest. (Of the paper's two
    rules this is without the moving average of gradients: its decay beta is 0.)

    Args:
        **kwargs: `of`, `name` and the like; see `GradientWeighting`.

    Example:

    >>> rule = keras_mtl.balancing.DBMTL()
    >>> gramian = keras.ops.array([[1.0, 0.0], [0.0, 16.0]])
    >>> losses = keras.ops.array([1.0, 2.0])  # whose logarithms' gradients are 1 and 2 long
    >>> np.array(rule.weigh(gramian, losses), "float64").round(3).tolist()
    [2.0, 0.5]

    Source: Lin et al., Dual-Balancing for Multi-Task Learning, 2023, Eq. 2 and 4.
    """

    def weigh(self, gramian, losses):
        there = present(gramian)
        lengths = ops.sqrt(ops.maximum(ops.diagonal(gramian), 0.0))
        of_logarithms = lengths / ops.where(there, losses, 1.0)
        longest = ops.max(ops.where(there, of_logarithms, 0.0))
        # max |g / L| / |g / L| of g / L
        return longest / ops.where(there, lengths, 1.0)
