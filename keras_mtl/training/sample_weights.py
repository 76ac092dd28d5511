"""Weights of images or pixels: of one form, whichever a user has given.

A map's weights are `(B, 1, 1)` for images or `(B, H, W)` for pixels, so that TensorFlow, which
forgets the number of axes where it changes from one call to the next, knows it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_mtl.tasks import Task
from keras_mtl.training.arrays import as_array, as_numpy


def weights_of(
    weights: Any, labels: Mapping, tasks: Sequence[Task], image_size: tuple[int, int]
) -> dict[str, Any]:
    """The weights of each task's labels.

    Args:
        weights: of the images, `(B,)`, or of the pixels, `(B, H, W)` or `(B, H, W, 1)`: an array
            for all tasks, or a dict by task name.
        labels: dict by task name of arrays, tensors, symbols or specs, or of dicts of such.
        tasks: the model's.
        image_size: `(height, width)` in pixels.

    Returns:
        Dict by task name of arrays; for a label of several arrays, one beside each.

    Raises:
        ValueError: if a task has none, or weights of another shape.

    Example:

    >>> labels, tasks = {"depth": np.ones((2, 4, 6, 1))}, keras_mtl.tasks.nyud("depth")
    >>> weights_of(np.ones(2), labels, tasks, (4, 6))["depth"].shape
    (2, 1, 1)
    >>> weights_of({"depth": np.ones((2, 4, 6, 1))}, labels, tasks, (4, 6))["depth"].shape
    (2, 4, 6)
    """
    if not isinstance(weights, Mapping):
        weights = dict.fromkeys((task.name for task in tasks), weights)
    missing = [task.name for task in tasks if weights.get(task.name) is None]
    if missing:
        raise ValueError(
            f"There is no sample_weight for {', '.join(missing)} among "
            f"{', '.join(map(str, weights))}; give one for each task, ones where all weigh alike."
        )
    found = {}
    for task in tasks:
        own = as_array(weights[task.name], "Sample weights")
        if task.output == "map" and getattr(own.shape, "rank", 0) is None:
            own = _of_known_rank(own, keras.tree.flatten(labels[task.name])[0], image_size)
        own = _of_one_form(task, own, image_size)
        found[task.name] = keras.tree.map_structure(lambda _, own=own: own, labels[task.name])
    return found


def _of_known_rank(weights, label, image_size):
    """TensorFlow's of a dataset in Python, whose form it forgets; how many there are tells it."""
    import tensorflow as tf

    count = tf.shape(label)[0]
    of_pixels = tf.size(weights) > count
    height, width = (tf.where(of_pixels, length, 1) for length in image_size)
    found = tf.reshape(weights, [count, height, width])
    return tf.ensure_shape(found, (label.shape[0], None, None))


def _of_one_form(task, weights, image_size):
    shape = tuple(weights.shape)
    if task.output != "map":
        if len(shape) == 1:
            return weights
        expected = "(B,), one for each image"
    else:
        if len(shape) == 1:
            return weights[:, None, None]
        if len(shape) == 4 and shape[-1] == 1:
            weights, shape = weights[..., 0], shape[:-1]
        if shape[1:] in ((1, 1), tuple(image_size)) or (len(shape) == 3 and None in shape[1:]):
            return weights
        height, width = image_size
        expected = f"(B,) for images, or (B, {height}, {width}) for pixels"
    raise ValueError(
        f"The sample_weight of task {task.name!r} has shape {tuple(weights.shape)}; expected "
        f"{expected}."
    )


def check_weight_values(weights: Mapping, count: int) -> None:
    """Refuses weights of another number of images, and those by which a sum has no meaning.

    Args:
        weights: what `weights_of` has returned, of arrays.
        count: how many images there are.

    Raises:
        ValueError: if one is negative, NaN or infinite, or they are too few or too many.
    """
    for name, own in weights.items():
        values = as_numpy(keras.tree.flatten(own)[0])
        if len(values) != count:
            raise ValueError(
                f"There are sample weights of task {name!r} for {len(values)} images, and {count} "
                "images; give one for each."
            )
        if values.dtype.kind not in "buifV":
            raise ValueError(
                f"The sample weights of task {name!r} are of type {values.dtype}; expected numbers."
            )
        least, largest = values.min(), values.max()
        if not (least >= 0 and largest < np.inf):
            wrong = least if not least >= 0 else largest
            raise ValueError(
                f"The sample weights of task {name!r} hold the value {wrong}; expected numbers "
                "from 0 on, 0 for what is to count for nothing."
            )
