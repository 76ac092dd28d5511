"""Generated rooms: pictures of furnished rooms with exact labels, from a seed alone.

    scene = keras_mtl.rooms.render(seed=7)

A scene is a box room with furniture and people (`furniture`, `people`, `layout`), seen by a camera
in it (`viewpoint`) and ray-cast (`ray_casting`): depth, normals, classes, instances, parts and
boundaries are exact and agree with each other. Its surfaces have textures (`paints`, `textures`),
lamps and windows light it (`light`), and the camera is a real one, with noise and blur
(`photograph`, `jpeg`). The same seed gives the same bytes on every machine (how: `ray_casting`).
"""

import numpy as np

from keras_mtl.arguments import check_integer, checked_size
from keras_mtl.rooms.layout import compose
from keras_mtl.rooms.light import shade
from keras_mtl.rooms.photograph import develop
from keras_mtl.rooms.ray_casting import View
from keras_mtl.rooms.shapes import Draw
from keras_mtl.tasks import NYUD_CLASSES

PASCAL_CLASSES = {
    "bottle": 5, "chair": 9, "table": 11, "person": 15, "plant": 16, "sofa": 18, "television": 20,
}  # fmt: skip
NO_PERSON = 255
NOT_FREE_STANDING = {
    "wall", "floor", "ceiling", "door", "window", "picture", "blinds", "curtain", "shelves",
    "mirror", "floor mat", "whiteboard", "towel", "shower curtain", "paper", "clothes",
}  # fmt: skip


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
    depth, face = view.nearest()
    points, solid = view.points(depth), face >> 2
    normals, texture = view.surface(points, face)
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
    light = shade(draw, view, things, size, face, points, normals, texture)
    return {
        "image": develop(draw, light),
        "depth": depth[..., None].astype(np.float32),
        "normals": normals,
        "instances": instances,
        "nyud_semseg": np.array(nyud, np.int32)[instances],
        "pascal_semseg": np.array(pascal, np.int32)[instances],
        "human_parts": parts,
        "sal": salient[instances].astype(np.int32),
        "edge": boundaries(instances),
        "focal": view.focal,
    }
