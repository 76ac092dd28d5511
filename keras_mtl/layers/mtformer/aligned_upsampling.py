"""Bilinear upsampling between corners."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="keras_mtl")
class AlignedUpsampling(keras.layers.Layer):
    """Bilinear upsampling whose first and last positions are those of the input.

    Keras resizes with half-pixel centres; decoders of some published networks do it so.

    Args:
        factor: int.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Call arguments:
        x: tensor `(B, h, w, C)`.

    Returns:
        Tensor `(B, factor * h, factor * w, C)`.

    Example:

    >>> x = keras.ops.convert_to_tensor([[[[0.0], [3.0]]]])
    >>> np.array(keras_mtl.layers.AlignedUpsampling()(x))[0, 0, :, 0].round(3).tolist()
    [0.0, 1.0, 2.0, 3.0]
    """

    def __init__(self, factor: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        for axis in (1, 2):
            length = x.shape[axis]
            places = np.linspace(0, length - 1, self.factor * length)
            below = np.minimum(places.astype("int32"), max(length - 2, 0))
            above = np.minimum(below + 1, length - 1)
            share = (places - below).reshape([-1 if a == axis else 1 for a in range(4)])
            share = ops.convert_to_tensor(share, x.dtype)
            low, high = (ops.take(x, each, axis=axis) for each in (below, above))
            x = low + share * (high - low)
        return x

    def compute_output_shape(self, x_shape):
        batch, height, width, channels = x_shape
        return (batch, self.factor * height, self.factor * width, channels)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}
