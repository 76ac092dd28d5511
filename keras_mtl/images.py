"""ImageNet's statistics, which the papers' backbones were trained with, on the 0..255 scale."""

import keras

IMAGE_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGE_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


def normalized_images(images):
    """Images in 0..255 by ImageNet's mean and standard deviation: every model's first layer.

    Args:
        images: `keras.Input` of `(height, width, 3)`.

    Raises:
        ValueError: if it is not RGB.

    Example:

    >>> normalized_images(keras.Input((32, 48, 3))).shape
    (None, 32, 48, 3)
    """
    if images.shape[-1] != 3:
        raise ValueError(
            f"The backbone takes images of {tuple(images.shape[1:])}; expected (height, width, 3): "
            "build it for RGB."
        )
    return keras.layers.Normalization(
        mean=IMAGE_MEAN,
        variance=[std**2 for std in IMAGE_STD],
        dtype="float32",
        name="image_normalization",
    )(images)
