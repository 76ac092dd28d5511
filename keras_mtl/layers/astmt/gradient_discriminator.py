"""A classifier that is to tell from a gradient which task it came from, and is kept from it."""

import keras
import numpy as np
from keras import ops

from keras_mtl.arguments import check_integer
from keras_mtl.backbones.task_conditioning import small_convolution

TINY = 1e-10


@keras.saving.register_keras_serializable(package="keras_mtl")
class GradientDiscriminator(keras.layers.Layer):
    """Tells the task of a loss's gradient with respect to features, pixel by pixel.

    The gradient g is divided by its length over the channels (plus 1e-10); a convolution, ReLU and
    a convolution to one score for each task follow. What is learned through g is reversed: its own
    gradient is multiplied by -alpha, so that tasks come to want the same of the features.

    In a network it gives the features as they are; `scores` is for the loss.

    Args:
        num_tasks: int.
        kernel_size: int. Side of both kernels.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Attributes:
        alpha: variable, from 0 to 1. `keras_mtl.ASTMT.fit` raises it from epoch to epoch; it begins
            at 1.

    Call arguments:
        features: tensor `(B, h, w, C)`.

    Returns:
        The features.

    Raises:
        ValueError: if a number is no positive integer.

    Example:

    >>> tell = keras_mtl.layers.GradientDiscriminator(num_tasks=3)
    >>> x = tell(keras.ops.ones((1, 4, 6, 8)))
    >>> tuple(tell.scores(x).shape)
    (1, 4, 6, 3)

    Reference: Maninis, Radosavovic and Kokkinos, Attentive Single-Tasking of Multiple Tasks,
        CVPR 2019, Sec. 5, as its published code has it.
    """

    def __init__(self, num_tasks: int, kernel_size: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.num_tasks = check_integer("num_tasks", num_tasks, 1)
        self.kernel_size = check_integer("kernel_size", kernel_size, 1)

    def build(self, features_shape):
        width, policy = features_shape[-1], self.dtype_policy
        self.hidden = small_convolution(width, self.kernel_size, name="hidden", dtype=policy)
        self.out = keras.layers.Conv2D(
            self.num_tasks,
            self.kernel_size,
            padding="same",
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            name="out",
            dtype=policy,
        )
        self.hidden.build(features_shape)
        self.out.build(features_shape)
        self.alpha = self.add_weight(
            shape=(),
            initializer="ones",
            trainable=False,
            autocast=False,
            dtype="float32",
            name="alpha",
        )

    def call(self, features):
        return features

    def scores(self, gradient):
        """The score of each task, `(B, h, w, T)`.

        Args:
            gradient: tensor `(B, h, w, C)`.
        """
        square = ops.sum(ops.square(gradient), axis=-1, keepdims=True)
        # Where there is no gradient the root has none either.
        length = ops.where(square > 0, ops.sqrt(ops.where(square > 0, square, 1.0)), 0.0)
        return self.out(ops.relu(self.hidden(_reversed(gradient / (length + TINY), self.alpha))))

    def compute_output_shape(self, features_shape):
        return features_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "kernel_size": self.kernel_size,
        }


def bilinear_matrix(length: int, larger: int) -> np.ndarray:
    """Bilinear resizing along one axis (half-pixel centres) as a matrix `(larger, length)`.

    TensorFlow has no second gradient of its own resizing.

    Example:

    >>> bilinear_matrix(2, 4).tolist()
    [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    centres = np.clip((np.arange(larger) + 0.5) * length / larger - 0.5, 0, length - 1)
    matrix = np.maximum(1 - np.abs(centres[:, None] - np.arange(length)), 0)
    return matrix.astype("float32")


def _reversed(x, alpha):
    """x, whose gradient is multiplied by -alpha."""
    alpha = ops.cast(alpha, x.dtype)
    return ops.stop_gradient(x + alpha * x) - alpha * x
