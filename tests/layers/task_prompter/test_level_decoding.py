"""One task's features of one level against Eq. 6-8 as published on Swin, in float64."""

import numpy as np
import pytest

from keras_mtl.layers import LevelPromptDecoding
from tests.layers.task_prompter.swin_equations import array, gelu

B, GRID, C, HEADS, WINDOWS = 2, (4, 6), 8, 2, (2, 3)


@pytest.mark.parametrize("upsampling", [1, 2])
def test_decoding(upsampling, predict, randomise, assert_close, resized, decoder_equations):
    layer = LevelPromptDecoding(GRID, WINDOWS, 5, 6, upsampling)
    (h, w), n = GRID, GRID[0] * GRID[1]
    shapes = [(B, n, C), (B, HEADS, n), (B, WINDOWS[0] * WINDOWS[1], C)]
    layer.build(*shapes)
    randomise(layer)
    rng = np.random.default_rng(1)
    patches, spatial, channel = given = [rng.normal(size=x).astype("float32") for x in shapes]
    found = predict(layer, *given)

    x = patches.reshape(B, h, w, C).astype("float64")
    by_head, by_window = x.copy(), x.copy()
    for r in range(h):
        for c in range(w):
            for k in range(C):
                head = k // (C // HEADS)
                by_head[:, r, c, k] *= spatial[:, head, r * w + c]
                window = (r // (h // WINDOWS[0])) * WINDOWS[1] + c // (w // WINDOWS[1])
                by_window[:, r, c, k] *= channel[:, window, k]
    maps = []
    for reduce, prompted in zip(layer.reduce, (by_head, by_window), strict=True):
        large = resized(prompted + x, (upsampling * h, upsampling * w))
        maps.append(large @ array(reduce.kernel)[0, 0] + array(reduce.bias))
    first, mix, norm, _, last = layer.fuse.layers
    convolution = decoder_equations.convolution
    y = convolution(convolution(np.concatenate(maps, axis=-1), first), mix)
    y = convolution(gelu(decoder_equations.batch_norm(y, norm)), last)
    assert_close(found, y)
