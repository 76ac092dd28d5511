"""A block with prompts against A.6 in float64, and what its weights do not depend on."""

import numpy as np
import pytest

from keras_mtl.layers import PromptedSwinBlock
from tests import small
from tests.layers.task_prompter.swin_equations import prompted_block

B, T, C = 2, 3, 8
GRID, N = (4, 5), 20
BLOCKS = {
    "paper": {},
    "paper, fewer patches than areas": {"channel_dim": 64, "channel_windows": (4, 2)},
    "released": {"variant": "released", "shifted": True},
    "released, last block": {"variant": "released", "update_prompts": False},
}


def prompted(grid=GRID, **arguments):
    block = small.swin_block(stage=1, window=3)
    how = {"channel_dim": 16, "channel_windows": (2, 2), **arguments}
    layer = PromptedSwinBlock(block, grid, **how)
    layer.build((B, T, C), (B, grid[0] * grid[1], C))
    return layer


@pytest.mark.parametrize("name", BLOCKS)
def test_block(name, predict, randomise, assert_close):
    layer = prompted(**BLOCKS[name])
    randomise(layer)
    rng = np.random.default_rng(1)
    tokens = [rng.normal(0.3, 1, (B, n, C)).astype("float32") for n in (T, N)]
    found = predict(layer, *tokens)
    each = [prompted_block(p, x, layer) for p, x in zip(*tokens, strict=True)]
    assert found.keys() == each[0].keys()
    for key in found:
        assert_close(found[key], np.stack([image[key] for image in each]))


@pytest.mark.once("torch", "shapes know no backend")
def test_which_weights_have_the_size_of_the_grid():
    def shapes(**arguments):
        return [tuple(weight.shape) for weight in prompted(**arguments).weights]

    assert shapes() == shapes(grid=(8, 3))
    own, other = shapes(variant="released"), shapes(variant="released", grid=(8, 3))
    assert [(a, b) for a, b in zip(own, other, strict=True) if a != b] == [((20, 32), (24, 32))]
