"""Semantic segmentation, and that of human parts."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_mtl import losses, metrics
from keras_mtl.losses.maps import labelled_classes
from keras_mtl.tasks.classes import (
    CITYSCAPES_CLASSES,
    NYUD_CLASSES,
    NYUD_COLOURS,
    PART_CLASSES,
    PASCAL_CLASSES,
    voc_colours,
)
from keras_mtl.tasks.dense import MapEvaluator
from keras_mtl.tasks.encodings import CLASS_IDS
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
        mirrored_pairs: list of pairs of ids, such as `[(3, 4)]`, that change places where
            augmentation mirrors the image, or None: the classes whose names differ in "left" and
            "right" alone; `[]`: none.
        class_weights: list of numbers, what the loss of each class's pixels is multiplied by
            (`keras_mtl.training.median_frequency_weights` counts some), or None.

    Raises:
        ValueError: if there are more than 255 classes, not one name, colour or weight for each, or
            a pair is none of two classes.

    Example:

    >>> task = keras_mtl.tasks.SemanticSegmentation(channels=3, labels=["wall", "floor", "bed"])
    >>> np.array(task.decode(np.array([[[0.1, 0.7, 0.2]]]))).tolist()
    [[1]]
    """

    headline = "mIoU"
    higher_is_better = True
    ignore = 255
    settles_crops = True
    stores = "class ids"
    encodings = CLASS_IDS

    def __init__(
        self,
        name: str = "semseg",
        channels: int = 40,
        loss_weight: float = 1.0,
        labels: list[str] | None = None,
        palette: list[str] | None = None,
        mirrored_pairs: Sequence[tuple[int, int]] | None = None,
        class_weights: Sequence[float] | None = None,
    ):
        super().__init__(name, channels, loss_weight)
        channels = self.channels
        if channels > self.ignore >= 0:
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
        self._pairs = mirrored_pairs
        self.mirrored_pairs = self._checked_pairs(mirrored_pairs)
        self.class_weights = self._checked_weights(class_weights)

    def _checked_pairs(self, pairs) -> list[tuple[int, int]]:
        if pairs is None:
            return sides(self.labels)
        try:
            given = np.array(pairs)
        except (TypeError, ValueError):  # of unequal lengths
            given = np.zeros(1)
        ids = given.ravel().tolist()
        good = given.ndim == 2 and given.shape[1] == 2 and given.dtype.kind in "iu"
        if (ids and not good) or len(set(ids)) < len(ids):
            raise ValueError(
                f"The mirrored_pairs of task {self.name!r} are {pairs!r}; expected pairs of class "
                "ids, each id in one of them at most, such as [(3, 4)]."
            )
        if wrong := [i for i in ids if i not in self.class_ids]:
            raise ValueError(
                f"The mirrored_pairs of task {self.name!r} name class {wrong[0]}; expected class "
                f"ids 0 to {self.channels - 1}."
            )
        return list(zip(ids[::2], ids[1::2], strict=True))

    def _checked_weights(self, weights) -> list[float] | None:
        if weights is None:
            return None
        try:
            found = np.asarray(weights, "float64")
        except (TypeError, ValueError):  # of a dict, of text
            found = np.zeros(0)
        good = found.shape == (self.channels,) and (np.isfinite(found) & (found >= 0)).all()
        if not (good and found.any()):
            raise ValueError(
                f"The class_weights of task {self.name!r} are {weights!r}; expected "
                f"{self.channels} numbers of 0 or more, one for each class, not all of them 0."
            )
        return found.tolist()

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
        return losses.SegmentationLoss(ignore=self.ignore, class_weights=self.class_weights)

    def discretization(self):
        return self.channels, self.loss()

    def metrics(self):
        return [metrics.MeanIoU(self.channels, ignore=self.ignore)]

    def decode(self, raw):
        if keras.backend.backend() == "tensorflow" and not keras.utils.is_keras_tensor(raw):
            # Keras tells zeros apart by their bits there, which ONNX and LiteRT cannot look at.
            import tensorflow as tf

            return tf.argmax(raw, axis=-1, output_type="int32")
        return ops.cast(ops.argmax(raw, axis=-1), "int32")

    def constants(self, labels):
        known = labels[self.labelled_pixels(labels)].astype("int64")
        most = int(np.bincount(known, minlength=self.channels).argmax())
        return {self.labels[most]: np.eye(self.channels, dtype="float32")[most]}

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

    def labelled_pixels(self, label):
        return labelled_classes(np.asarray(label), self.channels, self.ignore)

    def with_classes(self, names):
        if list(names) == self.labels:
            return self
        config = self.get_config()
        for of_classes in ("palette", "mirrored_pairs", "class_weights"):
            config.pop(of_classes, None)
        return type(self).from_config({**config, "channels": len(names), "labels": list(names)})

    def flipped_label(self, label):
        for left, right in self.mirrored_pairs:
            # 1 where the label is that class, else 0; of bool TensorFlow makes no number.
            is_left = 1 // (1 + abs(label - np.int32(left)))
            is_right = 1 // (1 + abs(label - np.int32(right)))
            label = label + (right - left) * (is_left - is_right)
        return label

    @property
    def class_ids(self) -> range:
        return range(self.channels)

    def label_of(self, scene):
        for classes, key in (
            (NYUD_CLASSES, "nyud_semseg"),
            (PASCAL_CLASSES, "pascal_semseg"),
            (CITYSCAPES_CLASSES, "cityscapes_semseg"),
        ):
            if self.channels == len(classes) and key in scene:
                return scene[key]
        raise ValueError(
            f"Task {self.name!r} has {self.channels} channels, but rooms have labels for "
            f"{len(NYUD_CLASSES)} (NYUD) or {len(PASCAL_CLASSES)} (PASCAL) classes, and streets "
            f"for {len(CITYSCAPES_CLASSES)}; use the tasks of nyud() or pascal_context(), or "
            "SemanticSegmentation(channels=19)."
        )

    def evaluator(self, **options):
        return ClassEvaluator(self)

    def difference(self, raw, found, decoded):
        if not decoded:
            return super().difference(raw, found, decoded)
        classes = found.astype(int)
        known = (classes >= 0) & (classes < raw.shape[-1])
        scores = np.take_along_axis(raw, np.where(known, classes, 0)[..., None], axis=-1)[..., 0]
        return np.where(known, raw.max(axis=-1) - scores, np.inf), np.abs(raw).max()

    def colours(self):
        return {"classes": self.palette.tolist()}

    def legend(self, shown):
        present = set().union(*(np.unique(each).tolist() for each in shown))
        classes = sorted(present & set(self.class_ids))
        named = [(self.labels[i], tuple(self.palette[i] / 255)) for i in classes]
        return named + [("no label", (1.0, 1.0, 1.0))] * (self.ignore in present)

    def get_config(self):
        own = {
            "palette": self._colours,
            "mirrored_pairs": None if self._pairs is None else self.mirrored_pairs,
            "class_weights": self.class_weights,
        }
        given = {name: value for name, value in own.items() if value is not None}
        return {**super().get_config(), "labels": self.labels, **given}


def sides(names: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of classes whose names differ in "left" and "right" alone.

    Args:
        names: of all classes.

    Example:

    >>> sides(["torso", "left arm", "right arm", "Right_Leg", "Left_Leg", "bright"])
    [(1, 2), (4, 3)]
    """
    ids = {name.lower(): i for i, name in enumerate(names)}
    others = {name: name.replace("left", "right") for name in ids if "left" in name}
    return [(ids[name], ids[other]) for name, other in others.items() if other in ids]


class ClassEvaluator(MapEvaluator):
    """Besides the mean of the classes' IoU, that of each class, and of those that occur."""

    def results(self):
        found = super().results()
        if self.images:
            iou = ops.convert_to_numpy(self.metrics[0].class_iou())
            found["classes"] = dict(zip(self.task.labels, iou.tolist(), strict=True))
        occurring = float(self.metrics[0].of_occurring()) if self.images else None
        found["scores"]["mIoU_of_occurring"] = occurring
        return found

    def protocol(self):
        return (
            f"mean over all {self.task.channels} classes, absent ones 0; mIoU_of_occurring over "
            "those that are labelled or predicted somewhere"
        )


@keras.saving.register_keras_serializable(package="keras_mtl")
class HumanParts(SemanticSegmentation):
    """Human part segmentation: background and six parts, or any other set of parts.

    An image without people carries no label (255 everywhere).

    Args:
        name: str.
        channels: int. Number of classes.
        loss_weight: float.
        labels: list of class names, or None: the six parts if there are seven classes.
        palette, mirrored_pairs, class_weights: as for `SemanticSegmentation`.

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
        mirrored_pairs: Sequence[tuple[int, int]] | None = None,
        class_weights: Sequence[float] | None = None,
    ):
        labels = labels or (PART_CLASSES if channels == len(PART_CLASSES) else None)
        super().__init__(
            name, channels, loss_weight, labels, palette, mirrored_pairs, class_weights
        )

    def label_of(self, scene):
        if self.channels != len(PART_CLASSES):
            raise ValueError(
                f"Task {self.name!r} has {self.channels} channels, but rooms have labels for "
                f"{len(PART_CLASSES)} human parts; leave the task out."
            )
        return scene["human_parts"]
