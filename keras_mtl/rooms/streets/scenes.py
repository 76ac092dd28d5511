"""One generated street with all its labels, in the terms of Cityscapes-3D."""

from typing import Any

import numpy as np

from keras_mtl.arguments import check_integer, checked_size
from keras_mtl.boxes3d import Sensor
from keras_mtl.metrics.detection3d.boxes import CLASSES, Boxes, no_boxes, predicted
from keras_mtl.rooms import ray_casting
from keras_mtl.rooms.light import openness
from keras_mtl.rooms.paints import albedo
from keras_mtl.rooms.photograph import develop
from keras_mtl.rooms.ray_casting import UP, View, cross, dot, rotation, unit
from keras_mtl.rooms.shapes import Draw
from keras_mtl.rooms.streets.layout import compose

# What Cityscapes calls the classes of a street in its files of labels.
CLASS_IDS = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17,
    "traffic light": 19, "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23,
    "person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28, "train": 31, "motorcycle": 32,
    "bicycle": 33,
}  # fmt: skip
ZOOM = 2.21  # the focal length in units of half the width, that of Cityscapes
BASELINE = 0.21  # metres between the two cameras
LEAST = 0.0004  # share of the image's pixels that an annotated vehicle shows
LEAST_SEEN = 0.15  # and of what its outline would cover if nothing stood before it


def render(seed: int, image_size: tuple[int, int] = (128, 256), index: int = 0) -> dict[str, Any]:
    """One street with all its labels.

    A straight street with houses, trees, people and vehicles that park, drive and come, seen by a
    camera behind the windscreen of a car. The same seed gives the same bytes on every machine.

    Args:
        seed: integer >= 0.
        image_size: (height, width) in pixels.
        index: which street of this seed, integer >= 0.

    Returns:
        A dict of
        "image" uint8 (H, W, 3) RGB;
        "label_ids" uint8 (H, W), the numbers of classes in Cityscapes' files, see `CLASS_IDS`;
        "cityscapes_semseg" int32 (H, W), 0..18, those of `CLASS_IDS` in their order;
        "depth" float32 (H, W, 1), metres along the optical axis, 0 in the sky;
        "disparity" float32 (H, W, 1), pixels, 0 in the sky;
        "sensor", the camera and its place on the vehicle, a `keras_mtl.boxes3d.Sensor`;
        "boxes", a `keras_mtl.metrics.detection3d.boxes.Boxes` of the vehicles that are seen well
        enough; "ignore" float64 (K, 4), around those of which less is seen.

    Raises:
        ValueError: if `image_size` is not two positive integers, or `seed` or `index` is negative.

    Example:

    >>> street = render(seed=7, image_size=(64, 128))
    >>> street["image"].shape, street["depth"].shape, len(street["boxes"]) > 0
    ((64, 128, 3), (64, 128, 1), True)
    """
    image_size = checked_size(image_size)
    check_integer("seed", seed, 0)
    check_integer("index", index, 0)
    draw = Draw(int(seed), int(index))
    street = compose(draw)
    eye = _viewpoint(draw)
    things = street.things
    view = View([s for thing in things for s in thing.solids], eye, image_size)
    depth, face = view.nearest()
    points, solid = view.points(depth), face >> 2
    normals, texture = view.surface(points, face)
    owner = np.repeat(np.arange(len(things)), [len(thing.solids) for thing in things])
    instances = owner[solid]
    classes = np.array([list(CLASS_IDS).index(thing.name) for thing in things], np.int32)
    classes = classes[instances]
    sensor = _sensor(eye, view.focal, image_size)
    boxes, ignore = _boxes(street.vehicles, things, instances, sensor)
    sky = classes == list(CLASS_IDS).index("sky")
    metres = np.where(sky, 0, depth)
    pixels = np.where(sky, 0, BASELINE * view.focal / np.where(sky, 1, depth))
    light = _light(draw, view, face, points, normals, texture)
    return {
        "image": develop(draw, light),
        "label_ids": np.array(list(CLASS_IDS.values()), np.uint8)[classes],
        "cityscapes_semseg": classes,
        "depth": metres[..., None].astype(np.float32),
        "disparity": pixels[..., None].astype(np.float32),
        "sensor": sensor,
        "boxes": boxes,
        "ignore": ignore,
    }


def _viewpoint(draw):
    """Behind the windscreen, looking ahead, not quite level."""
    position = (1.7, draw.uniform(-0.15, 0.15), draw.uniform(1.15, 1.35))
    forward = unit((1.0, draw.uniform(-0.03, 0.03), draw.uniform(-0.05, 0.01)))
    right = unit(cross(forward, UP))
    down = cross(forward, right)
    c, s = rotation(draw.uniform(-0.006, 0.006))
    axes = (
        tuple(c * a + s * b for a, b in zip(right, down, strict=True)),
        tuple(c * b - s * a for a, b in zip(right, down, strict=True)),
        forward,
    )
    return ray_casting.Camera(position, axes, ZOOM)


def _sensor(eye, focal, image_size):
    """The camera as files say it: forward, left and up from right, down and forward."""
    right, down, forward = np.array(eye.axes)
    rows = np.stack([forward, -right, -down])
    moved = -dot(rows.T, eye.position)
    height, width = image_size
    lens = [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]
    return Sensor(lens, np.concatenate([rows, moved[:, None]], 1))


def _boxes(vehicles, things, instances, sensor) -> tuple[Boxes, np.ndarray]:
    """Boxes of the vehicles that are seen well enough, and what surrounds those seen less."""
    if not vehicles:
        return no_boxes(), np.zeros((0, 4))
    counts = np.bincount(instances.ravel(), minlength=len(things))
    turns = np.array([vehicle.turn for vehicle in vehicles])
    # The half angle's cosine and sine: of all turns but half a one, whose cosine is 0.
    half = np.sqrt((1 + turns[:, 0].clip(-1, 1)) / 2)
    sine = np.where(half > 1e-6, turns[:, 1] / np.maximum(2 * half, 1e-6), 1.0)
    zero = np.zeros(len(vehicles))
    boxes = predicted(
        sensor,
        instances.shape,
        np.array([CLASSES.index(things[vehicle.thing].name) for vehicle in vehicles]),
        np.ones(len(vehicles)),
        np.array([vehicle.center for vehicle in vehicles]),
        np.array([vehicle.size for vehicle in vehicles]),
        np.stack([half, zero, zero, sine], 1),
    )
    amodal = boxes.amodal
    area = (amodal[:, 2:] - amodal[:, :2] + 1).prod(1)
    seen = counts[[vehicle.thing for vehicle in vehicles]]
    good = (seen >= max(LEAST * instances.size, 4)) & (seen >= LEAST_SEEN * area)
    for i in np.flatnonzero(good):
        rows, columns = np.nonzero(instances == vehicles[i].thing)
        boxes.modal[i] = columns.min(), rows.min(), columns.max(), rows.max()
    return boxes.take(good), amodal[(seen > 0) & ~good]


def _light(draw, view, face, points, normals, texture):
    """Daylight: a sun that casts no shadow, the sky, and haze far away."""
    toward = unit((draw.uniform(-1, 0.4), draw.uniform(-1, 1), draw.uniform(0.5, 1.2)))
    sun = [np.float32(dot(axis, toward)) for axis in view.camera.axes]
    up = [np.float32(dot(axis, UP)) for axis in view.camera.axes]
    n = np.moveaxis(normals, -1, 0)
    strength, shade = draw.uniform(0.2, 1.0), draw.uniform(0.35, 0.6)
    open_ = openness(points, list(n))
    level = open_ * (shade * (0.75 + 0.25 * dot(n, up)))
    level = level + np.float32(strength) * np.maximum(dot(n, sun), 0)
    solids, solid = view.solids, face >> 2
    glow = np.array([s.paint.glow for s in solids], np.float32).take(solid)
    level = np.where(glow > 0, glow, level)
    haze = np.float32(draw.uniform(0, 0.002)) * points[2]
    share = haze / (1 + haze)
    share = np.where(glow > 0, 0, share)
    colors = albedo(view, face, points, texture) * level
    return colors + share * (np.float32(0.7) - colors)
