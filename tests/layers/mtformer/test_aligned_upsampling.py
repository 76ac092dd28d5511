"""Upsampling between corners against linear interpolation by NumPy."""

import numpy as np
import pytest

from keras_mtl.layers import AlignedUpsampling


@pytest.mark.parametrize(("size", "factor"), [((3, 5), 2), ((1, 4), 3)])
def test_aligned_upsampling(size, factor, assert_close):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("float32")
    expected = x.astype("float64")
    for axis in (1, 2):
        length = expected.shape[axis]
        places = np.linspace(0, length - 1, factor * length)
        expected = np.apply_along_axis(
            lambda line, at, places=places: np.interp(places, at, line),
            axis,
            expected,
            np.arange(length),
        )
    assert_close(AlignedUpsampling(factor)(x), expected)
