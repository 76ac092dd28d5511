"""A pretrained backbone by a preset's name or from a folder."""

import difflib
from pathlib import Path

from keras_mtl import declared, shipped
from keras_mtl.backbones.feature_pyramid import like_keras_hubs
from keras_mtl.backbones.keras_hub import attention_mask_accepted
from keras_mtl.backbones.kinds import image_backbones, kind_of
from keras_mtl.backbones.pretrained.hugging_face_folder import from_hugging_face
from keras_mtl.backbones.pretrained.keras_hub_folder import from_keras_hub
from keras_mtl.backbones.pretrained.own_folder import from_own_folder
from keras_mtl.backbones.pretrained.statistics import read_statistics
from keras_mtl.backbones.swin_transformer import SwinTransformer


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
            DINOv2 and DINOv3, Hugging Face's `save_pretrained` wrote; or one with an `HRNet`, as
            `keras_mtl.runs.shipped` stores it.
        image_shape: `(height, width, 3)` in pixels; `None` means the size it was trained at. ViT
            and DINOs need multiples of their patches; Swin and convolutional networks take any
            size.
        **overrides: arguments of the backbone's class in `keras_hub.models` to differ from the
            preset's, for instance `dropout_rate=0.1`, `drop_path=0.2`, `window_size=12`, or
            `use_class_token=False`, which drops the class token and its position.

    Returns:
        A `SwinTransformer` for a Swin Transformer, else the backbone of `keras_hub.models`. Models
        of this package and `feature_pyramid` take either. The LayerNorms of a `SwinTransformer`'s
        outputs, all but the last, are new: classifiers have none. If the folder says how images are
        to be normalised (`preprocessor_config.json`, `image_converter.json`), models of this
        package built on the backbone do so, and keep it.

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
    folder = shipped.folder_of(name_or_folder)
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
    statistics = read_statistics(folder)
    with attention_mask_accepted():
        ours = str(config.get("registered_name")).startswith("keras_mtl>")
        if ours and config.get("class_name") not in {cls.__name__ for cls in like_keras_hubs()}:
            backbone, shape = from_own_folder(folder, config, image_shape, overrides)
        elif "registered_name" in config:
            backbone, shape = from_keras_hub(folder, config, image_shape, overrides)
        else:
            backbone, shape = from_hugging_face(folder, config, image_shape, overrides)
        if kind_of(backbone) == "swin":
            backbone = SwinTransformer(backbone, shape)
    backbone.image_statistics = statistics
    return backbone


# === Where the files are ===


def _downloaded(name: str) -> Path:
    """The folder of a preset that keras-hub knows by name, or of an address."""
    address = name
    if "://" not in name:
        known = {key: preset for cls in image_backbones() for key, preset in cls.presets.items()}
        if name not in known:
            near = difflib.get_close_matches(name, [*known, *shipped.names()], n=3)
            close = near or sorted(known)[:3]
            raise ValueError(
                f"{name!r} is neither a folder nor one of keras-hub's presets of image backbones; "
                f"near are {', '.join(close)}, and all names are in "
                f"keras_hub.models.{image_backbones()[0].__name__}.presets and the like."
            )
        address = known[name]["kaggle_handle"]
    scheme, _, handle = address.partition("://")
    try:
        if scheme == "kaggle":
            import kagglehub

            return Path(kagglehub.model_download(handle))
        if scheme == "hf":
            import huggingface_hub

            about = ["config.json", "preprocessor_config.json", "image_converter.json"]
            wanted = [*about, "model*.safetensors*", "model*.weights.*"]
            folder = Path(huggingface_hub.snapshot_download(handle, allow_patterns=wanted))
            if not any(folder.glob("model*")):  # many have the same weights in both kinds
                wanted = [*about, "pytorch_model*.bin*"]
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
        config = declared.read_json(path)
    except ValueError as error:
        raise ValueError(f"{path} is broken or only part of a file; copy it again.") from error
    if not isinstance(config, dict) or not {"registered_name", "model_type"} & set(config):
        raise ValueError(
            f"{path} is neither keras-hub's nor Hugging Face's: it has neither registered_name "
            "nor model_type."
        )
    return config
