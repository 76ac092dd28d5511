"""What becomes of prompts, patches and affinities between two stages, in float64 with loops."""

import numpy as np
import pytest

from keras_mtl.backbones.keras_hub import swin_stages
from keras_mtl.layers import PromptMerging
from tests import small
from tests.layers.task_prompter.swin_equations import array, dense, layer_norm

B, T, C, HEADS, WINDOWS = 2, 3, 8, 2, 4


def merged_patches(x, grid, merging):
    (h, w), neighbours = grid, ((0, 0), (1, 0), (0, 1), (1, 1))
    x = np.pad(x.reshape(h, w, -1), ((0, h % 2), (0, w % 2), (0, 0)))
    tokens = [
        np.concatenate([x[r + i, c + j] for i, j in neighbours])
        for r in range(0, h, 2)
        for c in range(0, w, 2)
    ]
    return dense(layer_norm(np.stack(tokens), merging.norm), merging.reduction)


def halved_affinity(affinity, grid, convolution):
    """A 3x3 convolution of stride 2 with one zero around, channel = head * T + task."""
    (h, w), kernel = grid, array(convolution.kernel)
    maps = np.pad(affinity.reshape(HEADS * T, h, w), ((0, 0), (1, 1), (1, 1)))
    out = np.zeros((HEADS * T, (h + 1) // 2, (w + 1) // 2))
    for r in range(out.shape[1]):
        for c in range(out.shape[2]):
            seen = maps[:, 2 * r : 2 * r + 3, 2 * c : 2 * c + 3]
            out[:, r, c] = np.einsum("crs,rsco->o", seen, kernel) + array(convolution.bias)
    return out.reshape(HEADS, T, -1)


@pytest.mark.parametrize("affinities", [True, False])
@pytest.mark.parametrize("grid", [(4, 6), (3, 5)])
def test_merging(grid, affinities, predict, randomise, assert_close):
    merging = swin_stages(small.swin((32, 48)).backbone)[1].merging
    layer = PromptMerging(merging, grid)
    n = grid[0] * grid[1]
    shapes = [(B, T, C), (B, n, C), *[(B, HEADS, T, n), (B, WINDOWS, T, C)] * affinities]
    layer.build(*shapes)
    randomise(layer)
    rng = np.random.default_rng(1)
    prompts, patches, *rest = given = [rng.normal(size=x).astype("float32") for x in shapes]
    found = predict(layer, *given)
    assert_close(found["prompts"], dense(prompts, layer.widen))
    expected = np.stack([merged_patches(x, grid, merging) for x in patches.astype("float64")])
    assert_close(found["patches"], expected)
    assert len(found) == (4 if affinities else 2)
    if affinities:
        spatial, channel = rest
        expected = [halved_affinity(x, grid, layer.halve_affinity) for x in spatial]
        assert_close(found["spatial_affinity"], np.stack(expected))
        assert_close(found["channel_affinity"], dense(channel, layer.widen_affinity))
