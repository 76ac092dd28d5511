"""Labels stored as others store them are recognised, and called by their name."""

import warnings

import numpy as np
import pytest

from benchmarks.label_doors import ENCODINGS, SAME, SIZE, rooms
from keras_mtl import tasks

pytestmark = pytest.mark.once("torch", "labels are NumPy arrays here")

WORDS = {  # the others are refused with the same words
    ("semseg", "0 and 255"): "a mask of 0 and 255 for no and yes; write 1 for yes",
    ("semseg", "from 1"): "the value 40; .*counted from 1 on; subtract 1 and write 255",
    ("semseg", "-1 as void"): "-1 where there is no label; write 255 there",
    ("semseg", "65535 as void"): "16 bits, .*; write 255 there",
    ("semseg", "NaN as void"): "NaN or infinity where there is no label; write 255",
    ("semseg", "ids out of range"): "the value 77; expected class ids 0 to 39, or 255 where .*l.$",
    ("semseg", "class and instance"): "store the class id alone",
    ("semseg", "shares"): "store the id of the likeliest class",
    ("semseg", "colours"): "store class ids, not colours",
    ("semseg", "one-hot"): "of one-hot labels take the argmax",
    ("depth", "millimetres"): "metres, not millimetres, .* looks like millimetres; divide by 1000",
    ("depth", "centimetres"): "looks like centimetres; divide by 100",
    ("depth", "millimetres and noise"): "looks like millimetres; divide by 1000",
    ("depth", "65535 as void"): "a largest number where nothing was measured; write 0 there",
    ("depth", "655.35 as void"): "a largest number where nothing was measured; write 0 there",
    ("depth", "NaN as void"): "hold the value nan; .*write 0 there",
    ("depth", "infinity as void"): "hold the value inf; .*write 0 there",
    ("depth", "-1 as void"): "hold the value -1.0; .*write 0 there",
    ("depth", "8-bit grey"): "grey levels of 8 bits; store metres",
    ("depth", "scaled to 0..1"): "scaled to 0..1; store metres",
    ("depth", "backwards"): "points backwards; change their sign",
    ("depth", "-9999 as void"): "a number below 0 where there is no label; write 0 there",
    ("depth", "3.4e38 as void"): "a largest number where nothing was measured; write 0 there",
    ("depth", "colours"): "store metres, not colours",
    ("normals", "grey as void"): r"grey where there is no normal; write \(0, 0, 0\) there",
    ("normals", "colours in 0..1"): "store 2 v - 1",
    ("normals", "8-bit colours"): "store 2 v / 255 - 1",
    ("normals", "other lengths"): "divide them by their length",
    ("normals", "away from the camera"): "away from the camera, for x is right, y down and z fo",
    ("normals", "16-bit colours"): "store 2 v / 65535 - 1",
    (
        "normals",
        "exchanged axes",
    ): "an eighth of them points away from the camera; store x to",
    (
        "normals",
        "(0, 0, 1) as void",
    ): r"\(0, 0, 1\) where there is no normal; write \(0, 0, 0\) there",
    ("normals", "NaN as void"): r"NaN or infinity .*; write 0 there",
    ("normals", "channels first"): r"have shape \(2, 3, 32, 48\); expected \(batch, 32, 48, 3\)",
    ("edge", "0 and 255"): "a mask of 0 and 255 for no and yes; write 1 for yes",
    ("edge", "probabilities"): "store 1 from 0.5 on",
    ("edge", "8-bit probabilities"): "grey levels of 8 bits; store 1 from 128 on",
    ("edge", "-1 as void"): "-1 where there is no label; write 255 there",
    ("edge", "NaN as void"): "NaN or infinity",
    ("edge", "0 on boundaries"): "store 1 on boundaries and 0 elsewhere",
    ("sal", "0 and 255"): "a mask of 0 and 255 for no and yes; write 1 for yes",
    ("sal", "probabilities"): "store 1 from 0.5 on",
    ("sal", "8-bit probabilities"): "grey levels of 8 bits; store 1 from 128 on",
    ("sal", "-1 as void"): "-1 where there is no label; write 255 there",
    ("sal", "NaN as void"): "NaN or infinity",
    ("sal", "class ids"): "class ids; store 1 for yes and 0 for no",
    ("sal", "one-hot"): r"have shape \(2, 32, 48, 2\)",
}


@pytest.fixture(scope="module")
def scenes():
    _, labels, found = rooms()
    return labels, {task.name: task for task in found}


def test_right_labels_are_taken_without_a_word(scenes):
    labels, kinds = scenes
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, task in kinds.items():
            task.check_labels(labels[name], *SIZE)
            task.check_labels(task.no_label(*SIZE)[None], *SIZE)
            for encoding in ENCODINGS[name].keys() & set(SAME):  # in another number type
                task.check_labels(ENCODINGS[name][encoding](labels[name]), *SIZE)


def test_every_example_has_its_words():
    found = {(task, name) for task, each in ENCODINGS.items() for name in each}
    assert set(WORDS) == {(task, name) for task, name in found if name not in SAME}


@pytest.mark.parametrize(("name", "encoding"), WORDS)
def test_others_encodings(scenes, name, encoding):
    labels, kinds = scenes
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((ValueError, UserWarning), match=WORDS[name, encoding]) as said:
            kinds[name].check_labels(ENCODINGS[name][encoding](labels[name]), *SIZE)
    text = str(said.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 260, text


def test_a_valid_range_says_what_is_metres(scenes):
    labels, _ = scenes
    far = tasks.DepthEstimation(valid_range=(0, 1000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        far.check_labels(100 * labels["depth"], *SIZE)
    near = float(np.median(labels["depth"]))
    depth = np.where(labels["depth"] > near, 0, labels["depth"])
    depth[:, :3] = near + 1
    with pytest.warns(UserWarning, match="some lie beyond the task's valid_range"):
        tasks.DepthEstimation(valid_range=(0, near)).check_labels(depth, *SIZE)


def test_one_noisy_pixel_hides_nothing():
    depth = np.r_[35.0, 3000.0 * np.ones(99)].reshape(1, 10, 10, 1)
    assert tasks.DepthEstimation().wrong_label(depth) == (3000.0, "metres, not millimetres")


@pytest.mark.parametrize("name", ["semseg", "sal"])
def test_255_where_the_task_says_otherwise(scenes, name):
    labels, kinds = scenes
    kind = type(kinds[name])
    own = type(f"Own{kind.__name__}", (kind,), {"ignore": -1})(channels=kinds[name].channels)
    label = labels[name].copy()
    own.check_labels(label, *SIZE)
    label[:, :4] = 255
    with pytest.raises(ValueError, match="or -1 where .* this looks like 255 where there is no la"):
        own.check_labels(label, *SIZE)


@pytest.mark.parametrize("wrong", ["3", 3j, None])
def test_labels_of_no_numbers(wrong):
    with pytest.raises(ValueError, match="'semseg' are of type .*; expected class ids"):
        tasks.SemanticSegmentation().check_labels(np.full((1, 2, 3), wrong), 2, 3)
