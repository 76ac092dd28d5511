"""Where a photograph lies in the image that a model takes: the one geometry for all who ask.

image, place = fit(photograph, model.image_size)
raw = model.predict_on_batch(image[None])["depth"][0]
depth = task.restore(raw, place)  # at the photograph's size
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from keras_mtl.arguments import check_integer
from keras_mtl.boxes3d import Sensor
from keras_mtl.boxes3d.exif import camera_of_photograph
from keras_mtl.images import IMAGE_MEAN
from keras_mtl.pictures import as_photograph
from keras_mtl.training.arrays import as_numpy, check_image_values


@dataclass(frozen=True)
class Place:
    """A photograph's place in an image, in pixels.

    Args:
        size: `(height, width)` of the photograph.
        image_size: `(height, width)` of the image.
        top: int, first row of the photograph in the image.
        left: int, its first column.
        height: int, its rows there.
        width: int, its columns there.
        camera: array `(3, 3)`, from points in front of the photograph's camera (x right, y down, z
            forward) to its pixels; `None` where it is not known.

    Example:

    >>> image, place = fit(np.zeros((20, 40, 3)), (32, 32))
    >>> place.top, place.left, place.height, place.width, place.scaled
    (8, 0, 16, 32, True)
    >>> place.points(np.array([16.0, 16.0])).tolist()  # the middle, (x, y)
    [20.0, 10.0]
    """

    size: tuple[int, int]
    image_size: tuple[int, int]
    top: int
    left: int
    height: int
    width: int
    camera: Any = field(default=None, compare=False)

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the photograph in the image."""
        rows = slice(self.top, self.top + self.height)
        return rows, slice(self.left, self.left + self.width)

    @property
    def scaled(self) -> bool:
        """Whether the photograph has another size there than its own."""
        return (self.height, self.width) != self.size

    def restore(self, maps: Any) -> Any:
        """Maps of the image cut and scaled to the photograph, bilinearly.

        Args:
            maps: float array or tensor `(height, width, c)` of the image.

        Returns:
            Array or tensor `(H, W, c)`.
        """
        found = maps[self.inside]
        if not self.scaled:
            return found
        return keras.ops.image.resize(found, self.size, interpolation="bilinear")

    def pad(self, maps: np.ndarray, around: np.ndarray) -> np.ndarray:
        """A map of a photograph that is not scaled, put into one of the image's size.

        Args:
            maps: array `(H, W)` or `(H, W, c)`.
            around: array of the image's size, which is written into.
        """
        around[self.inside] = maps
        return around

    def points(self, points: Any) -> Any:
        """Points of the image in the photograph, both in pixels from the upper left corner.

        Args:
            points: array `(..., 2)`, x and y; the middle of the first pixel is (0.5, 0.5).
        """
        height, width = self.size
        corner = np.array([self.left, self.top], "float32")
        return (points - corner) * np.array([width / self.width, height / self.height], "float32")


def fit(photograph: np.ndarray, image_size: tuple[int, int], enlarge: bool = True):
    """Scales a photograph to fit an image size and pads it around with the mean colour.

    Args:
        photograph: array `(H, W, 3)`, RGB in 0..255.
        image_size: `(height, width)` in pixels.
        enlarge: bool. Whether one that is smaller is scaled up; the published evaluations only pad
            it.

    Returns:
        The image, float32 `(*image_size, 3)`, and the photograph's `Place` in it.

    Raises:
        ValueError: if the photograph is not an RGB array.
    """
    photograph = as_numpy(photograph)
    if photograph.dtype.kind == "O":
        raise ValueError("A photograph is no array of numbers; expected (height, width, 3), RGB.")
    if photograph.ndim != 3 or photograph.shape[-1] != 3 or 0 in photograph.shape:
        raise ValueError(
            f"A photograph has shape {photograph.shape}; expected (height, width, 3), RGB."
        )
    size = (photograph.shape[0], photograph.shape[1])
    scale = min(limit / length for limit, length in zip(image_size, size, strict=True))
    scale = scale if enlarge else min(scale, 1.0)
    height, width = (
        max(1, min(limit, round(length * scale)))
        for limit, length in zip(image_size, size, strict=True)
    )
    top, left = (image_size[0] - height) // 2, (image_size[1] - width) // 2
    place = Place(size, (image_size[0], image_size[1]), top, left, height, width)
    inner = photograph.astype("float32")
    if place.scaled:
        inner = keras.ops.convert_to_numpy(
            keras.ops.image.resize(
                inner, (height, width), interpolation="bilinear", antialias=scale < 1
            )
        )
    image = np.broadcast_to(np.array(IMAGE_MEAN, "float32"), (*image_size, 3)).copy()
    return place.pad(inner, image), place


def check_outputs(raw: Mapping[str, Any], what: str) -> None:
    """Refuses raw outputs of an image that are not finite.

    Args:
        raw: by task name.
        what: which image it is.

    Raises:
        ValueError: so.
    """
    for name, output in raw.items():
        if not all(np.isfinite(each).all() for each in keras.tree.flatten(output)):
            raise ValueError(
                f"The model's output for task {name!r} is not finite on {what}; use weights from "
                "before its training diverged."
            )


def predict_maps(model, images, batch_size: int, cameras: Any = None) -> dict | list[dict]:
    """Final outputs for photographs of any size; see `MultiTaskModel.predict_maps`.

    Args:
        model: `keras_mtl.MultiTaskModel`.
        images: one photograph, as an array, a Pillow image or a path, or a sequence of them.
        batch_size: int. Photographs run through the network at a time.
        cameras: array `(3, 3)`, the camera of all photographs, or a sequence of such, one for each;
            where there is none files and Pillow images may say it in their EXIF data.
    """
    batch_size, said = check_integer("batch_size", batch_size, 1), []
    file = isinstance(images, (str, os.PathLike)) or hasattr(images, "getexif")
    file = file or isinstance(images, (bytes, Mapping))  # which are none, and no sequences
    single = file or getattr(images, "ndim", None) in (2, 3) or not hasattr(images, "__iter__")
    given = [images] if single else list(images)
    photographs = [as_photograph(image) for image in given]
    for photograph in photographs:
        check_image_values(photograph, said)
    known = _cameras(cameras, len(photographs))
    if any(task.takes_camera for task in model.tasks):
        known = [
            _camera_said(image) if camera is None else camera
            for image, camera in zip(given, known, strict=True)
        ]
    fitted = [fit(photograph, model.image_size) for photograph in photographs]
    fitted = [
        (image, replace(place, camera=camera))
        for (image, place), camera in zip(fitted, known, strict=True)
    ]
    found = []
    for start in range(0, len(fitted), batch_size):
        chunk = fitted[start : start + batch_size]
        batch = model.outputs_of_checked(np.stack([image for image, _ in chunk]))
        for i, (_, place) in enumerate(chunk):
            raw = keras.tree.map_structure(lambda values, i=i: values[i], batch)
            check_outputs(raw, f"photograph {start + i}")
            found.append({task.name: task.restore(raw[task.name], place) for task in model.tasks})
    return found[0] if single else found


def _cameras(cameras: Any, count: int) -> list:
    """One for each photograph, `None` where it is not known."""
    if cameras is None:
        return [None] * count
    several = np.ndim(cameras) != 2
    given = list(cameras) if several else [cameras] * count
    if len(given) != count:
        raise ValueError(f"There are {len(given)} cameras for {count} photographs; give one each.")
    return [None if each is None else Sensor(each).camera for each in given]


def _camera_said(image: Any) -> np.ndarray | None:
    """What the EXIF data of a file or a Pillow image say."""
    if not (isinstance(image, (str, os.PathLike)) or hasattr(image, "getexif")):
        return None
    found = camera_of_photograph(image)
    return None if found is None else found.camera
