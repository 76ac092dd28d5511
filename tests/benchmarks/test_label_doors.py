"""One answer to labels of other encodings, whatever brings them to a model."""

import pytest

from benchmarks.label_doors import DOORS, ENCODINGS, rooms, small_model, what_comes_of

ANSWERS = {"NaN as void": "refused", "655.35 as void": "warned"}
FILES = "prepare_folder"  # which knows no backend
IN_FILES = {
    ("semseg", "floats"): "as it is",
    ("semseg", "0 and 255"): "refused",
    ("depth", "655.35 as void"): "converted",
    ("normals", "grey as void"): "converted",
    ("normals", "away from the camera"): "warned",
}


@pytest.fixture(scope="module")
def scene():
    images, labels, tasks = rooms()
    (depth,) = (task for task in tasks if task.label_channels == 1 and task.unit == "m")
    return small_model([depth]), images, labels


@pytest.mark.parametrize("door", [name for name in DOORS if name != FILES])
def test_one_answer_at_every_door(scene, door):
    model, images, labels = scene
    for encoding, answer in ANSWERS.items():
        found = {"depth": ENCODINGS["depth"][encoding](labels["depth"])}
        assert what_comes_of(DOORS[door], model, images, found) == answer, encoding


@pytest.mark.once("torch", "what is prepared knows no backend")
@pytest.mark.parametrize(("task", "encoding"), IN_FILES)
def test_files(scene, task, encoding):
    model, images, labels = scene
    found = {task: ENCODINGS[task][encoding](labels[task])}
    assert what_comes_of(DOORS[FILES], model, images, found) == IN_FILES[task, encoding]
