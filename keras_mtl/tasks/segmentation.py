"""Semantic segmentation, and that of human parts."""

import keras
import numpy as np
from keras import ops

from keras_mtl import losses, metrics
from keras_mtl.tasks.classes import (
    NYUD_CLASSES,
    NYUD_COLOURS,
    PART_CLASSES,
    PASCAL_CLASSES,
    voc_colours,
)
from keras_mtl.tasks.dense import MapEvaluator
from keras_mtl.tasks.task import Task


@keras.saving.register_keras_serializable(package="keras_mtl")
class SemanticSegmentation(Task):
    """A class for every pixel: softmax cross-entropy, mIoU.

    Args:
        name: str.
        channels: int. Number of classes.
        loss_weight: float.
        labels: list of class names, or None.
        palette: list of colours such as `"ff8000"`, one for each class, or None: PASCAL VOC's, or
            for NYUD's classes their own.

    Raises:
        ValueError: if there are more than 255 classes, or not one name or colour for each.

    Example:

    >>> task = keras_mtl.tasks.SemanticSegmentation(channels=3, labels=["wall", "floor", "bed"])
    >>> np.array(task.decode(np.array([[[0.1, 0.7, 0.2]]]))).tolist()
    [[1]]
    """

    headline = "mIoU"
    higher_is_better = True
    ignore = 255
    settles_crops = True

    def __init__(
        self,
        name: str = "semseg",
        channels: int = 40,
        loss_weight: float = 1.0,
        labels: list[str] | None = None,
        palette: list[str] | None = None,
    ):
        super().__init__(name, channels, loss_weight)
        if channels < 1 or channels > self.ignore >= 0:
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
        self._colours = palette
        if palette is not None and np.shape(self.palette) != (channels, 3):
            raise ValueError(
                f"Task {name!r} has {channels} classes but {len(palette)} colours; give one colour "
                'for each class, such as "ff8000".'
            )

    @property
    def palette(self) -> np.ndarray:
        """`(channels, 3)` uint8 colours of the classes."""
        colours = self._colours
        if colours is None:
            colours = NYUD_COLOURS if self.labels == NYUD_CLASSES else voc_colours(self.channels)
        try:
            return np.array([list(bytes.fromhex(colour)) for colour in colours], "uint8")
        except ValueError:
            raise ValueError(
                f"The palette of task {self.name!r} is {colours!r}; expected colours such as "
                '"ff8000", red, green and blue in two hexadecimal digits each.'
            ) from None

    def loss(self):
        return losses.SegmentationLoss(ignore=self.ignore)

    def metrics(self):
        return [metrics.MeanIoU(self.channels, ignore=self.ignore)]

    def decode(self, raw):
        if keras.backend.backend() == "tensorflow" and not keras.utils.is_keras_tensor(raw):
            # Keras tells zeros apart by their bits there, which ONNX and LiteRT cannot look at.
            import tensorflow as tf

            return tf.argmax(raw, axis=-1, output_type="int32")
        return ops.cast(ops.argmax(raw, axis=-1), "int32")

    def constant(self, labels):
        counts = np.bincount(labels[labels != self.ignore], minlength=self.channels)
        return np.eye(self.channels, dtype="float32")[counts.argmax()]

    def picture(self, final):
        # White for ids that are no class; a negative one counts from the end.
        colours = np.full((max(256, self.channels, int(self.ignore) + 1) + 1, 3), 255, "uint8")
        colours[: self.channels] = self.palette
        return colours[np.asarray(final)]

    def wrong_label(self, labels):
        known = (labels >= 0) & (labels < self.channels) & (labels == np.floor(labels))
        wrong = labels[~known & (labels != self.ignore)]
        if wrong.size:
            return wrong.flat[0], f"class ids 0 to {self.channels - 1}"
        return None

    @property
    def class_ids(self) -> range:
        return range(self.channels)

    def label_of(self, scene):
        for classes, key in ((NYUD_CLASSES, "nyud_semseg"), (PASCAL_CLASSES, "pascal_semseg")):
            if self.channels == len(classes):
                return scene[key]
        raise ValueError(
            f"Task {self.name!r} has {self.channels} channels, but rooms have labels for "
            f"{len(NYUD_CLASSES)} (NYUD) or {len(PASCAL_CLASSES)} (PASCAL) classes; use nyud() or "
            "pascal_context() tasks."
        )

    def evaluator(self, **options):
        return ClassEvaluator(self)

    def difference(self, raw, found, decoded):
        if not decoded:
            return super().difference(raw, found, decoded)
        scores = np.take_along_axis(raw, found[..., None].astype(int), axis=-1)[..., 0]
        return raw.max(axis=-1) - scores, np.abs(raw).max()

    def legend(self, shown):
        present = set().union(*(np.unique(each).tolist() for each in shown))
        classes = sorted(present & set(self.class_ids))
        named = [(self.labels[i], tuple(self.palette[i] / 255)) for i in classes]
        return named + [("no label", (1.0, 1.0, 1.0))] * (self.ignore in present)

    def get_config(self):
        own = {} if self._colours is None else {"palette": self._colours}
        return {**super().get_config(), "labels": self.labels, **own}


class ClassEvaluator(MapEvaluator):
    """Besides the mean of the classes' IoU, that of each class."""

    def results(self):
        found = super().results()
        if self.images:
            iou = ops.convert_to_numpy(self.metrics[0].class_iou())
            found["classes"] = dict(zip(self.task.labels, iou.tolist(), strict=True))
        return found

    def protocol(self):
        return f"mean over all {self.task.channels} classes, absent ones 0"


@keras.saving.register_keras_serializable(package="keras_mtl")
class HumanParts(SemanticSegmentation):
    """Human part segmentation: background and six parts.

    An image without people carries no label (255 everywhere).

    Args:
        name: str.
        channels: int. Number of classes.
        loss_weight: float.
        labels: list of class names, or None: the six parts if there are seven classes.
        palette: as for `SemanticSegmentation`.

    Raises:
        ValueError: as `SemanticSegmentation`.

    Example:

    >>> keras_mtl.tasks.HumanParts().labels[1]
    'head'
    """

    settles_crops = False

    def __init__(
        self,
        name: str = "human_parts",
        channels: int = 7,
        loss_weight: float = 2.0,
        labels: list[str] | None = None,
        palette: list[str] | None = None,
    ):
        labels = labels or (PART_CLASSES if channels == len(PART_CLASSES) else None)
        super().__init__(name, channels, loss_weight, labels, palette)

    def label_of(self, scene):
        return scene["human_parts"]
