"""mDS over a dataset, image by image."""

from dataclasses import replace
from typing import Any

import numpy as np

from keras_mtl.boxes3d.labels import in_vehicle_frame, sensor_of
from keras_mtl.metrics.detection3d.boxes import CLASSES, Boxes
from keras_mtl.metrics.detection3d.scores import SCORES, DetectionScores, Protocol


class DetectionEvaluator:
    """What `keras_mtl.evaluate` gives every image of `keras_mtl.tasks.Detection3D` to.

    The camera of an image is the one of its label.

    Args:
        task: the task, whose labels are classes of Cityscapes-3D.

    Raises:
        ValueError: if it has other classes.

    Example:

    >>> task = keras_mtl.tasks.Detection3D(width=8, class_branch=(8,), groups=2)
    >>> task.evaluator().results()["scores"]["mDS"] is None  # of no image
    True
    """

    def __init__(self, task):
        other = [name for name in task.labels if name not in CLASSES]
        if other:
            raise ValueError(
                f"Task {task.name!r} has the class {other[0]!r}, which mDS does not know; expected "
                f"some of {', '.join(CLASSES)}, or an evaluator() of your own."
            )
        self.task = task
        self.scores = DetectionScores(Protocol(classes=tuple(task.labels)))
        self._numbers = np.array([CLASSES.index(name) for name in task.labels])

    def add(self, label: dict, raw: np.ndarray, place: Any, example: dict) -> bool:
        """Counts one image; one that is not annotated is not.

        Args:
            label: of the photograph.
            raw: the model's output for the image that the photograph was fitted into.
            place: `keras_mtl.models.photographs.Place`, where it lies in there.
            example: all that the dataset says of the image.

        Returns:
            Whether it was counted.
        """
        if not self.task.is_labelled(label):
            return False
        there = label["classes"] >= 0
        truth = {name: label[name][there] for name in _TOLD}
        found = self.task.restore(raw, replace(place, camera=label["camera"]))
        ignored = label["ignored"]
        ignored = ignored[(ignored[:, 2:] > ignored[:, :2]).all(axis=-1)]
        self.scores.add(self._boxes(truth, label), self._boxes(found, label), ignored)
        return True

    def _boxes(self, told: dict, label: dict) -> Boxes:
        """In the vehicle's frame, which scores are in."""
        sensor = sensor_of(label)
        centers, rotations = in_vehicle_frame(sensor, told["places"], told["rotations"])
        visible = told["boxes"].astype("float64")
        return Boxes(
            self._numbers[told["classes"]],
            np.asarray(told.get("scores", np.ones(len(centers))), "float64"),
            centers,
            told["sizes"].astype("float64"),
            rotations,
            visible,
            visible,  # which the protocol does not look at, comparing visible parts
        )

    def results(self) -> dict[str, Any]:
        """`{"headline", "unit", "higher_is_better", "images", "scores"}`, and `"classes"`."""
        found = self.scores.as_dict()
        return {
            "headline": self.task.headline,
            "unit": self.task.unit,
            "higher_is_better": self.task.higher_is_better,
            "images": found["images"],
            "scores": {f"m{name}": found[f"m{name}"] for name in SCORES},
            "classes": found["classes"],
        }

    def protocol(self) -> str:
        """How the scores came about."""
        return f"mDS of Cityscapes-3D: {self.scores.protocol}"

    def finish(self) -> None:
        """Called after the last image, before `results`."""

    def close(self) -> None:
        """Called at the end, also after an error."""


_TOLD = ("classes", "places", "sizes", "rotations", "boxes")
