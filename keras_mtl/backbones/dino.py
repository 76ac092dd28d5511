"""DINOv2 and DINOv3: sizes, and a DINOv2 for images that are not square."""

import functools
from typing import Any

import keras

from keras_mtl.arguments import checked_shape, checked_sizes
from keras_mtl.backbones.keras_hub import embedding_at
from keras_mtl.backbones.kinds import class_of
from keras_mtl.backbones.vision_transformer import check_image_shape

# Oquab et al., DINOv2, TMLR 2024, and Simeoni et al., DINOv3, 2025; both have larger ones too.
DINO_SIZES = {
    "small": {"num_layers": 12, "num_heads": 6, "hidden_dim": 384, "intermediate_dim": 1536},
    "base": {"num_layers": 12, "num_heads": 12, "hidden_dim": 768, "intermediate_dim": 3072},
    "large": {"num_layers": 24, "num_heads": 16, "hidden_dim": 1024, "intermediate_dim": 4096},
}


def dinov2(
    size: str, image_shape: tuple[int, int, int], patch_size: int = 14, **overrides
) -> keras.Model:
    """A randomly initialised `keras_hub.models.DINOV2Backbone`, for images of any shape.

    Args:
        size: `"small"`, `"base"` or `"large"`.
        image_shape: `(height, width, 3)` in pixels, multiples of `patch_size`.
        patch_size: int, pixels.
        **overrides: any argument of `keras_hub.models.DINOV2Backbone`, for instance
            `num_register_tokens=4`.

    Raises:
        ValueError: if `size` is unknown, or patches do not divide the image.

    Example:

    >>> backbone = keras_mtl.backbones.dinov2("small", (28, 42, 3), num_layers=1)
    >>> type(backbone).__name__, backbone.image_shape
    ('RectangularDINOV2Backbone', (28, 42, 3))
    """
    shape, config = _checked(size, image_shape, patch_size, overrides)
    config = {"position_embedding_shape": shape[:2], "use_mask_token": False, **config}
    return dinov2_class(shape)(patch_size=patch_size, image_shape=shape, **config)


def dinov3(
    size: str, image_shape: tuple[int, int, int], patch_size: int = 16, **overrides
) -> keras.Model:
    """A randomly initialised `keras_hub.models.DINOV3Backbone`.

    Args:
        size: `"small"`, `"base"` or `"large"`.
        image_shape: `(height, width, 3)` in pixels, multiples of `patch_size`.
        patch_size: int, pixels.
        **overrides: any argument of `keras_hub.models.DINOV3Backbone`, for instance
            `use_gated_mlp=True`.

    Raises:
        ValueError: if `size` is unknown, or patches do not divide the image.

    Example:

    >>> keras_mtl.backbones.dinov3("base", (32, 48, 3), num_layers=1).hidden_dim
    768
    """
    shape, config = _checked(size, image_shape, patch_size, overrides)
    config = {"use_key_bias": False, "use_mask_token": False, **config}
    return class_of("dinov3")(patch_size=patch_size, image_shape=shape, **config)


def _checked(size, image_shape, patch_size, overrides):
    if size not in DINO_SIZES:
        raise ValueError(f"Unknown size {size!r} of a DINO; choose one of {list(DINO_SIZES)}.")
    image_shape = checked_shape(image_shape)
    check_image_shape(image_shape, (patch_size, patch_size))
    return image_shape, checked_sizes(overrides, DINO_SIZES[size])


# === A DINOv2 that is not square ===


def dinov2_class(image_shape) -> Any:
    """The class of a DINOv2 for images of a shape: keras-hub's own takes squares only.

    Args:
        image_shape: `(height, width, 3)` in pixels.
    """
    return class_of("dinov2") if image_shape[0] == image_shape[1] else rectangular_dinov2()


@functools.cache
def rectangular_dinov2() -> type:
    """The class, a `keras_hub.models.DINOV2Backbone` in all but its positions.

    Its table of positions has an entry for each patch of the image, and is not resized by itself:
    `keras_mtl.backbones.from_preset` does it once. It is made when it is first asked for, since
    keras-hub imports TensorFlow where it is installed.

    Example:

    >>> sizes = {"num_layers": 1, "num_heads": 1, "hidden_dim": 8, "intermediate_dim": 8}
    >>> backbone = rectangular_dinov2()(patch_size=14, image_shape=(28, 42, 3), **sizes)
    >>> tuple(backbone(keras.ops.ones((1, 28, 42, 3))).shape)
    (1, 7, 8)
    """
    base: Any = class_of("dinov2")

    @keras.saving.register_keras_serializable(package="keras_mtl")
    class RectangularDINOV2Backbone(base):
        def __init__(
            self,
            patch_size,
            image_shape=(448, 616, 3),
            position_embedding_shape=None,
            apply_layernorm=False,
            dtype=None,
            name=None,
            trainable=True,
            **kwargs,
        ):
            square = (patch_size, patch_size, 3)
            inner = base(
                patch_size=patch_size,
                image_shape=square,
                position_embedding_shape=square,
                dtype=dtype,
                **kwargs,
            )
            image_shape = tuple(image_shape)
            self.embeddings = embedding_at(inner, image_shape[:2])
            self.encoder, self.layernorm = inner.encoder, inner.layernorm
            images = keras.Input(image_shape, name="images")
            tokens = self.embeddings(images)
            outputs = {"stem": tokens}
            tokens, each = self.encoder(tokens)
            outputs |= each
            if apply_layernorm:
                outputs = {key: self.layernorm(value) for key, value in outputs.items()}
            # Past the DINOv2's own constructor, which would refuse the image.
            super(base, self).__init__(
                inputs={"images": images},
                outputs=self.layernorm(tokens),
                dtype=dtype,
                name=name,
                trainable=trainable,
            )
            for argument, value in inner.get_config().items():
                if argument not in ("name", "trainable", "dtype"):
                    setattr(self, argument, value)
            self.image_shape, self.position_embedding_shape = image_shape, image_shape[:2]
            self.apply_layernorm, self.pyramid_outputs = apply_layernorm, outputs

    return RectangularDINOV2Backbone
