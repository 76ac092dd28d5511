"""Eq. 2-5 and the encoder block against a float64 reference written from the paper's text.

The reference handles one image and one head or window at a time, with explicit loops.
"""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy.special import erf

import keras_mtl
from keras_mtl.layers import (
    ChannelTaskPromptLearning,
    PromptedEncoderBlock,
    SpatialTaskPromptLearning,
)
from keras_mtl.layers.task_prompter.spatial_channel_prompting import window_merge, window_partition

GRID, WINDOWS = (4, 6), (2, 3)  # neither is square, and windows of 2 x 2 patches
B, T, N, C, HEADS = 2, 3, 24, 8, 2


# === The paper's equations in NumPy ===


def array(variable):
    return ops.convert_to_numpy(variable).astype("float64")


def gelu(x):
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def dense(x, layer):
    return x @ array(layer.kernel) + array(layer.bias)


def two_layer_mlp(x, first, second):
    return dense(gelu(dense(x, first)), second)


def layer_norm(x, layer):
    centred = x - x.mean(-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return normal * array(layer.gamma) + array(layer.beta)


def patches_of_windows(grid, windows):
    """For every window, row by row, the numbers of its patches, row by row (A.2, Fig. 6)."""
    (h, w), (nh, nw) = grid, windows
    height, width = h // nh, w // nw
    for i in range(nh):
        for j in range(nw):
            rows = range(i * height, (i + 1) * height)
            columns = range(j * width, (j + 1) * width)
            yield [row * w + column for row in rows for column in columns]


def spatial_attention(p, x, mha):
    """Eq. 3 and the text below it, for one image: P^s', X', the raw A^s."""
    stacked = np.concatenate([p, x])  # [P^s; X], (T+N, C)

    def project(layer):
        return stacked @ array(layer.kernel).reshape(C, C) + array(layer.bias).reshape(C)

    projected = [project(part) for part in (mha.query_dense, mha.key_dense, mha.value_dense)]
    heads, affinities = [], []
    for q, k, v in zip(*(np.split(z, HEADS, axis=-1) for z in projected), strict=True):
        affinity = q @ k.T
        affinities.append(affinity)
        heads.append(softmax(affinity / np.sqrt(C / HEADS)) @ v)
    out = np.concatenate(heads, axis=-1) @ array(mha.output_dense.kernel).reshape(C, C)
    out = out + array(mha.output_dense.bias)
    return out[: len(p)], out[len(p) :], np.stack(affinities)


def channel_attention(p, x, layer):
    """Eq. 2 and 4 and the text around them, for one image: f(P^c'), the raw A^c."""
    channel_prompts = two_layer_mlp(p, *layer.to_patches.layers)  # Eq. 2: (T, N)
    q = channel_prompts @ array(layer.query.kernel)  # Eq. 4
    k = (x @ array(layer.key.kernel)).T  # (C, N)
    affinities = [q[:, n] @ k[:, n].T for n in patches_of_windows(GRID, WINDOWS)]
    if not layer.update_prompts:
        return None, np.stack(affinities)
    v = (x @ array(layer.value.kernel)).T
    merged = np.empty_like(q)
    for n, affinity in zip(patches_of_windows(GRID, WINDOWS), affinities, strict=True):
        merged[:, n] = softmax(affinity / np.sqrt(len(n))) @ v[:, n]
    updated = dense(merged, layer.project)  # P^c'
    return two_layer_mlp(updated, *layer.to_channels.layers), np.stack(affinities)


def released_channel_attention(p, x, layer):
    """The published network: linear maps, no projections, the attended values unused."""
    q = dense(p, layer.to_patches)
    affinity = np.stack([q[:, n] @ x.T[:, n].T for n in patches_of_windows(GRID, WINDOWS)])
    return (dense(q, layer.to_channels) if layer.update_prompts else None), affinity


def prompted_block(prompts, patches, layer):
    """Fig. 2, for one image."""
    block, out = layer.block, {}
    normal = layer_norm(np.concatenate([prompts, patches]), block.layer_norm_1)
    p, x = normal[: len(prompts)], normal[len(prompts) :]
    update = np.zeros_like(p)
    if layer.spatial_prompts:
        update, patch_update, affinity = spatial_attention(p, x, block.mha)
        out["spatial_affinity"] = affinity[:, : len(p)]  # the rows of the T prompts
    else:
        _, patch_update, _ = spatial_attention(p[:0], x, block.mha)
    if layer.channel_windows:
        attention = channel_attention if layer.variant == "paper" else released_channel_attention
        channel, out["channel_affinity"] = attention(p, x, layer.channel)
        if layer.update_prompts:
            update = update + channel  # Eq. 5

    def refine(tokens, update):
        tokens = tokens + update
        normal = layer_norm(tokens, block.layer_norm_2)
        return tokens + two_layer_mlp(normal, block.mlp.dense_1, block.mlp.dense_2)

    out["patches"] = refine(patches, patch_update)
    if layer.update_prompts:
        out["prompts"] = refine(prompts, update)
    return out


def batch_of(function, prompts, patches, layer):
    """The reference, image by image."""
    images = [function(p, x, layer) for p, x in zip(prompts, patches, strict=True)]
    if isinstance(images[0], dict):
        return {key: np.stack([image[key] for image in images]) for key in images[0]}
    return [None if part[0] is None else np.stack(part) for part in zip(*images, strict=True)]


@pytest.fixture(scope="module")
def tokens():
    rng = np.random.default_rng(1)
    return [rng.normal(0.3, 1, (B, n, C)).astype("float32") for n in (T, N)]


# === Windows (Sec. 3.2, A.2) ===


@settings(max_examples=10, deadline=None)
@given(*(st.integers(1, 3) for _ in range(6)))
def test_windows_hold_neighbouring_patches_and_merge_back(nh, nw, height, width, rows, batch):
    grid, windows = (nh * height, nw * width), (nh, nw)
    x = np.random.default_rng(0).normal(size=(batch, rows, grid[0] * grid[1])).astype("float32")
    cut = ops.convert_to_numpy(window_partition(x, grid, windows))
    expected = [x[:, :, n] for n in patches_of_windows(grid, windows)]
    np.testing.assert_array_equal(cut, np.stack(expected, axis=1))
    np.testing.assert_array_equal(ops.convert_to_numpy(window_merge(cut, grid, windows)), x)


# === Spatial Task Prompt Learning (Eq. 3) ===


def test_spatial_attention(tokens, predict, randomise, assert_close):
    layer = SpatialTaskPromptLearning(keras.layers.MultiHeadAttention(HEADS, C // HEADS))
    layer.build((B, T, C), (B, N, C))
    randomise(layer)
    found = predict(layer, *tokens)
    prompts, patches, affinity = batch_of(spatial_attention, *tokens, layer.attention)
    assert_close(found["prompts"], prompts)
    assert_close(found["patches"], patches)
    assert_close(found["affinity"], affinity[:, :, :T])  # raw: neither scaled nor normalised


# === Channel Task Prompt Learning (Eq. 2, 4) ===


@pytest.mark.parametrize("update_prompts", [True, False])
@pytest.mark.parametrize(
    "variant, reference",
    [("paper", channel_attention), ("released", released_channel_attention)],
)
def test_channel_attention(
    variant, reference, update_prompts, tokens, predict, randomise, assert_close
):
    layer = ChannelTaskPromptLearning(GRID, WINDOWS, variant, update_prompts)
    layer.build((B, T, C), (B, N, C))
    randomise(layer)
    found = predict(layer, *tokens)
    prompts, affinity = batch_of(reference, *tokens, layer)
    assert_close(found["affinity"], affinity)
    assert ("prompts" in found) == update_prompts
    if update_prompts:
        assert_close(found["prompts"], prompts)


def test_learnable_parameters_are_those_of_the_equations():
    def shapes(variant, update_prompts=True):
        layer = ChannelTaskPromptLearning(GRID, WINDOWS, variant, update_prompts)
        layer.build((B, T, C), (B, N, C))
        return sorted(tuple(weight.shape) for weight in layer.weights)

    affinity = [(C, N), (N,), (N, N), (N,)]  # Eq. 2: a 2-layer MLP C -> N
    affinity += [(N, N), (C, C)]  # Eq. 4: W_q^c, W_k^c
    update = [(C, C), (N, N), (N,)]  # W_v^c and the linear layer after the attention
    update += [(N, C), (C,), (C, C), (C,)]  # Eq. 5: a 2-layer MLP N -> C
    assert shapes("paper") == sorted(affinity + update)
    assert shapes("paper", update_prompts=False) == sorted(affinity)
    assert shapes("released") == sorted([(C, N), (N,), (N, C), (C,)])  # exactly two Linears


# === The encoder block (Fig. 2) ===


@pytest.fixture(scope="module")
def vit_block():
    backbone = keras_mtl.backbones.vision_transformer(
        "tiny", (64, 96, 3), num_layers=1, num_heads=HEADS, hidden_dim=C, mlp_dim=12
    )
    return keras_mtl.backbones.keras_hub.blocks_of(backbone)[0]


BLOCKS = {
    "paper": {"channel_windows": WINDOWS},
    "paper, spatial prompts only": {},
    "paper, channel prompts only": {"channel_windows": WINDOWS, "spatial_prompts": False},
    "paper, last block": {"channel_windows": WINDOWS, "update_prompts": False},
    "released": {"channel_windows": WINDOWS, "variant": "released"},
}


@pytest.mark.parametrize("name", BLOCKS)
def test_block(name, vit_block, tokens, predict, randomise, assert_close):
    layer = PromptedEncoderBlock(vit_block, GRID, **BLOCKS[name])
    layer.build((B, T, C), (B, N, C))
    randomise(layer)
    found = predict(layer, *tokens)
    expected = batch_of(prompted_block, *tokens, layer)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert_close(found[key], value)


def test_block_without_spatial_prompts_treats_patches_as_the_vit_does(
    vit_block, tokens, predict, randomise
):
    layer = PromptedEncoderBlock(vit_block, GRID, WINDOWS, spatial_prompts=False)
    layer.build((B, T, C), (B, N, C))
    randomise(layer)
    plain = predict(vit_block, tokens[1])
    np.testing.assert_allclose(predict(layer, *tokens)["patches"], plain, atol=1e-5)


@pytest.mark.parametrize("branch", ["attention", "mlp"])
def test_stochastic_depth_is_drawn_for_each_image_apart_for_prompts_and_patches(
    branch, vit_block, randomise
):
    images, rate = 40, 0.4
    layer = PromptedEncoderBlock(vit_block, GRID, stochastic_depth=rate)
    layer.build((None, T, C), (None, N, C))
    randomise(layer)
    silent = vit_block.mlp.dense_2 if branch == "attention" else vit_block.mha.output_dense
    for weight in silent.weights:  # only one branch updates the tokens
        weight.assign(np.zeros(weight.shape))
    rng = np.random.default_rng(2)
    one_image = [rng.normal(size=(1, n, C)).astype("float32") for n in (T, N)]
    keras.utils.set_random_seed(0)
    repeated = [np.repeat(part, images, axis=0) for part in one_image]
    training, inference = layer(*repeated, training=True), layer(*repeated)
    dropped = {}
    for key, tokens in zip(("prompts", "patches"), repeated, strict=True):
        update = ops.convert_to_numpy(training[key]) - tokens
        whole = ops.convert_to_numpy(inference[key]) - tokens
        dropped[key] = (update == 0).all((1, 2))
        kept = ~dropped[key]
        np.testing.assert_allclose(update[kept], whole[kept] / (1 - rate), atol=1e-5)
        assert 0.15 < dropped[key].mean() < 0.65  # expected 0.4, four standard deviations
    assert (dropped["prompts"] != dropped["patches"]).any()


def test_config_round_trips(vit_block):
    layer = PromptedEncoderBlock(vit_block, GRID, WINDOWS, False, "released", False, 0.1)
    copy = PromptedEncoderBlock.from_config(layer.get_config())
    ours, theirs = layer.get_config(), copy.get_config()
    for key in set(ours) - {"dtype", "block"}:
        assert ours[key] == theirs[key]
    assert (copy.block.num_heads, copy.block.mlp_dim) == (HEADS, 12)

    layer = ChannelTaskPromptLearning(GRID, WINDOWS, "released", False)
    assert ChannelTaskPromptLearning.from_config(layer.get_config()).get_config() == (
        layer.get_config()
    )
    layer = SpatialTaskPromptLearning(keras.layers.MultiHeadAttention(HEADS, C // HEADS))
    assert SpatialTaskPromptLearning.from_config(layer.get_config()).attention.num_heads == HEADS
