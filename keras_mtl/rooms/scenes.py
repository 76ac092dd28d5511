"""Generated rooms: pictures of furnished rooms with exact labels, from a seed alone.

    from keras_mtl import rooms
    images, labels = rooms.arrays(tasks, count=100)      # NumPy
    batches = rooms.dataset(tasks, count=100)            # tf.data

A scene is a box room with furniture and people (`furniture`, `people`, `room_layout`), seen by a
camera in it and ray-cast (`ray_casting`): depth, normals, classes, instances, parts and boundaries
are exact and agree with each other. The same seed gives the same bytes on every machine (how:
`ray_casting`).
"""

import keras
import numpy as np

from keras_mtl.arguments import check_integer, checked_size
from keras_mtl.rooms.layout import compose
from keras_mtl.rooms.ray_casting import UP, Camera, View, albedo, dot, unit
from keras_mtl.rooms.shapes import Draw
from keras_mtl.tasks import NYUD_CLASSES, check_tasks

PASCAL_CLASSES = {
    "bottle": 5, "chair": 9, "table": 11, "person": 15, "plant": 16, "sofa": 18, "television": 20,
}  # fmt: skip
NO_PERSON = 255
NOT_FREE_STANDING = {
    "wall", "floor", "ceiling", "door", "window", "picture", "blinds", "curtain", "shelves",
    "mirror", "floor mat", "whiteboard", "towel", "shower curtain", "paper", "clothes",
}  # fmt: skip


def _lit(view, depth, index, lamp):
    """Share of a ceiling lamp's light that is not in shadow, float64 (H, W) in 0..1."""
    axes = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0))  # straight down
    reach = min(max(max(depth.shape) // 3, 48), 160)  # the shadow map's half size in pixels
    below = View(view.solids, Camera(lamp, axes, 0.4), (2 * reach, 2 * reach))
    nearest, owner = below.nearest()
    x, y = depth * view.x[None], depth * view.y[:, None]
    a, b, c = view.camera.axes
    offset = [p - q for p, q in zip(view.camera.position, lamp, strict=True)]
    east, north, high = (a[k] * x + b[k] * y + c[k] * depth + offset[k] for k in range(3))
    down = np.maximum(-high, 0.05)
    column = east / down * below.focal + reach - 0.5
    row = -north / down * below.focal + reach - 0.5
    inside = (
        (high < -0.05) & (np.abs(column - reach) < reach - 2) & (np.abs(row - reach) < reach - 2)
    )
    column, row = np.where(inside, column, 0), np.where(inside, row, 0)
    j, i = np.floor(column).astype(int), np.floor(row).astype(int)
    right, under = column - j, row - i
    light = np.zeros(depth.shape)
    for di, dj, weight in (
        (0, 0, (1 - right) * (1 - under)),
        (0, 1, right * (1 - under)),
        (1, 0, (1 - right) * under),
        (1, 1, right * under),
    ):
        at = (i + di, j + dj)
        # A convex solid never shades itself, which spares the usual speckles.
        light += weight * ((owner[at] == index) | (nearest[at] > down - 0.06))
    return np.where(inside, light, 1.0)


def _photograph(draw, view, depth, index, normals, texture, size):
    """The picture a noisy camera takes, uint8 (H, W, 3)."""
    lamp = tuple(draw.uniform(0.25, 0.75) * side for side in size[:2]) + (size[2] - 0.12,)
    lamp_power, ambient = draw.uniform(0.7, 1.6), draw.uniform(0.35, 0.55)
    sun = unit((draw.uniform(-1, 1), draw.uniform(-1, 1), draw.uniform(0.1, 1)))
    sun_power = draw.uniform(0.0, 0.5)
    tint = tuple(draw.uniform(0.85, 1.0) for _ in range(3))
    grain = draw.uniform(0.0, 10.0)
    axes, position = view.camera.axes, view.camera.position
    to_lamp = tuple(p - q for p, q in zip(lamp, position, strict=True))
    center = [dot(axis, to_lamp) for axis in axes]
    ray = (view.x[None], view.y[:, None], 1.0)
    offset = [center[k] - depth * ray[k] for k in range(3)]
    square = offset[0] * offset[0] + offset[1] * offset[1] + offset[2] * offset[2]
    n = [normals[..., k] for k in range(3)]
    facing = (n[0] * offset[0] + n[1] * offset[1] + n[2] * offset[2]) / np.sqrt(square + 1e-9)
    level = (
        facing * _lit(view, depth, index, lamp) * (facing > 0) * lamp_power / (0.6 + 0.15 * square)
    )
    sun = [dot(axis, sun) for axis in axes]
    level = level + sun_power * np.maximum(n[0] * sun[0] + n[1] * sun[1] + n[2] * sun[2], 0)
    up = [dot(axis, UP) for axis in axes]
    level = level + ambient * (0.8 + 0.2 * (n[0] * up[0] + n[1] * up[1] + n[2] * up[2]))
    linear = albedo(view.solids, index, texture) * level[..., None] * np.array(tint)
    raw = draw.raw(depth.size).reshape(depth.shape)
    noise = np.stack([(raw >> np.uint64(s)) & np.uint64(65535) for s in (0, 16, 32)], -1)
    # The square root is the display's gamma (about 2).
    value = 255 * np.sqrt(np.minimum(linear, 1.0)) + grain * (noise / 65535.0 - 0.5) + 0.5
    return np.clip(value, 0, 255).astype(np.uint8)


def boundaries(instances):
    """Boundaries of an instance map.

    A pixel is a boundary if its instance differs from that of its right, its lower or its lower
    right neighbour; neighbours outside the image do not count.

    Args:
        instances: int (H, W).

    Returns:
        float32 (H, W, 1) of 0 and 1.

    Example:

    >>> boundaries(np.array([[1, 1, 2], [1, 1, 2]]))[..., 0].tolist()
    [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    """
    edge = np.zeros(instances.shape, bool)
    edge[:, :-1] |= instances[:, :-1] != instances[:, 1:]
    edge[:-1] |= instances[:-1] != instances[1:]
    edge[:-1, :-1] |= instances[:-1, :-1] != instances[1:, 1:]
    return edge[..., None].astype(np.float32)


def render(seed: int, image_size=(240, 320), index: int = 0) -> dict:
    """One scene with all its labels.

    The camera frame is x right, y down, z forward. The ray of pixel (row i, column j) is
    ((j - (W - 1) / 2) / focal, (i - (H - 1) / 2) / focal, 1); times the depth it is the point seen.
    Mirroring the image left to right flips the sign of the normals' x.

    Args:
        seed: integer >= 0.
        image_size: (height, width) in pixels.
        index: which scene of this seed, integer >= 0.

    Returns:
        A dict of maps of H x W pixels:
        "image" uint8 (H, W, 3) RGB;
        "depth" float32 (H, W, 1), metres along the optical axis, valid everywhere;
        "normals" float32 (H, W, 3), unit vectors in the camera frame, toward the camera;
        "instances" int32 (H, W), one number per wall, floor, ceiling and thing;
        "nyud_semseg" int32 (H, W), 0..39; "pascal_semseg" int32 (H, W), 0..20, background 0;
        "human_parts" int32 (H, W), 0..6 (background, head, torso, upper arms, lower arms, upper
        legs, lower legs), all 255 in a picture without people;
        "sal" int32 (H, W), 1 on people or, without any, on the largest free-standing thing seen;
        "edge" float32 (H, W, 1), see `boundaries`;
        and "focal", the focal length in pixels, a float.

    Raises:
        ValueError: if `image_size` is not two positive integers, or `seed` or `index` is negative.

    Example:

    >>> scene = render(seed=7, image_size=(48, 64))
    >>> scene["depth"].shape, scene["edge"].shape, scene["human_parts"].shape
    ((48, 64, 1), (48, 64, 1), (48, 64))
    """
    image_size = checked_size(image_size)
    check_integer("seed", seed, 0)
    check_integer("index", index, 0)
    draw = Draw(int(seed), int(index))
    things, camera, size = compose(draw)
    view = View([s for thing in things for s in thing.solids], camera, image_size)
    depth, solid = view.nearest()
    normals, texture = view.surface(depth, solid)
    owner = np.repeat(np.arange(len(things)), [len(thing.solids) for thing in things])
    instances = owner[solid].astype(np.int32)
    names = [thing.name for thing in things]
    other = NYUD_CLASSES.index("otherprop")
    nyud = [NYUD_CLASSES.index(n) if n in NYUD_CLASSES else other for n in names]
    pascal = [PASCAL_CLASSES.get(n, 0) for n in names]
    parts = np.array([s.part for s in view.solids], np.int32)[solid]
    person = np.array([n == "person" for n in names])
    if person[instances].any():
        salient = person
    else:
        parts[:] = NO_PERSON
        area = np.bincount(instances.ravel(), minlength=len(things))
        area[[k for k, n in enumerate(names) if n in NOT_FREE_STANDING]] = 0
        salient = (np.arange(len(things)) == area.argmax()) & (area > 0)
    return {
        "image": _photograph(draw, view, depth, solid, normals, texture, size),
        "depth": depth[..., None].astype(np.float32),
        "normals": normals.astype(np.float32),
        "instances": instances,
        "nyud_semseg": np.array(nyud, np.int32)[instances],
        "pascal_semseg": np.array(pascal, np.int32)[instances],
        "human_parts": parts,
        "sal": salient[instances].astype(np.int32),
        "edge": boundaries(instances),
        "focal": view.focal,
    }


def arrays(
    tasks, count: int, image_size=(240, 320), seed: int = 0, progress: bool = False
) -> tuple[np.ndarray, dict]:
    """Images and the labels of some tasks as NumPy arrays.

    Scene i is `render(seed, image_size, index=i)`, whatever `count` is.

    Args:
        tasks: list of tasks, each of which takes its label from the scene (`Task.label_of`);
            segmentation with 40 channels gets NYUD classes, with 21 PASCAL classes.
        count: number of scenes.
        image_size: (height, width) in pixels.
        seed: integer >= 0; different seeds share no scene.
        progress: whether to show a progress bar.

    Returns:
        (images, labels): uint8 (count, H, W, 3), and a dict from task name to the stacked labels.

    Raises:
        ValueError: if a task has no label here, or `count` or `image_size` is not positive.

    Example:

    >>> images, labels = arrays(keras_mtl.tasks.nyud("depth"), count=2, image_size=(24, 32))
    >>> images.shape, labels["depth"].shape
    ((2, 24, 32, 3), (2, 24, 32, 1))
    """
    tasks = check_tasks(tasks)
    height, width = checked_size(image_size)
    check_integer("count", count, 1)
    images = np.empty((count, height, width, 3), np.uint8)
    labels: dict = {}
    numbers = range(count)
    if progress:
        from tqdm import tqdm

        numbers = tqdm(numbers, desc="rendering rooms", unit="scene")
    for i in numbers:
        scene = render(seed, (height, width), index=i)
        images[i] = scene["image"]
        own = {task.name: task.label_of(scene) for task in tasks}
        if not labels:
            labels = keras.tree.map_structure(
                lambda label: np.empty((count, *np.shape(label)), np.asarray(label).dtype), own
            )
        keras.tree.map_structure(lambda stack, label, i=i: stack.__setitem__(i, label), labels, own)
    return images, labels


def dataset(
    tasks,
    count: int,
    image_size=(240, 320),
    seed: int = 0,
    batch_size: int = 4,
    shuffle: bool = False,
    repeat: bool = False,
    progress: bool = False,
):
    """Images and the labels of some tasks as a `tf.data.Dataset` of batches.

    The scenes are rendered once, here, and kept in memory (27 bytes a pixel for the NYUD tasks).

    Args:
        tasks, count, image_size, seed, progress: see `arrays`.
        batch_size: scenes in a batch; the last batch holds what is left.
        shuffle: whether to mix the scenes anew in every epoch, in an order given by `seed`.
        repeat: whether to start over without end.

    Returns:
        A dataset of (images, labels), images uint8 (B, H, W, 3), labels a dict by task name.

    Raises:
        ValueError: see `arrays`.

    Example:

    >>> sal = keras_mtl.tasks.pascal_context("sal")
    >>> batches = dataset(sal, count=3, image_size=(24, 32), batch_size=2)
    >>> [tuple(labels["sal"].shape) for image, labels in batches]
    [(2, 24, 32), (1, 24, 32)]
    """
    import tensorflow as tf

    check_integer("batch_size", batch_size, 1)
    scenes = tf.data.Dataset.from_tensor_slices(arrays(tasks, count, image_size, seed, progress))
    if shuffle:
        scenes = scenes.shuffle(count, seed=seed)
    if repeat:
        scenes = scenes.repeat()
    return scenes.batch(batch_size).prefetch(tf.data.AUTOTUNE)
