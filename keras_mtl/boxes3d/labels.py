"""The arrays that the boxes of one image are told in, and how they move with the image.

Written with plain arithmetic, so that what moves may be NumPy arrays or TensorFlow tensors.
"""

from typing import Any

import numpy as np

from keras_mtl.boxes3d.frames import (
    Sensor,
    matrix_from_quaternion,
    quaternion_from_matrix,
)
from keras_mtl.boxes3d.projection import project, unproject

NOTHING, NOT_ANNOTATED = -1, -2  # in the place of a class
# Shapes of one image's arrays for N boxes and M regions, and what they hold.
SHAPES: dict[str, tuple] = {
    "classes": ("N",),
    "places": ("N", 3),
    "sizes": ("N", 3),
    "rotations": ("N", 4),
    "boxes": ("N", 4),
    "ignored": ("M", 4),
    "camera": (3, 3),
    "pose": (3, 4),
}


def label_arrays(
    sensor: Sensor,
    classes: Any,
    centers: Any,
    sizes: Any,
    rotations: Any,
    boxes: Any,
    ignored: Any,
    most: tuple[int, int],
) -> dict[str, np.ndarray]:
    """The label of an image, from boxes in the frame of the vehicle.

    Args:
        sensor: the camera.
        classes: int `(N,)`, class ids.
        centers: `(N, 3)`, metres.
        sizes: `(N, 3)`, length, width, height, metres.
        rotations: `(N, 4)`, quaternions, w first, of any length but 0.
        boxes: `(N, 4)`, left, top, right, bottom of the visible part, pixels.
        ignored: `(M, 4)`, regions without annotation, likewise.
        most: how many boxes and how many regions there is room for; of more, the nearest boxes and
            the first regions are kept.

    Returns:
        A dict of `"classes"`, -1 where there is nothing; `"places"`, the projected centre in
        pixels and its depth in metres; `"sizes"`; `"rotations"` in the frame S; `"boxes"`;
        `"ignored"`; `"camera"` `(3, 3)` and `"pose"` `(3, 4)`, see `keras_mtl.boxes3d.Sensor`.

    Raises:
        ValueError: if a centre is behind the camera, or a rotation or the size of a box is none.

    Example:

    >>> sensor = Sensor([[100.0, 0, 40], [0, 100, 30], [0, 0, 1]])
    >>> a_car = [0], [[20.0, 0, 0]], [[4.0, 2, 1]], [[1.0, 0, 0, 0]], [[35, 27, 45, 33]]
    >>> label = label_arrays(sensor, *a_car, ignored=[], most=(3, 2))
    >>> label["classes"].tolist(), label["places"][0].tolist()
    ([0, -1, -1], [40.0, 30.0, 20.0])
    """
    classes = np.asarray(classes, "int32").reshape(-1)
    sizes, boxes, ignored = (
        np.asarray(each, "float64").reshape(-1, length)
        for each, length in ((sizes, 3), (boxes, 4), (ignored, 4))
    )
    places = project(sensor.to_sensor(np.reshape(centers, (-1, 3))), sensor.camera)
    if not (places[:, 2] > 0).all():  # NaN, too
        where = np.reshape(centers, (-1, 3))[~(places[:, 2] > 0)][0].tolist()
        raise ValueError(
            f"The centre of a box, {where} in the vehicle's frame, is behind the camera; expected "
            "one in front of it."
        )
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError(
            f"A box has the size {sizes[~(sizes > 0).all(axis=1)][:1].tolist()}; expected length, "
            "width and height above 0, in metres."
        )
    turned = matrix_from_quaternion(np.reshape(rotations, (-1, 4)))
    turned = quaternion_from_matrix(sensor.rotation_to_sensor(turned))
    nearest = np.argsort(places[:, 2], kind="stable")[: most[0]]
    kept = np.sort(nearest)
    found = {
        "classes": classes[kept],
        "places": places[kept],
        "sizes": sizes[kept],
        "rotations": turned[kept],
        "boxes": boxes[kept],
        "ignored": ignored[: most[1]],
    }
    label = no_boxes(most, NOTHING)
    for name, values in found.items():
        label[name][: len(values)] = values
    return {
        **label,
        "camera": sensor.camera.astype("float32"),
        "pose": sensor.pose.astype("float32"),
    }


def no_boxes(most: tuple[int, int], instead: int = NOT_ANNOTATED) -> dict[str, np.ndarray]:
    """The arrays of an image without boxes, annotated as such (`NOTHING`) or not annotated.

    Args:
        most: how many boxes and how many regions there is room for.
        instead: what stands in the place of classes.
    """
    lengths = {"N": most[0], "M": most[1]}
    label = {
        name: np.zeros(tuple(lengths.get(n, n) for n in shape), "float32")
        for name, shape in SHAPES.items()
    }
    return {**label, "classes": np.full(most[0], instead, "int32")}


def moved(label: dict[str, Any], change: Any) -> dict[str, Any]:
    """The label of an image that was scaled, cropped, mirrored and put into a frame.

    Places, boxes and the camera move; depths and sizes are those of the scene and stay. What is cut
    off of a visible part is gone, and a box of which nothing is left is none.

    Args:
        label: dict of arrays or tensors, as `label_arrays` gives.
        change: `keras_mtl.data.geometry.Change`.
    """
    height, width = change.size
    boxes, ignored = (_moved_boxes(label[name], change, width, height) for name in _FLAT)
    seen = (boxes[:, 2] - boxes[:, 0] >= 1.0) & (boxes[:, 3] - boxes[:, 1] >= 1.0)
    none = _number(~seen, label["classes"]) * _number(label["classes"] >= 0, label["classes"])
    places = label["places"]
    # Mirrored left to right the x axis of S changes its sign, and so do turns about the other two.
    mirrored = _float(change.mirrored)
    return {
        "classes": label["classes"] * (1 - none) + NOTHING * none,
        "places": _beside(change.points(places[:, :2]), places[:, 2:]),
        "sizes": label["sizes"],
        "rotations": label["rotations"] * _signs(mirrored, _MIRRORED_QUATERNION),
        "boxes": boxes,
        "ignored": ignored,
        "camera": change.camera(label["camera"]),
        "pose": label["pose"] * _signs(mirrored, _MIRRORED_POSE),
    }


_FLAT = ("boxes", "ignored")
_MIRRORED_QUATERNION = np.array([1, 1, -1, -1], "float32")
# M T M, y of C being what is left and right.
_MIRRORED_POSE = np.outer([1, -1, 1], [1, -1, 1, 1]).astype("float32")


def _signs(mirrored, signs):
    return 1.0 + mirrored * (signs - 1.0)


def _moved_boxes(boxes, change, width, height):
    one, other = change.points(boxes[:, :2]), change.points(boxes[:, 2:])
    least, most = _smaller(one, other), -_smaller(-one, -other)
    limits = np.array([width, height], "float32")
    return _beside(*(_smaller(-_smaller(-each, 0.0 * each), limits) for each in (least, most)))


def _smaller(one, other):
    """The smaller of each two, without a library's name for it."""
    less = _float(one < other)
    return one * less + other * (1.0 - less)


def _number(truth, like):
    if type(truth).__module__.startswith("tensorflow"):
        import tensorflow as tf

        return tf.cast(truth, like.dtype)
    return np.asarray(truth, like.dtype)


def _float(x):
    if type(x).__module__.startswith("tensorflow"):
        import tensorflow as tf

        return tf.cast(x, tf.float32)
    return np.asarray(x, "float32")


def _beside(one, other):
    if type(one).__module__.startswith("tensorflow"):
        import tensorflow as tf

        return tf.concat([one, other], axis=-1)
    return np.concatenate([one, other], axis=-1)


def sensor_of(label: dict[str, np.ndarray]) -> Sensor:
    """The camera of a label."""
    return Sensor(label["camera"], label["pose"])


def in_vehicle_frame(
    sensor: Sensor, places: np.ndarray, rotations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centres `(N, 3)` and quaternions `(N, 4)` in V of boxes as a label has them.

    Args:
        sensor: the camera.
        places: `(N, 3)`, projected centres, pixels, and their depths, metres.
        rotations: `(N, 4)`, quaternions in S.
    """
    centers = sensor.to_vehicle(unproject(places, sensor.camera))
    turned = sensor.rotation_to_vehicle(matrix_from_quaternion(np.reshape(rotations, (-1, 4))))
    return centers, quaternion_from_matrix(turned)


def wrong_arrays(label: dict[str, np.ndarray], classes: int) -> str | None:
    """What is wrong with labels of a batch, the end of a sentence, or `None`.

    Args:
        label: dict of arrays, batch axis first.
        classes: int. How many there are.
    """
    found = label["classes"]
    wrong = found[(found < NOT_ANNOTATED) | (found >= classes) | (found % 1 != 0)]
    if wrong.size:
        return (
            f"hold the class {wrong[0]:g}; expected 0 to {classes - 1}, {NOTHING} for no object, "
            f"or {NOT_ANNOTATED} throughout where there is no label"
        )
    none = found == NOT_ANNOTATED
    if (none.any(-1) & ~none.all(-1)).any():
        return (
            f"hold the class {NOT_ANNOTATED} beside others in one image; expected it throughout, "
            f"for an image that is not annotated, or {NOTHING} for no object"
        )
    there = found >= 0
    checks = (
        ("places", "a projected centre (u, v) in pixels and a depth above 0 in metres, which a box "
         "behind the camera has not", lambda x: x[:, 2] > 0),
        ("sizes", "a length, width and height above 0, in metres", lambda x: (x > 0).all(-1)),
        ("rotations", "a quaternion (w, x, y, z) of length 1",
         lambda x: np.abs(np.linalg.norm(x, axis=-1) - 1) < 1e-2),
        ("boxes", "left, top, right and bottom in pixels, in this order",
         lambda x: (x[:, 2:] >= x[:, :2]).all(-1)),
    )  # fmt: skip
    for name, expected, right in checks:
        values = np.asarray(label[name], "float64")[there]
        bad = values[~(np.isfinite(values).all(-1) & right(values))]
        if len(bad):
            return f"hold {bad[0].tolist()} among {name}; expected {expected}"
    for camera in np.asarray(label["camera"], "float64")[~none.all(-1)]:
        if not np.isfinite(camera).all() or min(camera[0, 0], camera[1, 1]) <= 0:
            return (
                f"hold the camera {camera.tolist()}; expected finite numbers, and focal lengths "
                "above 0 in pixels"
            )
    return None
