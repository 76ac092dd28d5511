"""A convolution that says itself where its kernel looks."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_mtl.arguments import check_integer
from keras_mtl.computation.one_by_one import sum_one_by_one


@keras.saving.register_keras_serializable(package="keras_mtl")
class DeformableConvolution(keras.layers.Layer):
    """Modulated deformable convolution.

    `y(p) = sum_k W_k m_k(p) x(stride p - pad + tap_k + offset_k(p)) + b`: an ordinary convolution
    of the same input gives each tap of the kernel an offset and a mask (a sigmoid). What lies
    between pixels is bilinear, and zero outside of the map. It begins with offsets 0 and masks 1/2.

    Whole rows of channels are gathered, in training tap by tap, and gathered again for the
    gradient: memory is linear in the size of the map, and no larger than an ordinary convolution's
    as a matrix product.

    Args:
        filters: int. Channels of the answer.
        size: int. Side of the kernel, odd.
        strides: int.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Call arguments:
        x: tensor `(B, H, W, C)`.

    Returns:
        Tensor `(B, ceil(H / strides), ceil(W / strides), filters)`.

    Example:

    >>> layer = keras_mtl.layers.DeformableConvolution(5)
    >>> tuple(layer(keras.ops.ones((1, 4, 6, 2))).shape)
    (1, 4, 6, 5)

    Reference: Zhu et al., Deformable ConvNets v2, CVPR 2019, Eq. 1.
    """

    def __init__(self, filters: int, size: int = 3, strides: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.filters = check_integer("filters", filters, 1)
        self.size = check_integer("size", size, 1)
        self.strides = check_integer("strides", strides, 1)
        if size % 2 == 0:
            raise ValueError(f"size is {size}, expected an odd number, such as size={size + 1}.")

    def build(self, x_shape):
        taps = self.size**2
        # The part that offsets come from is named and begins as in the published network.
        self.offsets = keras.layers.Conv2D(
            3 * taps,
            self.size,
            strides=self.strides,
            padding="valid",
            kernel_initializer="zeros",
            dtype=self.dtype_policy,
            name="offsets",
        )
        self.offsets.build(x_shape)
        self.kernel = self.add_weight(
            shape=(self.size, self.size, x_shape[-1], self.filters),
            initializer=keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
            name="kernel",
        )
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, x, training=None):
        taps, around = self.size**2, self.size // 2
        padded = ops.pad(x, [[0, 0], [around, around], [around, around], [0, 0]])
        moved = ops.cast(self.offsets(padded), "float32")
        offsets, masks = moved[..., : 2 * taps], ops.sigmoid(moved[..., 2 * taps :])
        kernel = ops.cast(self.kernel, self.compute_dtype)
        # Without a gradient nothing is kept, and a graph is a tenth as large.
        y = deformable_convolution(x, offsets, masks, kernel, self.strides, one_by_one=training)
        return y + ops.cast(self.bias, self.compute_dtype)

    def compute_output_shape(self, x_shape):
        height, width = (
            None if length is None else -(-length // self.strides) for length in x_shape[1:3]
        )
        return (x_shape[0], height, width, self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "size": self.size,
            "strides": self.strides,
        }


def deformable_convolution(
    x: Any, offsets: Any, masks: Any, kernel: Any, strides: int = 1, one_by_one: bool | None = True
) -> Any:
    """What `DeformableConvolution` computes of its offsets and masks, but for the bias.

    Args:
        x: tensor `(B, H, W, C)`.
        offsets: float32 tensor `(B, h, w, 2 n^2)`, down and to the right for each tap in turn, row
            by row of the kernel, in pixels.
        masks: float32 tensor `(B, h, w, n^2)`.
        kernel: tensor `(n, n, C, filters)`.
        strides: int.
        one_by_one: bool. Whether one tap at a time is in memory, and computed again for the
            gradient, or all at once.

    Returns:
        Tensor `(B, h, w, filters)`.

    Example:

    >>> x, kernel = keras.ops.ones((1, 4, 6, 2)), keras.ops.ones((3, 3, 2, 5))
    >>> offsets, masks = keras.ops.zeros((1, 4, 6, 18)), keras.ops.ones((1, 4, 6, 9))
    >>> float(deformable_convolution(x, offsets, masks, kernel)[0, 1, 1, 0])
    18.0
    """
    height, width, channels = x.shape[1:]
    rows, columns = offsets.shape[1:3]
    size, filters = kernel.shape[0], kernel.shape[-1]
    # A frame of zeros around the map: what lies further outside is all the same.
    tall, wide = height + 3, width + 3
    pixels = ops.pad(x, [[0, 0], [1, 2], [1, 2], [0, 0]])
    pixels = ops.reshape(pixels, (-1, channels))
    down = ops.arange(rows, dtype="float32")[:, None] * strides - size // 2
    right = ops.arange(columns, dtype="float32") * strides - size // 2
    tap_rows, tap_columns = np.indices((size, size), "float32").reshape(2, -1)
    ys = down[..., None] + ops.convert_to_tensor(tap_rows) + offsets[..., ::2]
    xs = right[:, None] + ops.convert_to_tensor(tap_columns) + offsets[..., 1::2]

    def part(pixels, weights, ys, xs, masks):
        """The part of the answer of some taps, which are the last axis."""
        ys, xs = ops.clip(ys, -1.0, float(height)), ops.clip(xs, -1.0, float(width))
        top, left = ops.floor(ys), ops.floor(xs)
        low, far = ys - top, xs - left
        shares = [(1 - low) * (1 - far), (1 - low) * far, low * (1 - far), low * far]
        image = ops.arange(ops.shape(ys)[0], dtype="int32")[:, None, None, None] * (tall * wide)
        place = image + ops.cast(top + 1, "int32") * wide + ops.cast(left + 1, "int32")
        place, found = ops.reshape(place, (-1,)), 0.0
        for share, further in zip(shares, (0, 1, wide, wide + 1), strict=True):
            share = ops.reshape(ops.cast(share * masks, weights.dtype), (-1, 1))
            found = found + share * ops.take(pixels, place + further, axis=0)
        return ops.matmul(ops.reshape(found, (-1, weights.shape[0])), weights)

    if one_by_one:
        weights = ops.reshape(kernel, (size**2, channels, filters))
        each = (ops.moveaxis(values, -1, 0)[..., None] for values in (ys, xs, masks))
        answer = sum_one_by_one(part, pixels, (weights, *each))
    else:
        weights = ops.reshape(kernel, (size**2 * channels, filters))
        answer = part(pixels, weights, ys, xs, masks)
    return ops.reshape(answer, (-1, rows, columns, filters))
