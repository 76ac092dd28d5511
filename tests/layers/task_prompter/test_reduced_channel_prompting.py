"""The published channel attention on Swin, against its equations in float64."""

import numpy as np
import pytest

from keras_mtl.layers import ReducedChannelTaskPromptLearning
from tests.layers.task_prompter.swin_equations import reduced_channel_attention

B, T, N, C = 2, 3, 6, 8


@pytest.mark.parametrize(
    "windows, update_prompts", [((1, 1), True), ((3, 2), True), ((2, 2), False)]
)
def test_channel_attention(windows, update_prompts, predict, randomise, assert_close):
    layer = ReducedChannelTaskPromptLearning(36, windows, update_prompts)
    layer.build((B, T, C), (B, N, C))
    randomise(layer)
    rng = np.random.default_rng(1)
    tokens = [rng.normal(0.3, 1, (B, n, C)).astype("float32") for n in (T, N)]
    found = predict(layer, *tokens)
    each = [reduced_channel_attention(p, x, layer) for p, x in zip(*tokens, strict=True)]
    assert_close(found["affinity"], np.stack([affinity for _, affinity in each]))
    assert ("prompts" in found) == update_prompts
    if update_prompts:
        assert_close(found["prompts"], np.stack([update for update, _ in each]))


@pytest.mark.once("torch", "numbers know no backend")
@pytest.mark.parametrize("dim, windows", [(10, (1, 1)), (36, (4, 2)), (0, (1, 1))])
def test_numbers_that_are_no_square_of_windows(dim, windows):
    with pytest.raises(ValueError, match="channel_dim"):
        ReducedChannelTaskPromptLearning(dim, windows)
