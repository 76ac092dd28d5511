"""What a photograph's EXIF data say of its camera."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_mtl.pictures import exif_of

FILM = math.hypot(36, 24)  # millimetres, the diagonal of a picture on 35 mm film
# Numbers of what EXIF may hold.
FOCAL_LENGTH, FOCAL_LENGTH_ON_FILM = 0x920A, 0xA405  # millimetres
PLANE_RESOLUTION, PLANE_UNIT = 0xA20E, 0xA210  # pixels of the sensor on a unit
WIDTH = 0xA002  # pixels, as the camera stored the picture
MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # of a unit
LIMITS = 0.1, 50.0  # of a focal length that can be, in diagonals of the picture


class ExifCamera(NamedTuple):
    """A camera that looks through the middle of its pictures.

    Args:
        camera: float64 `(3, 3)`, see `keras_mtl.boxes3d.Sensor`.
        words: how it is known, such as "28 mm on 35 mm film".
    """

    camera: np.ndarray
    words: str


def camera_of_photograph(source: Any) -> ExifCamera | None:
    """The camera of a photograph, as far as its EXIF data say it.

    Args:
        source: path or Pillow image, neither cropped nor cut out of another.

    Returns:
        That of the photograph turned upright; `None` where nothing is known.

    Example:

    >>> from PIL import Image
    >>> picture, exif = Image.new("RGB", (360, 240)), Image.Exif()
    >>> exif.get_ifd(0x8769)[FOCAL_LENGTH_ON_FILM] = 36
    >>> picture.save("photo.jpg", exif=exif)
    >>> camera_of_photograph("photo.jpg").camera.round(6).tolist()
    [[360.0, 0.0, 180.0], [0.0, 360.0, 120.0], [0.0, 0.0, 1.0]]
    """
    tags, size, orientation = exif_of(source)
    found = focal_length(tags, size)
    if found is None:
        return None
    focal, words = found
    height, width = reversed(size) if orientation in (5, 6, 7, 8) else size
    return ExifCamera(np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]), words)


def focal_length(tags: Mapping[int, Any], size: tuple[int, int]) -> tuple[float, str] | None:
    """The focal length in pixels, and how it is known.

    It is the equivalent on 35 mm film, by the diagonal as the standard has it; or the focal length
    over the size of the sensor's pixels, which grow where the picture was scaled down.

    Args:
        tags: EXIF's values by their numbers.
        size: `(height, width)` of the photograph as it is stored, pixels.

    Returns:
        `None` where nothing is said that can be.
    """
    diagonal, width = math.hypot(*size), size[1]
    on_film, own = _number(tags.get(FOCAL_LENGTH_ON_FILM)), _number(tags.get(FOCAL_LENGTH))
    density, unit = _number(tags.get(PLANE_RESOLUTION)), MILLIMETRES.get(tags.get(PLANE_UNIT, 2))
    found = []
    if on_film:
        found.append((on_film / FILM * diagonal, f"{on_film:g} mm on 35 mm film"))
    if own and density and unit:
        pixel = unit / density * (_number(tags.get(WIDTH)) or width) / width
        found.append((own / pixel, f"{own:g} mm before pixels of {1000 * pixel:.2g} micrometres"))
    likely = (each for each in found if LIMITS[0] <= each[0] / diagonal <= LIMITS[1])
    return next(likely, None)


def _number(value: Any) -> float:
    """A positive number, or 0 where there is none: EXIF may hold fractions over 0, and text."""
    try:
        number = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return 0.0
    return number if math.isfinite(number) and number > 0 else 0.0
