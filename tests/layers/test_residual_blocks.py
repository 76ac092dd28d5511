"""Residual blocks against their formulas in NumPy."""

import numpy as np
import pytest

from keras_mtl.layers import BasicBlock, Bottleneck
from keras_mtl.layers.residual_blocks import refine_features


@pytest.mark.parametrize("channels", [8, 5], ids=["identity", "projection"])
@pytest.mark.parametrize(
    ("make", "kernels"),
    [(lambda: BasicBlock(8), [3, 3]), (lambda: Bottleneck(2), [1, 3, 1])],
    ids=["basic", "bottleneck"],
)
def test_equations(decoder_equations, randomise, predict, assert_close, make, kernels, channels):
    layer, x = make(), np.random.default_rng(0).normal(size=(2, 3, 5, channels)).astype("float32")
    layer.build(x.shape)
    randomise(layer)
    assert [each.kernel.shape[0] for each in layer.kernels] == kernels
    assert (layer.projection is None) == (channels == 8)
    assert_close(predict(layer, x), decoder_equations.block(layer, x.astype("float64")))


def test_a_size_that_is_none():
    with pytest.raises(ValueError, match="planes is 0, expected an integer >= 1"):
        Bottleneck(0)
    with pytest.raises(ValueError, match="filters is 1.5, expected an integer >= 1"):
        BasicBlock(1.5)
    with pytest.raises(ValueError, match="use a multiple of 4, such as 12"):
        refine_features(None, 9, "depth")
