"""MQTransformer's layers against their equations in float64, one image and one head at a time."""

import math

import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import MultiQueryTransformer, PositionAttention, QueryAttention

B, H, W, D, N, T, HEADS = 2, 3, 5, 8, 3, 2, 2


def array(variable):
    return ops.convert_to_numpy(variable).astype("float64")


def linear(x, layer):
    return x @ array(layer.kernel) + (0 if layer.bias is None else array(layer.bias))


def norm(x, layer):
    x = x - x.mean(axis=-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5)
    return x * array(layer.gamma) + array(layer.beta)


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def perceptron(x, mlp):
    return linear(gelu(linear(norm(x, mlp.norm), mlp.dense_1)), mlp.dense_2)


def attend(query, key, value):
    """Head by head; each (count, D)."""
    out, size = np.zeros_like(query), D // HEADS
    for h in range(HEADS):
        own = slice(h * size, (h + 1) * size)
        powers = np.exp(query[:, own] @ key[:, own].T / np.sqrt(size))
        out[:, own] = powers / powers.sum(axis=1, keepdims=True) @ value[:, own]
    return out


def unit(layer, query, key, value):
    mapped = [
        linear(norm(x, each), dense)
        for x, each, dense in zip((query, key, value), layer.norms, layer.maps, strict=True)
    ]
    return linear(attend(*mapped), layer.output_dense)


def self_attention(layer, x):
    mapped = [linear(x, getattr(layer, f"{name}_dense")) for name in ("query", "key", "value")]
    return linear(attend(*mapped), layer.output_dense)


def with_position(x, position):
    return x + np.tile(array(position).reshape(len(x), -1), (1, HEADS))


def exchanged(layer, features):
    """Of one image: features (T, S, D)."""
    filled = []
    for t, x in enumerate(features):
        p = array(layer.queries[t])[0]
        p = p + unit(layer.encoder_attention, with_position(p, layer.query_positions[t]), x, x)
        p = p + linear(norm(p, layer.reason_norm), layer.reason)
        filled.append(p + perceptron(p, layer.encoder_mlp))
    q = np.concatenate(filled)
    q = q + self_attention(layer.cross_task_attention, q)
    q = q + perceptron(norm(q, layer.cross_task_norm), layer.cross_task_mlp)
    out = []
    for t, x in enumerate(features):
        own = q[t * N : (t + 1) * N]
        keys = with_position(own, layer.key_positions[t])
        y = x + unit(layer.decoder_attention, x, keys, own)
        y = y + perceptron(y, layer.decoder_mlps[0])
        z = x + self_attention(layer.position_attention, y)
        out.append(gelu(z + perceptron(z, layer.decoder_mlps[1])))
    return np.array(out)


def test_equations(randomise, assert_close):
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(B, H, W, D)).astype("float32") for _ in range(T)]
    layer = MultiQueryTransformer(N, HEADS)
    layer.build([x.shape for x in features])
    randomise(layer)
    found = ops.convert_to_numpy(ops.stack(layer(features), axis=1))
    expected = [
        exchanged(layer, [x[b].reshape(-1, D).astype("float64") for x in features])
        for b in range(B)
    ]
    assert_close(found, np.reshape(expected, (B, T, H, W, D)))


def test_over_the_batch(randomise, assert_close):
    """The images take the places of the positions."""
    x = np.random.default_rng(0).normal(size=(B, H * W, D)).astype("float32")
    layer = PositionAttention(HEADS, "batch")
    layer.build(x.shape)
    randomise(layer)
    expected = [self_attention(layer, x[:, s].astype("float64")) for s in range(H * W)]
    assert_close(layer(x), np.stack(expected, axis=1))


def test_dropout_is_of_the_weights():
    """Of rate p the mean of many images is what it is without."""
    x = np.repeat(np.random.default_rng(0).normal(size=(1, 5, D)), 4000, axis=0).astype("float32")
    layer = PositionAttention(HEADS, dropout=0.5)
    layer.build(x.shape)
    once = ops.convert_to_numpy(layer(x[:1]))
    drawn = ops.convert_to_numpy(layer(x, training=True))
    assert np.abs(drawn[0] - drawn[1]).max() > 0.1
    assert np.abs(drawn.mean(axis=0) - once[0]).max() < 0.1 * drawn.std(axis=0).max()


def test_what_does_not_fit():
    for layer, shapes in (
        (QueryAttention(3), [(None, 5, 8)] * 3),
        (PositionAttention(3), [(None, 5, 8)]),
        (MultiQueryTransformer(2, 3), [[(None, 4, 6, 8)]]),
    ):
        with pytest.raises(ValueError, match="num_heads is 3, which does not divide the 8 channel"):
            layer.build(*shapes)
    with pytest.raises(ValueError, match="axis is 'tokens'; expected one of 'positions', 'batch'."):
        MultiQueryTransformer(attention_axis="tokens")
