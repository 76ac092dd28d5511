"""Pretrained backbones at any image size: keras-hub's presets and Hugging Face's folders."""

import difflib
import inspect
import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_mtl.backbones.feature_pyramid import attention_mask_accepted
from keras_mtl.backbones.swin_transformer import (
    SwinTransformer,
    relative_position_table,
    shape_on_the_grid,
)
from keras_mtl.backbones.vision_transformer import check_image_shape, grid_of, position_table
from keras_mtl.backbones.weights.files import read_weights
from keras_mtl.backbones.weights.naming import dinov2_positions, fill


def from_preset(
    name_or_folder: str | Path,
    image_shape: tuple[int, int, int] | None = None,
    **overrides,
):
    """A pretrained backbone, its weights carried to an image size.

    Position embeddings are resized bicubically to the patches of the image, a Swin Transformer's
    relative positions to another `window_size`; what is resized is logged. Every weight comes
    from the file: one that the file lacks, or has left over, is an error.

    Args:
        name_or_folder: a keras-hub preset, for instance `"vit_large_patch16_384_imagenet"`,
            `"swin_tiny_patch4_window7_224"`, `"dinov2_base"`, `"dinov3_vit_small_lvd1689m"` or
            `"resnet_50_imagenet"`, which is downloaded once (`kaggle://` and `hf://` addresses
            too); or the path of a folder that keras-hub's `save_to_preset` or, for ViT, Swin,
            DINOv2 and DINOv3, Hugging Face's `save_pretrained` wrote.
        image_shape: `(height, width, 3)` in pixels; `None` means the size it was trained at. ViT
            and DINOv3 need multiples of their patches, DINOv2 squares of them; Swin and
            convolutional networks take any size.
        **overrides: arguments of the backbone's class in `keras_hub.models` to differ from the
            preset's, for instance `dropout_rate=0.1`, `drop_path=0.2`, `window_size=12`, or
            `use_class_token=False`, which drops the class token and its position.

    Returns:
        A `SwinTransformer` for a Swin Transformer, else the backbone of `keras_hub.models`. Models
        of this package and `feature_pyramid` take either. The LayerNorms of a `SwinTransformer`'s
        outputs, all but the last, are new: classifiers have none.

    Raises:
        ValueError: if there is no such preset or folder, it cannot be downloaded, is broken or
            holds no image backbone, its weights do not fill the backbone, or the backbone does
            not take `image_shape`.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer("nano", (64, 64, 3))
    >>> backbone.save_to_preset("my_vit")
    >>> keras_mtl.backbones.from_preset("my_vit", image_shape=(64, 96, 3)).image_shape
    (64, 96, 3)
    """
    folder = Path(name_or_folder)
    if not folder.is_dir():
        folder = _downloaded(str(name_or_folder))
    config = _read_config(folder)
    if image_shape is not None:
        image_shape = tuple(image_shape)
        if len(image_shape) != 3 or not all(image_shape) or image_shape[-1] != 3:
            raise ValueError(
                f"image_shape is {image_shape}; expected a known height and width and 3 channels, "
                "for example (448, 576, 3)."
            )
    with attention_mask_accepted():
        if "registered_name" in config:
            backbone, shape = _from_keras_hub(folder, config, image_shape, overrides)
        else:
            backbone, shape = _from_hugging_face(folder, config, image_shape, overrides)
        if type(backbone).__name__ == "SwinTransformerBackbone":
            return SwinTransformer(backbone, shape)
    return backbone


# === Where the files are ===


def _downloaded(name: str) -> Path:
    """The folder of a preset that keras-hub knows by name, or of an address."""
    import keras_hub

    models = keras_hub.models
    kinds = (models.ViTBackbone, models.SwinTransformerBackbone, models.FeaturePyramidBackbone)
    address = name
    if "://" not in name:
        known = {key: preset for kind in kinds for key, preset in kind.presets.items()}
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3) or sorted(known)[:3]
            raise ValueError(
                f"{name!r} is neither a folder nor one of keras-hub's presets of image backbones; "
                f"near are {', '.join(close)}, and all names are in "
                "keras_hub.models.ViTBackbone.presets and the like."
            )
        address = known[name]["kaggle_handle"]
    scheme, _, handle = address.partition("://")
    try:
        if scheme == "kaggle":
            import kagglehub

            return Path(kagglehub.model_download(handle))
        if scheme == "hf":
            import huggingface_hub

            wanted = ["config.json", "model*.safetensors*", "model*.weights.*"]
            folder = Path(huggingface_hub.snapshot_download(handle, allow_patterns=wanted))
            if not any(folder.glob("model*")):  # many have the same weights in both kinds
                wanted = ["config.json", "pytorch_model*.bin*"]
                folder = Path(huggingface_hub.snapshot_download(handle, allow_patterns=wanted))
            return folder
    except ImportError as error:
        raise ValueError(f"Downloading {address} needs {error.name}: pip install it.") from error
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise ValueError(
            f"{name} could not be downloaded ({reason}); check the connection, or copy its folder "
            "here and give its path."
        ) from error
    raise ValueError(f"{name} has an unknown beginning; expected kaggle:// or hf://.")


def _read_config(folder: Path) -> dict:
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} has no config.json; name a folder that save_to_preset or save_pretrained "
            "wrote, or fill a backbone with keras_mtl.backbones.load_weights."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is broken or only part of a file; copy it again.") from error
    if not isinstance(config, dict) or not {"registered_name", "model_type"} & set(config):
        raise ValueError(
            f"{path} is neither keras-hub's nor Hugging Face's: it has neither registered_name "
            "nor model_type."
        )
    return config


# === Folders in keras-hub's format ===


def _from_keras_hub(folder, config, image_shape, overrides):
    """The backbone, and the image shape that is asked for."""
    import keras_hub

    models = keras_hub.models
    kinds = (models.ViTBackbone, models.SwinTransformerBackbone, models.FeaturePyramidBackbone)
    cls = getattr(models, str(config.get("class_name")), None)
    if not (inspect.isclass(cls) and issubclass(cls, kinds)):
        raise ValueError(
            f"{folder} holds a {config.get('class_name')}; expected an image backbone: a "
            "ViTBackbone, a SwinTransformerBackbone or one with pyramid_outputs."
        )
    try:
        stored = keras.saving.deserialize_keras_object(config["config"])  # also tuples, from JSON
        size = "image_shape" if "image_shape" in stored else "input_shape"  # EfficientNet's
        stored[size] = tuple(stored[size])
    except Exception as error:
        raise ValueError(
            f"{folder / 'config.json'} does not describe a {cls.__name__}; copy it again."
        ) from error
    wanted = {**stored, **overrides}
    if image_shape is not None:
        wanted[size] = image_shape
    image_shape = wanted[size]
    # As `wanted`, but with tables of the sizes in the file.
    native = dict(wanted)
    if cls is models.ViTBackbone:
        patch = wanted["patch_size"]
        check_image_shape(image_shape, (patch, patch) if isinstance(patch, int) else patch)
        native |= {key: stored[key] for key in ("image_shape", "use_class_token")}
    elif cls is models.SwinTransformerBackbone:
        native["window_size"] = stored["window_size"]
        for arguments in (wanted, native):
            arguments["image_shape"] = shape_on_the_grid(arguments)
    elif cls is models.DINOV2Backbone:
        _check_dinov2(image_shape, wanted["patch_size"])
        trained = tuple(stored["position_embedding_shape"][:2])
        native |= {"image_shape": (*trained, 3), "position_embedding_shape": trained}
        # Of one size: else keras-hub would resize from one to the other whenever it loads.
        wanted["position_embedding_shape"] = image_shape[:2]
    elif cls is models.DINOV3Backbone:
        check_image_shape(image_shape, (wanted["patch_size"],) * 2)
    else:
        native = wanted

    backbone = _build(cls, native, overrides, folder)
    _load_stored(backbone, folder, cls)
    if any(native[key] != wanted[key] for key in wanted):
        backbone = _carried(backbone, _build(cls, wanted, overrides, folder), folder)
    return backbone, image_shape


def _load_stored(backbone, folder, cls):
    """Weights from a folder that `save_to_preset` wrote, each of them accounted for."""
    path = folder / "model.weights.h5"
    if not path.is_file():
        path = folder / "model.weights.json"  # several files
    if not path.is_file():
        raise ValueError(
            f"{folder} has no weights: there is no model.weights.h5; a randomly initialised "
            "backbone is built by its class."
        )
    # Whichever way Keras reads: what is not a number afterwards has not been read.
    for weight in backbone.weights:
        weight.assign(ops.full(weight.shape, float("nan"), dtype=weight.dtype))
    cause = None
    try:
        stored = _count_stored(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is missing is said below, whole
            backbone.load_weights(path)
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is broken or only part of a file; copy it again.") from error
    except Exception as error:
        cause = error
    unread = [
        weight.path
        for weight in backbone.weights
        if np.isnan(ops.convert_to_numpy(ops.ravel(weight)[:1])).any()
    ]
    what = f"the {cls.__name__} that its config.json describes"
    advice = "take both files from the same preset"
    if unread or cause is not None:
        more = f" and {len(unread) - 3} more" if len(unread) > 3 else ""
        named = ", ".join(unread[:3]) or "some weights"
        raise ValueError(
            f"{path} lacks, or has in another size, {named}{more} of {what}; {advice}."
        ) from cause
    if stored != len(backbone.weights):
        raise ValueError(
            f"{path} holds {stored} arrays, and {what} takes {len(backbone.weights)}; {advice}."
        )


def _count_stored(path: Path) -> int:
    """How many arrays one file or several hold, states of random generators not counted."""
    import h5py

    paths = [path]
    if path.suffix == ".json":
        parts = json.loads(path.read_text())["weight_map"].values()
        names = {name for part in parts for name in ([part] if isinstance(part, str) else part)}
        paths = [path.parent / name for name in sorted(names)]
    found = []

    def note(name, item):
        if isinstance(item, h5py.Dataset) and "/vars/" in name and "seed_generator" not in name:
            found.append(name)

    for one in paths:
        with h5py.File(one, "r") as file:
            file.visititems(note)
    return len(found)


def _carried(native, backbone, folder):
    """`backbone` with the weights of `native`, their tables resized."""
    old = native.weights
    if not getattr(backbone, "use_class_token", True):
        old = [weight for weight in old if not weight.path.endswith("/class_token")]
    if len(old) != len(backbone.weights):
        raise ValueError(f"{folder} has no class token; leave use_class_token=True out.")
    for source, target in zip(old, backbone.weights, strict=True):
        value = ops.convert_to_numpy(source)
        if target.path.endswith("position_embedding/embeddings"):
            value = position_table(
                value, grid_of(backbone), backbone.use_class_token, grid_of(native)
            )
        elif target.path.endswith("position_embeddings"):
            grid = tuple(length // backbone.patch_size for length in backbone.image_shape[:2])
            value = dinov2_positions(backbone, value, grid)[None]
        elif target.path.endswith("relative_position_bias_table"):
            value = relative_position_table(value, backbone.window_size)
        target.assign(value)
    return backbone


def _check_dinov2(image_shape, patch: int):
    if image_shape[0] != image_shape[1]:
        raise ValueError(
            f"image_shape is {image_shape}, but keras_hub's DINOV2Backbone takes square images "
            "only; use a square size, or DINOv3, which takes any."
        )
    check_image_shape(image_shape, (patch, patch))


def _build(cls, arguments, overrides, folder):
    known = set(inspect.signature(cls.__init__).parameters) | {"name", "trainable"}
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise ValueError(
            f"{cls.__name__} takes no {', '.join(unknown)}; see keras_hub.models.{cls.__name__} "
            "for what it takes."
        )
    try:
        return cls.from_config(arguments)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"{cls.__name__} cannot be built as config.json in {folder} and the given arguments "
            f"say: {reason}"
        ) from error


# === Folders in Hugging Face's format ===


def _from_hugging_face(folder, config, image_shape, overrides):
    """The backbone, and the image shape that is asked for."""
    import keras_hub

    kind = config["model_type"]
    if kind not in _HUGGING_FACE:
        raise ValueError(
            f"{folder} holds a model of type {kind!r}; expected one of {', '.join(_HUGGING_FACE)}."
        )
    if config.get("num_channels", 3) != 3:
        raise ValueError(
            f"{folder} holds a model for images of {config['num_channels']} channels; expected 3."
        )
    arrays = _read_hugging_face(folder)
    name, arguments = _HUGGING_FACE[kind](config, arrays)
    cls = getattr(keras_hub.models, name)
    trained = config.get("image_size", 224)
    trained = (trained, trained) if isinstance(trained, int) else tuple(trained)
    image_shape = (*trained, 3) if image_shape is None else image_shape
    arguments |= overrides
    patch = arguments["patch_size"]
    table_grid = tuple(length // patch for length in trained)
    arguments["image_shape"] = image_shape
    if name == "SwinTransformerBackbone":
        arguments["image_shape"] = shape_on_the_grid(arguments)
    elif name != "DINOV2Backbone":
        check_image_shape(image_shape, (patch, patch))
    else:
        _check_dinov2(image_shape, patch)
        # Of one size: else keras-hub would resize from one to the other whenever it loads.
        arguments["position_embedding_shape"] = image_shape[:2]
    backbone = _build(cls, arguments, overrides, folder)
    fill(backbone, arrays, folder, table_grid)
    return backbone, image_shape


def _read_hugging_face(folder: Path) -> dict[str, np.ndarray]:
    """All arrays of a folder, whichever way and in however many files they are kept."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return read_weights(folder / name)
        index = folder / f"{name}.index.json"
        if index.is_file():
            try:
                files = json.loads(index.read_text())["weight_map"].values()
            except (ValueError, KeyError) as error:
                raise ValueError(
                    f"{index} is broken or only part of a file; copy it again."
                ) from error
            parts = [read_weights(folder / file) for file in dict.fromkeys(files)]
            return {key: array for part in parts for key, array in part.items()}
    raise ValueError(
        f"{folder} has no weights: there is neither model.safetensors nor pytorch_model.bin."
    )


def _expect(config: Mapping, key: str, default, only):
    """What keras-hub's class has no argument for must be as it computes."""
    found = config.get(key, default)
    if found != only:
        raise ValueError(
            f"This {config['model_type']} has {key}={found!r}; the backbone in keras_hub computes "
            f"{only!r} only."
        )


def _vit(config, arrays):
    _expect(config, "hidden_act", "gelu", "gelu")
    _expect(config, "qkv_bias", True, True)
    return "ViTBackbone", {
        "patch_size": config.get("patch_size", 16),
        "num_layers": config.get("num_hidden_layers", 12),
        "num_heads": config.get("num_attention_heads", 12),
        "hidden_dim": config.get("hidden_size", 768),
        "mlp_dim": config.get("intermediate_size", 3072),
        "dropout_rate": config.get("hidden_dropout_prob", 0.0),
        "attention_dropout": config.get("attention_probs_dropout_prob", 0.0),
        "layer_norm_epsilon": config.get("layer_norm_eps", 1e-12),
    }


def _swin(config, arrays):
    _expect(config, "hidden_act", "gelu", "gelu")
    _expect(config, "use_absolute_embeddings", False, False)
    _expect(config, "layer_norm_eps", 1e-5, 1e-5)
    return "SwinTransformerBackbone", {
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


def _dinov2(config, arrays):
    _expect(config, "hidden_act", "gelu", "gelu")
    _expect(config, "qkv_bias", True, True)
    _expect(config, "layer_norm_eps", 1e-6, 1e-6)
    registers = config["model_type"] == "dinov2_with_registers"
    width = config.get("hidden_size", 768)
    return "DINOV2Backbone", {
        "patch_size": config.get("patch_size", 14),
        "num_layers": config.get("num_hidden_layers", 12),
        "hidden_dim": width,
        "num_heads": config.get("num_attention_heads", 12),
        "intermediate_dim": int(width * config.get("mlp_ratio", 4)),
        "num_register_tokens": config.get("num_register_tokens", 4) if registers else 0,
        "use_mask_token": any(name.endswith("embeddings.mask_token") for name in arrays),
        "use_swiglu_ffn": config.get("use_swiglu_ffn", False),
        "dropout_rate": config.get("hidden_dropout_prob", 0.0),
        "drop_path_rate": config.get("drop_path_rate", 0.0),
        "antialias_in_interpolation": registers,
    }


def _dinov3(config, arrays):
    rope = config.get("rope_parameters") or config
    return "DINOV3Backbone", {
        "patch_size": config.get("patch_size", 16),
        "num_layers": config.get("num_hidden_layers", 12),
        "hidden_dim": config.get("hidden_size", 384),
        "num_heads": config.get("num_attention_heads", 6),
        "intermediate_dim": config.get("intermediate_size", 1536),
        "num_register_tokens": config.get("num_register_tokens", 0),
        "use_mask_token": any(name.endswith("embeddings.mask_token") for name in arrays),
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


_HUGGING_FACE = {
    "vit": _vit,
    "swin": _swin,
    "dinov2": _dinov2,
    "dinov2_with_registers": _dinov2,
    "dinov3_vit": _dinov3,
}
