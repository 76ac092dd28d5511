"""The points of an image that boxes are predicted at, and the numbers predicted at each."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

FARTHEST = 1e8  # pixels; what the last level's boxes are at most
# Lengths of what follows the classes in a raw output, in this order.
LENGTHS = {
    "offset": 2,
    "depth": 1,
    "size": 3,
    "angles": 3,
    "box": 4,
    "direction": 6,
    "centerness": 1,
    "point": 2,
    "stride": 1,
    "span": 2,
}
BESIDES = sum(LENGTHS.values())  # channels of a raw output that are no classes


class RawBoxes(NamedTuple):
    """The parts of a raw output `(..., P, classes + 25)` for P points.

    Args:
        classes: logits.
        offset: u and v from the object's centre to the point, in strides.
        depth: of the centre, metres.
        size: length, width, height, metres.
        angles: radians, in half a turn that `direction` settles.
        box: the point's distances to left, top, right and bottom of the visible part, in strides.
        direction: two logits for each angle.
        centerness: logit.
        point: u and v, pixels.
        stride: pixels.
        span: how large the largest distance to a side of the box is, from and to, in pixels, for
            this level to be the one that finds it.
    """

    classes: Any
    offset: Any
    depth: Any
    size: Any
    angles: Any
    box: Any
    direction: Any
    centerness: Any
    point: Any
    stride: Any
    span: Any


def parts_of_raw(raw: Any) -> RawBoxes:
    """The parts of a raw output.

    Args:
        raw: array or tensor `(..., P, classes + 25)`.

    Example:

    >>> parts = parts_of_raw(np.zeros((1, 7, 31)))
    >>> parts.classes.shape, parts.angles.shape
    ((1, 7, 6), (1, 7, 3))
    """
    parts, start = [], raw.shape[-1] - BESIDES
    parts.append(raw[..., :start])
    for length in LENGTHS.values():
        parts.append(raw[..., start : start + length])
        start += length
    return RawBoxes(*parts)


def spans(strides: Sequence[float]) -> np.ndarray:
    """Which boxes each level finds, `(levels, 2)` pixels: those up to nine times its stride.

    Each level goes at least twice as far as the one before, also at the same stride; the first one
    begins at nothing, and the last one never ends.

    Args:
        strides: of the levels, pixels, finest first.

    Example:

    >>> spans([8 / 0.75, 16 / 0.75, 32 / 0.75, 32 / 0.75, 64 / 0.75])[:, 1].round().tolist()
    [96.0, 192.0, 384.0, 768.0, 100000000.0]
    """
    ends: list[float] = []
    for stride in strides:
        ends.append(max(9 * stride, 2 * ends[-1] if ends else 0.0))
    return np.array(list(zip([-1.0, *ends], [*ends[:-1], FARTHEST], strict=False)))


def points_of(
    sizes: Sequence[tuple[int, int]], strides: Sequence[float], reach: Any = None
) -> np.ndarray:
    """Where the points of all levels lie, row by row, and what else is known of each.

    Args:
        sizes: `(height, width)` of each level.
        strides: of each level, pixels.
        reach: `(levels, 2)` pixels; `None` means `spans(strides)`.

    Returns:
        float32 `(P, 5)`: u and v, pixels; the stride; from and to which size of boxes. Point
        (i, j) of a level of stride s lies at `(j s + floor(s / 2), i s + floor(s / 2))`.

    Example:

    >>> points_of([(2, 3)], [8.0])[-1].tolist()
    [20.0, 12.0, 8.0, -1.0, 100000000.0]
    """
    reach = spans(strides) if reach is None else np.asarray(reach, "float64")
    found = []
    for (height, width), stride, (low, high) in zip(sizes, strides, reach, strict=True):
        # In float32, as the published network: a point's place decides what it stands for.
        v, u = (
            np.float32(stride) * each.astype("float32") + np.float32(stride // 2)
            for each in np.mgrid[:height, :width]
        )
        same = np.ones(height * width)
        found.append(
            np.stack([u.ravel(), v.ravel(), stride * same, low * same, high * same], axis=-1)
        )
    return np.concatenate(found).astype("float32")


class PointBoxes(NamedTuple):
    """A box for each point, whether or not there is one: `(..., P, n)`.

    Args:
        places: projected centre, pixels, and its depth, metres.
        sizes: length, width, height, metres.
        angles: radians in 0 to 2 pi.
        boxes: left, top, right, bottom of the visible part, pixels, also outside of the image.
        scores: of each class, in 0..1.
    """

    places: Any
    sizes: Any
    angles: Any
    boxes: Any
    scores: Any


def boxes_of_points(raw: Any, ops: Any) -> PointBoxes:
    """What a raw output says at each point.

    Args:
        raw: array or tensor `(..., P, classes + 25)`.
        ops: `keras.ops`, or what has its `sigmoid`, `concatenate`, `mod` and `where`.
    """
    found = parts_of_raw(raw)
    ahead = ops.where(found.direction[..., 1::2] > found.direction[..., ::2], 1.0, 0.0)
    near, far = found.box[..., :2] * found.stride, found.box[..., 2:] * found.stride
    return PointBoxes(
        places=ops.concatenate([found.point - found.offset * found.stride, found.depth], axis=-1),
        sizes=found.size,
        angles=ops.mod(found.angles, math.pi) + math.pi * ahead,
        boxes=ops.concatenate([found.point - near, found.point + far], axis=-1),
        scores=ops.sigmoid(found.classes) * ops.sigmoid(found.centerness),
    )


def differences_of_points(raw: Any, wanted: Any, found: Any) -> np.ndarray:
    """How far numbers at points are from others, each kind of number by itself.

    An angle turns by half a turn where both ways score the same, and where it passes a half turn.

    Args:
        raw: array `(..., P, classes + 25)`, what both were made of.
        wanted: array `(..., P, n)`, the raw numbers themselves, or a box for each point as
            `keras_mtl.tasks.Detection3D.decode` gives them.
        found: array of the same shape.

    Returns:
        `(..., P, n)`, in units of the largest wanted number of the kind, or of 1 if it is larger.

    Example:

    >>> raw = np.zeros((3, 26))
    >>> float(differences_of_points(raw, raw, raw + 0.5).max())
    0.5
    """
    wanted, found = np.asarray(wanted, "float64"), np.asarray(found, "float64")
    parts = parts_of_raw(np.asarray(raw, "float64"))
    classes, decoded = parts.classes.shape[-1], wanted.shape[-1] != raw.shape[-1]
    lengths = [3, 3, 3, 4, classes] if decoded else [classes, *LENGTHS.values()]
    ends = np.cumsum(lengths)[:-1]
    errors = []
    pairs = zip(np.split(wanted, ends, -1), np.split(found, ends, -1), strict=True)
    for kind, (a, b) in enumerate(pairs):
        if decoded and kind == 2:
            tie = np.abs(parts.direction[..., 1::2] - parts.direction[..., ::2])
            tie = np.minimum(tie, np.abs(np.sin(parts.angles)))
            errors.append(np.abs(np.sin(a - b)) + tie * (np.cos(a - b) < 0))
        else:
            errors.append(np.abs(a - b) / max(np.abs(a).max(), 1.0))
    return np.concatenate(errors, axis=-1)
