"""The layer of NDDR-CNN: neural discriminative dimensionality reduction."""

import keras
import numpy as np
from keras import ops

from keras_mtl.layers.convolutions import batch_normalization, convolution
from keras_mtl.layers.cross_stitch import own_and_others


@keras.saving.register_keras_serializable(package="keras_mtl")
class NDDR(keras.layers.Layer):
    """The tasks' features concatenated, and reduced for each task by a 1x1 convolution of its own.

    `y_t = ReLU(BN_t(W_t [x_1; ...; x_T]))`, `W_t` without bias, `(C, T C)`. The block of a task's
    own features begins with `alpha I`, every other one with `beta I`, so that at first every task
    nearly keeps its features.

    All `W_t` are one convolution here, and all `BN_t` one normalization of its `T C` channels.

    Args:
        alpha: float. Share of a task's own features at the beginning: 0.9 (two tasks) or 0.8
            (five). A single task keeps all.
        beta: float or None. Share of each other task's: 0.1 or 0.05; `None` divides among them
            what is left of 1.

    Call arguments:
        features: list of T tensors `(B, H, W, C)`, one for each task.

    Returns:
        List of T tensors `(B, H, W, C)`.

    Example:

    >>> layer = keras_mtl.layers.NDDR()
    >>> reduced = layer([keras.ops.ones((1, 4, 6, 8)), keras.ops.zeros((1, 4, 6, 8))])
    >>> [round(float(each[0, 0, 0, 0]), 4) for each in reduced]
    [0.9, 0.1]

    Reference: Gao et al., NDDR-CNN: Layerwise Feature Fusing in Multi-Task CNNs by Neural
    Discriminative Dimensionality Reduction, CVPR 2019. The normalization's momentum of 0.95 is
    that of its port to ResNet.
    """

    def __init__(self, alpha: float = 0.9, beta: float | None = None, **kwargs):
        super().__init__(**kwargs)
        self.alpha = alpha
        self.beta = beta

    def build(self, features_shape):
        tasks, channels = len(features_shape), features_shape[0][-1]

        def begin(shape, dtype=None):
            # Rows of blocks are tasks u that are reduced, columns are tasks t that they become.
            shares = own_and_others(tasks, self.alpha, self.beta).T
            blocks = np.kron(shares, np.eye(channels))
            return ops.convert_to_tensor(blocks.reshape(shape), dtype)

        together = (*features_shape[0][:-1], tasks * channels)
        self.reduce = convolution(
            tasks * channels, kernel_initializer=begin, dtype=self.dtype_policy, name="reduce"
        )
        self.norm = batch_normalization(0.95, dtype=self.dtype_policy, name="norm")
        self.reduce.build(together)
        self.norm.build(together)

    def call(self, features, training=False):
        x = self.reduce(ops.concatenate(features, axis=-1))
        return ops.split(ops.relu(self.norm(x, training=training)), len(features), axis=-1)

    def compute_output_shape(self, features_shape):
        return [tuple(shape) for shape in features_shape]

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta}
