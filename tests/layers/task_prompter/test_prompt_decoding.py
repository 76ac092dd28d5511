"""Eq. 6-8 and cross-task reweighting against a float64 reference written from the paper's text."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import erf

from keras_mtl.layers import CrossTaskReweighting, SpatialChannelPromptDecoding

GRID, WINDOWS = (4, 6), (2, 3)
B, T, N, C, HEADS = 2, 2, 24, 8, 4


# === The paper's equations in NumPy ===


def array(variable):
    return ops.convert_to_numpy(variable).astype("float64")


def gelu(x):
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def conv3x3(x, layer):
    """3x3 convolution with zero padding of maps `(B, H, W, C)`, pixel by pixel."""
    kernel, (h, w) = array(layer.kernel), x.shape[1:3]
    out = np.zeros((*x.shape[:3], kernel.shape[-1])) + array(layer.bias)
    for i, j, di, dj in np.ndindex(h, w, 3, 3):
        row, column = i + di - 1, j + dj - 1
        if 0 <= row < h and 0 <= column < w:
            out[:, i, j] += x[:, row, column] @ kernel[di, dj]
    return out


def conv1x1(x, layer):
    return x @ array(layer.kernel)[0, 0] + array(layer.bias)


def batch_norm(x, layer, mean=None, variance=None):
    mean = array(layer.moving_mean) if mean is None else mean
    variance = array(layer.moving_variance) if variance is None else variance
    return (x - mean) / np.sqrt(variance + 1e-5) * array(layer.gamma) + array(layer.beta)


def spatial_feature(x, affinity):
    """Eq. 6: every head's slice of the channels of X, times that head's map."""
    out = np.empty_like(x)  # (B, N, C)
    for head in range(HEADS):
        channels = slice(head * C // HEADS, (head + 1) * C // HEADS)
        out[:, :, channels] = affinity[:, head, :, None] * x[:, :, channels]
    return out


def channel_feature(x, affinity):
    """Eq. 7: every window of X times that window's channel vector."""
    out = np.empty_like(x)
    (h, w), (nh, nw) = GRID, WINDOWS
    for row, column in np.ndindex(h, w):
        window = row // (h // nh) * nw + column // (w // nw)
        out[:, row * w + column] = affinity[:, window] * x[:, row * w + column]
    return out


def fused_before_norm(layer, task, x, spatial, channel):
    """What Eq. 8 normalises, for one task."""
    released = layer.variant == "released"
    prompted = []
    if spatial is not None:
        prompted.append(spatial_feature(x, spatial[:, :, task]))
    if channel is not None:
        prompted.append(channel_feature(x, channel[:, :, task]))
    if released:
        prompted = [part + x for part in prompted]
    maps = [part.reshape(len(x), *GRID, C) for part in prompted]
    if layer.reduce[task]:
        maps = [conv1x1(part, conv) for part, conv in zip(maps, layer.reduce[task], strict=True)]
    stacked = np.concatenate(maps, axis=-1)
    if released:
        stacked = conv1x1(stacked, layer.fuse[task].layers[0])
    return conv3x3(stacked, layer.fuse[task].layers[1 if released else 0])


def decoded(layer, x, spatial, channel):
    """Eq. 6-8 for all tasks, (B, T, H, W, F)."""
    features = []
    for task in range(T):
        norm = layer.fuse[task].layers[2 if layer.variant == "released" else 1]
        feature = gelu(batch_norm(fused_before_norm(layer, task, x, spatial, channel), norm))
        if layer.variant == "released":
            feature = conv1x1(feature, layer.fuse[task].layers[4])
        features.append(feature)
    return np.stack(features, axis=1)


# === Decoding ===


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(3)
    shapes = ((B, N, C), (B, HEADS, T, N), (B, 6, T, C))
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def built(randomise, spatial, channel, **arguments):
    layer = SpatialChannelPromptDecoding(
        T, GRID, channel_windows=WINDOWS if channel else None, spatial_prompts=spatial, **arguments
    )
    layer.build((B, N, C), (B, HEADS, T, N), (B, 6, T, C))
    randomise(layer)
    return layer


def wrapped(layer, spatial, channel):
    """The layer as a function of the affinities it takes."""
    if spatial and channel:
        return layer
    if spatial:
        return lambda patches, affinity: layer(patches, affinity, None)
    return lambda patches, affinity: layer(patches, None, affinity)


KINDS = {"both": (True, True), "spatial only": (True, False), "channel only": (False, True)}
SIZES = {  # arguments, channels of the result
    "paper, the letter": ({}, C),
    "paper, decode_dim": ({"decode_dim": 5}, 5),
    "paper, decode_dim and final_dim": ({"decode_dim": 5, "final_dim": 7}, 7),
    "released": ({"variant": "released", "decode_dim": 5, "final_dim": 7}, 7),
}


@pytest.mark.parametrize(
    "size, kind",
    [
        *(("paper, the letter", kind) for kind in KINDS),
        ("paper, decode_dim", "both"),
        ("paper, decode_dim and final_dim", "channel only"),
        ("released", "both"),
        ("released", "spatial only"),
    ],
)
def test_decoding(size, kind, inputs, predict, randomise, assert_close):
    (spatial, channel), (arguments, final_dim) = KINDS[kind], SIZES[size]
    layer = built(randomise, spatial, channel, **arguments)
    x, spatial_affinity, channel_affinity = inputs
    arrays = [x] + [spatial_affinity] * spatial + [channel_affinity] * channel
    found = predict(wrapped(layer, spatial, channel), *arrays)
    assert found.shape == (B, T, *GRID, final_dim)
    expected = decoded(
        layer, x, spatial_affinity if spatial else None, channel_affinity if channel else None
    )
    assert_close(found, expected)


def test_eq_8_halves_the_channels(randomise):
    layer = built(randomise, True, True)
    assert tuple(layer.fuse[0].layers[0].kernel.shape) == (3, 3, 2 * C, C)
    assert layer.reduce == [[], []]  # nothing between Eq. 6, 7 and Eq. 8


def test_training_normalises_by_the_batch(inputs, randomise, assert_close):
    layer = built(randomise, True, True)
    norms = [fuse.layers[1] for fuse in layer.fuse]
    before = [array(norm.moving_mean) for norm in norms]
    found = ops.convert_to_numpy(layer(*inputs, training=True))
    for task, norm in enumerate(norms):
        maps = fused_before_norm(layer, task, *inputs)
        mean, variance = maps.mean((0, 1, 2)), maps.var((0, 1, 2))
        assert_close(found[:, task], gelu(batch_norm(maps, norm, mean, variance)), 3e-5)
        assert_close(norm.moving_mean, 0.9 * before[task] + 0.1 * mean)


# === Cross-task reweighting ===


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_reweighting(variant, predict, randomise, assert_close):
    tasks = 3
    rng = np.random.default_rng(4)
    features = rng.normal(size=(B, tasks, *GRID, 5)).astype("float32")
    affinity = rng.normal(size=(B, HEADS, tasks, tasks)).astype("float32")
    layer = CrossTaskReweighting(tasks, variant)
    layer.build(features.shape, affinity.shape)
    randomise(layer)
    assert len(layer.over_heads) == (1 if variant == "paper" else tasks)

    expected = np.zeros(features.shape)
    for image, t, s in np.ndindex(B, tasks, tasks):
        first, second = layer.over_heads[0 if variant == "paper" else t].layers
        hidden = gelu(affinity[image, :, t, s] @ array(first.kernel) + array(first.bias))
        weight = hidden @ array(second.kernel) + array(second.bias)  # A^{p->p}[t, s]
        expected[image, t] += weight * features[image, s]  # F <- A F
    assert_close(predict(layer, features, affinity), expected)


def test_config_round_trips():
    decoding = SpatialChannelPromptDecoding(3, GRID, WINDOWS, False, "released", 5, 7)
    for layer in (decoding, CrossTaskReweighting(3, "released")):
        serialized = keras.saving.serialize_keras_object(layer)
        copy = keras.saving.deserialize_keras_object(serialized)
        assert copy.get_config() == layer.get_config()
