"""Deformable convolution against loops over its equation."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import DeformableConvolution
from keras_mtl.layers.deformable_convolution import deformable_convolution


def reference(x, offsets, masks, kernel, strides):
    """`y(p) = sum_k W_k m_k(p) x(stride p - pad + tap_k + offset_k(p))`, bilinear, zero outside."""
    batch, height, width, _ = x.shape
    size = kernel.shape[0]
    y = np.zeros((*offsets.shape[:3], kernel.shape[-1]))

    def pixel(b, i, j):
        return x[b, i, j] if 0 <= i < height and 0 <= j < width else np.zeros(x.shape[-1])

    for b, i, j in np.ndindex(*offsets.shape[:3]):
        for k in range(size**2):
            down = i * strides - size // 2 + k // size + offsets[b, i, j, 2 * k]
            right = j * strides - size // 2 + k % size + offsets[b, i, j, 2 * k + 1]
            top, left = math.floor(down), math.floor(right)
            for row, share_y in ((top, top + 1 - down), (top + 1, down - top)):
                for column, share_x in ((left, left + 1 - right), (left + 1, right - left)):
                    value = share_y * share_x * pixel(b, row, column)
                    y[b, i, j] += masks[b, i, j, k] * value @ kernel[k // size, k % size]
    return y


@pytest.mark.parametrize(("size", "strides"), [(3, 1), (3, 2), (1, 1)])
def test_against_loops(size, strides):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 7, 3)).astype("float32")
    rows, columns = -(-5 // strides), -(-7 // strides)
    taps = size**2
    # Some far outside of the map, however large.
    offsets = rng.normal(0, 3, (2, rows, columns, 2 * taps)).astype("float32")
    offsets[0, 0, 0] = 1e6
    offsets[1, 1, 1] = -1e6
    masks = rng.uniform(size=(2, rows, columns, taps)).astype("float32")
    kernel = rng.normal(size=(size, size, 3, 4)).astype("float32")
    tensors = [ops.convert_to_tensor(each) for each in (x, offsets, masks, kernel)]
    expected = reference(x, offsets, masks, kernel, strides)
    for one_by_one in (True, False):
        found = deformable_convolution(*tensors, strides=strides, one_by_one=one_by_one)
        np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=1e-4)


def test_it_begins_as_half_a_convolution():
    x = np.random.default_rng(0).normal(size=(1, 4, 6, 3)).astype("float32")
    layer = DeformableConvolution(5)
    found = ops.convert_to_numpy(layer(x))
    plain = keras.layers.Conv2D(5, 3, padding="same")
    plain.build(x.shape)
    plain.kernel.assign(layer.kernel)
    half = ops.convert_to_numpy(plain(x)) / 2
    np.testing.assert_allclose(found, half, atol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x, training=True)), half, atol=1e-5)
    assert layer.compute_output_shape((None, None, 7, 3)) == (None, None, 7, 5)
    twin = DeformableConvolution.from_config(layer.get_config())
    assert (twin.filters, twin.size, twin.strides) == (5, 3, 1)
    mixed = DeformableConvolution(5, dtype="mixed_bfloat16")
    mixed.build(x.shape)
    mixed.set_weights(layer.get_weights())
    rough = mixed(x)
    assert keras.backend.standardize_dtype(rough.dtype) == "bfloat16"
    np.testing.assert_allclose(ops.convert_to_numpy(ops.cast(rough, "float32")), found, atol=0.1)
    with pytest.raises(ValueError, match="size is 2, expected an odd number, such as size=3"):
        DeformableConvolution(5, size=2)
