"""The prediction head (Sec. 3.3) against a float64 reference, pixel by pixel."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import erf

from keras_mtl.computation.as_written import as_written
from keras_mtl.layers import PredictionHead, TransposedUpsampling


def array(variable):
    return ops.convert_to_numpy(variable).astype("float64")


def upsampled(x, factor):
    """Bilinear with half-pixel centres: the value at a centre, from the two nearest ones."""
    for axis in (1, 2):
        x, length = np.moveaxis(x, axis, 0), x.shape[axis]
        out = []
        for i in range(factor * length):
            centre = (i + 0.5) / factor - 0.5
            below = int(np.floor(centre))
            near, far = (np.clip(k, 0, length - 1) for k in (below, below + 1))
            share = centre - below
            out.append((1 - share) * x[near] + share * x[far])
        x = np.moveaxis(np.stack(out), 0, axis)
    return x


def head_of(x, layer):
    conv, norm, last = (layer.body.layers[i] for i in (1, 2, 4))
    x = upsampled(x.astype("float64"), layer.upsampling)
    (h, w), kernel = x.shape[1:3], array(conv.kernel)
    maps = np.zeros((*x.shape[:3], kernel.shape[-1])) + array(conv.bias)
    for i, j, di, dj in np.ndindex(h, w, 3, 3):
        row, column = i + di - 1, j + dj - 1
        if 0 <= row < h and 0 <= column < w:
            maps[:, i, j] += x[:, row, column] @ kernel[di, dj]
    maps = (maps - array(norm.moving_mean)) / np.sqrt(array(norm.moving_variance) + 1e-5)
    maps = maps * array(norm.gamma) + array(norm.beta)
    maps = (
        maps * 0.5 * (1 + erf(maps / np.sqrt(2)))
        if layer.activation == "gelu"
        else (np.maximum(maps, 0))
    )
    return maps @ array(last.kernel)[0, 0] + array(last.bias)


@pytest.mark.parametrize(
    "arguments",
    [{"upsampling": 4}, {"upsampling": 1, "width": 7}, {"upsampling": 2, "activation": "relu"}],
    ids=str,
)
def test_head(arguments, predict, randomise, assert_close):
    x = np.random.default_rng(5).normal(size=(2, 2, 3, 5)).astype("float32")
    layer = PredictionHead(channels=4, **arguments)
    layer.build((None, *x.shape[1:]))
    randomise(layer)
    found = predict(layer, x)
    assert found.shape == (2, 2 * layer.upsampling, 3 * layer.upsampling, 4)
    assert layer.body.layers[1].filters == arguments.get("width", 5)
    assert_close(found, head_of(x, layer))


@pytest.mark.parametrize("upsampling", [2, 4])
def test_gradients_are_those_of_upsampling_and_convolving(
    upsampling, randomise, weight_gradients, assert_close
):
    """Without the products of the large map, and with them."""
    x = np.random.default_rng(6).normal(size=(2, 3, 4, 5)).astype("float32")
    layer = PredictionHead(channels=4, width=6, upsampling=upsampling)
    layer.build(x.shape)
    randomise(layer)
    found = weight_gradients(layer, x)
    with as_written(layer):
        expected = weight_gradients(layer, x)
    assert len(found) == len(layer.trainable_variables)
    for path, gradient in expected.items():
        assert np.abs(gradient).max() > 0
        assert_close(found[path], gradient, 3e-5)


def test_bfloat16_is_as_near_as_upsampling_and_convolving(randomise):
    x = np.random.default_rng(7).normal(size=(1, 6, 8, 32)).astype("float32")
    exact = PredictionHead(channels=4, upsampling=4)
    layer = PredictionHead(channels=4, upsampling=4, dtype="mixed_bfloat16")
    for head in (exact, layer):
        head.build(x.shape)
        randomise(head)
    expected = ops.convert_to_numpy(exact(x))
    found = layer(x)
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    with as_written(layer):
        plain = layer(x)

    def error(maps):
        return np.abs(ops.convert_to_numpy(ops.cast(maps, "float32")) - expected).mean()

    assert error(found) < 1.5 * error(plain)
    assert error(found) < 0.01 * np.abs(expected).max()


def test_config_round_trips():
    layer = PredictionHead(channels=4, width=7, upsampling=2, activation="relu")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == layer.get_config()


def test_transposed_upsampling(predict, randomise, assert_close, decoder_equations):
    """Every place becomes a 2x2 square by a matrix of its own for each corner."""
    x = np.random.default_rng(7).normal(size=(2, 2, 3, 6)).astype("float32")
    layer = TransposedUpsampling()
    layer.build(x.shape)
    randomise(layer)
    enlarge, norm_1, _, mix, norm_2, _ = layer.body.layers
    kernel = array(enlarge.kernel)  # (2, 2, out, in)
    y = np.zeros((2, 4, 6, 3))
    for i, j in np.ndindex(2, 2):
        y[:, i::2, j::2] = x.astype("float64") @ kernel[i, j].T + array(enlarge.bias)

    def normalized(x, norm):
        x = decoder_equations.batch_norm(x, norm)
        return x * 0.5 * (1 + erf(x / np.sqrt(2)))

    y = decoder_equations.convolution(normalized(y, norm_1), mix)
    assert_close(predict(layer, x), normalized(y, norm_2))
