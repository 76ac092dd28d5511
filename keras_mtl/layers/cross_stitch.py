"""The unit of cross-stitch networks."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="keras_mtl")
class CrossStitchUnit(keras.layers.Layer):
    """Every task receives a learned linear mix of all tasks' features, per channel.

    `y_t[c] = sum_u a[t, u, c] x_u[c]`, with no bias, no normalization and nothing spatial. At the
    beginning `a[t, t] = alpha`, and all other shares are `beta`.

    Args:
        alpha: float. Share of a task's own features at the beginning: 0.9 (two tasks) or 0.8
            (five) in the ports. A single task keeps all.
        beta: float or None. Share of each other task's; `None` divides among them what is left
            of 1.

    Call arguments:
        features: list of T tensors `(B, H, W, C)`, one for each task.

    Returns:
        List of T tensors `(B, H, W, C)`.

    Example:

    >>> unit = keras_mtl.layers.CrossStitchUnit()
    >>> mixed = unit([keras.ops.ones((1, 4, 6, 8)), keras.ops.zeros((1, 4, 6, 8))])
    >>> [round(float(each[0, 0, 0, 0]), 4) for each in mixed]
    [0.9, 0.1]

    Reference: Misra et al., Cross-stitch Networks for Multi-task Learning, CVPR 2016, Eq. 1. Theirs
    follow pooling and fully connected layers of AlexNet and share one number in a layer or a
    channel; per channel is what its ports to ResNet have.
    """

    def __init__(self, alpha: float = 0.9, beta: float | None = None, **kwargs):
        super().__init__(**kwargs)
        self.alpha = alpha
        self.beta = beta

    def build(self, features_shape):
        shares = own_and_others(len(features_shape), self.alpha, self.beta)[..., None]  # (T, T, 1)
        channels = features_shape[0][-1]

        def begin(shape, dtype=None):
            return ops.convert_to_tensor(np.broadcast_to(shares, shape), dtype)

        self.shares = self.add_weight(
            shape=(*shares.shape[:2], channels), initializer=begin, name="shares"
        )

    def call(self, features):
        shares = ops.cast(self.shares, self.compute_dtype)
        return [sum(shares[t, u] * x for u, x in enumerate(features)) for t in range(len(features))]

    def compute_output_shape(self, features_shape):
        return [tuple(shape) for shape in features_shape]

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta}


def own_and_others(tasks: int, alpha: float, beta: float | None = None) -> np.ndarray:
    """What each task takes of each at the beginning, `(T, T)`.

    Args:
        tasks: int. Their number T.
        alpha: float. On the diagonal; a single task takes all of itself.
        beta: float or None. Beside it; `None` makes rows sum to 1.

    Example:

    >>> own_and_others(2, 0.75).tolist()
    [[0.75, 0.25], [0.25, 0.75]]
    """
    if tasks == 1:
        return np.ones((1, 1), "float32")
    beta = (1 - alpha) / (tasks - 1) if beta is None else beta
    shares = np.full((tasks, tasks), beta, "float32")
    np.fill_diagonal(shares, alpha)
    return shares
