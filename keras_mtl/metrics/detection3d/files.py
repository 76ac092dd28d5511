"""Boxes in the benchmark's JSON files: what is read, what is written, and what is wrong with one.

An annotation has "sensor", "objects" and "ignore", a prediction "objects". Reading works on bytes,
so that a file on disk and a member of an archive are read by the same code.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from keras_mtl.boxes3d import Sensor
from keras_mtl.files import write_text
from keras_mtl.metrics.detection3d.boxes import (
    CLASSES,
    IMAGE_SIZE,
    Boxes,
    corners_of,
    in_front,
    no_boxes,
    predicted,
)

# What else Cityscapes annotates; such boxes are left out.
OTHER_CLASSES = frozenset(
    "unlabeled,ego vehicle,rectification border,out of roi,static,dynamic,ground,road,sidewalk,"
    "parking,rail track,building,wall,fence,guard rail,bridge,tunnel,pole,polegroup,traffic light,"
    "traffic sign,vegetation,terrain,sky,person,rider,caravan,trailer,license plate".split(",")
)
_LARGEST = 1e6  # metres or pixels; what is larger is no measurement


class BrokenFile(ValueError):
    """A file of boxes is missing or wrong; the message begins with its name."""


class Truth(NamedTuple):
    """What an annotation holds.

    Args:
        sensor: the camera.
        image_size: (height, width) in pixels.
        boxes: of the six classes.
        ignore: `(K, 4)`, regions of the image without annotations, x and y of two corners.
    """

    sensor: Sensor
    image_size: tuple[int, int]
    boxes: Boxes
    ignore: np.ndarray


def read_truth(data: bytes, file: str) -> Truth:
    """Reads an annotation, `*_gtBbox3d.json`.

    Args:
        data: bytes of the file.
        file: its name, for messages.

    Returns:
        The camera, the boxes and the regions to ignore.

    Raises:
        BrokenFile: if the file is no such annotation, or a value in it cannot be.

    Example:

    >>> read_truth(b'{"objects": []}', "aachen_000000_000019_gtBbox3d.json")
    Traceback (most recent call last):
    keras_mtl.metrics.detection3d.files.BrokenFile: aachen_000000_000019_gtBbox3d.json has no \
sensor, expected {"sensor": {...}, "objects": [...], "ignore": [...]}; get an intact copy of it.
    """
    content = _Content(data, file, '{"sensor": {...}, "objects": [...], "ignore": [...]}')
    sensor, image_size = content.sensor(), content.image_size()
    boxes = content.boxes(sensor, image_size)
    front = in_front(corners_of(sensor, boxes.center, boxes.size, boxes.rotation))
    if not front.all():
        place = boxes.center[front.argmin()].round(2).tolist()
        content.refuse(f"has a box at {place} that is behind the camera", "boxes in front of it")
    regions = [
        content.numbers(each, "2d", 4, f"ignore[{i}]")
        for i, each in enumerate(content.get(content.all, "ignore", list, ""))
    ]
    return Truth(sensor, image_size, boxes, _two_corners(np.array(regions).reshape(-1, 4)))


def read_predictions(
    data: bytes, file: str, sensor: Sensor, image_size: tuple[int, int] = IMAGE_SIZE
) -> Boxes:
    """Reads predicted boxes; their amodal boxes are computed, whatever the file says.

    A box without a modal box has the amodal one for it.

    Args:
        data: bytes of the file.
        file: its name, for messages.
        sensor: the camera of the image.
        image_size: (height, width) in pixels.

    Raises:
        BrokenFile: if the file is no prediction, or a value in it cannot be.
    """
    return _Content(data, file, '{"objects": [...]}').boxes(sensor, image_size, scored=True)


def write_boxes(
    path: str | Path,
    boxes: Boxes,
    sensor: Sensor | None = None,
    ignore: np.ndarray | None = None,
    image_size: tuple[int, int] = IMAGE_SIZE,
) -> None:
    """Writes boxes as the benchmark wants them, a file also where there is none.

    Args:
        path: file to write, such as `aachen_000000_000019_predictions.json`: what stands before
            the last "_" is the name of the image.
        boxes: of the image.
        sensor: given, the file is an annotation, which names its camera.
        ignore: `(K, 4)`, regions to ignore of an annotation.
        image_size: (height, width) in pixels, of an annotation.

    Raises:
        NotWritten: if the system refuses; an `OSError`. What was there before stays.

    Example:

    >>> from keras_mtl.metrics.detection3d.boxes import no_boxes
    >>> write_boxes("submission/aachen_000000_000019_predictions.json", no_boxes())
    >>> Path("submission/aachen_000000_000019_predictions.json").read_text()
    '{"objects": []}\\n'
    """
    objects = [_object(boxes, i) for i in range(len(boxes))]
    content: dict[str, Any] = {"objects": objects}
    if sensor is not None:
        height, width = image_size
        regions = _width_and_height(np.zeros((0, 4)) if ignore is None else ignore)
        content = {
            "imgWidth": width,
            "imgHeight": height,
            "sensor": _said(sensor),
            "objects": objects,
            "ignore": [{"2d": region, "label": "ignore"} for region in regions],
        }
    write_text(path, json.dumps(content) + "\n")


def _object(boxes: Boxes, i: int) -> dict[str, Any]:
    amodal, modal = _width_and_height(np.stack([boxes.amodal[i], boxes.modal[i]]))
    return {
        "2d": {"amodal": amodal, "modal": modal},
        "3d": {
            "center": boxes.center[i].tolist(),
            "dimensions": boxes.size[i].tolist(),
            "rotation": boxes.rotation[i].tolist(),
        },
        "label": CLASSES[boxes.label[i]],
        "score": float(boxes.score[i]),
    }


def _said(sensor: Sensor) -> dict[str, Any]:
    (fx, _, u0), (_, fy, v0), _ = sensor.camera.tolist()
    return {"fx": fx, "fy": fy, "u0": u0, "v0": v0, "sensor_T_ISO_8855": sensor.pose.tolist()}


def _two_corners(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def _width_and_height(boxes: np.ndarray) -> list[list[float]]:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()


class _Content:
    """The content of a file, of which every value is looked at before it is used."""

    def __init__(self, data: bytes, file: str, expected: str):
        self.file, self.expected = file, expected
        try:
            self.all = json.loads(data)
        except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, nested beyond reading
            reason = " ".join(str(error).split())
            self.refuse(f"is not readable as JSON ({reason})", expected)
        if not isinstance(self.all, dict):
            self.refuse(f"holds a {type(self.all).__name__}", expected)

    def refuse(self, found: str, expected: str) -> NoReturn:
        raise BrokenFile(f"{self.file} {found}, expected {expected}; get an intact copy of it.")

    def get(self, holder: Any, name: str, kind: type, place: str) -> Any:
        path = f"{place}.{name}" if place else name
        if not isinstance(holder, dict) or name not in holder:
            self.refuse(f"has no {path}", self.expected)
        if not isinstance(holder[name], kind):
            what = {dict: "an object", list: "a list", str: "a text"}[kind]
            self.refuse(f"has the {path} {holder[name]!r:.40}", what)
        return holder[name]

    def numbers(
        self, holder: Any, name: str, count: int, place: str, above: float | None = None
    ) -> np.ndarray:
        """So many finite numbers, more than `above` if that is given."""
        path = f"{place}.{name}"
        if not isinstance(holder, dict) or name not in holder:
            self.refuse(f"has no {path}", self.expected)
        value = holder[name]
        values = value if isinstance(value, list) else [value]
        least = "" if above is None else f" above {above:g}"
        if (
            len(values) != count
            or any(type(x) not in (int, float) for x in values)
            or not all(abs(x) <= _LARGEST and (above is None or x > above) for x in values)
        ):
            many = "a number" if count == 1 else f"{count} numbers"
            self.refuse(f"has the {path} {value!r:.80}", f"{many}{least}")
        return np.array(values, float)

    def sensor(self) -> Sensor:
        """The camera and its place on the vehicle."""
        said = self.get(self.all, "sensor", dict, "")
        fx, fy = (self.numbers(said, name, 1, "sensor", 0)[0] for name in ("fx", "fy"))
        u0, v0 = (self.numbers(said, name, 1, "sensor")[0] for name in ("u0", "v0"))
        name = "sensor_T_ISO_8855"
        rows = self.get(said, name, list, "sensor")
        if len(rows) != 3:
            self.refuse(f"has {len(rows)} rows in sensor.{name}", "3 of 4 numbers")
        pose = np.stack([self.numbers({name: row}, name, 4, "sensor") for row in rows])
        try:
            return Sensor([[fx, 0, u0], [0, fy, v0], [0, 0, 1]], pose)
        except ValueError:
            self.refuse(f"has a sensor.{name} that is no turn and move", "a rotation on its left")

    def image_size(self) -> tuple[int, int]:
        if "imgHeight" not in self.all and "imgWidth" not in self.all:
            return IMAGE_SIZE
        height, width = (self.numbers(self.all, n, 1, "", 0)[0] for n in ("imgHeight", "imgWidth"))
        return int(height), int(width)

    def boxes(self, sensor: Sensor, image_size: tuple[int, int], scored: bool = False) -> Boxes:
        """The objects of the six classes."""
        found = []
        for i, each in enumerate(self.get(self.all, "objects", list, "")):
            place = f"objects[{i}]"
            label = self.get(each, "label", str, place)
            if label not in CLASSES:
                if label.removesuffix("group") in {*OTHER_CLASSES, *CLASSES}:
                    continue
                self.refuse(f"has the unknown class {label!r:.40} in {place}", ", ".join(CLASSES))
            found.append((CLASSES.index(label), *self._one(each, place, scored)))
        if not found:
            return no_boxes()
        label, score, center, size, rotation, modal, amodal = map(
            np.array, zip(*found, strict=True)
        )
        if scored:
            own = np.isnan(modal).any(1)
            modal = _two_corners(modal)
            boxes = predicted(sensor, image_size, label, score, center, size, rotation, modal)
            boxes.modal[own] = boxes.amodal[own]
            return boxes
        return Boxes(
            label, score, center, size, rotation, _two_corners(modal), _two_corners(amodal)
        )

    def _one(self, each: dict, place: str, scored: bool) -> tuple:
        solid, flat = (self.get(each, name, dict, place) for name in ("3d", "2d"))
        center = self.numbers(solid, "center", 3, f"{place}.3d")
        size = self.numbers(solid, "dimensions", 3, f"{place}.3d", 0)
        rotation = self.numbers(solid, "rotation", 4, f"{place}.3d")
        if np.linalg.norm(rotation) < 1e-6:
            self.refuse(
                f"has the quaternion {rotation.tolist()} of length 0 in {place}.3d.rotation",
                "a rotation",
            )
        amodal = modal = np.full(4, np.nan)
        if not scored or "amodal" in flat and "modal" not in flat:
            amodal = self.box(flat, "amodal", f"{place}.2d")
        if "modal" in flat:
            modal = self.box(flat, "modal", f"{place}.2d")
        elif not scored:
            modal = amodal
        score = 1.0
        if scored or "score" in each:
            score = self.numbers(each, "score", 1, place)[0]
        return score, center, size, rotation, modal, amodal

    def box(self, flat: dict, name: str, place: str) -> np.ndarray:
        found = self.numbers(flat, name, 4, place)
        if (found[2:] < 0).any():
            self.refuse(f"has the {place}.{name} {found.tolist()}", "a width and height from 0 on")
        return found
