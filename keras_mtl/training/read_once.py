"""Data that are read once, from beginning to end: images one by one, or batches of them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from keras_mtl.training.inputs import never_ends


def read_once(dataset: Any, advice: str) -> Iterator[Mapping | tuple[Any, Mapping]]:
    """Its elements: dicts of one image and its labels, or `(images, labels)`.

    Args:
        dataset: what `keras_mtl.data.examples` gives, batches, or one batch.
        advice: what to pass instead of a dataset that never ends, the end of a sentence.

    Raises:
        ValueError: if it never ends or is no dataset, or an element is something else.

    Example:

    >>> batch = np.zeros((2, 4, 6, 3)), {"depth": np.ones((2, 4, 6, 1))}
    >>> [labels["depth"].shape for images, labels in read_once(batch, "batches")]
    [(2, 4, 6, 1)]
    """
    check_read(dataset, advice)
    # Batches may be a tuple, too; the second part of one batch is its labels.
    one = isinstance(dataset, tuple) and len(dataset) > 1 and isinstance(dataset[1], Mapping)
    return (_checked(each) for each in ([dataset] if one else dataset))


def check_read(dataset: Any, advice: str) -> None:
    """Refuses what cannot be read to its end, without reading.

    Args:
        dataset, advice: see `read_once`.

    Raises:
        ValueError: if it never ends or is no dataset.
    """
    if isinstance(dataset, (str, bytes, Mapping)) or not isinstance(dataset, Iterable):
        raise ValueError(
            f"The dataset is a {type(dataset).__name__}; expected what keras_mtl.data.examples or "
            "keras_mtl.data.load gives, or (images, labels)."
        )
    if never_ends(dataset):
        raise ValueError(f"The dataset never ends; pass keras_mtl.data.examples, or {advice}.")


def _checked(element):
    if isinstance(element, Mapping):
        if "image" not in element:
            raise ValueError(
                f"An example holds {', '.join(map(str, element))}; expected an 'image' among them."
            )
        return element
    parts = element if isinstance(element, (tuple, list)) else ()
    if len(parts) == 3 and isinstance(parts[1], Mapping):
        raise ValueError(
            "The dataset has a sample_weight besides images and labels, for which this has no use; "
            "leave it out."
        )
    if len(parts) != 2 or not isinstance(parts[1], Mapping):
        raise ValueError(
            f"An element of the dataset is a {type(element).__name__}; expected (images, labels), "
            "the labels a dict by task name, or a dict of one image and its labels."
        )
    images, labels = parts
    for name, label in labels.items():
        for each in label.values() if isinstance(label, Mapping) else (label,):
            if np.shape(each)[:1] != np.shape(images)[:1]:
                raise ValueError(
                    f"A batch has images of shape {tuple(np.shape(images))} and labels of task "
                    f"{name!r} of shape {tuple(np.shape(each))}; give a label for each image."
                )
    return images, labels
