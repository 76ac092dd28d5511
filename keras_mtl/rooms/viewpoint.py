"""Where the camera stands in a furnished room: of some places drawn, the one that shows most."""

import numpy as np

from keras_mtl.rooms.ray_casting import UP, Camera, cross, dot, rotation, unit
from keras_mtl.rooms.shapes import bounds

_ROWS, _COLUMNS = 12, 16  # always the same small picture: the choice knows no image size
_PIXELS = _ROWS * _COLUMNS
# One camera takes all rooms, as one took all of NYUD-v2 (518.9 pixels of focal length for images
# 640 pixels wide): with an unknown lens, metres cannot be told from a photograph.
_ZOOM = 518.9 / 320


def best_viewpoint(draw, room):
    """A camera, or None in a room too full to stand in.

    Args:
        draw: `shapes.Draw`.
        room: of `layout`, furnished.
    """
    cameras: list = []
    for _ in range(40):
        if len(cameras) < 8 and (camera := _viewpoint(draw, room)):
            cameras.append(camera)
    if not cameras:
        return None
    counts, nearest = _seen(room, cameras)
    sides, things = counts[:, :6], counts[:, 6:]
    person = np.array([thing.name == "person" for thing in room.things[6:]], int)
    # In whole numbers, whose sum knows no order: how much is seen, and how many.
    score = np.minimum(things, _PIXELS // 10) + (things > _PIXELS // 100) * 15 * (1 + person)
    score = 10 * score.sum(1)
    score[(nearest < 0.5) | (counts.max(1) * 2 > _PIXELS)] //= 5  # crowded
    score[sides.sum(1) * 20 > _PIXELS * 13] //= 2  # bare
    return cameras[int(score.argmax())]


def _viewpoint(draw, room):
    """A camera in free space that looks toward one of the things, or None."""
    width, depth, height = room.size
    eye = draw.uniform(1.1, min(2.0, height - 0.3))
    if draw.chance(0.2):
        eye = draw.uniform(0.5, 1.1)
    position = (draw.uniform(0.15, width - 0.15), draw.uniform(0.15, depth - 0.15), eye)
    if not room.free(position, position, margin=0.35):
        return None
    target = draw.choice(room.things[6:] or room.things).solids[0].center
    across = (width / 2 - position[0], depth / 2 - position[1])
    aim = [target[k] - position[k] + 0.5 * across[k] + draw.uniform(-0.3, 0.3) for k in (0, 1)]
    level = unit((aim[0], aim[1] + 1e-9, 0.0))
    forward = unit((level[0], level[1], draw.uniform(-0.55, 0.1)))
    right = unit(cross(forward, UP))
    down = cross(forward, right)
    # Nobody holds a camera quite level.
    c, s = rotation(draw.uniform(-0.02, 0.02) if draw.chance(0.7) else draw.uniform(-0.08, 0.08))
    axes = (
        tuple(c * a + s * b for a, b in zip(right, down, strict=True)),
        tuple(c * b - s * a for a, b in zip(right, down, strict=True)),
        forward,
    )
    return Camera(position, axes, _ZOOM)


def _seen(room, cameras):
    """How many pixels of a small picture by each camera show each thing, and the nearest depth.

    Things are taken for the boxes around them.

    Returns:
        int (cameras, things), float64 (cameras,).
    """
    boxes = np.array([bounds([thing]) for thing in room.things[6:]]).reshape(-1, 2, 3)
    position = np.array([camera.position for camera in cameras])
    axes = np.array([camera.axes for camera in cameras])
    half = max(_ROWS, _COLUMNS) / 2 * np.array([camera.zoom for camera in cameras])[:, None]
    x = np.tile((np.arange(_COLUMNS) - (_COLUMNS - 1) / 2), _ROWS) / half
    y = np.repeat((np.arange(_ROWS) - (_ROWS - 1) / 2), _COLUMNS) / half
    entry, leave, walls = 0.0, np.inf, []
    for k in range(3):
        ray = 1 / (dot(axes[:, :, k].T[:, :, None], (x, y, 1.0)) + 1e-200)  # (cameras, pixels)
        low = (boxes[:, 0, k] - position[:, k, None])[:, None] * ray[..., None]
        high = (boxes[:, 1, k] - position[:, k, None])[:, None] * ray[..., None]
        entry = np.maximum(entry, np.minimum(low, high))
        leave = np.minimum(leave, np.maximum(low, high))
        walls += [-position[:, k, None] * ray, (room.size[k] - position[:, k, None]) * ray]
    walls = np.stack(walls, -1)
    depth = np.concatenate(
        [np.where(walls > 0, walls, np.inf), np.where(entry < leave, entry, np.inf)], -1
    )
    owner = depth.argmin(-1)
    owner += np.arange(len(cameras))[:, None] * depth.shape[-1]
    counts = np.bincount(owner.ravel(), minlength=len(cameras) * depth.shape[-1])
    return counts.reshape(len(cameras), -1), depth.min((1, 2))
