"""Boxes of one image in the arrays that the score is computed from."""

from dataclasses import dataclass, fields

import numpy as np

from keras_mtl.boxes3d import Sensor, amodal_boxes, box_corners, matrix_from_quaternion
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
