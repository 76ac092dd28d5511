"""Where an auxiliary prediction sees each class, as shares of the image's pixels."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="keras_mtl")
class ClassRegions(keras.layers.Layer):
    """The softmax of each class's logits over the pixels.

    Args:
        padding: float or `None`. A pixel of the image that has this value in any channel is none:
            its share is 0, and those of a class without pixels are all 0. The published code has
            255 there, which no normalised image has. The logits stay as they are.

    Call arguments:
        logits: tensor `(B, h, w, K)`.
        images: tensor `(B, H, W, 3)`, normalised, of which the nearest pixel to the upper left
            counts; asked for where there is a `padding`.

    Returns:
        Tensor `(B, h w, K)`.

    Example:

    >>> regions = keras_mtl.layers.ClassRegions()
    >>> found = regions(keras.ops.zeros((1, 2, 4, 3)))
    >>> tuple(found.shape), float(found[0, 0, 0])
    ((1, 8, 3), 0.125)

    Reference: Brueggemann et al., Exploring Relational Context for Multi-Task Dense Prediction,
    ICCV 2021.
    """

    def __init__(self, padding: float | None = None, **kwargs):
        super().__init__(**kwargs)
        self.padding = None if padding is None else float(padding)

    def call(self, logits, images=None):
        _, height, width, classes = logits.shape
        # Numbers of half precision cannot sum thousands of pixels.
        logits = ops.reshape(ops.cast(logits, "float32"), (-1, height * width, classes))
        if self.padding is None:
            return ops.cast(ops.softmax(logits, axis=1), self.compute_dtype)
        for axis, side in ((1, height), (2, width)):
            images = ops.take(images, np.arange(side) * images.shape[axis] // side, axis=axis)
        counted = ops.all(images != self.padding, axis=-1)
        counted = ops.reshape(counted, (-1, height * width, 1))
        largest = ops.max(ops.where(counted, logits, -np.inf), axis=1, keepdims=True)
        # Where nothing is counted, any finite number does.
        largest = ops.stop_gradient(ops.where(ops.isfinite(largest), largest, 0.0))
        shares = ops.where(counted, ops.exp(ops.where(counted, logits - largest, 0.0)), 0.0)
        shares = shares / ops.maximum(ops.sum(shares, axis=1, keepdims=True), 1e-12)
        return ops.cast(shares, self.compute_dtype)

    def compute_output_shape(self, logits_shape, images_shape=None):
        batch, height, width, classes = logits_shape
        return (batch, height * width, classes)

    def get_config(self):
        return {**super().get_config(), "padding": self.padding}
