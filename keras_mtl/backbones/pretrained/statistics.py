"""How the images were normalised that a folder's backbone was trained on, as the folder says."""

from pathlib import Path

import numpy as np

from keras_mtl import declared
from keras_mtl.images import ImageStatistics, checked_statistics


def read_statistics(folder: Path) -> ImageStatistics | None:
    """Mean and standard deviation from Hugging Face's or keras-hub's file on preprocessing.

    Args:
        folder: what `save_pretrained` or `save_to_preset` wrote.

    Returns:
        On the 0..255 scale, or `None` if there is no such file.

    Raises:
        ValueError: if the file is broken.
    """
    for name, read in (
        ("preprocessor_config.json", _hugging_face),
        ("image_converter.json", _keras_hub),
    ):
        path = folder / name
        if not path.is_file():
            continue
        config = declared.read_json(path)
        try:
            return checked_statistics(read(config))
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise ValueError(
                f"{path} does not say how images are normalised ({error}); copy it again, or "
                "remove it to take ImageNet's statistics."
            ) from None
    return None


def _hugging_face(config: dict):
    """`(x * factor - mean) / std`."""
    factor = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1
    mean, std = np.zeros(3), np.ones(3)
    if config.get("do_normalize", True):
        mean, std = mean + config["image_mean"], std * config["image_std"]
    return mean / factor, std / factor


def _keras_hub(config: dict):
    """`x * scale + offset`, or, in older files, `(x * scale - mean) / std`."""
    config = config["config"]
    scale = np.ones(3) * (1 if config.get("scale") is None else config["scale"])
    offset = np.zeros(3) + (0 if config.get("offset") is None else config["offset"])
    if "mean" in config and "variance" in config:
        std = np.sqrt(config["variance"])
        scale, offset = scale / std, -np.asarray(config["mean"]) / std
    return -offset / scale, 1 / scale
