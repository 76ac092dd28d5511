"""InvPT's attention against its equations in float64, one image, one head, one query at a time."""

import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import MessagePassingAttention, UnusedWeights

B, T, H, W, M, HEADS = 2, 3, 4, 8, 8, 2


def inputs(passed, pooling):
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(B, H, W, M)).astype("float32") for _ in range(T)]
    keys = T * (H // pooling) * (W // pooling)
    queries = T * (H // 4) * (W // 4)
    return features, rng.normal(size=(B, HEADS, queries, keys)).astype("float32") * passed


def queries_of(image, layer, t, array):
    """Of one task's features (H, W, M): every second position of a depthwise convolution."""
    kernel, norm = array(layer.query_convolutions[t].kernel)[..., 0], layer.query_norms[t]
    padded = np.pad(image, [(1, 1), (1, 1), (0, 0)])
    out = np.zeros((H // 2, W // 2, M))
    for y in range(H // 2):
        for x in range(W // 2):
            window = padded[2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
            out[y, x] = (kernel * window).sum(axis=(0, 1))
    scale = array(norm.gamma) / np.sqrt(array(norm.moving_variance) + 1e-5)
    return ((out - array(norm.moving_mean)) * scale + array(norm.beta)).reshape(-1, M)


def means_of(image, pooling):
    return np.array(
        [
            image[y : y + pooling, x : x + pooling].mean(axis=(0, 1))
            for y in range(0, H, pooling)
            for x in range(0, W, pooling)
        ]
    )


def linear(x, layer, array):
    return x @ array(layer.kernel) + array(layer.bias)


def attended(images, passed, layer, pooling, array, resized):
    """Of one image: features (T, H / 2, W / 2, M) and scores (HEADS, Q, K)."""
    queries = np.concatenate([queries_of(image, layer, t, array) for t, image in enumerate(images)])
    means = np.concatenate([means_of(image, pooling) for image in images])
    query = linear(queries, layer.query_dense, array)
    key = linear(means, layer.key_dense, array)
    value = linear(means, layer.value_dense, array)
    size, count = M // HEADS, len(queries)
    scores = np.array(
        [
            query[:, h * size : (h + 1) * size] @ key[:, h * size : (h + 1) * size].T / np.sqrt(M)
            for h in range(HEADS)
        ]
    )
    if passed is not None:
        grids = passed.reshape(HEADS * T, H // 4, W // 4, len(means)).astype("float64")
        enlarged = resized(grids, (H // 2, W // 2)).reshape(HEADS, count, len(means))
        both = np.concatenate([scores, enlarged])
        mix, shift = array(layer.fuse.kernel), array(layer.fuse.bias)
        scores = np.array(
            [sum(mix[g, h] * both[g] for g in range(2 * HEADS)) + shift[h] for h in range(HEADS)]
        )
    out = np.zeros((count, M))
    for h in range(HEADS):
        for q in range(count):
            powers = np.exp(scores[h, q] - scores[h, q].max())
            own = slice(h * size, (h + 1) * size)
            out[q, own] = powers / powers.sum() @ value[:, own]
    return linear(out, layer.output_dense, array).reshape(T, H // 2, W // 2, M), scores


@pytest.mark.parametrize(("passed", "pooling"), [(False, 2), (True, 4)])
def test_equations(passed, pooling, decoder_equations, randomise, resized, assert_close):
    features, before = inputs(passed, pooling)
    given = [features, before] if passed else [features]
    layer = MessagePassingAttention(HEADS, pooling)
    layer.build(
        *([x.shape for x in each] if isinstance(each, list) else each.shape for each in given)
    )
    randomise(layer)
    found = layer(*given)
    stacked = ops.convert_to_numpy(ops.stack(found["features"], axis=1))
    expected = [
        attended(
            [each[b].astype("float64") for each in features],
            before[b] if passed else None,
            layer,
            pooling,
            decoder_equations.array,
            resized,
        )
        for b in range(B)
    ]
    assert_close(stacked, np.array([out for out, _ in expected]))
    assert_close(found["scores"], np.array([scores for _, scores in expected]))


def test_what_does_not_fit():
    maps = [(None, 4, 8, 6)] * 2
    with pytest.raises(ValueError, match="num_heads is 4, which does not divide the 6 channels"):
        MessagePassingAttention(4).build(maps)
    with pytest.raises(ValueError, match="The features are 4x5; expected even sides."):
        MessagePassingAttention().build([(None, 4, 5, 6)])
    with pytest.raises(ValueError, match="passed are of 3 queries, .* this one has 4."):
        MessagePassingAttention().build(maps, (None, 2, 3, 16))


def test_unused_weights_change_nothing():
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(B, H, W, M)).astype("float32") for _ in range(T)]
    layer = UnusedWeights(HEADS)
    for out, own in zip(layer(features, np.ones((B, 2, 3, 5))), features, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(out), own)
    dims = [3 * 3 * 5 * M + M, (2 * HEADS + 1) * HEADS, T * (M + 1) * M, 2 * T * M // 4]
    assert layer.count_params() == sum(dims)
