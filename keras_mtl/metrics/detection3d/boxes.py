"""Boxes of one image in the arrays that the score is computed from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from keras_mtl.boxes3d import (
    Sensor,
    amodal_boxes,
    box_corners,
    matrix_from_quaternion,
    quaternion_from_matrix,
)
from keras_mtl.boxes3d.projection import NEAREST

IMAGE_SIZE = (1024, 2048)  # of every image of Cityscapes, (height, width)
CLASSES = ("car", "truck", "bus", "train", "motorcycle", "bicycle")


@dataclass(frozen=True)
class Boxes:
    """Boxes of one image, annotated or predicted.

    Args:
        label: int `(N,)`, places in `CLASSES`.
        score: float `(N,)`, confidence in 0..1; 1 for annotations.
        center: float `(N, 3)`, metres in the vehicle's frame (x forward, y left, z up).
        size: float `(N, 3)`, length, width, height, metres.
        rotation: float `(N, 4)`, quaternions wxyz in the vehicle's frame.
        modal: float `(N, 4)`, the visible part in the image: x and y of the top left and of the
            bottom right corner, pixels.
        amodal: float `(N, 4)`, likewise, as if nothing hid it.

    Example:

    >>> len(no_boxes())
    0
    """

    label: np.ndarray
    score: np.ndarray
    center: np.ndarray
    size: np.ndarray
    rotation: np.ndarray
    modal: np.ndarray
    amodal: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def take(self, places: np.ndarray) -> "Boxes":
        """Some of the boxes, by their places or a mask."""
        return Boxes(*(getattr(self, field.name)[places] for field in fields(self)))


def no_boxes() -> Boxes:
    """The boxes of an image without any."""
    return Boxes(
        np.zeros(0, int),
        np.zeros(0),
        np.zeros((0, 3)),
        np.zeros((0, 3)),
        np.zeros((0, 4)),
        np.zeros((0, 4)),
        np.zeros((0, 4)),
    )


def predicted(
    sensor: Sensor,
    image_size: tuple[int, int],
    label: np.ndarray,
    score: np.ndarray,
    center: np.ndarray,
    size: np.ndarray,
    rotation: np.ndarray,
    modal: np.ndarray | None = None,
) -> Boxes:
    """Predicted boxes of one image; their amodal boxes are computed.

    Args:
        sensor: the camera of the image.
        image_size: (height, width) in pixels.
        label, score, center, size, rotation: see `Boxes`.
        modal: see `Boxes`; the amodal ones unless given.

    Example:

    >>> sensor = Sensor([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
    >>> a_car = [0], [0.9], [[11.0, 0, 0]], [[2.0, 2, 2]], [[1.0, 0, 0, 0]]
    >>> predicted(sensor, (80, 100), *map(np.array, a_car)).modal.round(6).tolist()
    [[40.0, 30.0, 60.0, 50.0]]
    """
    corners = corners_of(sensor, center, size, rotation)
    front = in_front(corners)
    # As published: those behind the camera are drawn nowhere.
    amodal = np.zeros((len(corners), 4))
    amodal[front] = amodal_boxes(corners[front], sensor.camera, image_size)
    modal = amodal.copy() if modal is None else modal
    return Boxes(label, score, center, size, rotation, modal, amodal)


def boxes_from_prediction(
    final: Mapping[str, np.ndarray],
    sensor: Sensor,
    image_size: tuple[int, int],
    classes: Sequence[str] = CLASSES,
) -> Boxes:
    """What `predict_maps` found in a photograph, in the vehicle's frame, for files and scores.

    Args:
        final: the prediction of `keras_mtl.tasks.Detection3D`: a dict of `"classes"`, `"scores"`,
            `"centers"`, `"sizes"`, `"rotations"` and `"boxes"`, in the camera's frame.
        sensor: the camera.
        image_size: (height, width) of the photograph in pixels.
        classes: names of the task's classes.

    Example:

    >>> final = {"classes": [0], "scores": [0.9], "centers": [[0.0, 0, 10]], "sizes": [[2.0, 2, 2]]}
    >>> final |= {"rotations": [[1.0, 0, 0, 0]], "boxes": [[40.0, 30, 60, 50]]}
    >>> sensor = Sensor([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
    >>> found = boxes_from_prediction({k: np.array(v) for k, v in final.items()}, sensor, (80, 100))
    >>> found.center.tolist(), found.score.tolist()
    ([[10.0, 0.0, 0.0]], [0.9])
    """
    numbers = np.array([CLASSES.index(name) for name in classes])
    turned = matrix_from_quaternion(np.reshape(final["rotations"], (-1, 4)))
    return predicted(
        sensor,
        image_size,
        numbers[final["classes"]],
        np.asarray(final["scores"], "float64"),
        sensor.to_vehicle(final["centers"]),
        np.asarray(final["sizes"], "float64"),
        quaternion_from_matrix(sensor.rotation_to_vehicle(turned)),
        np.asarray(final["boxes"], "float64"),
    )


def corners_of(
    sensor: Sensor, center: np.ndarray, size: np.ndarray, rotation: np.ndarray
) -> np.ndarray:
    """The corners `(N, 8, 3)` in the camera's frame of boxes in the vehicle's.

    Args:
        sensor: the camera.
        center, size, rotation: see `Boxes`.
    """
    turned = sensor.rotation_to_sensor(matrix_from_quaternion(rotation))
    return box_corners(sensor.to_sensor(center), size, turned)


def in_front(corners: np.ndarray) -> np.ndarray:
    """Which boxes have a corner in front of the camera, bool `(N,)`.

    Args:
        corners: `(N, 8, 3)` in the camera's frame.
    """
    return np.any(corners[..., 2] > NEAREST, axis=-1)
