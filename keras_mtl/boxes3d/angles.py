"""Three angles for a rotation: which slot means what.

Both kinds keep the turn about the vertical axis third, and a box has the same outline from above.
"""

from typing import Any

import numpy as np

from keras_mtl.arguments import did_you_mean
from keras_mtl.boxes3d.frames import matrix_from_quaternion, quaternion_from_matrix

ANGLES = ("roll_pitch_yaw", "published")


def angles_of(matrices: Any, slots: str = "roll_pitch_yaw") -> np.ndarray:
    """Angles `(..., 3)` in radians of rotations in the frame S.

    Args:
        matrices: array `(..., 3, 3)`.
        slots: `"roll_pitch_yaw"`: about z, x and y, `R = Ry(yaw) Rx(pitch) Rz(roll)`; or
            `"published"`: those that the published Cityscapes-3D network has learned. Its code
            hands the quaternion (w, x, y, z) to a function that reads (x, y, z, w), so that they
            come out as about (+-pi, 0, yaw + pi) on level ground.

    Raises:
        ValueError: if slots are neither.

    Example:

    >>> turned = rotation_from([0.1, 0.2, 0.5])  # half a radian to the right
    >>> angles_of(turned).round(3).tolist(), angles_of(turned, "published").round(3).tolist()
    ([0.1, 0.2, 0.5], [-2.941, 0.098, -2.662])
    """
    m = np.asarray(matrices, "float64")
    if not _published(slots):
        roll = np.arctan2(m[..., 1, 0], m[..., 1, 1])
        pitch = np.arcsin(np.clip(-m[..., 1, 2], -1, 1))
        yaw = np.arctan2(m[..., 0, 2], m[..., 2, 2])
        return np.stack([roll, pitch, yaw], axis=-1)
    m = matrix_from_quaternion(np.roll(quaternion_from_matrix(m), 1, axis=-1))
    first = np.arctan2(-m[..., 0, 1], m[..., 1, 1])
    second = np.arcsin(np.clip(m[..., 2, 1], -1, 1))
    third = np.arctan2(-m[..., 2, 0], m[..., 2, 2])
    return np.stack([first, second, third], axis=-1)


def rotation_from(angles: Any, slots: str = "roll_pitch_yaw") -> np.ndarray:
    """Rotations `(..., 3, 3)` in the frame S of angles; the inverse of `angles_of`.

    Args:
        angles: array `(..., 3)`, radians.
        slots: see `angles_of`.

    Raises:
        ValueError: if slots are neither.

    Example:

    >>> rotation_from([0.1, -0.2, 3.0]).shape
    (3, 3)
    """
    about_z, about_x, about_y = np.moveaxis(np.asarray(angles, "float64"), -1, 0)
    if not _published(slots):
        return _turn(about_y, 1) @ _turn(about_x, 0) @ _turn(about_z, 2)
    m = _turn(about_z, 2) @ _turn(about_x, 0) @ _turn(about_y, 1)
    return matrix_from_quaternion(np.roll(quaternion_from_matrix(m), -1, axis=-1))


def check_slots(slots: Any) -> str:
    """The name of a kind of slots, after refusing what is none."""
    if slots not in ANGLES:
        raise ValueError(
            f"angles is {slots!r}, expected one of {', '.join(map(repr, ANGLES))}"
            f"{did_you_mean([str(slots)], ANGLES)}."
        )
    return slots


def _published(slots) -> bool:
    return check_slots(slots) == "published"


def _turn(angle, axis):
    """About one axis, `(..., 3, 3)`."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    found = np.zeros((*np.shape(angle), 3, 3))
    found[..., axis, axis] = 1.0
    found[..., i, i] = found[..., j, j] = np.cos(angle)
    found[..., j, i] = np.sin(angle)
    found[..., i, j] = -found[..., j, i]
    return found
