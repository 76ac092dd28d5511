"""Everything about one thing to predict, said once: the contract of a task."""

from collections.abc import Iterable, Sequence

import keras
import numpy as np


class Task:
    """One dense prediction task; subclass it to add a kind of task.

    A subclass sets the attributes below and defines `loss`, `metrics` and `decode`; to be trained,
    it needs no more. `picture` is for panels, `constant` for the floor in reports, `wrong_label`
    refuses values that are no labels, `scaled_label` and `flipped_label` are for labels that
    augmentation changes. Register the class, or a saved model cannot be loaded.

    Args:
        name: str. Key of the task's labels and outputs.
        channels: int. Channels of the raw output map.
        loss_weight: float. Weight of the task's loss in the total.

    Attributes:
        headline: str. Name of the metric that papers report.
        higher_is_better: bool. Direction of the headline metric.
        ignore: the label value that means "no label here".
        unit: str. Unit of the headline metric.
        label_dtype: str, `"int32"` by default.
        label_channels: int or `None` (default: a map of class ids without a channel axis).
        label_values: tuple or `None`. All values of a label but `ignore`, where they are few.
        measured_in: str or `None`. What labels are measured in, if no 8-bit picture can hold it.
        only_channels: int or `None`. What `channels` must be, where a kind has no choice; not
            inherited.

    Example:

    >>> @keras.saving.register_keras_serializable(package="my_project")
    ... class Albedo(keras_mtl.tasks.Task):
    ...     headline, higher_is_better, ignore, unit = "MSE", False, -1, ""
    ...     label_dtype, label_channels = "float32", 1
    ...
    ...     def loss(self):
    ...         return keras.losses.MeanSquaredError()
    ...
    ...     def metrics(self):
    ...         return [keras.metrics.MeanSquaredError(name="MSE")]
    ...
    ...     def decode(self, raw):
    ...         return keras.ops.sigmoid(raw)
    >>> Albedo("albedo", channels=1).label_shape(48, 64)
    (48, 64, 1)
    """

    headline: str
    higher_is_better: bool
    ignore: float
    unit: str = "%"
    label_dtype = "int32"
    label_channels: int | None = None  # None: a map of class ids without channel axis
    label_values: tuple[int, ...] | None = None  # all but `ignore`, where they are few
    measured_in: str | None = None  # if no 8-bit picture of a label can hold it
    only_channels: int | None = None  # of the raw output, where a kind has no choice

    def __init__(self, name: str, channels: int, loss_weight: float = 1.0):
        only = vars(type(self)).get("only_channels")  # not inherited: a subclass may have others
        if only not in (None, channels):
            raise ValueError(f"Task {name!r} has {channels} channels; expected {only}.")
        self.name = name
        self.channels = channels
        self.loss_weight = loss_weight

    def loss(self) -> keras.losses.Loss:
        """The training loss, a mean over labelled pixels."""
        raise self._lacks("loss()")

    def metrics(self) -> list[keras.metrics.Metric]:
        """In-graph metrics, quick enough for training, the most telling first."""
        raise self._lacks("metrics()")

    def evaluation_metrics(self) -> list[keras.metrics.Metric]:
        """All metrics of a full evaluation, of which each result is reported.

        The headline is among them, unless it is no sum over pixels: odsF, which
        `keras_mtl.evaluate` computes besides.
        """
        return self.metrics()

    def decode(self, raw):
        """Turns a raw output map into the final map.

        Args:
            raw: tensor `(..., H, W, channels)`.

        Returns:
            Tensor of what the task predicts: class ids `(..., H, W)`, metres `(..., H, W, 1)`,
            unit vectors `(..., H, W, 3)`, probabilities.
        """
        raise self._lacks("decode(raw)")

    def constant(self, labels: np.ndarray) -> np.ndarray:
        """Raw output `(channels,)` of the best constant guess, the floor any model must beat.

        Args:
            labels: array of the task's training labels, batch axis first.
        """
        raise self._lacks("constant(labels)")

    def picture(self, final: np.ndarray) -> np.ndarray:
        """Colours a label or a decoded map.

        Args:
            final: array `(H, W)` or `(H, W, c)`.

        Returns:
            Array `(H, W, 3)`, uint8 RGB.
        """
        raise self._lacks("picture(final)")

    def label_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Shape of one image's label.

        Args:
            height: int, pixels.
            width: int, pixels.
        """
        channels = () if self.label_channels is None else (self.label_channels,)
        return (height, width, *channels)

    def no_label(self, height: int, width: int) -> np.ndarray:
        """A label that says nothing, for an image on which this task is not annotated.

        Args:
            height: int, pixels.
            width: int, pixels.
        """
        return np.full(self.label_shape(height, width), self.ignore, self.label_dtype)

    def scaled_label(self, label, factor):
        """What the label says once the image has been scaled by a factor.

        Written with plain arithmetic, so that it takes NumPy arrays and TensorFlow tensors.

        Args:
            label: `(H, W)` or `(H, W, c)`, already resampled.
            factor: float. 2 makes everything appear twice as large.

        Returns:
            A label of the same shape; where there was none, there still is none.

        Example:

        >>> keras_mtl.tasks.DepthEstimation().scaled_label(np.array([[[3.0]]]), 2.0).tolist()
        [[[1.5]]]
        """
        return label

    def flipped_label(self, label):
        """What the label says once the image has been mirrored left to right.

        Written with plain arithmetic, so that it takes NumPy arrays and TensorFlow tensors.

        Args:
            label: `(H, W)` or `(H, W, c)`, already mirrored.

        Returns:
            A label of the same shape; where there was none, there still is none.

        Example:

        >>> normals = np.array([[[0.6, 0.0, -0.8]]])
        >>> keras_mtl.tasks.SurfaceNormals().flipped_label(normals).tolist()
        [[[-0.6, 0.0, -0.8]]]
        """
        return label

    def check_labels(self, labels: np.ndarray, height: int, width: int) -> None:
        """Refuses labels that training would misread.

        Args:
            labels: array `(B, height, width)` or `(B, height, width, c)`.
            height: int, pixels.
            width: int, pixels.

        Raises:
            ValueError: if the shape or a value is wrong.
        """
        self.check_label_shape(np.shape(labels), height, width)
        wrong = self.wrong_label(np.asarray(labels))
        if wrong is not None:
            value, expected = wrong
            raise ValueError(
                f"Labels of task {self.name!r} hold the value {value}; expected {expected}, "
                f"or {self.ignore} where there is no label."
            )

    def check_label_shape(self, shape: tuple[int | None, ...], height: int, width: int) -> None:
        """Refuses a label shape.

        Args:
            shape: tuple, batch axis first; `None` stands for an unknown length.
            height: int, pixels.
            width: int, pixels.

        Raises:
            ValueError: if labels of this shape are none of this task's.
        """
        expected = (None, *self.label_shape(height, width))
        matches = len(shape) == len(expected) and all(
            want in (None, found) or found is None
            for want, found in zip(expected, shape, strict=True)
        )
        if not matches:
            text = "(batch, " + ", ".join(map(str, expected[1:])) + ")"
            raise ValueError(
                f"Labels of task {self.name!r} have shape {tuple(shape)}; expected {text}, "
                "the size of the model's images."
            )

    def wrong_label(self, labels: np.ndarray) -> tuple[object, str] | None:
        """A value that is no label of this task, and what was expected; `None` if all are.

        Args:
            labels: array `(B, H, W)` or `(B, H, W, c)`.
        """
        return None

    def _lacks(self, method: str) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} must define {method}.")

    def get_config(self) -> dict:
        return {"name": self.name, "channels": self.channels, "loss_weight": self.loss_weight}

    @classmethod
    def from_config(cls, config: dict) -> "Task":
        return cls(**config)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, channels={self.channels})"


def check_tasks(tasks: Sequence[Task]) -> list[Task]:
    """The tasks as a list, after refusing what no model can be built for.

    Args:
        tasks: tasks in any iterable.

    Raises:
        ValueError: if they are no tasks, there is none, or a name is not right or not unique.
    """
    tasks = list(tasks) if isinstance(tasks, Iterable) else tasks
    if (
        not isinstance(tasks, list)
        or not tasks
        or not all(isinstance(task, Task) for task in tasks)
    ):
        raise ValueError(
            f"tasks is {tasks!r}; expected a list of keras_mtl.tasks.Task, such as "
            "keras_mtl.tasks.nyud()."
        )
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise ValueError(f"Task names are {names}; give every task a name of its own.")
    for name in names:
        if not str(name).isidentifier() or name == "image":
            raise ValueError(
                f"A task is named {name!r}; expected letters, digits and underscores, and not "
                "'image', which names the input."
            )
    return tasks
