"""What is looked at in arrays of images and labels before a step has them."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_mtl.tasks import Task

LARGEST_IMAGE_VALUE = 1e6  # beyond any picture's; in half precision layers soon overflow


def check_images(shape: Sequence[int | None], image_size: tuple[int, int]) -> None:
    """Raises ValueError if images are not a batch of `(height, width, 3)`.

    Args:
        shape: of the images.
        image_size: `(height, width)` in pixels that the model takes.
    """
    height, width = image_size
    if len(shape) != 4 or tuple(shape[1:]) != (height, width, 3):
        raise ValueError(
            f"Images have shape {tuple(shape)}; this model takes "
            f"(batch, {height}, {width}, 3), RGB in 0..255."
        )


def labels_of(labels: Any, tasks: Sequence[Task]) -> dict:
    """The labels of these tasks alone.

    Args:
        labels: dict by task name.
        tasks: the model's.

    Raises:
        ValueError: if one is missing, or they are no dict.
    """
    if not isinstance(labels, Mapping):
        found = "missing" if labels is None else f"a {type(labels).__name__}"
        raise ValueError(
            f"Labels are {found}; expected a dict by task name: "
            f"{', '.join(task.name for task in tasks)}."
        )
    missing = [task.name for task in tasks if task.name not in labels]
    if missing:
        raise ValueError(
            f"There are no labels for {', '.join(missing)} among {', '.join(labels)}; where a "
            "task is not annotated, give its task.no_label(height, width)."
        )
    return {task.name: labels[task.name] for task in tasks}


def check_image_values(images: Any, said: list | None = None) -> None:
    """Refuses images that hold no numbers or whole ones beyond 0..255, and warns of floating ones.

    Args:
        images: array of floats or integers.
        said: the warnings of one call of `fit` or the like, which says each once.

    Raises:
        ValueError: if a value is NaN, infinite or beyond a million, or a whole number beyond
            0..255, or the array is none of numbers.
    """
    images = as_numpy(images)
    if images.dtype.kind not in "uifV":  # V: bfloat16
        raise ValueError(f"Images are of type {images.dtype}; expected RGB numbers in 0..255.")
    if not images.size or images.dtype == np.uint8:
        return
    least, largest = float(images.min()), float(images.max())
    if not (math.isfinite(least) and math.isfinite(largest)):
        raise ValueError(
            "Images hold NaN or infinite values; expected RGB in 0..255 in every pixel."
        )
    if images.dtype.kind in "ui":
        if not 0 <= least <= largest <= 255:
            raise ValueError(
                f"Images hold numbers from {least:.0f} to {largest:.0f}; expected RGB in 0..255: "
                "of 16 bits take the upper 8, such as (x >> 8)."
            )
        return
    if max(-least, largest) > LARGEST_IMAGE_VALUE:
        raise ValueError(
            f"Images hold numbers from {least:.3g} to {largest:.3g}; expected RGB in 0..255."
        )
    small, large = 0 < largest <= 1 or (least < 0 and largest < 10), largest > 1000
    if not said and (small or large):
        advice = "multiply by 255" if small else "divide by 257 what has 16 bits"
        text = (
            f"The images' largest value is {largest:.3g}; models take RGB in 0..255 "
            f"({advice}), and normalize it themselves."
        )
        warnings.warn(text, stacklevel=6)  # the line that calls `fit`
        if said is not None:
            said.append(text)


def as_numpy(values: Any) -> np.ndarray:
    """Any library's array as NumPy's, without a copy where it can be.

    Args:
        values: array or tensor.

    Raises:
        ValueError: if it is an array of NumPy's with a mask, which would get lost.
    """
    if np.ma.is_masked(values):
        raise ValueError(
            "An array has a mask, which would get lost; fill it with what means that there is no "
            "label, as in label.filled(task.ignore)."
        )
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def as_array(values: Any, what: str) -> Any:
    """Nested lists as an array; an array or a tensor as it is.

    Args:
        values: what was given.
        what: what it is called in the sentence.

    Raises:
        ValueError: if the lists are no array of numbers.
    """
    if hasattr(values, "shape") and hasattr(values, "dtype"):
        return values
    try:
        found = np.asarray(values)
    except ValueError:  # of unequal lengths
        found = np.empty(0, object)
    if found.dtype.kind not in "buif" or not found.ndim:
        raise ValueError(
            f"{what} are a {type(values).__name__} that is no array of numbers; expected an array."
        )
    return found
