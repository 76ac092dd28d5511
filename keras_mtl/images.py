"""How images are normalised: by ImageNet's statistics unless a backbone was trained otherwise."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

# ImageNet's, which the papers' backbones were trained with, on the 0..255 scale.
IMAGE_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGE_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)

ImageStatistics = tuple[Sequence[float], Sequence[float]]  # mean and standard deviation of R, G, B


def normalized_images(images, statistics: ImageStatistics | None = None):
    """Images in 0..255 by a mean and standard deviation: every model's first layer.

    Args:
        images: `keras.Input` of `(height, width, 3)`.
        statistics: mean and standard deviation of each channel; `None` means ImageNet's.

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
    mean, std = statistics or (IMAGE_MEAN, IMAGE_STD)
    return keras.layers.Normalization(
        mean=mean,
        variance=[each**2 for each in std],
        dtype="float32",
        name="image_normalization",
    )(images)


def statistics_of(backbone: Any, given: Any = None) -> ImageStatistics | None:
    """What a model with this backbone normalises images by, as its configuration keeps it.

    Args:
        backbone: `keras_mtl.backbones.from_preset` leaves on it what its folder says.
        given: what the user wants instead, or `None`.

    Returns:
        Mean and standard deviation, or `None` for ImageNet's.

    Raises:
        ValueError: if they are no three numbers each, or a deviation is not positive.
    """
    found = getattr(backbone, "image_statistics", None) if given is None else given
    return None if found is None else checked_statistics(found)


def checked_statistics(statistics: Any) -> ImageStatistics:
    """Mean and standard deviation as floats, after refusing anything else."""
    try:
        mean, std = np.asarray(statistics, "float64").reshape(2, 3)
        good = np.isfinite([mean, std]).all() and (std > 0).all()
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError(
            f"image_statistics is {statistics!r}, expected the mean and the positive standard "
            "deviation of three channels; pass such as ([127.5] * 3, [127.5] * 3)."
        )
    return tuple(mean.tolist()), tuple(std.tolist())
