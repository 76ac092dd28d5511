"""Boxes in space drawn into their image, and seen from above in its corner."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_mtl.boxes3d.frames import matrix_from_quaternion
from keras_mtl.boxes3d.overlap import rectangle_corners
from keras_mtl.boxes3d.projection import box_corners, unproject, visible_edges

FRONT = (1, 5, 10, 11)  # of EDGES, around the face that looks ahead
FARTHEST = 80.0  # metres that are seen from above
PLAN = 0.45  # side of the picture from above, of the image's height


def drawn(
    boxes: Mapping[str, Any], photograph: np.ndarray, colours: Sequence[tuple[int, int, int]]
) -> np.ndarray:
    """A photograph with its boxes, and in the upper right corner those from above.

    Args:
        boxes: dict of `"classes"`, `"places"`, `"sizes"`, `"rotations"` and `"camera"`, as labels
            and predictions have them. What has no class from 0 on is left out.
        photograph: array `(H, W, 3)`, uint8 RGB.
        colours: red, green, blue in 0..255 of each class.

    Returns:
        Array `(H, W, 3)`, uint8.
    """
    from PIL import Image, ImageDraw

    picture = Image.fromarray(np.array(photograph))
    classes = np.asarray(boxes["classes"])
    there = classes >= 0
    if not there.any():
        return _with_plan(picture, [], [], colours)
    places, sizes, rotations = (
        np.asarray(boxes[name], "float64")[there] for name in ("places", "sizes", "rotations")
    )
    camera, classes = np.asarray(boxes["camera"], "float64"), classes[there]
    centers, turned = unproject(places, camera), matrix_from_quaternion(rotations)
    pen, width = ImageDraw.Draw(picture), max(1, picture.height // 250)
    farthest_first = np.argsort(-centers[:, 2])
    limit = 4 * max(picture.size)  # beyond which a line is a line still, and a number too large
    for k in farthest_first:
        ends, seen = visible_edges(box_corners(centers[k], sizes[k], turned[k]), camera)
        colour = colours[classes[k]]
        for number in np.nonzero(seen)[0]:
            line = [tuple(point) for point in np.clip(ends[number], -limit, limit)]
            pen.line(line, fill=colour, width=width + width * (number in FRONT))
    yaw = np.arctan2(turned[:, 0, 2], turned[:, 2, 2])
    rectangles = np.stack([centers[:, 0], centers[:, 2], sizes[:, 1], sizes[:, 0], yaw], axis=-1)
    return _with_plan(picture, rectangles, classes, colours)


def _with_plan(picture, rectangles, classes, colours):
    """From above: the camera at the bottom in the middle, a line at each 20 m."""
    from PIL import Image, ImageDraw

    side = max(8, int(PLAN * min(picture.size)))
    plan = Image.new("RGB", (side, side), (24, 24, 28))
    pen, scale = ImageDraw.Draw(plan), (side - 4) / FARTHEST
    for metres in range(20, int(FARTHEST), 20):
        y = side - 2 - metres * scale
        pen.line([(0, y), (side, y)], fill=(64, 64, 70))
    for rectangle, number in zip(rectangles, classes, strict=True):
        (corners,) = rectangle_corners(rectangle[None])
        around = [(side / 2 + x * scale, side - 2 - z * scale) for x, z in corners]
        pen.polygon(around, outline=colours[number])
        middle = np.mean(around[2:], axis=0)  # of the front
        pen.line([tuple(np.mean(around, axis=0)), tuple(middle)], fill=colours[number])
    pen.rectangle([(0, 0), (side - 1, side - 1)], outline=(200, 200, 200))
    picture.paste(plan, (picture.width - side, 0))
    return np.asarray(picture)
