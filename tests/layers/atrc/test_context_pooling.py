"""ATRC's context types, shares of classes and their mixture against their equations in float64."""

import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import ClassRegions, ContextPooling
from keras_mtl.layers.atrc.mixed_context import MixedContext

B, H, W, D, K = 2, 5, 4, 6, 3
ALL = ("global", "local", "t-label", "s-label")


def softmax(x):
    x = np.exp(x - x.max())
    return x / x.sum()


def arrays(seed=0):
    """Features of the target and of the source, and shares of the pixels of K classes."""
    rng = np.random.default_rng(seed)
    target, source = rng.normal(size=(2, B, H, W, D)).astype("float32")
    regions = rng.uniform(size=(B, H * W, K)).astype("float32")
    return target, source, regions / regions.sum(axis=1, keepdims=True)


def projected(pairs, x, equations, last):
    for n, (kernel, norm) in enumerate(pairs, start=1):
        x = x @ equations.array(kernel.kernel)
        scale, shift = (
            equations.array(each) if each is not None else default
            for each, default in ((norm.gamma, 1.0), (norm.beta, 0.0))
        )
        deviation = np.sqrt(equations.array(norm.moving_variance) + 1e-5)
        x = (x - equations.array(norm.moving_mean)) / deviation * scale + shift
        x = last(x) if n == len(pairs) else np.maximum(x, 0)
    return x


def pooled(layer, target, source, regions, equations):
    """Pixel after pixel, (B, H, W, d)."""
    target, source = target.astype("float64"), source.astype("float64")
    attended = source
    if layer.context.endswith("label"):  # c = A^T F_s
        attended = np.einsum("bpk,bpd->bkd", regions, source.reshape(B, H * W, D))

    def relu(x):
        return np.maximum(x, 0)

    def softplus(x):
        return np.log1p(np.exp(x))

    act = softplus if layer.context == "global" else relu
    q = projected(layer.queries, target, equations, act)
    k = projected(layer.keys, attended, equations, act)
    v = projected(layer.values, attended, equations, relu)
    out, reach = np.zeros(q.shape), layer.window // 2
    for b, r, c in np.ndindex(B, H, W):
        query = q[b, r, c]
        if layer.context == "local":  # with keys and values of 0 outside
            inside = [
                (i, j) if 0 <= i < H and 0 <= j < W else None
                for i in range(r - reach, r + reach + 1)
                for j in range(c - reach, c + reach + 1)
            ]
            keys, values = (
                np.array([np.zeros(len(query)) if p is None else x[(b, *p)] for p in inside])
                for x in (k, v)
            )
        else:
            keys, values = (each[b].reshape(-1, len(query)) for each in (k, v))
        if layer.context == "global":
            attention = keys @ query / max((keys @ query).sum(), 1e-12)
        else:
            attention = softmax(keys @ query / np.sqrt(len(query)))
        out[b, r, c] = attention @ values
    return out


@pytest.mark.parametrize("as_written", [False, True])
@pytest.mark.parametrize("context", ALL)
def test_types(context, as_written, randomise, predict, decoder_equations, assert_close):
    target, source, regions = arrays()
    layer = ContextPooling(context, window=3)
    given = (target, source, regions)[: 3 if context.endswith("label") else 2]
    layer.build(*(each.shape for each in given))
    randomise(layer)
    layer.as_written = as_written
    found = predict(layer, *given)
    assert_close(found, pooled(layer, target, source, regions, decoder_equations))


@pytest.mark.once("torch", "the values were compared on every backend")
@pytest.mark.parametrize("window", [5, 9])  # also larger than the map
def test_windows(window, randomise, decoder_equations, assert_close):
    target, source, regions = arrays()
    layer = ContextPooling("local", window)
    layer.build(target.shape, source.shape)
    randomise(layer)
    found = layer(target, source)
    assert_close(found.detach(), pooled(layer, target, source, regions, decoder_equations))


def test_gradients_of_both_forms(gradient, randomise, assert_close):
    target, source, _ = arrays()
    layer, found = ContextPooling("local", window=3), []
    layer.build(target.shape, source.shape)
    randomise(layer)
    for layer.as_written in (False, True):
        found.append(gradient(lambda x: ops.sum(ops.square(layer(x, ops.add(x, source)))), target))
    assert np.abs(found[0]).max() > 1e-2
    assert_close(*found)


def test_mixture(randomise, decoder_equations, assert_close):
    target, source, regions = arrays()
    others = arrays(1)[2]
    weights = np.array([0.1, 0.2, 0.4, 0.05, 0.25], "float32")
    for same_task in (False, True):
        layer = MixedContext(same_task, window=3)
        given = (target, source, regions, others, weights)
        layer.build(*(each.shape for each in given))
        randomise(layer)
        found = layer(*map(ops.convert_to_tensor, given))
        expected = sum(
            weight * pooled(block, target, source, each, decoder_equations)
            for weight, block, each in zip(
                weights[1:], layer.blocks, (None, None, regions, others), strict=False
            )
        )
        assert len(layer.blocks) == 4 - same_task
        assert all(block.values[0][1].gamma is None for block in layer.blocks)
        assert_close(ops.stop_gradient(found), expected)


# === Shares of pixels ===


def shares(logits, counted):
    out = np.zeros((B, H * W, K))
    flat = logits.astype("float64").reshape(out.shape)
    for b, k in np.ndindex(B, K):
        inside = counted[b].ravel()
        if inside.any():
            out[b, inside, k] = softmax(flat[b, inside, k])
    return out


def test_regions(assert_close, gradient):
    rng = np.random.default_rng(0)
    logits = 30 * rng.normal(size=(B, H, W, K)).astype("float32")
    everywhere = np.ones((B, H, W), bool)
    assert_close(ClassRegions()(logits), shares(logits, everywhere))

    # The nearest pixel to the upper left, where any channel has the value; the second image has
    # nothing else.
    images = rng.normal(size=(B, 2 * H + 1, 3 * W, 3)).astype("float32")
    images[0, 4:, 2:, 1] = 255
    images[1, ..., 2] = 255
    before, layer = logits.copy(), ClassRegions(padding=255)
    rows, columns = (np.arange(n) * m // n for n, m in ((H, 2 * H + 1), (W, 3 * W)))
    counted = (images != 255).all(axis=-1)[:, rows][:, :, columns]
    assert 0 < counted[0].sum() < H * W
    assert_close(layer(logits, images), shares(logits, counted))
    np.testing.assert_array_equal(logits, before)
    found = gradient(lambda x: ops.sum(ops.square(layer(x, images))), logits / 30)
    assert np.isfinite(found).all() and (found[1] == 0).all() and (found[0] != 0).any()


@pytest.mark.once("torch", "a refusal knows no backend")
def test_what_is_refused():
    with pytest.raises(ValueError, match="context is 'none'; expected one of 'global', 'local'"):
        ContextPooling("none")
    with pytest.raises(ValueError, match="window is 4, expected an odd number, such as window=5"):
        ContextPooling("local", window=4)
