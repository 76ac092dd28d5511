"""Which object each point of an image stands for, and what it should say of it."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from keras import ops

from keras_mtl.boxes3d.angles import check_slots
from keras_mtl.boxes3d.points import RawBoxes
from keras_mtl.losses.maps import Tensor

RADIUS, FADING = 1.5, 2.5  # published: of the centre, in strides; of centerness


class Targets(NamedTuple):
    """What P points of each image should say, `(B, P, ...)`; values mean something for positives.

    Args:
        positive: bool, whether the point stands for an object.
        object: int, which one.
        classes: int, its class.
        offset, depth, size, angles, box: see `keras_mtl.boxes3d.points.RawBoxes`.
        direction: int, for each angle in which half of the turn it points.
        centerness: 1 at the centre, less further out.
    """

    positive: Tensor
    object: Tensor
    classes: Tensor
    offset: Tensor
    depth: Tensor
    size: Tensor
    angles: Tensor
    box: Tensor
    direction: Tensor
    centerness: Tensor


def point_targets(label: Mapping[str, Any], points: RawBoxes) -> Targets:
    """The targets of FCOS3D.

    A point may stand for an object if it lies less than 1.5 strides from its projected centre, in u
    and in v, and the largest of its distances to the sides of the visible box is in its level's
    span. Of several it stands for the one with the nearest centre, and of these for the first.

    Args:
        label: dict of tensors for N objects, those without a class from 0 on being none:
            `"classes"` `(B, N)`, `"places"` `(B, N, 3)`, the projected centre in pixels and its
            depth in metres, `"sizes"` and `"angles"` `(B, N, 3)`, `"boxes"` `(B, N, 4)`, left, top,
            right and bottom in pixels.
        points: of which `point`, `stride` and `span` are read.

    Example:

    >>> from keras_mtl.boxes3d.points import parts_of_raw, points_of
    >>> where = np.concatenate([np.zeros((1, 16, 26)), points_of([(4, 4)], [8.0])[None]], -1)
    >>> a_car = {
    ...     "classes": [[0]], "places": [[[12.0, 12.0, 20.0]]], "sizes": [[[4.0, 2.0, 1.5]]],
    ...     "angles": [[[0.0, 0.0, 0.3]]], "boxes": [[[4.0, 8.0, 20.0, 16.0]]],
    ... }
    >>> a_car = {name: np.array(values) for name, values in a_car.items()}
    >>> points = parts_of_raw(keras.ops.convert_to_tensor(where, "float32"))
    >>> found = point_targets(a_car, points)
    >>> np.array(found.positive)[0].reshape(4, 4).astype(int).tolist()
    [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]]

    Reference: Wang et al., FCOS3D, ICCV Workshops 2021, Sec. 3.2 and 3.3; TaskPrompter, A.6.
    """
    label = {
        name: ops.cast(label[name], "int32" if name == "classes" else "float32")
        for name in ("classes", "places", "sizes", "angles", "boxes")
    }
    point, stride = points.point[:, :, None], points.stride[:, :, None]  # (B, P, 1, ...)
    span = points.span[:, :, None]
    away = point - label["places"][:, None, :, :2]  # (B, P, N, 2)
    boxes = label["boxes"][:, None]
    sides = ops.concatenate([point - boxes[..., :2], boxes[..., 2:] - point], axis=-1)
    largest = ops.max(sides, axis=-1)
    possible = ops.all(ops.abs(away) < RADIUS * stride, axis=-1)
    possible = ops.logical_and(possible, largest >= span[..., 0])
    possible = ops.logical_and(possible, largest <= span[..., 1])
    possible = ops.logical_and(possible, label["classes"][:, None] >= 0)
    far = ops.sqrt(ops.sum(ops.square(away), axis=-1))
    far = ops.where(possible, far, math.inf)
    nearest = ops.min(far, axis=-1, keepdims=True)
    # The first one, as argmin does not promise on every backend.
    numbers = ops.arange(far.shape[-1], dtype="int32")
    found = ops.min(ops.where(far == nearest, numbers, far.shape[-1] - 1), axis=-1)

    def own(values):
        """Of each point's object, from `(B, N, ...)`."""
        return ops.take_along_axis(values, found[..., None], axis=1)

    angles = own(label["angles"])
    away = points.point - own(label["places"])[..., :2]
    boxes = own(label["boxes"])
    sides = ops.concatenate([points.point - boxes[..., :2], boxes[..., 2:] - points.point], -1)
    far = ops.sqrt(ops.sum(ops.square(away), axis=-1))
    return Targets(
        positive=ops.any(possible, axis=-1),
        object=found,
        classes=ops.take_along_axis(label["classes"], found, axis=1),
        offset=away / points.stride,
        depth=own(label["places"])[..., 2:],
        size=own(label["sizes"]),
        angles=angles,
        box=sides / points.stride,
        direction=half_turns(angles),
        # 1.414, as published, and not the root of 2
        centerness=ops.exp(-FADING * far / (1.414 * RADIUS * points.stride[..., 0])),
    )


def half_turns(angles: Tensor) -> Tensor:
    """In which half of the turn angles point: 0 for 0 to pi, 1 for pi to 2 pi.

    Example:

    >>> np.array(half_turns(keras.ops.convert_to_tensor([0.5, -0.5, 7.0]))).tolist()
    [0, 1, 0]
    """
    return ops.cast(ops.floor(ops.mod(angles, 2 * math.pi) / math.pi), "int32")


def angles_of_quaternions(quaternions: Tensor, slots: str) -> Tensor:
    """`keras_mtl.boxes3d.angles_of` for tensors of unit quaternions; a zero one has angles 0.

    Args:
        quaternions: tensor `(..., 4)`, w first.
        slots: `"roll_pitch_yaw"` or `"published"`.

    Returns:
        `(..., 3)`, radians.

    Example:

    >>> a_quarter = keras.ops.convert_to_tensor([0.7071068, 0.0, 0.7071068, 0.0])
    >>> [round(float(x), 3) for x in angles_of_quaternions(a_quarter, "roll_pitch_yaw")]
    [0.0, 0.0, 1.571]
    """
    w, x, y, z = (quaternions[..., k] for k in range(4))
    if check_slots(slots) == "roll_pitch_yaw":
        third = (2 * (x * z + w * y), 1 - 2 * (x * x + y * y))
        sine = 2 * (w * x - y * z)
        first = (2 * (x * y + w * z), 1 - 2 * (x * x + z * z))
    else:
        w, x, y, z = z, w, x, y  # what the published code reads
        first = (2 * (w * z - x * y), 1 - 2 * (x * x + z * z))
        sine = 2 * (y * z + w * x)
        third = (2 * (w * y - x * z), 1 - 2 * (x * x + y * y))
    second = ops.arcsin(ops.clip(sine, -1.0, 1.0))
    return ops.stack([ops.arctan2(*first), second, ops.arctan2(*third)], axis=-1)
