"""What tasks of one map share: its output, its labels in TensorFlow, and their scores.

Functions take the task first; `keras_mtl.tasks.Task` calls them.
"""

from typing import Any

import numpy as np
from keras import ops


def check_map(spec: Any, name: str, channels: int) -> None:
    """Refuses an output that is no batch of maps `(B, h, w, channels)`."""
    shape = getattr(spec, "shape", None)
    if shape is None or len(shape) != 4 or shape[-1] != channels:
        found = f"of shape {tuple(shape)}" if shape is not None else f"a {type(spec).__name__}"
        raise ValueError(
            f"The output for task {name!r} is {found}; expected a map (batch, height, width, "
            f"{channels}), such as a head gives."
        )


def first_not_binary(task, labels: np.ndarray) -> tuple[float, str] | None:
    """A value other than 0, 1 and the task's `ignore`, and what was expected."""
    wrong = labels[~np.isin(labels, (0, 1, task.ignore))]
    return (wrong.flat[0], "0 or 1") if wrong.size else None


def same_label(task, labels) -> tuple[Any, Any]:
    """1 for pairs of pixels of one class or value, else 0, and which pixels are labelled."""
    values = task.class_ids or task.label_values
    if values is None or task.output != "map" or task.label_channels not in (None, 1):
        raise ValueError(
            f"Task {task.name!r}, of {type(task).__name__}, does not say how alike the labels "
            "of two pixels are; define its target_affinity(labels), or do without a loss of pairs."
        )
    labels = labels if task.label_channels is None else labels[..., 0]
    labelled = (labels != task.ignore) & (labels >= min(values)) & (labels <= max(values))
    return ops.cast(labels[:, :, None] == labels[:, None, :], "float32"), labelled


# === Labels as TensorFlow tensors ===


def unpack(task, stored):
    """A stored map in the shape and the number type of its task."""
    import tensorflow as tf

    label = tf.convert_to_tensor(stored)
    shape = tf.shape(label)
    return tf.cast(tf.reshape(label, task.label_shape(shape[0], shape[1])), task.label_dtype)


def erase(task, stored):
    """A map of the same size, full of the task's `ignore`."""
    import tensorflow as tf

    label = _able_to_say_nothing(task, stored)
    return tf.fill(tf.shape(label), tf.cast(task.ignore, label.dtype))


def as_planes(task, stored):
    """A stored map as `Change.resample` takes it: `(c, W + 1, H + 1)`, none in the last of each.

    Whole rows are gathered much quicker than columns; so columns lie where rows did, until they
    have been gathered.
    """
    import tensorflow as tf

    label = _able_to_say_nothing(task, stored)
    shape = tf.shape(label)
    label = tf.reshape(label, [shape[0], shape[1], task.label_channels or 1])
    nothing = tf.cast(task.ignore, label.dtype)
    return tf.pad(tf.transpose(label), [[0, 0], [0, 1], [0, 1]], constant_values=nothing)


def finish_move(task, planes, change):
    """Planes of the numbers stored as the task's label, which says what the change made of it."""
    import tensorflow as tf

    label = task.unpack(tf.transpose(planes, [1, 2, 0]))
    scaled = task.scaled_label(label, change.factor)
    moved = tf.where(change.mirrored, task.flipped_label(scaled), scaled)
    if task.ignore == 0:  # which neither scaling nor mirroring makes anything else of
        return moved
    none = label == tf.cast(task.ignore, label.dtype)
    if task.label_channels is not None:
        none = tf.reduce_all(none, axis=-1, keepdims=True)
    return tf.where(none, label, moved)


def _able_to_say_nothing(task, stored):
    """The label in a number type that the task's `ignore` is a number of."""
    import tensorflow as tf

    label = tf.convert_to_tensor(stored)
    kind = label.dtype
    if kind.is_bool or not kind.min <= task.ignore <= kind.max:
        label = task.unpack(label)
    return label


# === Scores ===


class MapEvaluator:
    """Scores of one task over a dataset, image by image: sums over the pixels of all of them.

    Args:
        task: the task, whose `evaluation_metrics` are counted.

    Raises:
        ValueError: if the task's headline is none of its metrics.

    Example:

    >>> from keras_mtl.models.photographs import fit
    >>> task = keras_mtl.tasks.DepthEstimation()
    >>> evaluator = keras_mtl.tasks.MapEvaluator(task)
    >>> _, place = fit(np.zeros((2, 2, 3)), (2, 4))  # in the middle of a wider image
    >>> evaluator.add(np.full((2, 2, 1), 2.0), np.full((2, 4, 1), 1.5), place, {})
    True
    >>> evaluator.results()["scores"]["RMSE"]
    0.5
    """

    def __init__(self, task):
        self.task = task
        self.metrics = task.evaluation_metrics()
        self.images = 0
        names = [metric.name for metric in self.metrics]
        if self.headline not in names and type(self).more_scores is MapEvaluator.more_scores:
            raise ValueError(
                f"The headline of task {task.name!r} is {self.headline!r}, which is none of its "
                f"evaluation metrics {', '.join(names)}; name one of them, or define an evaluator "
                "that computes it."
            )

    @property
    def headline(self) -> str:
        """Name of the score that papers report."""
        return self.task.headline

    def add(self, label: np.ndarray, raw: np.ndarray, place: Any, example: dict) -> bool:
        """Counts one image.

        Args:
            label: at the photograph's size; one that says nothing is not counted.
            raw: the model's output for the image that the photograph was fitted into.
            place: `keras_mtl.models.photographs.Place`, where it lies in there.
            example: all that the dataset says of the image, `"id"` among it.

        Returns:
            Whether it was counted.
        """
        if not self.task.is_labelled(label):
            return False
        self.images += 1
        if place.scaled:
            raw = place.restore(raw)
        else:  # with its padding, of which the label says nothing: one size is compiled once
            label = place.pad(label, self.task.no_label(*place.image_size))
        for metric in self.metrics:
            metric.update_state(label[None], raw[None])
        return True

    def more_scores(self) -> dict[str, float | None]:
        """Scores that are no sums over pixels, the headline first."""
        return {}

    def results(self) -> dict[str, Any]:
        """`{"headline", "unit", "higher_is_better", "images", "scores"}`, and more if there is."""
        scores = self.more_scores()
        for metric in self.metrics:
            scores[metric.name] = float(metric.result()) if self.images else None
        return {
            "headline": self.headline,
            "unit": self.task.unit,
            "higher_is_better": self.task.higher_is_better,
            "images": self.images,
            "scores": scores,
        }

    def protocol(self) -> str | None:
        """How the scores came about, in a sentence, where it needs to be said."""
        return None

    def finish(self) -> None:
        """Called after the last image, before `results`."""

    def close(self) -> None:
        """Called at the end, also after an error."""
