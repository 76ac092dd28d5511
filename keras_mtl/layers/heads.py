"""Prediction heads: from a task's feature map to its raw map."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="keras_mtl")
class PredictionHead(keras.layers.Layer):
    """3x3 convolution, batch normalization, activation, 1x1 convolution.

    Args:
        channels: int. Raw output channels of the task.
        width: int or None. Channels between the convolutions; `None` keeps the
            feature map's.
        upsampling: int. Bilinear upsampling (half-pixel centres) before the head.
        activation: str. `"gelu"` (exact; TaskPrompter) or any Keras activation.

    Call arguments:
        features: tensor `(B, H, W, F)`.

    Returns:
        Tensor `(B, upsampling * H, upsampling * W, channels)`.

    Example:

    >>> head = keras_mtl.layers.PredictionHead(channels=40, upsampling=4)
    >>> tuple(head(keras.ops.ones((1, 4, 6, 16))).shape)
    (1, 16, 24, 40)

    Reference: Ye and Xu, TaskPrompter, ICLR 2023, Sec. 3.3.
    """

    as_written = False  # see as_written.py

    def __init__(
        self,
        channels: int,
        width: int | None = None,
        upsampling: int = 1,
        activation: str = "gelu",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.channels = channels
        self.width = width
        self.upsampling = upsampling
        self.activation = activation

    def build(self, features_shape):
        self.body = keras.Sequential(
            [
                keras.layers.UpSampling2D(
                    self.upsampling, interpolation="bilinear", dtype=self.dtype_policy
                ),
                keras.layers.Conv2D(
                    self.width or features_shape[-1], 3, padding="same", dtype=self.dtype_policy
                ),
                keras.layers.BatchNormalization(
                    epsilon=1e-5, momentum=0.9, dtype=self.dtype_policy
                ),
                keras.layers.Activation(
                    keras.activations.get(self.activation), dtype=self.dtype_policy
                ),
                keras.layers.Conv2D(self.channels, 1, dtype=self.dtype_policy),
            ],
            name="body",
        )
        self.body.build(features_shape)

    def call(self, features, training=False):
        upsample, mix, norm, activation, out = self.body.layers
        if self.upsampling == 1 or None in features.shape[1:3] or self.as_written:
            x = mix(upsample(features))
        else:
            x = _convolution_of_upsampled(features, mix.kernel, self.upsampling)
            x = x + ops.cast(mix.bias, x.dtype)
        return pointwise_convolution(out, activation(norm(x, training=training)))

    def compute_output_shape(self, features_shape):
        batch, height, width, _ = features_shape
        return (batch, height * self.upsampling, width * self.upsampling, self.channels)

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.channels,
            "width": self.width,
            "upsampling": self.upsampling,
            "activation": self.activation,
        }


@keras.saving.register_keras_serializable(package="keras_mtl")
class TransposedUpsampling(keras.layers.Layer):
    """Twice the size and half the channels, learned: all of a head but its last convolution.

    2x2 transposed convolution of stride 2, batch normalization, GELU, 3x3 convolution, batch
    normalization, GELU.

    Args:
        width: int or None. Channels of the answer; `None` means half the feature map's.

    Call arguments:
        features: tensor `(B, H, W, F)`.

    Returns:
        Tensor `(B, 2 * H, 2 * W, width)`.

    Example:

    >>> tuple(keras_mtl.layers.TransposedUpsampling()(keras.ops.ones((1, 4, 6, 16))).shape)
    (1, 8, 12, 8)

    Reference: Ye and Xu, TaskPrompter, ICLR 2023, A.6, as the published code has it.
    """

    def __init__(self, width: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def build(self, features_shape):
        width, dtype = self.width or max(features_shape[-1] // 2, 1), self.dtype_policy

        def norm_and_gelu():
            return [
                keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9, dtype=dtype),
                keras.layers.Activation(keras.activations.gelu, dtype=dtype),
            ]

        def begin():
            return keras.initializers.TruncatedNormal(stddev=0.02)

        self.body = keras.Sequential(
            [
                keras.layers.Conv2DTranspose(
                    width, 2, strides=2, kernel_initializer=begin(), dtype=dtype
                ),
                *norm_and_gelu(),
                keras.layers.Conv2D(
                    width, 3, padding="same", kernel_initializer=begin(), dtype=dtype
                ),
                *norm_and_gelu(),
            ],
            name="body",
        )
        self.body.build(features_shape)

    def call(self, features, training=False):
        return self.body(features, training=training)

    def compute_output_shape(self, features_shape):
        batch, height, width, channels = features_shape
        return (batch, 2 * height, 2 * width, self.width or max(channels // 2, 1))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def pointwise_convolution(layer: keras.layers.Conv2D, x):
    """A 1x1 convolution as the matrix product that it is, which is quicker on the CPU.

    Args:
        layer: the convolution, built.
        x: tensor `(..., C)`.

    Returns:
        Tensor `(..., F)`.
    """
    kernel, bias = ops.cast(layer.kernel[0, 0], x.dtype), ops.cast(layer.bias, x.dtype)
    return ops.matmul(x, kernel) + bias


def _convolution_of_upsampled(x, kernel, factor: int):
    """A 3x3 convolution of bilinearly upsampled maps, without the products of the large maps.

    Both are linear: multiplying the small map by the nine weights and then upsampling each product,
    shifted by its place in the kernel, gives the same with `factor ** 2` times fewer products.

    Args:
        x: tensor `(B, h, w, C)`.
        kernel: tensor `(3, 3, C, F)`.
        factor: int.

    Returns:
        Tensor `(B, factor * h, factor * w, F)`.
    """
    rows, columns = (
        ops.convert_to_tensor(_shifted_upsampling(length, factor), x.dtype)
        for length in x.shape[1:3]
    )
    kernel = ops.cast(kernel, x.dtype)
    products = ops.einsum("bijc,klcf->bkiljf", x, kernel)  # k, l: place in the kernel
    wide = ops.einsum("xlj,bkiljf->bkixf", columns, products)  # sum over l, all columns x
    return ops.einsum("yki,bkixf->byxf", rows, wide)  # sum over k, all rows y


def _shifted_upsampling(length: int, factor: int) -> np.ndarray:
    """Bilinear upsampling (half-pixel centres) as a matrix, for the three places of a kernel.

    Returns:
        Array `(factor * length, 3, length)`: what pixel y of the large map sees of pixel i of the
        small one at the kernel's place k, which lies at y + k - 1, and beyond the border on zeros.
    """
    large = factor * length
    centres = np.clip((np.arange(large) + 0.5) / factor - 0.5, 0, length - 1)
    upsampling = np.maximum(1 - np.abs(centres[:, None] - np.arange(length)), 0)
    padded = np.pad(upsampling, [(1, 1), (0, 0)])
    return np.stack([padded[k : k + large] for k in range(3)], axis=1).astype("float32")
