"""Attention in windows with prompts in front, against A.6 window by window in float64."""

import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import WindowTaskPromptLearning
from tests import small
from tests.layers.task_prompter.swin_equations import window_attention

B, T, C = 2, 3, 8
# Of the stage whose attention has 8 channels and 2 heads: grid, window, shifted.
CASES = {
    "whole": ((4, 6), 2, False),
    "shifted": ((4, 6), 2, True),
    "shifted and padded": ((4, 5), 3, True),
    "as long as the grid": ((3, 5), 3, True),
    "longer than the grid": ((2, 3), 5, True),
}


@pytest.mark.parametrize("name", CASES)
def test_window_attention(name, predict, randomise, assert_close):
    grid, window, shifted = CASES[name]
    attention = small.swin_block(stage=1, window=window).attn
    layer = WindowTaskPromptLearning(attention, grid, shifted)
    patches = grid[0] * grid[1]
    layer.build((B, T, C), (B, patches, C))
    randomise(layer)
    rng = np.random.default_rng(1)
    tokens = [rng.normal(0.3, 1, (B, n, C)).astype("float32") for n in (T, patches)]
    found = predict(layer, *tokens)
    expected = [
        window_attention(p, x, attention, grid, shifted) for p, x in zip(*tokens, strict=True)
    ]
    for key, values in zip(
        ("prompts", "patches", "affinity"), zip(*expected, strict=True), strict=True
    ):
        assert_close(found[key], np.stack(values))


def test_formulas_for_export(randomise, assert_close):
    """Shifted by cutting, which every format has."""
    layer = WindowTaskPromptLearning(small.swin_block(stage=1, window=3).attn, (4, 5), True)
    rng = np.random.default_rng(1)
    tokens = [rng.normal(size=(1, n, C)).astype("float32") for n in (T, 20)]
    layer.build(*(x.shape for x in tokens))
    randomise(layer)
    expected = layer(*tokens)
    layer.as_written = True
    for key, value in layer(*tokens).items():
        assert_close(value, ops.convert_to_numpy(expected[key]))
