"""TPANet's Eq. 4 against a float64 reference."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import MLP


@pytest.mark.parametrize("shape", [(2, 7, 6), (2, 3, 5, 6)])
def test_eq_4(shape, predict, randomise, assert_close, tpanet_equations):
    x = np.random.default_rng(1).normal(0.3, 1, shape).astype("float32")
    layer = MLP(width=5, dropout=0.5)  # which does nothing here
    layer.build(shape)
    randomise(layer)
    assert_close(predict(layer, x), tpanet_equations.mlp(x.astype("float64"), layer))


def test_training_drops_after_the_gelu_and_after_the_second_map(randomise, tpanet_equations):
    keras.utils.set_random_seed(0)
    row = np.random.default_rng(2).normal(size=6).astype("float32")
    layer = MLP(width=1, dropout=0.5)
    layer.build((None, 6))
    randomise(layer)
    found = ops.convert_to_numpy(layer(np.tile(row, (400, 1)), training=True))
    bias = tpanet_equations.array(layer.dense_2.bias)
    whole = tpanet_equations.mlp(row.astype("float64"), layer) - bias  # from the hidden unit
    # Hidden unit off or doubled, then each output off or doubled.
    values = np.stack([0 * bias, 2 * bias, 2 * (2 * whole + bias)])
    distances = np.abs(found - values[:, None])
    assert distances.min(0).max() < 1e-5
    shares = (distances < 1e-5).mean((1, 2))
    np.testing.assert_allclose(shares, [1 / 2, 1 / 4, 1 / 4], atol=0.1)
