"""Layers of a keras-hub Swin Transformer by themselves, where a configuration made them.

Keras builds such a layer, but not the layers that keras-hub has in it, which it makes when called.
"""

from collections.abc import Iterable

import keras

from keras_mtl.backbones.keras_hub import (
    dense_layers,
    fused_projections,
    merging_layers,
    parts_of,
)


def build_window_attention(attention: keras.layers.Layer, channels: int) -> None:
    """Makes what weights a block's attention lacks.

    Args:
        attention: of a Swin block.
        channels: int, of its tokens.
    """
    width = (None, None, channels)
    _build([attention], width)
    _build(fused_projections(attention), width)


def build_block(block: keras.layers.Layer, channels: int) -> None:
    """Makes what weights a block lacks.

    Args:
        block: of a Swin Transformer.
        channels: int, of its tokens.
    """
    norm1, attention, norm2, mlp = parts_of(block)
    build_window_attention(attention, channels)
    fc1, fc2 = dense_layers(mlp).values()
    _build([norm1, norm2, fc1], (None, None, channels))
    _build([fc2], (None, None, fc1.units))
    mlp.built = block.built = True


def build_merging(merging: keras.layers.Layer, channels: int) -> None:
    """Makes what weights a patch merging lacks.

    Args:
        merging: of a Swin Transformer's stage.
        channels: int, of its tokens.
    """
    _build(merging_layers(merging), (None, None, None, 4 * channels))
    merging.built = True


def _build(layers: Iterable[keras.layers.Layer], shape: tuple) -> None:
    for layer in layers:
        if not layer.built:
            layer.build(shape)
