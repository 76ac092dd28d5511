"""How much boxes overlap seen from above, and the choice of those that do not."""

from typing import Any

import numpy as np


def bird_eye_rectangles(centers: Any, sizes: Any, angles: Any) -> np.ndarray:
    """Boxes of the frame S from above: rectangles of x (right) and z (forward).

    Args:
        centers: array `(N, 3)`, metres.
        sizes: array `(N, 3)`, length, width, height in metres.
        angles: array `(N, 3)`, radians, the turn about the vertical axis third.

    Returns:
        `(N, 5)`: centre x and z, extent along x (the width) and along z (the length), angle.
    """
    centers, sizes, angles = (np.asarray(each, "float64") for each in (centers, sizes, angles))
    return np.stack(
        [centers[:, 0], centers[:, 2], sizes[:, 1], sizes[:, 0], angles[:, 2]], axis=-1
    ).reshape(-1, 5)


def rectangle_corners(rectangles: Any) -> np.ndarray:
    """The corners `(N, 4, 2)`, x and z, of rectangles `(N, 5)`, one after the other around."""
    rectangles = np.asarray(rectangles, "float64")
    own = rectangles[:, None, 2:4] / 2 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    return _turned(own, rectangles[:, 4:]) + rectangles[:, None, :2]


def rotated_iou(one: Any, other: Any) -> np.ndarray:
    """Intersection over union of each of the rectangles with each of others.

    Args:
        one: array `(N, 5)`, as `bird_eye_rectangles` gives.
        other: array `(M, 5)`.

    Returns:
        `(N, M)` in 0..1.

    Example:

    >>> square = [[0.0, 0.0, 2.0, 2.0, 0.0]]
    >>> rotated_iou(square, [[1.0, 0.0, 2.0, 2.0, np.pi / 2], [9.0, 0.0, 2.0, 2.0, 0.3]]).round(3)
    array([[0.333, 0.   ]])
    """
    one, other = (np.asarray(each, "float64").reshape(-1, 5) for each in (one, other))
    found = np.zeros((len(one), len(other)))
    areas = other[:, 2] * other[:, 3]
    for k, each in enumerate(one):
        # Circles around both tell most pairs apart.
        reach = np.hypot(other[:, 2], other[:, 3]) / 2 + np.hypot(each[2], each[3]) / 2
        near = np.hypot(*(other[:, :2] - each[:2]).T) < reach
        shared = _intersections(each, other[near])
        union = each[2] * each[3] + areas[near] - shared
        found[k, near] = shared / np.maximum(union, 1e-8)
    return found


def rotated_nms(rectangles: Any, scores: Any, threshold: float, most: int) -> np.ndarray:
    """The best rectangles of which none overlaps a better one by more than a threshold.

    Args:
        rectangles: array `(N, 5)`, as `bird_eye_rectangles` gives.
        scores: array `(N,)`.
        threshold: float. The intersection over union above which the one of lower score goes.
        most: int. After so many it stops.

    Returns:
        Their places in `rectangles`, by descending score.

    Example:

    >>> rectangles = [[0.0, 5, 2, 4, 0.0], [0.1, 5, 2, 4, 0.0], [9.0, 5, 2, 4, 0.0]]
    >>> rotated_nms(rectangles, [0.5, 0.9, 0.7], threshold=0.3, most=10).tolist()
    [1, 2]
    """
    rectangles = np.asarray(rectangles, "float64").reshape(-1, 5)
    left, kept = np.argsort(-np.asarray(scores), kind="stable"), []
    while len(left) and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(best)
        overlap = rotated_iou(rectangles[[best]], rectangles[left])[0]
        left = left[overlap <= threshold]
    return np.array(kept, int)


def _turned(points, angle):
    """Offsets `(..., 2)` turned by an angle, x towards z where it is negative."""
    x, z, cos, sin = points[..., 0], points[..., 1], np.cos(angle), np.sin(angle)
    return np.stack([x * cos + z * sin, -x * sin + z * cos], axis=-1)


def _intersections(one, others):
    """The areas that a rectangle `(5,)` shares with each of others `(M, 5)`.

    The corners of what two convex outlines share are the corners of each that lie in the other,
    and where edges cross. Both are looked for in the frame of the first one.
    """
    if not len(others):
        return np.zeros(0)
    half = one[2:4] / 2
    corners = rectangle_corners(others)
    corners = _turned(corners - one[:2], -one[4])  # (M, 4, 2) in the frame of the first
    slack = 1e-9 * (1 + np.abs(half).max())
    inside = (np.abs(corners) <= half + slack).all(axis=-1)
    own = rectangle_corners([[0, 0, *one[2:4], 0]])[0]
    middle = corners.mean(axis=1, keepdims=True)
    seen = _turned(
        own[None] - middle, one[4] - others[:, 4:]
    )  # own corners, as the others see them
    held = (np.abs(seen) <= others[:, None, 2:4] / 2 + slack).all(axis=-1)
    # Each of the other's edges with the two lines on each axis that bound the first one.
    along = np.roll(corners, -1, axis=1) - corners
    crossings, crossed = [], []
    for axis in (0, 1):
        for side in (-half[axis], half[axis]):
            with np.errstate(divide="ignore", invalid="ignore"):
                share = (side - corners[..., axis]) / along[..., axis]
            there = np.isfinite(share) & (share >= 0) & (share <= 1)
            point = corners + np.where(there, share, 0.0)[..., None] * along
            crossings.append(point)
            crossed.append(there & (np.abs(point[..., 1 - axis]) <= half[1 - axis] + slack))
    points = np.concatenate(
        [corners, np.broadcast_to(own, (len(others), 4, 2)), *crossings], axis=1
    )
    used = np.concatenate([inside, held, *crossed], axis=1)
    return _convex_area(points, used)


def _convex_area(points, used):
    """The areas of convex outlines, whose corners are some of points `(M, K, 2)` in any order."""
    count = used.sum(axis=1)
    points = np.where(used[..., None], points, 0.0)
    middle = points.sum(axis=1, keepdims=True) / np.maximum(count, 1)[:, None, None]
    points = np.where(used[..., None], points - middle, 0.0)
    around = np.where(used, np.arctan2(points[..., 1], points[..., 0]), np.inf)
    order = np.argsort(around, axis=1)
    points = np.take_along_axis(points, order[..., None], axis=1)
    # What is not used comes last, as the first corner once more.
    last = np.arange(points.shape[1]) >= count[:, None]
    points = np.where(last[..., None], points[:, :1], points)
    following = np.roll(points, -1, axis=1)
    return np.where(
        count > 2,
        np.abs(np.sum(points[..., 0] * following[..., 1] - points[..., 1] * following[..., 0], 1))
        / 2,
        0.0,
    )
