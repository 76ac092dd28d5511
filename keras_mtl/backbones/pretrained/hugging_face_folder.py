"""Backbones from folders in Hugging Face's format."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_mtl.backbones.dino import dinov2_class
from keras_mtl.backbones.kinds import class_of
from keras_mtl.backbones.pretrained.construction import at_size, build
from keras_mtl.backbones.pretrained.index import listed_files
from keras_mtl.backbones.weights.files import read_weights
from keras_mtl.backbones.weights.naming import fill


def from_hugging_face(folder, config, image_shape, overrides):
    """The backbone in a folder, and the image shape that is asked for.

    Args:
        folder: what `save_pretrained` wrote.
        config: dict, its config.json.
        image_shape: `(height, width, 3)` in pixels, or `None` for the folder's.
        overrides: dict of arguments that are wanted otherwise.

    Raises:
        ValueError: if the folder does not hold such a backbone's weights, all of them.
    """
    model_type = config["model_type"]
    if model_type not in _KINDS:
        raise ValueError(
            f"{folder} holds a model of type {model_type!r}; expected one of {', '.join(_KINDS)}."
        )
    if config.get("num_channels", 3) != 3:
        raise ValueError(
            f"{folder} holds a model for images of {config['num_channels']} channels; expected 3."
        )
    arrays = _read_arrays(folder)
    kind, arguments = _KINDS[model_type](config)
    arguments |= overrides
    trained = config.get("image_size", 224)
    trained = (trained, trained) if isinstance(trained, int) else tuple(trained)
    image_shape = image_shape or (*trained, 3)
    cls = dinov2_class(image_shape) if kind == "dinov2" else class_of(kind)
    backbone = build(cls, at_size(kind, arguments, image_shape), overrides, folder)
    patch = arguments["patch_size"]
    fill(backbone, arrays, folder, tuple(length // patch for length in trained))
    return backbone, image_shape


def _read_arrays(folder: Path) -> dict[str, np.ndarray]:
    """All arrays of a folder, whichever way and in however many files they are kept."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return read_weights(folder / name)
        index = folder / f"{name}.index.json"
        if index.is_file():
            parts = [read_weights(file) for file in listed_files(index)]
            return {key: array for part in parts for key, array in part.items()}
    raise ValueError(
        f"{folder} has no weights: there is neither model.safetensors nor pytorch_model.bin."
    )


# === What config.json says, as arguments of keras-hub's classes ===


def _expect(config: Mapping, key: str, default, only):
    """What keras-hub's class has no argument for must be as it computes."""
    found = config.get(key, default)
    if found != only:
        raise ValueError(
            f"This {config['model_type']} has {key}={found!r}; the backbone in keras_hub computes "
            f"{only!r} only."
        )


def _vit(config):
    _expect(config, "hidden_act", "gelu", "gelu")
    _expect(config, "qkv_bias", True, True)
    return "vit", {
        "patch_size": config.get("patch_size", 16),
        "num_layers": config.get("num_hidden_layers", 12),
        "num_heads": config.get("num_attention_heads", 12),
        "hidden_dim": config.get("hidden_size", 768),
        "mlp_dim": config.get("intermediate_size", 3072),
        "dropout_rate": config.get("hidden_dropout_prob", 0.0),
        "attention_dropout": config.get("attention_probs_dropout_prob", 0.0),
        "layer_norm_epsilon": config.get("layer_norm_eps", 1e-12),
    }


def _swin(config):
    _expect(config, "hidden_act", "gelu", "gelu")
    _expect(config, "use_absolute_embeddings", False, False)
    _expect(config, "layer_norm_eps", 1e-5, 1e-5)
    return "swin", {
        "patch_size": config.get("patch_size", 4),
        "embed_dim": config.get("embed_dim", 96),
        "depths": tuple(config.get("depths", (2, 2, 6, 2))),
        "num_heads": tuple(config.get("num_heads", (3, 6, 12, 24))),
        "window_size": config.get("window_size", 7),
        "mlp_ratio": config.get("mlp_ratio", 4.0),
        "qkv_bias": config.get("qkv_bias", True),
        "dropout_rate": config.get("hidden_dropout_prob", 0.0),
        "attention_dropout": config.get("attention_probs_dropout_prob", 0.0),
        "drop_path": config.get("drop_path_rate", 0.1),
    }


def _dinov2(config):
    _expect(config, "hidden_act", "gelu", "gelu")
    _expect(config, "qkv_bias", True, True)
    _expect(config, "layer_norm_eps", 1e-6, 1e-6)
    registers = config["model_type"] == "dinov2_with_registers"
    width = config.get("hidden_size", 768)
    return "dinov2", {
        "patch_size": config.get("patch_size", 14),
        "num_layers": config.get("num_hidden_layers", 12),
        "hidden_dim": width,
        "num_heads": config.get("num_attention_heads", 12),
        "intermediate_dim": int(width * config.get("mlp_ratio", 4)),
        "num_register_tokens": config.get("num_register_tokens", 4) if registers else 0,
        "use_mask_token": False,
        "use_swiglu_ffn": config.get("use_swiglu_ffn", False),
        "dropout_rate": config.get("hidden_dropout_prob", 0.0),
        "drop_path_rate": config.get("drop_path_rate", 0.0),
        "antialias_in_interpolation": registers,
    }


def _dinov3(config):
    rope = config.get("rope_parameters") or config
    return "dinov3", {
        "patch_size": config.get("patch_size", 16),
        "num_layers": config.get("num_hidden_layers", 12),
        "hidden_dim": config.get("hidden_size", 384),
        "num_heads": config.get("num_attention_heads", 6),
        "intermediate_dim": config.get("intermediate_size", 1536),
        "num_register_tokens": config.get("num_register_tokens", 0),
        "use_mask_token": False,
        "hidden_activation": config.get("hidden_act", "gelu"),
        "use_gated_mlp": config.get("use_gated_mlp", False),
        "use_query_bias": config.get("query_bias", True),
        "use_key_bias": config.get("key_bias", False),
        "use_value_bias": config.get("value_bias", True),
        "use_proj_bias": config.get("proj_bias", True),
        "use_mlp_bias": config.get("mlp_bias", True),
        "attention_dropout": config.get("attention_dropout", 0.0),
        "drop_path_rate": config.get("drop_path_rate", 0.0),
        "layer_norm_eps": config.get("layer_norm_eps", 1e-5),
        "rope_theta": rope.get("rope_theta", 100.0),
    }


# By `model_type`.
_KINDS = {
    "vit": _vit,
    "swin": _swin,
    "dinov2": _dinov2,
    "dinov2_with_registers": _dinov2,
    "dinov3_vit": _dinov3,
}
