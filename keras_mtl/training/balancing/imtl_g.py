"""Impartial learning by gradients."""

import keras
from keras import ops

from keras_mtl.training.balancing.gradient_weighting import GradientWeighting, present
from keras_mtl.training.balancing.small_problems import equal_weights, scale_of


@keras.saving.register_keras_serializable(package="keras_mtl")
class IMTLG(GradientWeighting):
    """Takes the sum that is equally long along every task's gradient.

    G w is proportional to the gradients' lengths, and the weights sum to 1; some may be negative.
    Where that has no answer, the weights are equal.

    Args:
        **kwargs: `of`, `name` and the like; see `GradientWeighting`.

    Example:

    >>> rule = keras_mtl.balancing.IMTLG()
    >>> gramian = keras.ops.array([[1.0, 0.0], [0.0, 4.0]])
    >>> np.array(rule.weigh(gramian, keras.ops.ones(2)), "float64").round(3).tolist()
    [0.667, 0.333]

    Source: Liu et al., Towards Impartial Multi-task Learning, ICLR 2021, Eq. 3 and 4.
    """

    def weigh(self, gramian, losses):
        gramian = gramian / scale_of(gramian)
        there = present(gramian)
        lengths = ops.sqrt(ops.diagonal(gramian))
        # Of unit gradients: with cosines C and lengths l, w = C^-1 1 / l.
        safe = ops.where(there, lengths, 1.0)
        cosines = gramian / (safe[:, None] * safe[None])
        cosines = cosines + ops.eye(gramian.shape[0]) * (
            1e-6 + ops.cast(ops.logical_not(there), gramian.dtype)
        )
        found = ops.solve(cosines, ops.ones((gramian.shape[0], 1)))[:, 0] / safe
        found = ops.where(there, found, 0.0)
        total = ops.sum(found)
        solved = ops.abs(total) > 1e-6
        return ops.where(solved, found / ops.where(solved, total, 1.0), equal_weights(gramian))
