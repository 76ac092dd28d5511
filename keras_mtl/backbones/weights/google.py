"""Google's names for the weights of Vision Transformers: the authors' JAX code.

Kernels have Keras' layout already.
"""

from collections.abc import Iterator

from keras_mtl.backbones.keras_hub import (
    blocks_of,
    dense_layers,
    final_norm,
    parts_of,
    patch_projection,
    projections_of,
)
from keras_mtl.backbones.weights.assign import Entry
from keras_mtl.backbones.weights.tables import vit_positions

VIT_UNUSED = (r"(head|pre_logits)/.*", "cls")


def vit(backbone, table_grid) -> Iterator[Entry]:
    """A Vision Transformer."""
    yield from _dense(patch_projection(backbone), "embedding")
    yield from vit_positions(
        backbone, table_grid, "cls", "Transformer/posembed_input/pos_embedding"
    )
    for n, block in enumerate(blocks_of(backbone)):
        name, parts = f"Transformer/encoderblock_{n}", parts_of(block)
        yield from _norm(parts.norm1, f"{name}/LayerNorm_0")
        projections = zip(
            projections_of(parts.attention), ("query", "key", "value", "out"), strict=True
        )
        for layer, part in projections:
            yield from _dense(layer, f"{name}/MultiHeadDotProductAttention_1/{part}")
        yield from _norm(parts.norm2, f"{name}/LayerNorm_2")
        for i, layer in enumerate(dense_layers(parts.mlp).values()):
            yield from _dense(layer, f"{name}/MlpBlock_3/Dense_{i}")
    yield from _norm(final_norm(backbone), "Transformer/encoder_norm")


def _dense(layer, name):
    yield Entry(layer.kernel, f"{name}/kernel")
    if layer.bias is not None:
        yield Entry(layer.bias, f"{name}/bias")


def _norm(layer, name):
    yield Entry(layer.gamma, f"{name}/scale")
    yield Entry(layer.beta, f"{name}/bias")
