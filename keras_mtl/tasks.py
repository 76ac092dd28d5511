"""Everything about one thing to predict, said once: the kinds of task, and the papers' lists.

Models, losses, metrics, label checks, pictures and reports derive from a list of tasks,
so a new task is one class here and nothing anywhere else.
"""

import warnings
from collections.abc import Iterable, Sequence

import keras
import numpy as np
from keras import ops

from keras_mtl import losses, metrics
from keras_mtl.metrics.depth import MAX_DEPTH

NYUD_CLASSES = (
    "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter, "
    "blinds, desk, shelves, curtain, dresser, pillow, mirror, floor mat, clothes, ceiling, "
    "books, refridgerator, television, paper, towel, shower curtain, box, whiteboard, person, "
    "night stand, toilet, sink, lamp, bathtub, bag, otherstructure, otherfurniture, otherprop"
).split(", ")
# As far apart as 40 colours can be (at least 15 in CIEDE2000, and as far from white): PASCAL VOC's
# map gives books and persons, or mirrors and towels, nearly the same one.
NYUD_COLOURS = """
    808080 2b0080 800000 00d500 2b2b00 ff00ff ffaa00 ff552b 00d5d5 0080ff 00802b 005555 aa0080
    ffaad5 805500 d5d500 555580 802bff ff2b80 aaaad5 80aa80 805555 808000 55002b 2baad5 aa8055
    ffaa80 d5d5aa d5002b 00ffaa 555555 aa8080 aad5ff 002b55 552b00 0055d5 aa552b aa80ff 2b552b
    ffd5d5
""".split()
PASCAL_CLASSES = (
    "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, "
    "dog, horse, motorbike, person, pottedplant, sheep, sofa, train, tvmonitor"
).split(", ")
PART_CLASSES = "background, head, torso, upper arms, lower arms, upper legs, lower legs".split(", ")


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


@keras.saving.register_keras_serializable(package="keras_mtl")
class SemanticSegmentation(Task):
    """A class for every pixel: softmax cross-entropy, mIoU.

    Args:
        name: str.
        channels: int. Number of classes.
        loss_weight: float.
        labels: list of class names, or None.

    Raises:
        ValueError: if there are more than 255 classes, or not one name for each.

    Example:

    >>> task = keras_mtl.tasks.SemanticSegmentation(channels=3, labels=["wall", "floor", "bed"])
    >>> np.array(task.decode(np.array([[[0.1, 0.7, 0.2]]]))).tolist()
    [[1]]
    """

    headline = "mIoU"
    higher_is_better = True
    ignore = 255

    def __init__(
        self,
        name: str = "semseg",
        channels: int = 40,
        loss_weight: float = 1.0,
        labels: list[str] | None = None,
    ):
        super().__init__(name, channels, loss_weight)
        if not 1 <= channels <= self.ignore:
            raise ValueError(
                f"Task {name!r} has {channels} classes; expected 1 to {self.ignore}: the id "
                f"{self.ignore} means that there is no label."
            )
        self.labels = list(labels) if labels else [str(i) for i in range(channels)]
        if len(self.labels) != channels:
            raise ValueError(
                f"Task {name!r} has {channels} classes but {len(self.labels)} class names; "
                "give one name for each class."
            )

    @property
    def palette(self) -> np.ndarray:
        """`(channels, 3)` uint8 colours of the classes: PASCAL VOC's map, or NYUD's own."""
        if self.labels == NYUD_CLASSES:
            return np.array([list(bytes.fromhex(colour)) for colour in NYUD_COLOURS], "uint8")
        index = np.arange(self.channels)
        colours = np.zeros((self.channels, 3), int)
        for bit in range(8):
            for channel in range(3):
                colours[:, channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
        return colours.astype("uint8")

    def loss(self):
        return losses.SegmentationLoss(ignore=self.ignore)

    def metrics(self):
        return [metrics.MeanIoU(self.channels, ignore=self.ignore)]

    def decode(self, raw):
        return ops.cast(ops.argmax(raw, axis=-1), "int32")

    def constant(self, labels):
        counts = np.bincount(labels[labels != self.ignore], minlength=self.channels)
        return np.eye(self.channels, dtype="float32")[counts.argmax()]

    def picture(self, final):
        colours = np.full((256, 3), 255, "uint8")
        colours[: self.channels] = self.palette
        return colours[np.asarray(final)]

    def wrong_label(self, labels):
        known = (labels >= 0) & (labels < self.channels) & (labels == np.floor(labels))
        wrong = labels[~known & (labels != self.ignore)]
        if wrong.size:
            return wrong.flat[0], f"class ids 0 to {self.channels - 1}"

    def get_config(self):
        return {**super().get_config(), "labels": self.labels}


@keras.saving.register_keras_serializable(package="keras_mtl")
class HumanParts(SemanticSegmentation):
    """Human part segmentation: background and six parts.

    An image without people carries no label (255 everywhere).

    Args:
        name: str.
        channels: int. Number of classes.
        loss_weight: float.
        labels: list of class names, or None: the six parts if there are seven classes.

    Raises:
        ValueError: as `SemanticSegmentation`.

    Example:

    >>> keras_mtl.tasks.HumanParts().labels[1]
    'head'
    """

    def __init__(
        self,
        name: str = "human_parts",
        channels: int = 7,
        loss_weight: float = 2.0,
        labels: list[str] | None = None,
    ):
        labels = labels or (PART_CLASSES if channels == len(PART_CLASSES) else None)
        super().__init__(name, channels, loss_weight, labels)


@keras.saving.register_keras_serializable(package="keras_mtl")
class DepthEstimation(Task):
    """Depth along the optical axis in metres: L1, RMSE.

    Args:
        name: str.
        channels: int. Always 1.
        loss_weight: float.

    Example:

    >>> task = keras_mtl.tasks.DepthEstimation()
    >>> np.array(task.decode(np.array([[[-0.5], [2.5]]]))).tolist()
    [[[0.0], [2.5]]]
    """

    headline = "RMSE"
    higher_is_better = False
    ignore = 0
    unit = "m"
    label_dtype = "float32"
    label_channels = 1
    farthest = 10.0  # metres; the far end of the colour scale in pictures
    only_channels = 1

    def __init__(self, name: str = "depth", channels: int = 1, loss_weight: float = 1.0):
        super().__init__(name, channels, loss_weight)

    def loss(self):
        return losses.DepthLoss()

    def metrics(self):
        return [metrics.DepthRMSE()]

    def evaluation_metrics(self):
        deltas = [metrics.DepthDelta(power) for power in (1, 2, 3)]
        errors = [metrics.DepthAbsRel(), metrics.DepthSqRel(), metrics.DepthLogRMSE()]
        return [*self.metrics(), *errors, *deltas]

    def decode(self, raw):
        return ops.maximum(raw, 0.0)

    def constant(self, labels):
        return np.array([labels[labels > 0].mean()], "float32")

    def scaled_label(self, label, factor):
        return label / factor  # what appears larger is nearer

    def picture(self, final):
        import matplotlib

        depth = np.asarray(final)[..., 0]
        colours = matplotlib.colormaps["viridis_r"](depth / self.farthest)[..., :3]
        colours[depth <= 0] = 1.0
        return (colours * 255).astype("uint8")

    def wrong_label(self, labels):
        wrong = labels[~(labels >= 0) | ~np.isfinite(labels)]
        if wrong.size:
            return wrong.flat[0], "metres above 0"
        if labels.size and labels.max() > 0 and labels[labels > 0].min() >= MAX_DEPTH:
            return labels.max(), "metres, not millimetres"


@keras.saving.register_keras_serializable(package="keras_mtl")
class SurfaceNormals(Task):
    """Unit surface normals in the camera frame: L1 of unit vectors, mean angular error.

    Args:
        name: str.
        channels: int. Always 3.
        loss_weight: float.

    Example:

    >>> task = keras_mtl.tasks.SurfaceNormals()
    >>> np.array(task.decode(np.array([[[0.0, 3.0, -4.0]]])), float).round(3).tolist()
    [[[0.0, 0.6, -0.8]]]
    """

    headline = "mErr"
    higher_is_better = False
    ignore = 0
    unit = "degrees"
    label_dtype = "float32"
    label_channels = 3
    only_channels = 3

    def __init__(self, name: str = "normals", channels: int = 3, loss_weight: float = 10.0):
        super().__init__(name, channels, loss_weight)

    def loss(self):
        return losses.NormalsLoss()

    def metrics(self):
        return [metrics.NormalsMeanError()]

    def evaluation_metrics(self):
        within = [metrics.NormalsWithin(degrees) for degrees in (11.25, 22.5, 30)]
        return [*self.metrics(), metrics.NormalsMedianError(), *within]

    def decode(self, raw):
        return ops.normalize(raw, axis=-1)

    def constant(self, labels):
        return labels.reshape(-1, 3).mean(axis=0, dtype="float64").astype("float32")

    def flipped_label(self, label):
        return label * np.array([-1, 1, 1], "float32")  # x points to the right

    def picture(self, final):
        normals = np.asarray(final)
        colours = np.round((normals + 1) * 127.5)
        colours[(normals == 0).all(-1)] = 255
        return colours.clip(0, 255).astype("uint8")

    def wrong_label(self, labels):
        length = np.sqrt((labels.astype("float64") ** 2).sum(-1))
        wrong = labels[~((np.abs(length - 1) < 0.05) | (length == 0))]
        if wrong.size:
            return wrong[0].tolist(), "vectors of length 1"


@keras.saving.register_keras_serializable(package="keras_mtl")
class BoundaryDetection(Task):
    """Boundary probability: weighted binary cross-entropy.

    The in-graph metric is a cheap F-measure with a pixel tolerance; the headline, the papers'
    odsF, thins and matches boundaries one to one: `keras_mtl.evaluate` computes it.

    Args:
        name: str.
        channels: int. Always 1.
        loss_weight: float.

    Example:

    >>> task = keras_mtl.tasks.BoundaryDetection()
    >>> np.array(task.decode(np.array([[[0.0]]]))).tolist()
    [[[0.5]]]
    """

    headline = "odsF"
    higher_is_better = True
    ignore = 255
    label_dtype = "float32"
    label_channels = 1
    only_channels = 1

    def __init__(self, name: str = "edge", channels: int = 1, loss_weight: float = 50.0):
        super().__init__(name, channels, loss_weight)

    def loss(self):
        return losses.BoundaryLoss()

    def metrics(self):
        return [metrics.BoundaryF()]

    def decode(self, raw):
        return ops.sigmoid(raw)

    def constant(self, labels):
        return np.array([-10.0], "float32")

    def picture(self, final):
        edge = np.asarray(final)[..., 0]
        grey = np.where(edge == self.ignore, 0.5, 1 - edge)
        return (np.repeat(grey[..., None], 3, axis=-1) * 255).astype("uint8")

    def wrong_label(self, labels):
        return _first_not_binary(self, labels)


@keras.saving.register_keras_serializable(package="keras_mtl")
class SaliencyDetection(Task):
    """Salient object probability: class-balanced two-class softmax cross-entropy, maxF.

    Args:
        name: str.
        channels: int. Always 2.
        loss_weight: float.

    Example:

    >>> task = keras_mtl.tasks.SaliencyDetection()
    >>> np.array(task.decode(np.array([[[1.0, 1.0]]]))).tolist()
    [[0.5]]
    """

    headline = "maxF"
    higher_is_better = True
    ignore = 255
    only_channels = 2

    def __init__(self, name: str = "sal", channels: int = 2, loss_weight: float = 5.0):
        super().__init__(name, channels, loss_weight)

    def loss(self):
        return losses.SaliencyLoss()

    def metrics(self):
        return [metrics.SaliencyMaxF()]

    def evaluation_metrics(self):
        published = metrics.SaliencyMaxF("taskprompter", name="maxF_taskprompter")
        return [*self.metrics(), published]

    def decode(self, raw):
        return ops.softmax(raw, axis=-1)[..., 1]

    def constant(self, labels):
        return np.eye(2, dtype="float32")[int(labels[labels != self.ignore].mean() > 0.5)]

    def picture(self, final):
        saliency = np.asarray(final, "float32")
        grey = np.where(saliency == self.ignore, 0.5, saliency)
        return (np.repeat(grey[..., None], 3, axis=-1) * 255).astype("uint8")

    def wrong_label(self, labels):
        return _first_not_binary(self, labels)


def _first_not_binary(task: Task, labels: np.ndarray) -> tuple[float, str] | None:
    wrong = labels[~np.isin(labels, (0, 1, task.ignore))]
    if wrong.size:
        return wrong.flat[0], "0 or 1"
    if (labels == task.ignore).any() and (labels == 0).any() and not (labels == 1).any():
        warnings.warn(
            f"Labels of task {task.name!r} hold 0 and {task.ignore} and never 1; {task.ignore} "
            "means 'no label here': divide by 255 if it should mean yes.",
            stacklevel=5,
        )


def nyud(*names: str) -> list[Task]:
    """The tasks of NYUD-v2 with the published loss weights.

    Args:
        *names: the ones wanted, all four if none is given.

    Raises:
        ValueError: if a name is not a task of NYUD-v2.

    Example:

    >>> [task.name for task in keras_mtl.tasks.nyud()]
    ['semseg', 'depth', 'normals', 'edge']
    """
    tasks = [
        SemanticSegmentation(channels=40, labels=NYUD_CLASSES),
        DepthEstimation(),
        SurfaceNormals(),
        BoundaryDetection(),
    ]
    return _chosen(tasks, names, "NYUD-v2")


def pascal_context(*names: str) -> list[Task]:
    """The tasks of PASCAL-Context with the published loss weights.

    Args:
        *names: the ones wanted, all five if none is given.

    Raises:
        ValueError: if a name is not a task of PASCAL-Context.

    Example:

    >>> [task.name for task in keras_mtl.tasks.pascal_context("sal", "edge")]
    ['sal', 'edge']
    """
    tasks = [
        SemanticSegmentation(channels=21, labels=PASCAL_CLASSES),
        HumanParts(),
        SaliencyDetection(),
        SurfaceNormals(),
        BoundaryDetection(),
    ]
    return _chosen(tasks, names, "PASCAL-Context")


def _chosen(tasks: list[Task], names: tuple[str, ...], dataset: str) -> list[Task]:
    known = {task.name: task for task in tasks}
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise ValueError(f"Unknown task {name!r}; {dataset} has {', '.join(known)}.")
    return [known[name] for name in names] if names else tasks


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
