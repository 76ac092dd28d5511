"""One answer to labels of other encodings, whatever brings them to a model."""

import pytest

from benchmarks.label_doors import DOORS, ENCODINGS, rooms, small_model, what_comes_of

ANSWERS = {"NaN as void": "refused", "655.35 as void": "warned"}
FILES = "prepare_folder"  # which knows no backend: tests/data/test_folders.py


@pytest.fixture(scope="module")
def scene():
    images, labels, tasks = rooms()
    (depth,) = (task for task in tasks if task.label_channels == 1 and task.unit == "m")
    return small_model([depth]), images, labels[depth.name]


@pytest.mark.parametrize("door", [name for name in DOORS if name != FILES])
def test_one_answer_at_every_door(scene, door):
    model, images, label = scene
    for encoding, answer in ANSWERS.items():
        found = {"depth": ENCODINGS["depth"][encoding](label)}
        assert what_comes_of(DOORS[door], model, images, found) == answer, encoding
