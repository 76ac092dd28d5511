"""Semantic segmentation, and that of human parts."""

import keras
import numpy as np
from keras import ops

from keras_mtl import losses, metrics
from keras_mtl.tasks.classes import NYUD_CLASSES, NYUD_COLOURS, PART_CLASSES
from keras_mtl.tasks.task import Task


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
        if keras.backend.backend() == "tensorflow" and not keras.utils.is_keras_tensor(raw):
            # Keras tells zeros apart by their bits there, which ONNX and LiteRT cannot look at.
            import tensorflow as tf

            return tf.argmax(raw, axis=-1, output_type="int32")
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
