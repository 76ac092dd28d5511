"""Detection of objects as boxes in space."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_mtl import losses, metrics
from keras_mtl.arguments import check_integers
from keras_mtl.boxes3d import choose_boxes, quaternion_from_matrix, rotation_from
from keras_mtl.boxes3d import labels as arrays
from keras_mtl.boxes3d.angles import check_slots
from keras_mtl.boxes3d.drawing import drawn
from keras_mtl.boxes3d.points import BESIDES, boxes_of_points, differences_of_points
from keras_mtl.layers.fcos3d.head import FCOS3DHead
from keras_mtl.metrics.detection3d.boxes import CLASSES
from keras_mtl.tasks.classes import BOX_COLOURS
from keras_mtl.tasks.detection_scores import DetectionEvaluator
from keras_mtl.tasks.labels import ArraySpec
from keras_mtl.tasks.task import Task

FIELD_OF_VIEW = 2262.5 / 2048  # focal length over width of Cityscapes' camera, 49 degrees across


@keras.saving.register_keras_serializable(package="keras_mtl")
class Detection3D(Task):
    """Boxes in space of several classes: FCOS3D's head, losses and choice of boxes; mDS.

    A label is a dict of arrays for up to `most[0]` objects: `"classes"` `(N,)`, -1 where there is
    no object and -2 throughout where the image is not annotated; `"places"` `(N, 3)`, where the
    centre lies in the image, in pixels, and its depth in metres; `"sizes"` `(N, 3)`, length, width
    and height in metres; `"rotations"` `(N, 4)`, quaternions, w first, in the camera's frame S (x
    right, y down, z forward); `"boxes"` `(N, 4)`, left, top, right and bottom of the visible part
    in pixels; `"ignored"` `(M, 4)`, regions that are not annotated; `"camera"` `(3, 3)` and
    `"pose"` `(3, 4)`, see `keras_mtl.boxes3d.Sensor`. `label_from` makes it of boxes in the
    vehicle's frame. Images without objects have no part in the training loss, as published.

    What is predicted for a photograph is a dict of the same names without `"ignored"` and
    `"pose"`, and besides `"scores"` `(N,)` and `"centers"` `(N, 3)` in S, metres.

    Training does not scale images at random where this task is among the others; an image that is
    scaled all the same is another camera's, and depths stay.

    Args:
        name: str.
        labels: names of the classes.
        loss_weight: float.
        angles: which three angles are predicted, `"roll_pitch_yaw"`, or those that published
            checkpoints have learned, `"published"`: see `keras_mtl.boxes3d.angles_of`.
        most: how many objects and how many regions an image's label has room for.
        width, class_branch, groups: of the head, see `keras_mtl.layers.FCOS3DHead`.

    Raises:
        ValueError: if a number is wrong, or the angles are not known.

    Example:

    >>> task = keras_mtl.tasks.Detection3D(labels=["car", "bus"], most=(4, 2))
    >>> {name: spec.shape for name, spec in task.label_spec(32, 48).items()}["boxes"]
    (4, 4)

    References: Wang et al., FCOS3D, ICCV Workshops 2021; Gählert et al., Cityscapes 3D, 2020; Ye
        and Xu, TaskPrompter, ICLR 2023, A.6.
    """

    headline = "mDS"
    higher_is_better = True
    ignore = arrays.NOT_ANNOTATED
    output = "levels"
    takes_camera = True
    stores = "numbers, classes and metres"

    def __init__(
        self,
        name: str = "detection3d",
        labels: Sequence[str] = CLASSES,
        loss_weight: float = 1.0,
        angles: str = "roll_pitch_yaw",
        most: tuple[int, int] = (100, 50),
        width: int = 256,
        class_branch: Sequence[int] = (256, 128),
        groups: int = 32,
    ):
        named = isinstance(labels, (list, tuple)) and all(isinstance(each, str) for each in labels)
        if not named or not labels or len(set(labels)) < len(labels):
            raise ValueError(
                f"labels of task {name!r} is {labels!r}; expected the names of classes, each once, "
                "such as ['car', 'bus']."
            )
        super().__init__(name, len(labels) + BESIDES, loss_weight)
        self.labels = list(labels)
        self.angles = check_slots(angles)
        objects, regions = check_integers("most", most, (100, 50))
        self.most = objects, regions
        self._head: dict[str, Any] = {
            "width": width,
            "class_branch": class_branch,
            "groups": groups,
        }
        # What does not fit is refused now, and not when a model is built.
        self._head["class_branch"] = FCOS3DHead(len(labels), **self._head).class_branch

    # === Training and scores ===

    def head(self, name: str | None = None, **arguments) -> keras.layers.Layer:
        dtype = {key: arguments[key] for key in ("dtype",) if key in arguments}
        return FCOS3DHead(len(self.labels), name=name, **self._head, **dtype)

    def check_output(self, spec):
        shape = getattr(spec, "shape", None)
        if shape is None or len(shape) != 3 or shape[-1] != self.channels:
            found = f"of shape {tuple(shape)}" if shape is not None else f"a {type(spec).__name__}"
            raise ValueError(
                f"The output for task {self.name!r} is {found}; expected (batch, points, "
                f"{self.channels}), such as its head gives."
            )

    def loss(self):
        return losses.FCOS3DLoss(self.angles)

    def metrics(self):
        return [metrics.BoxDepthError()]

    def evaluator(self, **options):
        return DetectionEvaluator(self)

    # === Output ===

    def decode(self, raw):
        """Boxes of all points, before the choice between them.

        Returns:
            float32 `(..., P, 13 + classes)`: place of the centre (u and v in pixels, depth in
            metres), length, width and height, three angles in 0 to 2 pi, left, top, right and
            bottom of the visible part in pixels, score of each class.
        """
        raw = ops.cast(raw, "float32")
        return ops.concatenate(boxes_of_points(raw, ops), axis=-1)

    def difference(self, raw, found, decoded):
        wanted = ops.convert_to_numpy(self.decode(raw)) if decoded else raw
        return differences_of_points(raw, wanted, found), 1.0

    def restore(self, raw, place):
        """Boxes of a photograph, of the camera that `place` knows or a guess; see `camera_for`."""
        camera = self.camera_for(place.size) if place.camera is None else place.camera
        inside = np.asarray(camera, "float64")
        across, down = place.width / place.size[1], place.height / place.size[0]
        moved = np.array([[across, 0, place.left], [0, down, place.top], [0, 0, 1]]) @ inside
        found = choose_boxes(ops.convert_to_numpy(raw), moved, place.image_size)
        height, width = place.size
        corners = np.concatenate(
            [place.points(found.boxes[:, :2]), place.points(found.boxes[:, 2:])], axis=-1
        )
        places = np.concatenate([place.points(found.places[:, :2]), found.places[:, 2:]], axis=-1)
        turned = rotation_from(found.angles.reshape(-1, 3), self.angles)
        return {
            "classes": found.classes.astype("int32"),
            "scores": found.scores.astype("float32"),
            "places": places.astype("float32"),
            "centers": found.centers.astype("float32"),
            "sizes": found.sizes.astype("float32"),
            "rotations": quaternion_from_matrix(turned).astype("float32"),
            "boxes": np.clip(corners, 0, [width, height, width, height]).astype("float32"),
            "camera": np.asarray(camera, "float32"),
        }

    @staticmethod
    def camera_for(size: tuple[int, int]) -> np.ndarray:
        """A guess of a photograph's camera: as wide as Cityscapes', looking through the middle.

        Depths, sizes and directions are as good as the guess.

        Args:
            size: `(height, width)` in pixels.
        """
        height, width = size
        focal = FIELD_OF_VIEW * width
        return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])

    # === Labels ===

    def label_spec(self, height, width):
        return {
            name: ArraySpec(values.shape, str(values.dtype))
            for name, values in self.no_label(height, width).items()
        }

    def no_label(self, height, width):
        return arrays.no_boxes(self.most)

    def is_labelled(self, label):
        return bool((np.asarray(label["classes"]) != arrays.NOT_ANNOTATED).all())

    def label_from(self, sensor: Any, boxes: Any, ignored: Any = ()) -> dict[str, np.ndarray]:
        """The label of an image, from boxes in the vehicle's frame.

        Args:
            sensor: `keras_mtl.boxes3d.Sensor`.
            boxes: `keras_mtl.metrics.detection3d.boxes.Boxes`, or what has its `label`, `center`,
                `size`, `rotation` and `modal`.
            ignored: `(M, 4)`, regions of the image that are not annotated, pixels.

        Raises:
            ValueError: if a class is unknown, or a box is behind the camera, has no size or no
                rotation.
        """
        classes = np.asarray(boxes.label)
        wrong = classes[(classes < 0) | (classes >= len(self.labels))]
        if wrong.size:
            raise ValueError(
                f"A box has the class {wrong[0]}; task {self.name!r} has 0 to "
                f"{len(self.labels) - 1}."
            )
        return arrays.label_arrays(
            sensor,
            classes,
            boxes.center,
            boxes.size,
            boxes.rotation,
            boxes.modal,
            ignored,
            self.most,
        )

    def label_of(self, scene):
        if not {"sensor", "boxes", "ignore"} <= set(scene):
            return super().label_of(scene)
        return self.label_from(scene["sensor"], scene["boxes"], scene["ignore"])

    def fault(self, labels):
        wrong = arrays.wrong_arrays(labels, len(self.labels))
        return wrong and f"Labels of task {self.name!r} {wrong}."

    def doubt(self, labels):
        return None

    def erase(self, stored):
        import tensorflow as tf

        nothing = {name: tf.zeros_like(values) for name, values in stored.items()}
        classes = tf.fill(tf.shape(stored["classes"]), arrays.NOT_ANNOTATED)
        return {**nothing, "classes": tf.cast(classes, stored["classes"].dtype)}

    def move(self, label, change):
        return arrays.moved(label, change)

    # === Pictures ===

    def draw(self, final, photograph, scale=None):
        return drawn(final, photograph, self._colours())

    def _colours(self) -> list[tuple[int, int, int]]:
        own = [BOX_COLOURS[k % len(BOX_COLOURS)] for k in range(len(self.labels))]
        return [(int(each[:2], 16), int(each[2:4], 16), int(each[4:], 16)) for each in own]

    def legend(self, shown):
        there = {int(number) for each in shown for number in _classes(each) if number >= 0}
        colours = self._colours()
        return [
            (self.labels[k], (colours[k][0] / 255, colours[k][1] / 255, colours[k][2] / 255))
            for k in sorted(there)
        ]

    # === Config ===

    def get_config(self):
        return {
            "name": self.name,
            "labels": self.labels,
            "loss_weight": self.loss_weight,
            "angles": self.angles,
            "most": self.most,
            **self._head,
        }


def _classes(shown: Mapping) -> np.ndarray:
    return np.asarray(shown["classes"]).ravel()
