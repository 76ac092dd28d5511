"""Scaled dot-product attention over many tokens, in memory linear in their number."""

import math

import keras
from keras import ops

CHUNK = 256


def dot_product_attention(query, key, value):
    if keras.backend.backend() == "torch":
        return _fused(query, key, value)
    return _chunked(query, key, value)


def _fused(query, key, value):
    head_size = query.shape[-1]
    padding = [(0, 0), (0, 0), (0, 0), (0, -head_size % 8)]
    query, key, value = (ops.pad(x, padding) for x in (query, key, value))
    out = ops.dot_product_attention(query, key, value, scale=1 / math.sqrt(head_size))
    return out[..., :head_size]


def _chunked(query, key, value, chunk: int = CHUNK):
    dtype = query.dtype
    _, length, heads, size = query.shape
    chunks = math.ceil(length / chunk)
    chunk = math.ceil(length / chunks)

    query = ops.transpose(query, (0, 2, 1, 3))
    key = ops.transpose(key, (0, 2, 3, 1))
    value = ops.transpose(value, (0, 2, 1, 3))
    if chunks == 1:
        return ops.transpose(_attend(query, key, value), (0, 2, 1, 3))

    key, value = ops.cast(key, "float32"), ops.cast(value, "float32")
    query = ops.pad(query, [(0, 0), (0, 0), (0, chunks * chunk - length), (0, 0)])
    query = ops.reshape(query, (-1, heads, chunks, chunk, size))
    query = ops.transpose(query, (2, 0, 1, 3, 4))
    attend = keras.remat(_attend)
    out = ops.map(lambda rows: attend(rows, key, value), query)  # (chunks, B, heads, chunk, d)
    out = ops.transpose(out, (1, 0, 3, 2, 4))
    return ops.reshape(out, (-1, chunks * chunk, heads, size))[:, :length]


def _attend(query, key, value):
    dtype = query.dtype
    scores = ops.cast(ops.matmul(query, ops.cast(key, dtype)), "float32")
    weights = ops.softmax(scores / math.sqrt(query.shape[-1]), axis=-1)
    return ops.matmul(ops.cast(weights, dtype), ops.cast(value, dtype))
