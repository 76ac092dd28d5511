"""Hugging Face's names for the weights of backbones.

Most are as `save_pretrained` writes them. A `state_dict()` in transformers 5 has others for some.
"""

from collections.abc import Iterator

import numpy as np

from keras_mtl.backbones.keras_hub import (
    blocks_of,
    dense_layers,
    final_norm,
    fused_projections,
    layer_scales,
    parts_of,
    patch_projection,
    position_tables,
    prefix_tokens,
    swin_stages,
)
from keras_mtl.backbones.vision_transformer import dinov2_positions
from keras_mtl.backbones.weights.assign import Entry
from keras_mtl.backbones.weights.layouts import convolution, dense, norm, projections
from keras_mtl.backbones.weights.official import merging, swin_start
from keras_mtl.backbones.weights.tables import relative_positions, vit_start

UNUSED = (
    r"(classifier|pooler|decoder)\..*",  # the decoder is that of masked image modelling
    r"embeddings\.(cls_token|mask_token)",
)


# === Vision Transformer ===


def vit(backbone, table_grid) -> Iterator[Entry]:
    """As `save_pretrained` writes them."""
    return _vit(
        backbone,
        table_grid,
        block="encoder.layer",
        places=(
            *(f"attention.attention.{kind}" for kind in ("query", "key", "value")),
            "attention.output.dense",
        ),
        mlp=("intermediate.dense", "output.dense"),
    )


def vit_transformers_5(backbone, table_grid) -> Iterator[Entry]:
    """As a `state_dict()` in transformers 5 has them."""
    return _vit(
        backbone,
        table_grid,
        block="layers",
        places=tuple(f"attention.{kind}_proj" for kind in "qkvo"),
        mlp=("mlp.fc1", "mlp.fc2"),
    )


def _vit(backbone, table_grid, block, places, mlp):
    yield from vit_start(
        backbone,
        table_grid,
        "embeddings.patch_embeddings.projection",
        "embeddings.cls_token",
        "embeddings.position_embeddings",
    )
    for n, layer in enumerate(blocks_of(backbone)):
        name, parts = f"{block}.{n}", parts_of(layer)
        yield from norm(parts.norm1, f"{name}.layernorm_before")
        yield from projections(parts.attention, [f"{name}.{part}" for part in places])
        yield from norm(parts.norm2, f"{name}.layernorm_after")
        for one, part in zip(dense_layers(parts.mlp).values(), mlp, strict=True):
            yield from dense(one, f"{name}.{part}")
    yield from norm(final_norm(backbone), "layernorm")


# === Swin Transformer ===


def swin(backbone, table_grid) -> Iterator[Entry]:
    """As `save_pretrained` writes them."""
    return _swin(
        backbone,
        qkv=tuple(f"attention.self.{kind}" for kind in ("query", "key", "value")),
        table="attention.self.relative_position_bias_table",
        output="attention.output.dense",
        mlp=("intermediate.dense", "output.dense"),
    )


def swin_transformers_5(backbone, table_grid) -> Iterator[Entry]:
    """As a `state_dict()` in transformers 5 has them."""
    return _swin(
        backbone,
        qkv=tuple(f"attention.{kind}_proj" for kind in "qkv"),
        table="attention.relative_position_bias.relative_position_bias_table",
        output="attention.o_proj",
        mlp=("mlp.fc1", "mlp.fc2"),
    )


def _swin(backbone, qkv, table, output, mlp):
    yield from swin_start(backbone, "embeddings.patch_embeddings.projection", "embeddings.norm")
    for i, stage in enumerate(swin_stages(backbone)):
        for n, block in enumerate(stage.blocks):
            name, parts = f"encoder.layers.{i}.blocks.{n}", parts_of(block)
            fused, last = fused_projections(parts.attention)
            three = [f"{name}.{part}" for part in qkv]
            yield from norm(parts.norm1, f"{name}.layernorm_before")
            yield Entry(
                fused.kernel,
                tuple(f"{one}.weight" for one in three),
                lambda *matrices: np.concatenate(matrices).T,
            )
            if fused.bias is not None:
                yield Entry(
                    fused.bias,
                    tuple(f"{one}.bias" for one in three),
                    lambda *biases: np.concatenate(biases),
                )
            yield relative_positions(backbone, parts.attention, f"{name}.{table}")
            yield from dense(last, f"{name}.{output}")
            yield from norm(parts.norm2, f"{name}.layernorm_after")
            for layer, part in zip(dense_layers(parts.mlp).values(), mlp, strict=True):
                yield from dense(layer, f"{name}.{part}")
        yield from merging(stage, f"encoder.layers.{i}.downsample")
    yield from norm(final_norm(backbone), "layernorm")


# === DINOv2 and DINOv3 ===


def dinov2(backbone, table_grid) -> Iterator[Entry]:
    """A DINOv2, with register tokens or without."""
    for name, token in prefix_tokens(backbone).items():
        yield Entry(token, f"embeddings.{name}")
    for table, size in position_tables(backbone):
        grid = tuple(length // backbone.patch_size for length in size)
        yield Entry(
            table,
            "embeddings.position_embeddings",
            lambda value, grid=grid: dinov2_positions(backbone, value, grid, table_grid)[None],
        )
    yield from convolution(patch_projection(backbone), "embeddings.patch_embeddings.projection")
    places = [f"attention.attention.{kind}" for kind in ("query", "key", "value")]
    yield from _dino_blocks(
        backbone, "encoder.layer", [*places, "attention.output.dense"], "layernorm"
    )


def dinov3(backbone, table_grid) -> Iterator[Entry]:
    """A DINOv3, which has no table of positions."""
    for name, token in prefix_tokens(backbone).items():
        yield Entry(token, f"embeddings.{name}")
    yield from convolution(patch_projection(backbone), "embeddings.patch_embeddings")
    places = [f"attention.{kind}_proj" for kind in "qkvo"]
    yield from _dino_blocks(backbone, "layer", places, "norm")


def _dino_blocks(backbone, block, places, last):
    for n, layer in enumerate(blocks_of(backbone)):
        name, parts = f"{block}.{n}", parts_of(layer)
        for i, (its_norm, scale) in enumerate(
            zip((parts.norm1, parts.norm2), layer_scales(layer), strict=True), start=1
        ):
            yield from norm(its_norm, f"{name}.norm{i}")
            yield Entry(scale, f"{name}.layer_scale{i}.lambda1")
        yield from projections(parts.attention, [f"{name}.{place}" for place in places])
        for part, one in dense_layers(parts.mlp).items():
            yield from dense(one, f"{name}.mlp.{part}")
    yield from norm(final_norm(backbone), last)
