"""Files of boxes: written and read again, and what is refused."""

import copy
import json

import numpy as np
import pytest

from keras_mtl.boxes3d import Sensor
from keras_mtl.metrics.detection3d.boxes import predicted
from keras_mtl.metrics.detection3d.files import (
    BrokenFile,
    read_predictions,
    read_truth,
    write_boxes,
)

pytestmark = pytest.mark.once("torch", "needs no backend")
SENSOR = Sensor([[100, 0, 31], [0, 90, 17], [0, 0, 1]], np.eye(3, 4) - np.eye(3, 4, 3))
SIZE = (40, 64)
FILE = "aachen_000000_000019_gtBbox3d.json"


@pytest.fixture
def boxes():
    rotation = np.array([[1.0, 0, 0, 0], [0.6, 0, 0, -0.8]])
    center, size = np.array([[9.0, 1, 0.5], [20, -2, 1]]), np.array([[4.0, 2, 1], [1.8, 0.6, 1]])
    return predicted(SENSOR, SIZE, np.array([0, 5]), np.array([0.9, 0.25]), center, size, rotation)


@pytest.fixture
def content(boxes, tmp_path):
    write_boxes(tmp_path / FILE, boxes, SENSOR, np.array([[1.0, 2, 11, 22]]), SIZE)
    return json.loads((tmp_path / FILE).read_bytes())


def test_what_is_written_is_read(boxes, content, tmp_path):
    truth = read_truth((tmp_path / FILE).read_bytes(), FILE)
    found = read_predictions((tmp_path / FILE).read_bytes(), FILE, SENSOR, SIZE)
    for name, expected in vars(boxes).items():
        np.testing.assert_allclose(getattr(truth.boxes, name), expected, atol=1e-9)
        np.testing.assert_allclose(getattr(found, name), expected, atol=1e-9)
    assert truth.ignore.tolist() == [[1, 2, 11, 22]]
    np.testing.assert_allclose(truth.sensor.camera, SENSOR.camera)
    np.testing.assert_allclose(truth.sensor.pose, SENSOR.pose)
    assert truth.image_size == SIZE
    # Of another class of Cityscapes: left out. Without a modal box: the amodal one, recomputed.
    content["objects"][0]["label"] = "caravan"
    del content["objects"][1]["2d"]["modal"]
    content["objects"][1]["2d"]["amodal"] = [0, 0, 1, 1]
    found = read_predictions(json.dumps(content).encode(), FILE, SENSOR, SIZE)
    np.testing.assert_allclose(found.modal, boxes.amodal[1:], atol=1e-9)


def put(value, *path):
    """A change of a file's content: another value at a path, or none."""

    def change(content):
        *rest, last = path
        for key in rest:
            content = content[key]
        if value is None:
            del content[last]
        else:
            content[last] = value

    return change


OBJECT = ("objects", 1)
BROKEN = {
    "no sensor": put(None, "sensor"),
    "no objects": put(None, "objects"),
    "no ignore": put(None, "ignore"),
    "no fx": put(None, "sensor", "fx"),
    "focal length 0": put(0, "sensor", "fy"),
    "no transform": put(None, "sensor", "sensor_T_ISO_8855"),
    "transform of 2 rows": put([[1, 0, 0, 0]] * 2, "sensor", "sensor_T_ISO_8855"),
    "transform that is no rotation": put([[1, 0, 0, 0]] * 3, "sensor", "sensor_T_ISO_8855"),
    "no label": put(None, *OBJECT, "label"),
    "unknown class": put("spaceship", *OBJECT, "label"),
    "no 3d": put(None, *OBJECT, "3d"),
    "no center": put(None, *OBJECT, "3d", "center"),
    "center of 2": put([1, 2], *OBJECT, "3d", "center"),
    "center of text": put(["1", "2", "3"], *OBJECT, "3d", "center"),
    "NaN": put([float("nan"), 0, 0], *OBJECT, "3d", "center"),
    "infinite": put([float("inf"), 0, 0], *OBJECT, "3d", "center"),
    "beyond measure": put([1e300, 0, 0], *OBJECT, "3d", "center"),
    "zero size": put([4, 0, 2], *OBJECT, "3d", "dimensions"),
    "negative size": put([4, -1, 2], *OBJECT, "3d", "dimensions"),
    "quaternion of length 0": put([0, 0, 0, 0], *OBJECT, "3d", "rotation"),
    "quaternion of 3": put([1, 0, 0], *OBJECT, "3d", "rotation"),
    "no amodal box": put(None, *OBJECT, "2d", "amodal"),
    "modal box of negative width": put([3, 3, -1, 2], *OBJECT, "2d", "modal"),
    "score of text": put("high", *OBJECT, "score"),
    "behind the camera": put([-9, 0, 0], *OBJECT, "3d", "center"),
    "ignore region of 3": put([1, 2, 3], "ignore", 0, "2d"),
    "objects no list": put({}, "objects"),
    "object no object": put(7, *OBJECT),
    "image size of half": put(None, "imgWidth"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_annotations(case, content):
    broken = copy.deepcopy(content)
    BROKEN[case](broken)
    with pytest.raises(BrokenFile) as error:
        read_truth(json.dumps(broken).encode(), FILE)
    said = str(error.value)
    assert said.startswith(f"{FILE} ") and "expected" in said and "\n" not in said
    assert said.count(". ") == 0 and said.endswith("get an intact copy of it.")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[1]", b'"x"', b"[" * 100_000])
def test_what_is_no_json_of_boxes(data):
    for read in (read_truth, lambda *given: read_predictions(*given, SENSOR)):
        with pytest.raises(BrokenFile, match=FILE):
            read(data, FILE)


def test_a_prediction_needs_a_score(content):
    del content["objects"][0]["score"]
    read_truth(json.dumps(content).encode(), FILE)
    with pytest.raises(BrokenFile, match=r"has no objects\[0\].score"):
        read_predictions(json.dumps(content).encode(), FILE, SENSOR, SIZE)
