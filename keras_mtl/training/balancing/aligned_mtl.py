"""Aligning the principal components of the tasks' gradients."""

import keras
from keras import ops

from keras_mtl.training.balancing.gradient_weighting import GradientWeighting
from keras_mtl.training.balancing.small_problems import equal_weights, scale_of


@keras.saving.register_keras_serializable(package="keras_mtl")
class AlignedMTL(GradientWeighting):
    """Makes the gradients orthogonal and equally long, as near to what they were as can be.

    With G = V diag(s) V', the mean of the gradients is taken after sqrt(s_least) V diag(s)^-1/2 V'.

    Args:
        **kwargs: `of`, `name` and the like; see `GradientWeighting`.

    Example:

    >>> rule = keras_mtl.balancing.AlignedMTL()
    >>> gramian = keras.ops.array([[4.0, 0.0], [0.0, 1.0]])
    >>> np.array(rule.weigh(gramian, keras.ops.ones(2)), "float64").round(3).tolist()
    [0.25, 0.5]

    Source: Senushkin et al., Independent Component Alignment for Multi-Task Learning, CVPR 2023,
    Eq. 13 and Algorithm 1.
    """

    def weigh(self, gramian, losses):
        gramian = gramian / scale_of(gramian)
        values, vectors = ops.eigh(gramian)
        tasks = gramian.shape[0]
        kept = values > ops.max(values) * tasks * 1e-6  # in float32 the others are 0
        least = ops.min(ops.where(kept, values, float("inf")))
        least = ops.where(ops.any(kept), least, 1.0)
        shrunk = ops.where(kept, ops.sqrt(least / ops.where(kept, values, 1.0)), 0.0)
        balance = ops.matmul(vectors * shrunk, ops.transpose(vectors))
        return ops.matmul(balance, equal_weights(gramian))
