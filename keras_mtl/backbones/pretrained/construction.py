"""What both formats share: a class of keras-hub, its arguments, and an image size."""

import inspect
from pathlib import Path
from typing import Any

import keras

from keras_mtl.backbones.swin_transformer import shape_on_the_grid
from keras_mtl.backbones.vision_transformer import check_image_shape
from keras_mtl.computation.declared_network import check_network


def at_size(kind: str | None, arguments: dict, image_shape: tuple[int, int, int]) -> dict:
    """The arguments of a backbone's constructor for images of a size.

    Args:
        kind: as `keras_hub.kind_of` answers.
        arguments: dict of the others.
        image_shape: `(height, width, 3)` in pixels.

    Raises:
        ValueError: if a backbone of this kind does not take the size.
    """
    if kind == "swin":
        return {**arguments, "image_shape": shape_on_the_grid(arguments)}
    if kind in ("vit", "dinov2", "dinov3"):
        patch = arguments["patch_size"]
        check_image_shape(image_shape, (patch, patch) if isinstance(patch, int) else patch)
    # Its table of positions is of the same size: else keras-hub would resize it from the one size
    # to the other whenever it reads a file.
    table = {"position_embedding_shape": image_shape[:2]} if kind == "dinov2" else {}
    return {**arguments, size_argument(arguments): image_shape, **table}


def size_argument(arguments: dict) -> str:
    """What a backbone's constructor calls its image size: EfficientNet's names it otherwise."""
    return "input_shape" if "input_shape" in arguments else "image_shape"


def build(cls: Any, arguments: dict, overrides: dict, folder: Path) -> keras.Model:
    """The backbone, randomly initialised.

    Raises:
        ValueError: if its class does not take an argument, or it would take more memory than what
            is in the folder explains.
    """
    known = set(inspect.signature(cls.__init__).parameters) | {"name", "trainable"}
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise ValueError(
            f"{cls.__name__} takes no {', '.join(unknown)}; see keras_hub.models.{cls.__name__} "
            "for what it takes."
        )
    held = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    check_network(folder, arguments, lambda: cls.from_config(arguments), held)
    try:
        return cls.from_config(arguments)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"{cls.__name__} cannot be built as config.json in {folder} and the given arguments "
            f"say: {reason}"
        ) from error
