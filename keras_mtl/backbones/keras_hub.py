"""What keras-hub's backbones are made of: the one place that knows their inner names.

A backbone's class, constructor, call and weights are public in keras-hub; its blocks, their
layers and their variables are not, and nothing public leads to them. Models that change what
happens inside a block, weights in other projects' names and other image sizes need them all the
same. So they are named here and nowhere else, as keras-hub 0.32 names them;
tests/backbones/test_keras_hub.py fails where another version names them otherwise.

Names of ours are the field's: `norm1`, `attention`, `norm2`, `mlp`, `fc1`, `fc2`.
"""

import contextlib
import re
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import keras

from keras_mtl.backbones.kinds import kind_of

# === Transformers: from the image to the last norm ===

_ENCODER = "vit_encoder"

# What is said of a ViT is true of any functional model that its layers are in.


def has_vit_layers(model: keras.Model) -> bool:
    """Whether a functional model is a ViT, or is made of a ViT's layers."""
    return any(layer.name == _ENCODER for layer in model.layers)


def patch_projection(backbone: keras.Model) -> keras.layers.Conv2D:
    """The convolution that makes patches tokens; of a ViT, Swin, DINOv2 or DINOv3."""
    if has_vit_layers(backbone):
        return _vit_embedding(backbone).patch_embedding
    if kind_of(backbone) == "swin":
        return backbone.patch_embedding.proj
    return backbone.embeddings.patch_embeddings.projection


def patch_norm(swin: keras.Model) -> keras.layers.LayerNormalization | None:
    """What normalises the patches of a Swin Transformer, if anything does."""
    return swin.patch_embedding.norm


def patch_layers(layer: keras.layers.Layer) -> Any:
    """What makes a Swin's patches tokens: projection and norm, if any; `None` of other layers."""
    return (layer.proj, layer.norm) if type(layer).__name__ == "PatchEmbedding" else None


def position_embedding(vit: keras.Model) -> keras.layers.Embedding:
    """A ViT's, the class token's entry first where there is one."""
    return _vit_embedding(vit).position_embedding


def position_tables(backbone: keras.Model) -> list[tuple[keras.Variable, tuple[int, int]]]:
    """The variables that have an entry for each patch, and the image size in pixels of each.

    A ViT has one, a DINOv2 two: what images meet, and what keras-hub resizes it from when it
    reads a file. A DINOv3 and a Swin Transformer have none.
    """
    if has_vit_layers(backbone):
        return [(position_embedding(backbone).embeddings, tuple(backbone.image_shape[:2]))]
    if kind_of(backbone) == "dinov2":
        embeddings = backbone.embeddings
        return [
            (embeddings.interpolated_position_embeddings, embeddings.image_shape),
            (embeddings.position_embeddings, embeddings.position_embedding_shape),
        ]
    return []


def keep_positions(layers: Iterable[keras.layers.Layer]) -> None:
    """Makes the positions of a DINOv2, where its embedding is among the layers, ready to be saved.

    keras-hub 0.32 writes the table that it resizes from, and takes over what was learned only if
    the sum of its entries shrank.
    """
    for layer in layers:
        if type(layer).__name__ == "DINOV2Embedding":
            written, used = layer.position_embeddings, layer.interpolated_position_embeddings
            if used.shape == written.shape:
                written.assign(used)


def prefix_tokens(backbone: keras.Model) -> dict[str, keras.Variable]:
    """The learned tokens before the patches', in their order: of a ViT, DINOv2 or DINOv3.

    The mask token, which stands in for patches, is among them: it is learned too.
    """
    if has_vit_layers(backbone):
        embedding = _vit_embedding(backbone)
        return {"cls_token": embedding.class_token} if embedding.use_class_token else {}
    embeddings = backbone.embeddings
    tokens = {"cls_token": embeddings.cls_token}
    if backbone.use_mask_token:
        tokens["mask_token"] = embeddings.mask_token
    if backbone.num_register_tokens:
        tokens["register_tokens"] = embeddings.register_tokens
    return tokens


def embedding_layers(backbone: keras.Model) -> list[keras.layers.Layer]:
    """The layers that make an image tokens, one after the other; of a ViT or Swin."""
    if kind_of(backbone) == "swin":
        return [backbone.patch_embedding, backbone.get_layer("pos_drop")]
    return [_vit_embedding(backbone), _vit_encoder(backbone).dropout]


def token_embedding(dino: keras.Model) -> keras.layers.Layer:
    """The layer that makes images tokens, those that stand for no patch first."""
    return dino.embeddings


def embedding_at(dinov2: keras.Model, image_size: tuple[int, int]) -> keras.layers.Layer:
    """A new `token_embedding` of a DINOv2 for images of another size, which need not be square.

    Args:
        dinov2: `DINOV2Backbone`.
        image_size: `(height, width)` in pixels, multiples of its patches.
    """
    given = dinov2.embeddings.get_config()
    given |= {"image_shape": image_size, "position_embedding_shape": image_size}
    return type(dinov2.embeddings)(**given)


def encode_patches(vit: keras.Model, images):
    """What the layers of a ViT make of other images than its own input, of the same size.

    Args:
        vit: a `ViTBackbone`.
        images: tensor `(B, height, width, channels)`.
    """
    return _vit_encoder(vit)(_vit_embedding(vit)(images))


def blocks_of(backbone: keras.Model) -> list[keras.layers.Layer]:
    """The Transformer blocks of a ViT, DINOv2 or DINOv3, the first one first."""
    if has_vit_layers(backbone):
        return list(_vit_encoder(backbone).encoder_layers)
    return list(backbone.encoder.layers)


def final_norm(backbone: keras.Model) -> keras.layers.LayerNormalization:
    """What normalises the last tokens; of a ViT, Swin, DINOv2 or DINOv3."""
    if has_vit_layers(backbone):
        return _vit_encoder(backbone).layer_norm
    return backbone.norm if kind_of(backbone) == "swin" else backbone.layernorm


def _vit_embedding(vit):
    return vit.get_layer("vit_patching_and_embedding")


def _vit_encoder(vit):
    return vit.get_layer(_ENCODER)


# === One Transformer block ===


class BlockParts(NamedTuple):
    """The layers of a Transformer block, in the order in which tokens meet them."""

    norm1: keras.layers.LayerNormalization
    attention: keras.layers.Layer
    norm2: keras.layers.LayerNormalization
    mlp: keras.layers.Layer


class Projections(NamedTuple):
    """The linear maps of an attention: three of the tokens, one of what was attended to."""

    query: keras.layers.Layer
    key: keras.layers.Layer
    value: keras.layers.Layer
    output: keras.layers.Layer


def parts_of(block: keras.layers.Layer) -> BlockParts:
    """The parts of a built block of a ViT, Swin, DINOv2 or DINOv3.

    Example:

    >>> vit = keras_mtl.backbones.vision_transformer("tiny", (32, 32, 3), num_layers=1)
    >>> parts_of(blocks_of(vit)[0]).attention.num_heads
    3
    """
    kind = type(block).__name__
    if kind == "ViTEncoderBlock":
        return BlockParts(block.layer_norm_1, block.mha, block.layer_norm_2, block.mlp)
    if kind == "SwinTransformerBlock":
        return BlockParts(block.norm1, block.attn, block.norm2, block.mlp)
    attention = block.attention.attention if kind == "DINOV2Layer" else block.attention
    return BlockParts(block.norm1, attention, block.norm2, block.mlp)


def projections_of(attention: keras.layers.Layer) -> Projections:
    """Of `keras.layers.MultiHeadAttention`, which a ViT and a DINOv2 have, or of a DINOv3's."""
    return Projections(*(getattr(attention, f"{name}_dense") for name in Projections._fields))


def dense_layers(mlp: keras.layers.Layer) -> dict[str, keras.layers.Dense]:
    """The linear maps of a block's perceptron by the names that weights have for them.

    `fc1` and `fc2`; of a gated one `weights_in` and `weights_out` (DINOv2); of a DINOv3's
    `up_proj`, `down_proj`, and `gate_proj` where it is gated.
    """
    kind = type(mlp).__name__
    if kind == "MLP":  # a ViT's
        return {"fc1": mlp.dense_1, "fc2": mlp.dense_2}
    names = {
        "DINOV2SwiGLUFFN": ("weights_in", "weights_out"),
        "DINOV3GatedMLP": ("gate_proj", "up_proj", "down_proj"),
        "DINOV3MLP": ("up_proj", "down_proj"),
    }.get(kind, ("fc1", "fc2"))
    return {name: getattr(mlp, name) for name in names}


def attend_to_one_another(attention: keras.layers.Layer, tokens, rotary=None):
    """What the attention of a ViT's or DINO's block makes of tokens.

    Args:
        attention: of a block.
        tokens: tensor `(B, N, C)`.
        rotary: cosines and sines `(P, d)` that the last P tokens are turned by, of a DINOv3.
    """
    if rotary is None:
        return attention(tokens, tokens)
    first = tokens.shape[1] - rotary[0].shape[0]
    return attention(tokens, position_embeddings=rotary, num_prefix_tokens=first)


def layer_scales(block: keras.layers.Layer) -> tuple[keras.Variable, ...]:
    """What a DINO's block multiplies its two branches by; of other blocks nothing."""
    if not hasattr(block, "layer_scale1"):
        return ()
    return block.layer_scale1.lambda1, block.layer_scale2.lambda1


def serialize_attention(attention: keras.layers.Layer) -> dict:
    """A ViT's or DINO's attention without its weights; keras-hub misnames a DINOv3's biases."""
    config = keras.saving.serialize_keras_object(attention)
    own = config["config"]
    for name in ("query_bias", "key_bias", "value_bias", "proj_bias"):
        if name in own:
            own[f"use_{name}"] = own.pop(name)
    return config


def serialize_block(block: keras.layers.Layer) -> dict:
    """A block of a Transformer without its weights, for a configuration."""
    config = keras.saving.serialize_keras_object(block)
    config["config"].pop("key_dim", None)  # keras-hub writes it but does not take it back
    if "window_size" in config["config"]:  # a Swin's, cut to its image; the attention's is not
        config["config"]["window_size"] = window_length(parts_of(block).attention)
    return config


# === Swin Transformer ===


class SwinStageParts(NamedTuple):
    """The blocks of one stage, and what merges its patches after them, if anything does."""

    blocks: list[keras.layers.Layer]
    merging: keras.layers.Layer | None


def swin_stages(swin: keras.Model) -> list[SwinStageParts]:
    """The stages of a Swin Transformer, the finest first."""
    return [SwinStageParts(list(stage.blocks), stage.downsample) for stage in swin.stages]


def serialize_window_attention(attention: keras.layers.Layer) -> dict:
    """A Swin block's attention without its weights; keras-hub writes what it does not take."""
    config = keras.saving.serialize_keras_object(attention)
    own = config["config"]
    for name in ("win_h", "win_w", "attn_dim"):
        own.pop(name, None)
    own |= {"qk_scale": own.pop("scale", None), "proj_drop": attention.proj_drop_rate}
    return config


def attend(attention: keras.layers.Layer, windows, mask=None):
    """A Swin block's attention within windows.

    Args:
        attention: of a Swin block.
        windows: tensor `(B * windows, tokens of a window, C)`.
        mask: tensor `(windows, tokens, tokens)` that is added to the scores, or `None`.

    Returns:
        Tensor like `windows`.
    """
    # By position: Keras takes an argument named `mask` for that of a padded sequence, and warns.
    return attention(windows) if mask is None else attention(windows, mask)


def window_length(attention: keras.layers.Layer) -> int:
    """Patches along each side of a Swin block's windows."""
    return attention.win_h


def stochastic_depth(block: keras.layers.Layer) -> keras.layers.Layer:
    """What drops the branches of a Swin block in training."""
    return block.drop_path


def merge_patches(merging: keras.layers.Layer, tokens, grid: tuple[int, int]):
    """Four neighbours become one token, twice as wide; odd grids are padded with zeros.

    Args:
        merging: of a Swin stage.
        tokens: tensor `(B, h * w, C)`.
        grid: `(h, w)`.

    Returns:
        Tensor `(B, ceil(h / 2) * ceil(w / 2), 2 * C)`.
    """
    return merging(tokens, H=grid[0], W=grid[1])


def merging_layers(merging: keras.layers.Layer) -> tuple[keras.layers.Layer, keras.layers.Dense]:
    """The LayerNorm and the linear map of a stage's patch merging."""
    return merging.norm, merging.reduction


def fused_projections(attention: keras.layers.Layer) -> tuple[keras.layers.Dense, ...]:
    """A Swin attention's linear maps: queries, keys and values in one, and the output's."""
    return attention.qkv, attention.proj


def relative_positions(attention: keras.layers.Layer) -> keras.Variable:
    """A Swin attention's table `((2 * window - 1)**2, heads)`."""
    return attention.relative_position_bias_table


def relative_position_tables(swin: keras.Model) -> list[keras.Variable]:
    """Those of all blocks."""
    return [
        relative_positions(parts_of(block).attention)
        for stage in swin_stages(swin)
        for block in stage.blocks
    ]


@contextlib.contextmanager
def attention_mask_accepted() -> Iterator[None]:
    """Silences Keras where keras-hub builds a Swin Transformer.

    Its attention takes scores to add as an argument named `mask`, which Keras mistakes for the
    mask of a padded sequence.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Layer 'attn' .* was passed an input with a mask")
        yield


# === Backbones of several levels ===


def levels_of(backbone: keras.Model) -> dict[int, keras.KerasTensor]:
    """The feature maps inside a backbone of several levels, by the level's number, finest first.

    P1 has stride 2 in one backbone and 4 in another, but each level halves the one before.
    Empty for a backbone that has none.
    """
    levels = getattr(backbone, "pyramid_outputs", None) or {}
    return {n: levels[f"P{n}"] for n in sorted(int(name[1:]) for name in levels)}


def last_block_input(model: keras.Model, level: int) -> keras.KerasTensor | None:
    """What enters the last block of a ResNet's level; `None` for other backbones.

    Args:
        model: a ResNet, or a functional model of its tensors.
        level: int, 0 for the finest.
    """
    blocks = [
        [
            name
            for layer in model.layers
            if re.fullmatch(rf"stack{n}_block\d+_out", name := layer.name)
        ]
        for n in range(level + 1)
    ]
    if not blocks[0]:
        return None
    before = ["pool1_pool", *(name for stack in blocks for name in stack)][-2]
    return model.get_layer(before).output
