"""The camera of a Cityscapes-3D image: from the vehicle's frame to pixels.

Three frames, all in metres: V, the vehicle's (x forward, y left, z up, on the ground below the rear
axle), in which boxes are annotated; C, the same axes at the camera; S, the image's (x right, y
down, z forward, at the camera).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

IMAGE_SIZE = (1024, 2048)  # of every image of Cityscapes, (height, width)
NEAREST = 0.01  # metres in front of the camera; what is nearer is cut off before it is projected
S_FROM_C = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
_SIGNS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 2
_EDGES = np.array([(a, a | bit) for a in range(8) for bit in (1, 2, 4) if not a & bit]).T


@dataclass(frozen=True)
class Camera:
    """A pinhole camera on a vehicle.

    Args:
        fx, fy: focal lengths, pixels.
        u0, v0: the principal point, pixels.
        from_vehicle: `(3, 4)`, `X_C = from_vehicle @ [X_V; 1]`; its left part is a rotation.
        image_size: (height, width) in pixels.

    Example:

    >>> camera = Camera(2262.5, 2265.3, 1097.0, 513.1, np.eye(3, 4))
    >>> camera.in_image_frame(np.array([[10.0, 1.0, 2.0]]))  # 10 m ahead, 1 left, 2 up
    array([[-1., -2., 10.]])
    >>> camera.project(camera.in_image_frame(np.array([[10.0, 0.0, 0.0]])))
    array([[1097. ,  513.1]])
    """

    fx: float
    fy: float
    u0: float
    v0: float
    from_vehicle: np.ndarray
    image_size: tuple[int, int] = IMAGE_SIZE

    @property
    def matrix(self) -> np.ndarray:
        """`(3, 3)`: pixels times depth from a point of S."""
        return np.array([[self.fx, 0, self.u0], [0, self.fy, self.v0], [0, 0, 1]])

    @property
    def rotation(self) -> np.ndarray:
        """`(3, 3)`: directions of S from directions of V."""
        return S_FROM_C @ self.from_vehicle[:, :3]

    def in_image_frame(self, points: np.ndarray) -> np.ndarray:
        """Points `(..., 3)` of V, in S."""
        turned = points @ self.from_vehicle[:, :3].T + self.from_vehicle[:, 3]
        return turned @ S_FROM_C.T

    def in_vehicle_frame(self, points: np.ndarray) -> np.ndarray:
        """Points `(..., 3)` of S, in V."""
        moved = points @ S_FROM_C - self.from_vehicle[:, 3]
        return moved @ np.linalg.inv(self.from_vehicle[:, :3]).T

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points `(..., 3)` of S, in pixels `(..., 2)`, (u, v); their z must not be 0."""
        focal, principal = np.array([self.fx, self.fy]), np.array([self.u0, self.v0])
        return focal * points[..., :2] / points[..., 2:] + principal

    def sensor(self) -> dict[str, Any]:
        """What a file of the benchmark says of it."""
        return {
            "fx": float(self.fx),
            "fy": float(self.fy),
            "u0": float(self.u0),
            "v0": float(self.v0),
            "sensor_T_ISO_8855": self.from_vehicle.tolist(),
        }


def rotation_matrices(quaternions: np.ndarray) -> np.ndarray:
    """Quaternions `(..., 4)`, wxyz, of any length but 0, as rotations `(..., 3, 3)`.

    Example:

    >>> half_a_turn_about_z = np.array([0.0, 0.0, 0.0, 2.0])
    >>> (rotation_matrices(half_a_turn_about_z) @ [1, 0, 0]).round(6).tolist()
    [-1.0, 0.0, 0.0]
    """
    unit = quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)
    w, x, y, z = np.moveaxis(unit, -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, -1) for row in rows], -2)


def corners(center: np.ndarray, size: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """The eight corners `(N, 8, 3)` of boxes, in the frame of their centers.

    Args:
        center: `(N, 3)`, metres.
        size: `(N, 3)`, length (along the box's own x), width (y), height (z), metres.
        rotation: `(N, 3, 3)`, from a box's own axes.

    Example:

    >>> found = corners(np.zeros((1, 3)), np.array([[4.0, 2.0, 1.0]]), np.eye(3)[None])
    >>> found.min((0, 1)).tolist(), found.max((0, 1)).tolist()
    ([-2.0, -1.0, -0.5], [2.0, 1.0, 0.5])
    """
    return (_SIGNS * size[:, None]) @ rotation.swapaxes(1, 2) + center[:, None]


def amodal_boxes(
    camera: Camera, center: np.ndarray, size: np.ndarray, rotation: np.ndarray
) -> np.ndarray:
    """The smallest boxes around boxes in the image, as if nothing hid them.

    What lies less than 1 cm in front of the camera is cut off first; what lies outside the image,
    afterwards.

    Args:
        camera: of the image.
        center, size: see `corners`; in V.
        rotation: `(N, 4)`, quaternions wxyz, in V.

    Returns:
        `(N, 4)`, x and y of the top left and of the bottom right corner, pixels, within
        `[0, width - 1]` and `[0, height - 1]`; zeros for a box that is all behind the camera.

    Example:

    >>> camera = Camera(100.0, 100.0, 50.0, 40.0, np.eye(3, 4), (80, 100))
    >>> a_cube, upright = np.full((1, 3), 2.0), np.array([[1.0, 0, 0, 0]])
    >>> amodal_boxes(camera, np.array([[11.0, 0, 0]]), a_cube, upright).tolist()
    [[40.0, 30.0, 60.0, 50.0]]
    >>> amodal_boxes(camera, np.array([[-11.0, 0, 0]]), a_cube, upright).tolist()
    [[0.0, 0.0, 0.0, 0.0]]
    """
    points = camera.in_image_frame(corners(center, size, rotation_matrices(rotation)))
    front = points[..., 2] > NEAREST
    one, other = points[:, _EDGES[0]], points[:, _EDGES[1]]
    crosses = front[:, _EDGES[0]] != front[:, _EDGES[1]]
    rise = np.where(crosses, other[..., 2] - one[..., 2], 1)
    cut = one + ((NEAREST - one[..., 2]) / rise)[..., None] * (other - one)
    seen = np.concatenate([front, crosses], 1)[..., None]
    points = np.where(seen, np.concatenate([points, cut], 1), 1.0)
    pixels = camera.project(points)
    height, width = camera.image_size
    last = np.array([width - 1, height - 1])
    low = np.where(seen, pixels, np.inf).min(1).clip(0, last)
    high = np.where(seen, pixels, -np.inf).max(1).clip(0, last)
    return np.where(seen.any(1), np.concatenate([low, high], 1), 0.0)
