"""Batches that divide by the devices which share them."""

from collections.abc import Sequence

import numpy as np

from keras_mtl import distribution
from keras_mtl.tasks import Task


def split(
    x,
    y,
    tasks: Sequence[Task],
    parts: int,
    batch_size: int | None = None,
    *,
    training: bool = False,
    weighted: bool = False,
) -> tuple:
    """The data in batches that divide by the devices of `keras_mtl.distribution`.

    Args:
        x, y: checked images and labels, or a dataset.
        tasks: the model's.
        parts: into how many parts a batch is split.
        batch_size: of arrays; 32 if there is none, as in Keras.
        training: whether an image that only fills up a batch would be trained on.
        weighted: whether there are weights besides the labels, which cannot be filled up.

    Returns:
        `(x, y)`; a last batch that holds less is filled up with unlabelled images.

    Raises:
        ValueError: if the batches cannot be split.
    """
    if parts == 1:
        return x, y
    if y is not None:
        size, rest = batch_size or 32, np.shape(x)[0] % parts
    elif hasattr(x, "element_spec"):
        spec = x.element_spec
        size, weighted = spec[0].shape[0], len(spec) > 2
        rest = parts if size is None else 0  # unknown
    else:
        return x, y
    if (size or 0) % parts or (rest and (training or weighted)):
        last = "the last batch may hold less" if not (size or 0) % parts else f"it holds {size}"
        raise ValueError(
            f"Every batch must divide by {parts} devices, and {last}; choose a batch size that "
            f"is a multiple of {parts}, and drop the remainder."
        )
    if not rest:
        return x, y
    if y is None:
        return distribution.fill_up(x, tasks, parts), None
    return distribution.fill_up((np.asarray(x), y), tasks, parts)
