"""mDS, the mean detection score of Cityscapes-3D, over many images.

Gählert et al., "Cityscapes 3D: Dataset and Benchmark for 9 DoF Vehicle Detection", 2020.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from keras_mtl.boxes3d import matrix_from_quaternion
from keras_mtl.metrics.detection3d.boxes import CLASSES, Boxes
from keras_mtl.metrics.detection3d.matching import match, share_inside

QUALITIES = ("center", "size", "yaw", "pitch_roll")
SCORES = ("DS", "AP", *QUALITIES)


@dataclass(frozen=True)
class Protocol:
    """How boxes are matched and scored; as published unless said otherwise.

    Args:
        classes: the classes that are scored.
        amodal: bool. Whether boxes in the image are compared as if nothing hid them, as the
            benchmark's server does, instead of their visible parts, as in TaskPrompter.
        min_iou: least overlap of two boxes in the image that are a pair; more is asked.
        max_depth: metres on the ground, beyond which a pair has no part in the qualities.
        step: metres, of which a bin of distance has so many.
        confidences: int. Thresholds of confidence are 0, 1 / confidences, ..., 1.
        confidence: the working confidence of all classes; unless given each class's own, where
            precision times recall is largest.

    Raises:
        ValueError: if a value is out of its range.

    Example:

    >>> Protocol(min_iou=0.4).amodal
    False
    """

    classes: tuple[str, ...] = CLASSES
    amodal: bool = False
    min_iou: float = 0.7
    max_depth: float = 100.0
    step: float = 5.0
    confidences: int = 50
    confidence: float | None = None

    def __post_init__(self):
        if not self.classes or len(set(self.classes) & set(CLASSES)) < len(self.classes):
            expected = f"one or more of {', '.join(CLASSES)}, each once"
            raise ValueError(f"classes is {self.classes}; expected {expected}.")
        for name, low, high in (("min_iou", 0, 1), ("confidence", 0, 1)):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name} is {value}; expected a number from {low} to {high}.")
        for name in ("max_depth", "step", "confidences"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected more than 0.")

    @property
    def thresholds(self) -> np.ndarray:
        """The thresholds of confidence, ascending; a prediction counts from its own on."""
        return np.arange(0.0, 1.01, 1.0 / self.confidences)

    def __str__(self) -> str:
        boxes = "amodal" if self.amodal else "modal"
        return f"{boxes} boxes, IoU above {self.min_iou:g}, up to {self.max_depth:g} m"


class ClassScores(NamedTuple):
    """What one class has reached; scores in percent.

    Args:
        DS: detection score, AP times the mean of the four qualities.
        AP: average precision of the boxes in the image.
        center, size, yaw, pitch_roll: qualities of the pairs at the working confidence: distance
            of the centers on the ground, ratio of the sizes, angles.
        confidence: the working confidence.
        truths: how many boxes are annotated.
        precision, recall: at every threshold of confidence, in 0..1.
        bins: for each quality its mean, in percent, in each bin of distance that has pairs, by the
            metres at which the bin begins.
        pairs: how many pairs each bin has.
    """

    DS: float
    AP: float
    center: float
    size: float
    yaw: float
    pitch_roll: float
    confidence: float
    truths: int
    precision: list[float]
    recall: list[float]
    bins: dict[str, dict[float, float]]
    pairs: dict[float, int]


@dataclass
class DetectionScores:
    """Counts of images, and the scores from them.

    The boxes of an image are matched at each threshold of confidence, class by class. What a class
    has reached is 0 unless its pairs lie in two bins of distance or more: so is it published.

    Args:
        protocol: how boxes are matched and scored.

    Example:

    >>> from keras_mtl.metrics.detection3d.boxes import predicted
    >>> sensor = keras_mtl.boxes3d.Sensor([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
    >>> scores = DetectionScores()
    >>> for x in (11.0, 21.0):
    ...     a_car = [0], [1.0], [[x, 0, 0]], [[2.0, 2, 2]], [[1.0, 0, 0, 0]]
    ...     boxes = predicted(sensor, (80, 100), *map(np.array, a_car))
    ...     scores.add(boxes, boxes)
    >>> round(scores.mDS, 6), scores.of("car").truths
    (100.0, 2)
    """

    protocol: Protocol = field(default_factory=Protocol)

    def __post_init__(self):
        classes, thresholds = len(self.protocol.classes), len(self.protocol.thresholds)
        self.images = 0
        self._wrong, self._missed = np.zeros((2, classes, thresholds), int)
        # By class and threshold: distance, then the four qualities, of each pair.
        self._pairs: list[list[list]] = [[[] for _ in range(thresholds)] for _ in range(classes)]

    def add(self, truth: Boxes, found: Boxes, ignore: np.ndarray | None = None) -> None:
        """Adds one image.

        Args:
            truth: the annotated boxes.
            found: the predicted boxes; none where there is no prediction.
            ignore: `(K, 4)`, regions of the image in which predictions are not counted as wrong:
                x and y of two corners, pixels.
        """
        self.images += 1
        ignore = np.zeros((0, 4)) if ignore is None else np.asarray(ignore, float).reshape(-1, 4)
        inside = share_inside(ignore, found.modal)  # regions have no hidden part
        for k, name in enumerate(self.protocol.classes):
            label = CLASSES.index(name)
            mine, those = truth.take(truth.label == label), found.label == label
            self._add_class(k, mine, found.take(those), inside[those])

    def _add_class(self, k: int, truth: Boxes, found: Boxes, inside: np.ndarray) -> None:
        kept = None
        for i, threshold in enumerate(self.protocol.thresholds):
            keep = found.score >= threshold
            if kept is None or keep.sum() < kept:
                kept = keep.sum()
                now = found.take(keep)
                drawn, seen = self._flat(truth), self._flat(now)
                matches = match(drawn, seen, inside[keep], self.protocol.min_iou)
                pairs = qualities(truth.take(matches.truth), now.take(matches.found), self.protocol)
            self._wrong[k, i] += matches.wrong
            self._missed[k, i] += matches.missed
            self._pairs[k][i].append(pairs)

    def _flat(self, boxes: Boxes) -> np.ndarray:
        return boxes.amodal if self.protocol.amodal else boxes.modal

    def of(self, name: str) -> ClassScores:
        """The scores of a class.

        Args:
            name: one of the protocol's classes.
        """
        k = self.protocol.classes.index(name)
        pairs = [np.concatenate([np.zeros((0, 5)), *each]) for each in self._pairs[k]]
        right = np.array([len(each) for each in pairs])
        precision = right / np.maximum(right + self._wrong[k], 1)
        recall = right / np.maximum(right + self._missed[k], 1)
        working = self._working(precision * recall)
        bins, counts = _by_distance(pairs[working], self.protocol)
        reached = {
            name: float(np.mean(list(bins[name].values()))) if len(counts) > 1 else 0.0
            for name in QUALITIES
        }
        precise = 100 * average_precision(precision, recall)
        confidence = float(self.protocol.thresholds[working])
        return ClassScores(
            DS=precise * float(np.mean(list(reached.values()))) / 100,
            AP=precise,
            center=reached["center"],
            size=reached["size"],
            yaw=reached["yaw"],
            pitch_roll=reached["pitch_roll"],
            confidence=confidence,
            truths=int(right[0] + self._missed[k, 0]),
            precision=precision.tolist(),
            recall=recall.tolist(),
            bins=bins,
            pairs=counts,
        )

    def _working(self, product: np.ndarray) -> int:
        """Place of the working confidence among the thresholds."""
        if self.protocol.confidence is None:
            return int(product.argmax())
        thresholds = self.protocol.thresholds
        # A given one is rounded up to a threshold, but not for what NumPy's steps leave of it.
        beyond = np.flatnonzero(thresholds >= self.protocol.confidence - 1e-9)
        return int(beyond[0]) if len(beyond) else len(thresholds) - 1

    def classes(self) -> dict[str, ClassScores]:
        """The scores of every class."""
        return {name: self.of(name) for name in self.protocol.classes}

    def mean(self, score: str) -> float:
        """The mean of a score over the classes that are annotated, in percent.

        Args:
            score: "DS", "AP", "center", "size", "yaw" or "pitch_roll".

        Returns:
            NaN if no image has an annotated box.
        """
        found = [getattr(each, score) for each in self.classes().values() if each.truths]
        return float(np.mean(found)) if found else float("nan")

    @property
    def mDS(self) -> float:
        """The mean detection score in percent."""
        return self.mean("DS")

    def as_dict(self) -> dict[str, Any]:
        """All scores in plain types, in percent."""
        means: dict[str, float | None] = {f"m{name}": self.mean(name) for name in SCORES}
        if not any(each.truths for each in self.classes().values()):
            means = dict.fromkeys(means)  # JSON has no NaN
        classes = {name: found._asdict() for name, found in self.classes().items()}
        return {"images": self.images, **means, "classes": classes}


def qualities(truth: Boxes, found: Boxes, protocol: Protocol) -> np.ndarray:
    """How well boxes fit that are pairs.

    Args:
        truth, found: the pairs, in the same order.
        protocol: whose `max_depth` is the distance at which a center is worth nothing.

    Returns:
        `(K, 5)`: whole metres of the annotated box from the vehicle on the ground; then, in 0..1,
        of the center, size, yaw, and pitch and roll.
    """
    on_ground = np.linalg.norm(truth.center[:, :2], axis=1).astype(int)
    apart = np.linalg.norm(truth.center[:, :2] - found.center[:, :2], axis=1)
    smaller, larger = np.minimum(truth.size, found.size), np.maximum(truth.size, found.size)
    yaw, pitch, roll = (_angles(truth.rotation) - _angles(found.rotation)).T
    return np.stack(
        [
            on_ground,
            1 - np.minimum(apart / protocol.max_depth, 1),
            (smaller / larger).prod(1),
            (1 + np.cos(yaw)) / 2,
            0.5 + (np.cos(pitch) + np.cos(roll)) / 4,
        ],
        1,
    )


def _angles(rotation: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll `(K, 3)` in the vehicle's frame."""
    r = matrix_from_quaternion(rotation)
    yaw = np.arctan2(-r[:, 0, 1], r[:, 0, 0])
    pitch = np.arcsin(r[:, 0, 2].clip(-1, 1))
    return np.stack([yaw, pitch, np.arctan2(-r[:, 1, 2], r[:, 2, 2])], 1)


def _by_distance(pairs: np.ndarray, protocol: Protocol) -> tuple[dict, dict]:
    """The mean of each quality, and the number of pairs, in every bin that has some."""
    pairs = pairs[pairs[:, 0] < protocol.max_depth]
    begin = pairs[:, 0] // protocol.step * protocol.step
    own = {float(b): pairs[begin == b] for b in np.unique(begin)}
    bins = {
        name: {b: 100 * float(each[:, 1 + i].mean()) for b, each in own.items()}
        for i, name in enumerate(QUALITIES)
    }
    return bins, {b: len(each) for b, each in own.items()}


def average_precision(precision: np.ndarray, recall: np.ndarray) -> float:
    """The area below the curve of precision over recall, precision made non-increasing.

    Args:
        precision, recall: `(T,)`, in 0..1, at ascending thresholds.

    Example:

    >>> average_precision(np.array([0.5, 1.0, 0.0]), np.array([0.8, 0.4, 0.0]))
    0.6000000000000001
    """
    order = np.argsort(recall, kind="stable")
    recall = np.concatenate([[0.0], recall[order], [1.0]])
    precision = np.concatenate([[0.0], precision[order], [0.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall) * precision[1:]).sum())
