"""timm's names for the weights of backbones."""

from collections.abc import Iterator

from keras_mtl.backbones.keras_hub import blocks_of, dense_layers, final_norm, parts_of
from keras_mtl.backbones.weights import official
from keras_mtl.backbones.weights.assign import Entry
from keras_mtl.backbones.weights.layouts import dense, fused_projections, norm
from keras_mtl.backbones.weights.tables import vit_start

VIT_UNUSED = (r"(head|pre_logits|fc_norm)\..*", "cls_token")


def vit(backbone, table_grid) -> Iterator[Entry]:
    """A Vision Transformer."""
    yield from vit_start(backbone, table_grid, "patch_embed.proj", "cls_token", "pos_embed")
    for n, block in enumerate(blocks_of(backbone)):
        name, parts = f"blocks.{n}", parts_of(block)
        yield from norm(parts.norm1, f"{name}.norm1")
        yield from fused_projections(parts.attention, f"{name}.attn.qkv", f"{name}.attn.proj")
        yield from norm(parts.norm2, f"{name}.norm2")
        for part, layer in dense_layers(parts.mlp).items():
            yield from dense(layer, f"{name}.mlp.{part}")
    yield from norm(final_norm(backbone), "norm")


def swin(backbone, table_grid) -> Iterator[Entry]:
    """A Swin Transformer since timm 0.9: patches are merged at the beginning of the next stage."""
    yield from official.swin(backbone, table_grid, merging_first=True)
