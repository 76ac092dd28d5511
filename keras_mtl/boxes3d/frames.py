"""Frames of Cityscapes-3D and what leads from one to another.

- V, the vehicle: x forward, y left, z up, on the ground below the rear axle; annotations are in it.
- C, the camera: the same axes at the camera, `X_C = T [X_V; 1]`.
- S, the sensor: x right, y down, z forward, `X_S = K X_C`; networks predict in it. At zero rotation
  a box's length lies along z, its width along x, its height along y.

Rotations turn the box's own axes into those of the frame: `R_C = R_T R_V`, `R_S = K R_C K^T`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

AXES = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # K above: from C to S


def unit_quaternions(quaternions: Any, what: str = "A rotation") -> np.ndarray:
    """Quaternions divided by their length, float64.

    Args:
        quaternions: array `(..., 4)`, w first.
        what: str. What the error calls them.

    Raises:
        ValueError: if one is no quaternion, is not finite or has length 0.

    Example:

    >>> unit_quaternions([2.0, 0, 0, 0]).tolist()
    [1.0, 0.0, 0.0, 0.0]
    """
    try:
        found = np.asarray(quaternions, "float64")
    except (TypeError, ValueError):
        found = np.zeros(0)
    lengths = np.linalg.norm(found, axis=-1, keepdims=True) if found.ndim else np.zeros(1)
    if not found.ndim or found.shape[-1] != 4 or not (np.isfinite(lengths) & (lengths > 0)).all():
        wrong = quaternions
        if found.ndim > 1 and found.shape[-1] == 4:
            wrong = found[~(np.isfinite(lengths) & (lengths > 0))[..., 0]][0].tolist()
        raise ValueError(
            f"{what} is {wrong}; expected a quaternion (w, x, y, z) of finite numbers, not all 0."
        )
    return found / lengths


def matrix_from_quaternion(quaternions: Any) -> np.ndarray:
    """Rotation matrices `(..., 3, 3)` of quaternions `(..., 4)`, w first, of any length but 0.

    Example:

    >>> matrix_from_quaternion([0.0, 0, 0, 1]).tolist()  # half a turn about z
    [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    w, x, y, z = np.moveaxis(unit_quaternions(quaternions), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quaternion_from_matrix(matrices: Any) -> np.ndarray:
    """Quaternions `(..., 4)`, w first and not negative, of rotation matrices `(..., 3, 3)`.

    Example:

    >>> quaternion_from_matrix(np.eye(3)).tolist()
    [1.0, 0.0, 0.0, 0.0]
    """
    m = np.asarray(matrices, "float64")
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    d, e, f = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    # 4 q q^T: its largest row is the most exact, and a multiple of q.
    rows = np.stack(
        [
            np.stack([1 + xx + yy + zz, a, b, c], axis=-1),
            np.stack([a, 1 + xx - yy - zz, d, e], axis=-1),
            np.stack([b, d, 1 - xx + yy - zz, f], axis=-1),
            np.stack([c, e, f, 1 - xx - yy + zz], axis=-1),
        ],
        axis=-2,
    )
    largest = np.argmax(np.diagonal(rows, axis1=-2, axis2=-1), axis=-1)
    found = np.take_along_axis(rows, largest[..., None, None], axis=-2)[..., 0, :]
    found = found / np.linalg.norm(found, axis=-1, keepdims=True)
    return np.where(found[..., :1] < 0, -found, found) + 0.0  # no -0


@dataclass(frozen=True, eq=False)
class Sensor:
    """A camera and where it sits in its vehicle.

    Args:
        camera: array `(3, 3)`, from the frame S to `(u, v, 1)` in pixels.
        pose: array `(3, 4)`, T above: from the vehicle's frame V to the camera's frame C.

    Raises:
        ValueError: if one has another shape or is not finite, a focal length is not above 0, or
            the pose turns nothing into a rotation.

    Example:

    >>> sensor = Sensor([[2262.5, 0, 1096.9], [0, 2265.3, 513.1], [0, 0, 1]], np.eye(3, 4))
    >>> sensor.to_sensor([10.0, -2.0, 0.5]).tolist()  # 2 m to the right, 0.5 m up
    [2.0, -0.5, 10.0]
    """

    camera: Any
    pose: Any = None

    def __post_init__(self):
        pose = np.eye(3, 4) if self.pose is None else self.pose
        for name, given, shape in (("camera", self.camera, (3, 3)), ("pose", pose, (3, 4))):
            try:
                found = np.asarray(given, "float64")
            except (TypeError, ValueError):
                found = np.zeros(0)
            if found.shape != shape or not np.isfinite(found).all():
                shown = given.tolist() if isinstance(given, np.ndarray) else given
                raise ValueError(
                    f"A {name} is {shown!r}; expected {shape[0]} rows of {shape[1]} finite numbers."
                )
            object.__setattr__(self, name, found)
        focal = self.camera[0, 0], self.camera[1, 1]
        if min(focal) <= 0:
            raise ValueError(
                f"A camera has the focal lengths {focal[0]:g} and {focal[1]:g}; expected both "
                "above 0, in pixels."
            )
        turn = self.pose[:, :3]
        if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-2 or np.linalg.det(turn) < 0:
            raise ValueError(
                f"A pose turns by {turn.tolist()}, which is no rotation; expected a matrix with "
                "rows of length 1 at right angles, and then a column of metres."
            )

    @classmethod
    def from_json(cls, sensor: Mapping, what: str = "sensor") -> "Sensor":
        """The one of `"sensor"` in a file of Cityscapes-3D.

        Args:
            sensor: dict with `fx`, `fy`, `u0`, `v0` in pixels and `sensor_T_ISO_8855`, `(3, 4)`.
            what: str. What the error calls it, such as the file's name.

        Raises:
            ValueError: if a key is missing or a value is wrong.
        """
        keys = ("fx", "fy", "u0", "v0", "sensor_T_ISO_8855")
        missing = [key for key in keys if not isinstance(sensor, Mapping) or key not in sensor]
        if missing:
            raise ValueError(f"{what} lacks {', '.join(missing)}; expected {', '.join(keys)}.")
        fx, fy, u0, v0, pose = (sensor[key] for key in keys)
        try:
            return cls([[fx, 0, u0], [0, fy, v0], [0, 0, 1]], pose)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None

    def to_sensor(self, points: Any) -> np.ndarray:
        """Points `(..., 3)` of V in S, metres."""
        points = np.asarray(points, "float64")
        return (points @ self.pose[:, :3].T + self.pose[:, 3]) @ AXES.T

    def to_vehicle(self, points: Any) -> np.ndarray:
        """Points `(..., 3)` of S in V, metres."""
        in_camera = np.asarray(points, "float64") @ AXES
        return (in_camera - self.pose[:, 3]) @ np.linalg.inv(self.pose[:, :3]).T

    def rotation_to_sensor(self, matrices: Any) -> np.ndarray:
        """Rotations `(..., 3, 3)` of V in S."""
        return AXES @ self.pose[:, :3] @ np.asarray(matrices, "float64") @ AXES.T

    def rotation_to_vehicle(self, matrices: Any) -> np.ndarray:
        """Rotations `(..., 3, 3)` of S in V."""
        return np.linalg.inv(self.pose[:, :3]) @ AXES.T @ np.asarray(matrices, "float64") @ AXES
