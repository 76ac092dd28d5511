"""Weights of classes that are counted in the data."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from keras_mtl.tasks import Task
from keras_mtl.training.arrays import as_numpy, labels_of
from keras_mtl.training.read_once import read_once


def median_frequency_weights(dataset: Iterable | tuple[Any, Mapping], task: Task) -> list[float]:
    """Weights that make rare classes count as much as common ones: the median frequency's ratio.

    weight = median of all frequencies / frequency, where the frequency of a class is its share of
    the labelled pixels of the images in which it occurs. A class that occurs nowhere weighs 1.

    Args:
        dataset: batches `(images, labels)`, or what `keras_mtl.data.examples` gives, read once;
            or one pair of arrays.
        task: of class ids, such as `keras_mtl.tasks.SemanticSegmentation`.

    Returns:
        A number for each class, for the task's `class_weights`.

    Raises:
        ValueError: if the task has no classes, or the dataset no end, or no label of it, or a
            wrong one.

    Example:

    >>> task = keras_mtl.tasks.SemanticSegmentation(channels=3, labels=["wall", "floor", "bed"])
    >>> labels = {"semseg": np.array([[[0, 0, 0, 1]], [[0, 0, 255, 255]]])}
    >>> data = np.zeros((2, 1, 4, 3)), labels
    >>> weights = keras_mtl.training.median_frequency_weights(data, task)
    >>> [round(weight, 3) for weight in weights]  # frequencies 5/6 and 1/4, the median 13/24
    [0.65, 2.167, 1.0]
    >>> task = keras_mtl.tasks.SemanticSegmentation(channels=3, class_weights=weights)

    Source: Eigen and Fergus, Predicting Depth, Surface Normals and Semantic Labels with a Common
    Multi-Scale Convolutional Architecture, ICCV 2015, Sec. 4.3.
    """
    if task.class_ids is None:
        raise ValueError(f"Task {task.name!r} has no class ids; only classes can be weighted.")
    pixels, around = np.zeros((2, len(task.class_ids)))
    for element in read_once(dataset, "some batches of it, as in dataset.take(100)"):
        is_example = isinstance(element, Mapping)
        labels = as_numpy(labels_of(element if is_example else element[1], [task])[task.name])
        if fault := task.fault(labels):
            raise ValueError(fault)
        for label in labels[None] if is_example else labels:
            known = label[task.labelled_pixels(label)].astype("int64")
            counts = np.bincount(known, minlength=len(pixels))
            pixels += counts
            around += np.where(counts > 0, len(known), 0)
    if not pixels.any():
        raise ValueError(f"The dataset has no label of task {task.name!r}; expected some.")
    frequencies = pixels / np.maximum(around, 1)
    median = float(np.median(frequencies[pixels > 0]))
    return [median / frequency if frequency else 1.0 for frequency in frequencies.tolist()]
