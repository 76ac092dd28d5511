"""Pattern-structure diffusion against its equations in float64, pixel by pixel."""

import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import PatternStructureDiffusion

B, H, W, C = 2, 4, 5, 3


def softmax(x):
    x = np.exp(x - x.max())
    return x / x.sum()


def window_of(r, c, k):
    """The pixels of a window by their place in it; `None` outside the map."""
    reach = k // 2
    places = [(r + i, c + j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]
    return [(i, j) if 0 <= i < H and 0 <= j < W else None for i, j in places]


def diffused(v, k, steps):
    """`[h^n; G]` of one image `(H, W, T, C)`."""
    tasks, v = v.shape[2], v.astype("float64")
    graphs = np.zeros((H, W, tasks, k * k))
    for r, c, t in np.ndindex(H, W, tasks):
        places = window_of(r, c, k)
        inside = [j for j, place in enumerate(places) if place is not None]
        scores = [v[r, c, t] @ v[(*places[j], t)] / np.sqrt(C) for j in inside]
        graphs[r, c, t, inside] = softmax(np.array(scores))

    def gathered(t, u, h):
        """Task t's values by task u's graphs."""
        out = np.zeros((H, W, C))
        for r, c in np.ndindex(H, W):
            for j, place in enumerate(window_of(r, c, k)):
                if place is not None:
                    out[r, c] += graphs[r, c, u, j] * h[(*place,)]
        return out

    out = np.zeros((H, W, tasks, 2 * C))
    for t in range(tasks):
        h = v[:, :, t]
        for _ in range(steps):
            h = gathered(t, t, h)
        out[:, :, t, :C] = h
        others = [u for u in range(tasks) if u != t]
        for r, c in np.ndindex(H, W):
            if others:
                match = [k * k * graphs[r, c, t] @ graphs[r, c, u] for u in others]
                shares = softmax(np.array(match))
                for share, u in zip(shares, others, strict=True):
                    out[r, c, t, C:] += share * gathered(t, u, v[:, :, t])[r, c]
    return out


@pytest.mark.parametrize("as_written", [False, True])
@pytest.mark.parametrize("tasks, window, steps", [(3, 3, 2), (2, 5, 1), (1, 3, 1), (2, 9, 1)])
def test_diffusion(as_written, tasks, window, steps, predict, assert_close):
    features = np.random.default_rng(0).normal(size=(B, H, W, tasks, C)).astype("float32")
    layer = PatternStructureDiffusion(window, steps)
    layer.as_written = as_written
    expected = np.stack([diffused(image, window, steps) for image in features])
    assert_close(predict(layer, features), expected)


def test_gradients_of_both_forms(gradient, assert_close):
    features = np.random.default_rng(0).normal(size=(1, H, W, 2, C)).astype("float32")
    found = []
    for as_written in (False, True):
        layer = PatternStructureDiffusion(3, 2)
        layer.as_written = as_written
        found.append(gradient(lambda x, layer=layer: ops.sum(ops.square(layer(x))), features))
    assert np.abs(found[0]).max() > 1e-2
    assert_close(*found)


@pytest.mark.once("torch", "a refusal knows no backend")
def test_refusals():
    with pytest.raises(ValueError, match="^window is 4, expected an odd number, such as window=5"):
        PatternStructureDiffusion(window=4)
    with pytest.raises(ValueError, match="steps is 0"):
        PatternStructureDiffusion(steps=0)
