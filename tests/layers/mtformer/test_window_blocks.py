"""MTFormer's blocks against their equations in float64, window by window."""

import math

import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import CrossTaskBlock, SwinBlock

B, H, W, C = 2, 4, 5, 6
WINDOW, HEADS = 3, 2


def arrays(layer):
    return [np.array(ops.convert_to_numpy(each), "float64") for each in layer.weights]


def linear(layer, x):
    kernel, bias = arrays(layer)
    return x @ kernel + bias


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def normalized(layer, x):
    gamma, beta = arrays(layer)
    x = x - x.mean(axis=-1, keepdims=True)
    return gamma * x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5) + beta


def perceptron(layers, x):
    return linear(layers[1], gelu(linear(layers[0], x)))


def with_mlp(block, x):
    mlp = block.mlp
    return x + perceptron((mlp.dense_1, mlp.dense_2), normalized(mlp.norm, x))


def each_window(shift):
    """The positions of each window in the padded map, and the region of each for the mask."""
    height, width = (length + -length % WINDOW for length in (H, W))
    for top in range(0, height, WINDOW):
        for left in range(0, width, WINDOW):
            places, regions = [], []
            for r in range(top, top + WINDOW):
                for c in range(left, left + WINDOW):
                    places.append(((r + shift) % height, (c + shift) % width))
                    regions.append((r + shift >= height, c + shift >= width))
            yield places, regions


def padded(x):
    return np.pad(x, ((0, -H % WINDOW), (0, -W % WINDOW), (0, 0)))


def attention(block, query, key, value, regions):
    """Of one window, `(positions, C)` each; before the projection."""
    table = np.array(ops.convert_to_numpy(block.position_table), "float64")
    out, d = np.zeros_like(value), C // HEADS
    for h in range(HEADS):
        at = slice(h * d, (h + 1) * d)
        for i in range(WINDOW**2):
            scores = []
            for j in range(WINDOW**2):
                down, right = i // WINDOW - j // WINDOW, i % WINDOW - j % WINDOW
                row = (down + WINDOW - 1) * (2 * WINDOW - 1) + right + WINDOW - 1
                score = query[i, at] @ key[j, at] * (block.scale or d**-0.5) + table[row, h]
                scores.append(score - 100 * (regions[i] != regions[j]))
            weights = np.exp(np.array(scores) - max(scores))
            out[i, at] = weights / weights.sum() @ value[:, at]
    return out


def filled(block, *inputs):
    """The block with weights large enough to see."""
    block(*inputs)
    rng = np.random.default_rng(1)
    block.set_weights([rng.normal(scale=0.5, size=w.shape) for w in block.weights])
    return block


@pytest.mark.parametrize("shifted", [False, True])
def test_swin_block(shifted, assert_close):
    x = np.random.default_rng(0).normal(size=(B, H, W, C)).astype("float32")
    block = filled(SwinBlock(HEADS, WINDOW, shifted), x)
    expected = []
    for image in x.astype("float64"):
        normal, found = padded(normalized(block.norm, image)), np.zeros((6, 6, C))
        for places, regions in each_window(shifted * (WINDOW // 2)):
            inside = np.stack([normal[place] for place in places])
            query, key, value = np.split(linear(block.query_key_value, inside), 3, axis=-1)
            out = linear(block.project, attention(block, query, key, value, regions))
            for place, each in zip(places, out, strict=True):
                found[place] = each
        expected.append(with_mlp(block, image + found[:H, :W]))
    assert_close(block(x), np.stack(expected))


@pytest.mark.parametrize(("tasks", "scale"), [(2, 0.4), (3, None), (4, None)])
def test_cross_task_block(tasks, scale, assert_close):
    """With four tasks a third of the channels is no whole number."""
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(B, H, W, C)).astype("float32") for _ in range(tasks)]
    block = filled(CrossTaskBlock(HEADS, WINDOW, True, scale), features)
    assert block.fusions[1][1].kernel.shape == (tasks * C, C // (tasks - 1))
    expected = []
    for images in zip(*(each.astype("float64") for each in features), strict=True):
        normal, found = [padded(normalized(block.norm, x)) for x in images], np.zeros((6, 6, C))
        for places, regions in each_window(WINDOW // 2):
            inside = [np.stack([x[place] for place in places]) for x in normal]
            value, attended = linear(block.value, inside[0]), []
            for x in inside:
                query, key = np.split(linear(block.query_key, x), 2, axis=-1)
                out = attention(block, query, key, value, regions)
                attended.append(linear(block.project, out))
            halves = [perceptron(m, x) for m, x in zip(block.fusions, attended, strict=True)]
            fused = perceptron(block.last_fusion, np.concatenate(halves, axis=-1)) + attended[0]
            for place, each in zip(places, fused, strict=True):
                found[place] = each
        expected.append(with_mlp(block, images[0] + found[:H, :W]))
    assert_close(block(features), np.stack(expected))


def test_refusals():
    x = np.zeros((1, 4, 4, 6), "float32")
    with pytest.raises(ValueError, match="6 channels are not to be divided among num_heads=4"):
        SwinBlock(4)(x)
    with pytest.raises(ValueError, match="expected two tasks or more"):
        CrossTaskBlock(2)([x])
