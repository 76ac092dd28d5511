"""What turns a keras-hub backbone into the features a model needs."""

from keras_mtl.backbones.vision_transformer import (
    SIZES,
    PatchTokens,
    at_image_shape,
    vision_transformer,
)

__all__ = ["SIZES", "PatchTokens", "at_image_shape", "vision_transformer"]
