"""keras-hub's layers as configurations and back, whose weights it does not make from these.

Beside `keras_mtl.backbones.keras_hub`, which names what is inside.
"""

import keras

from keras_mtl.backbones.keras_hub import (
    dense_layers,
    fused_projections,
    merging_layers,
    parts_of,
    window_length,
)


def serialize_block(block: keras.layers.Layer) -> dict:
    """A ViT's or Swin's block without its weights, for a configuration."""
    config = keras.saving.serialize_keras_object(block)
    config["config"].pop("key_dim", None)  # keras-hub writes it but does not take it back
    if "window_size" in config["config"]:  # a Swin's, cut to its image; the attention's is not
        config["config"]["window_size"] = window_length(parts_of(block).attention)
    return config


def serialize_window_attention(attention: keras.layers.Layer) -> dict:
    """A Swin block's attention without its weights, for a configuration.

    keras-hub writes what it does not take back, and a layer in place of a rate.
    """
    config = keras.saving.serialize_keras_object(attention)
    own = config["config"]
    for name in ("win_h", "win_w", "attn_dim"):
        own.pop(name, None)
    own["qk_scale"] = own.pop("scale", None)
    own["proj_drop"] = attention.proj_drop_rate
    return config


def build_window_attention(attention: keras.layers.Layer) -> None:
    """Makes the weights of a Swin block's attention, as of one from a configuration."""
    width = (None, None, attention.dim)
    _build_all([attention], width)
    _build_all(fused_projections(attention), width)


def build_swin_block(block: keras.layers.Layer) -> None:
    """Makes the weights of a Swin block, as of one from a configuration."""
    norm1, attention, norm2, mlp = parts_of(block)
    build_window_attention(attention)
    fc1, fc2 = dense_layers(mlp).values()
    _build_all([norm1, norm2, fc1], (None, None, attention.dim))
    _build_all([fc2], (None, None, fc1.units))
    mlp.built = block.built = True


def _build_all(layers, shape) -> None:
    """Keras builds a layer from a configuration, but not the layers that keras-hub has in it."""
    for layer in layers:
        if not layer.built:
            layer.build(shape)


def build_swin_merging(merging: keras.layers.Layer) -> None:
    """Makes the weights of a patch merging, as of one from a configuration."""
    _build_all(merging_layers(merging), (None, None, None, 4 * merging.dim))
    merging.built = True
