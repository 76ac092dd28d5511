"""Which backbone of keras-hub a thing is, by the names that are public there."""

from typing import Any

import keras

_CLASSES = {
    "vit": "ViTBackbone",
    "swin": "SwinTransformerBackbone",
    "dinov2": "DINOV2Backbone",
    "dinov3": "DINOV3Backbone",
    "mit": "MiTBackbone",
    "pyramid": "FeaturePyramidBackbone",  # of all the others that have several levels
}


def class_of(kind: str) -> type:
    """The class of keras-hub that `kind_of` answers `kind` for."""
    import keras_hub  # imports TensorFlow where it is installed, so not at the top

    return getattr(keras_hub.models, _CLASSES[kind])


def kind_of(backbone) -> str | None:
    """`"vit"`, `"swin"`, `"dinov2"`, `"dinov3"`, `"mit"`, `"pyramid"`, or `None` for others.

    Example:

    >>> kind_of(keras_mtl.backbones.vision_transformer("tiny", (32, 32, 3), num_layers=1))
    'vit'
    """
    return kind_of_class(type(backbone))


def kind_of_class(cls: type) -> str | None:
    """The same for a class."""
    return next((kind for kind in _CLASSES if issubclass(cls, class_of(kind))), None)


def image_backbones() -> tuple[Any, ...]:
    """The classes that every backbone for images is of."""
    return tuple(class_of(kind) for kind in ("vit", "swin", "pyramid"))


def takes_squares_only(backbone: keras.Model) -> bool:
    """Whether keras-hub is right on square images only.

    keras-hub 0.32 takes the square root of the number of a MiT's tokens for both sides.
    """
    return kind_of(backbone) == "mit"
