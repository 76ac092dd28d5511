"""Boxes and points in images."""

from typing import Any

import numpy as np

NEAREST = 0.01  # metres in front of the camera, where boxes are cut off
# Corners: first the lower four, then the upper: back left, back right, front right, front left.
_RIGHT = np.array([-1, 1, 1, -1, -1, 1, 1, -1])
_DOWN = np.array([1, 1, 1, 1, -1, -1, -1, -1])
_FORWARD = np.array([-1, -1, 1, 1, -1, -1, 1, 1])
EDGES = np.array(
    [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)]
)
FACES = {"front": (2, 3, 7, 6), "bottom": (0, 1, 2, 3)}  # what pictures show of a box


def project(points: Any, camera: Any) -> np.ndarray:
    """Points of the frame S in the image, and their depth.

    Args:
        points: array `(..., 3)`, metres.
        camera: array `(3, 3)`.

    Returns:
        `(..., 3)`: u and v in pixels, and the depth in metres. Only with a depth above 0 it is in
        front of the camera.

    Example:

    >>> project([1.0, 0.5, 10.0], [[100.0, 0, 40], [0, 100, 30], [0, 0, 1]]).tolist()
    [50.0, 35.0, 10.0]
    """
    points = np.asarray(points, "float64") @ np.asarray(camera, "float64").T
    depth = points[..., 2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.concatenate([points[..., :2] / depth, depth], axis=-1)


def unproject(uvd: Any, camera: Any) -> np.ndarray:
    """Points `(..., 3)` in S of places `(..., 3)` in the image with their depth.

    Example:

    >>> unproject([50.0, 35.0, 10.0], [[100.0, 0, 40], [0, 100, 30], [0, 0, 1]]).round(6).tolist()
    [1.0, 0.5, 10.0]
    """
    uvd, camera = np.asarray(uvd, "float64"), np.asarray(camera, "float64")
    depth = uvd[..., 2:]
    return np.concatenate([uvd[..., :2] * depth, depth], axis=-1) @ np.linalg.inv(camera).T


def box_corners(centers: Any, sizes: Any, rotations: Any) -> np.ndarray:
    """The corners of boxes in S.

    Args:
        centers: array `(..., 3)`, metres.
        sizes: array `(..., 3)`, length, width and height in metres.
        rotations: array `(..., 3, 3)`.

    Returns:
        `(..., 8, 3)`: the lower four, back left, back right, front right and front left as the
        box itself sees them, and the upper four.

    Example:

    >>> box_corners([0.0, 0, 10], [4.0, 2, 1], np.eye(3))[2].tolist()  # front right bottom
    [1.0, 0.5, 12.0]
    """
    length, width, height = np.moveaxis(np.asarray(sizes, "float64"), -1, 0)
    own = np.stack(
        [_RIGHT * width[..., None], _DOWN * height[..., None], _FORWARD * length[..., None]],
        axis=-1,
    )
    turned = own / 2 @ np.swapaxes(np.asarray(rotations, "float64"), -1, -2)
    return turned + np.asarray(centers, "float64")[..., None, :]


def visible_edges(corners: Any, camera: Any) -> tuple[np.ndarray, np.ndarray]:
    """The edges of boxes in the image, cut off where they come too near the camera.

    Args:
        corners: array `(..., 8, 3)`, as `box_corners` gives.
        camera: array `(3, 3)`.

    Returns:
        Both ends of each edge, `(..., 12, 2, 2)` in pixels, and which edges there are, bool
        `(..., 12)`; the ends of one that lies behind the camera mean nothing.
    """
    ends = np.asarray(corners, "float64")[..., EDGES, :]
    depth = ends[..., 2]
    there = depth.max(axis=-1) >= NEAREST
    along = ends[..., ::-1, :] - ends  # from each end to the other
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(depth < NEAREST, (NEAREST - depth) / along[..., 2], 0.0)
    share = np.where(there[..., None], share, 0.0)
    return project(ends + share[..., None] * along, camera)[..., :2], there


def amodal_boxes(corners: Any, camera: Any, image_size: tuple[int, int]) -> np.ndarray:
    """What of the image boxes would cover, if nothing stood before them.

    Args:
        corners: array `(..., 8, 3)`, as `box_corners` gives.
        camera: array `(3, 3)`.
        image_size: `(height, width)` in pixels.

    Returns:
        `(..., 4)`: left, top, right and bottom in pixels, from 0 to width - 1 and height - 1.

    Raises:
        ValueError: if a box is wholly behind the camera.

    Example:

    >>> camera = [[100.0, 0, 40], [0, 100, 30], [0, 0, 1]]
    >>> amodal_boxes(box_corners([0.0, 0, 10], [2.0, 1, 1], np.eye(3)), camera, (60, 80)).round(2)
    array([34.44, 24.44, 45.56, 35.56])
    """
    ends, there = visible_edges(corners, camera)
    if not there.any(axis=-1).all():
        raise ValueError(
            "A box is behind the camera; expected one with a corner more than 1 cm in front of it."
        )
    height, width = image_size
    outside = np.where(there[..., None, None], ends, np.nan)
    low = np.nanmin(outside, axis=(-3, -2))
    high = np.nanmax(outside, axis=(-3, -2))
    limits = np.array([width - 1, height - 1], "float64")
    return np.concatenate([np.clip(low, 0, limits), np.clip(high, 0, limits)], axis=-1)
