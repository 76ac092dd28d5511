"""Cameras from EXIF data, in JPEGs that Pillow writes."""

import math

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from keras_mtl.boxes3d.exif import (
    FOCAL_LENGTH,
    FOCAL_LENGTH_ON_FILM,
    PLANE_RESOLUTION,
    PLANE_UNIT,
    WIDTH,
    camera_of_photograph,
)
from keras_mtl.tasks import DepthEstimation, Detection3D
from keras_mtl.visualize.predictions import known_camera

pytestmark = pytest.mark.once("torch", "files know no backend")
ORIENTATION = 0x0112


class Boxes:
    """A model that asks for a camera."""

    tasks = (Detection3D(),)


class Maps:
    """And one that does not."""

    tasks = (DepthEstimation(),)


@pytest.fixture
def photo(tmp_path):
    """A photograph of 60x80 pixels that says something of its camera."""

    def write(tags, orientation=None):
        exif = Image.Exif()
        if orientation:
            exif[ORIENTATION] = orientation
        exif.get_ifd(0x8769).update(tags)
        path = tmp_path / "photo.jpg"
        Image.new("RGB", (80, 60), "grey").save(path, exif=exif)
        return path

    return write


ON_FILM = 28 / math.hypot(36, 24) * 100  # the diagonal has 100 pixels
SENSOR = {FOCAL_LENGTH: IFDRational(5), PLANE_RESOLUTION: IFDRational(16)}  # 80 pixels on 5 mm
KNOWN = {
    "on film": ({FOCAL_LENGTH_ON_FILM: 28}, ON_FILM),
    "on film before all else": ({**SENSOR, PLANE_UNIT: 4, FOCAL_LENGTH_ON_FILM: 28}, ON_FILM),
    "pixels a millimetre": ({**SENSOR, PLANE_UNIT: 4}, 80),
    "pixels a centimetre": ({**SENSOR, PLANE_RESOLUTION: IFDRational(160), PLANE_UNIT: 3}, 80),
    "pixels an inch": ({**SENSOR, PLANE_RESOLUTION: IFDRational(4064, 10), PLANE_UNIT: 2}, 80),
    "scaled to half": ({**SENSOR, PLANE_UNIT: 4, WIDTH: 160}, 40),
    "on film unknown": ({**SENSOR, PLANE_UNIT: 4, FOCAL_LENGTH_ON_FILM: 0}, 80),
    "on film impossible": ({**SENSOR, PLANE_UNIT: 4, FOCAL_LENGTH_ON_FILM: 65000}, 80),
}


@pytest.mark.parametrize("case", KNOWN)
def test_known(photo, case):
    tags, focal = KNOWN[case]
    path = photo(tags)
    found = camera_of_photograph(path)
    expected = [[focal, 0, 40], [0, focal, 30], [0, 0, 1]]
    np.testing.assert_allclose(found.camera, expected, rtol=1e-6)
    with Image.open(path) as image:
        np.testing.assert_array_equal(camera_of_photograph(image).camera, found.camera)
    camera, words = known_camera(Boxes, path)
    np.testing.assert_array_equal(camera, found.camera)
    assert words.startswith("; camera from EXIF: ") and words.endswith(f", {focal:.0f} pixels")
    camera, words = known_camera(Boxes, path, lens=(3.0, 4.0, 1.0, 2.0))
    assert words == "; camera as given" and camera.tolist() == [[3, 0, 1], [0, 4, 2], [0, 0, 1]]


def test_turned(photo):
    """The camera is that of the upright photograph, which is taller than wide."""
    found = camera_of_photograph(photo({FOCAL_LENGTH_ON_FILM: 28}, orientation=6))
    assert found.camera[:, 2].tolist() == [30, 40, 1]
    np.testing.assert_allclose(found.camera[0, 0], ON_FILM)


UNKNOWN = {
    "nothing": {},
    "focal length alone": {FOCAL_LENGTH: IFDRational(5)},
    "over 0": {**SENSOR, FOCAL_LENGTH: IFDRational(5, 0)},
    "no pixels": {**SENSOR, PLANE_RESOLUTION: IFDRational(0)},
    "unknown unit": {**SENSOR, PLANE_UNIT: 9},
    "text": {FOCAL_LENGTH_ON_FILM: "wide"},
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_unknown(photo, case):
    path = photo(UNKNOWN[case])
    assert camera_of_photograph(path) is None
    words = "; camera a guess, 49 degrees from left to right"
    assert known_camera(Boxes, path) == (None, words)
    assert known_camera(Maps, path) == (None, "")
