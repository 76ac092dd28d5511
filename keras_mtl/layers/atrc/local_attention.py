"""Attention of every pixel to the window around it, in memory linear in their number."""

import math

from keras import ops


def local_attention(query, key, value, window: int, as_written: bool = False):
    """softmax(q_i . k_j / sqrt(d)) over the window of i, applied to v_j.

    A place of the window that lies outside the map has a key and a value of 0: its score is 0, and
    it takes part in the softmax.

    Args:
        query, key, value: tensors `(B, h, w, d)`.
        window: int, odd. Side of the window.
        as_written: bool. Whether products are those of matrices, as operations are counted.

    Returns:
        Tensor `(B, h, w, d)`, and the scores before their division by sqrt(d) and the softmax of
        them, both `(B, h, w, window^2)`, the window row by row.

    Example:

    >>> x = keras.ops.ones((1, 4, 6, 8))
    >>> out, scores, _ = local_attention(x, x, x, 3)
    >>> tuple(out.shape), [float(score) for score in scores[0, 0, 0]]
    ((1, 4, 6, 8), [0.0, 0.0, 0.0, 0.0, 8.0, 8.0, 0.0, 8.0, 8.0])
    """
    height, size = query.shape[1], query.shape[-1]
    key, value = (_columns(each, window) for each in (key, value))
    # Row after row of the window: the keys of all its places at once are many times the map's.
    scores = [_each_key(query, key[:, row : row + height], as_written) for row in range(window)]
    scores = ops.concatenate(scores, axis=-1)
    dtype = scores.dtype
    attention = ops.softmax(ops.cast(scores, "float32") / math.sqrt(size), axis=-1)
    weights = ops.cast(attention, dtype)
    out = sum(
        _weighed(
            weights[..., row * window : (row + 1) * window],
            value[:, row : row + height],
            as_written,
        )
        for row in range(window)
    )
    return out, scores, attention


def _columns(x, window: int):
    """Each pixel's neighbours on its row, 0 outside: `(B, h + window - 1, w, window, d)`."""
    width, reach = x.shape[2], window // 2
    x = ops.pad(x, [(0, 0), (reach, reach), (reach, reach), (0, 0)])
    return ops.stack([x[:, :, column : column + width] for column in range(window)], axis=3)


def _each_key(query, key, as_written: bool):
    """q . k_j for each j of a row of the window: `(B, h, w, window)`."""
    if not as_written:
        return ops.sum(query[:, :, :, None] * key, axis=-1)
    _, h, w, window, d = key.shape
    products = ops.matmul(ops.reshape(key, (-1, window, d)), ops.reshape(query, (-1, d, 1)))
    return ops.reshape(products, (-1, h, w, window))


def _weighed(weights, value, as_written: bool):
    """The sum of v_j over a row of the window, by weights: `(B, h, w, d)`."""
    if not as_written:
        return ops.sum(weights[..., None] * value, axis=3)
    _, h, w, window, d = value.shape
    products = ops.matmul(
        ops.reshape(weights, (-1, 1, window)), ops.reshape(value, (-1, window, d))
    )
    return ops.reshape(products, (-1, h, w, d))
