"""The augmentation against independent references in NumPy, and its laws."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mtl.data import transforms
from keras_mtl.data.geometry import Adjustment
from keras_mtl.images import IMAGE_MEAN
from keras_mtl.tasks import (
    DepthEstimation,
    Detection3D,
    HumanParts,
    SemanticSegmentation,
    nyud,
    pascal_context,
)
from keras_mtl.tasks.normals import unit_vectors
from tests.data.stored import colours_of_normals, example

pytestmark = pytest.mark.once("tensorflow", "tf.data is the same under every backend")

TASKS = nyud()
FEW = settings(max_examples=25, deadline=None)
seeds = st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
sizes = st.tuples(st.integers(6, 40), st.integers(6, 40))


def as_numpy(result):
    image, labels = result
    return np.array(image), tf.nest.map_structure(np.array, labels)


@pytest.fixture(scope="module")
def augment():
    """`augment(example, seed, size)` in a graph, as in a pipeline."""
    graphs = {}

    def run(image, labels, seed, size=(24, 32), tasks=TASKS, mirror=True):
        key = size, tuple(task.name for task in tasks), mirror, transforms.distorted
        if key not in graphs:
            graphs[key] = tf.function(
                lambda image, labels, seed: transforms.augment(
                    image, labels, tasks, size, seed, mirror
                ),
                reduce_retracing=True,
            )
        seed = tf.constant(seed, tf.int64)
        return as_numpy(
            graphs[key](tf.constant(image), tf.nest.map_structure(tf.constant, labels), seed)
        )

    return run


def undistorted(monkeypatch):
    monkeypatch.setattr(transforms, "distorted", lambda image, seed: image)


# === Scaling and cropping ===


def test_labels_stay_with_the_image_to_the_pixel(augment, monkeypatch):
    """Image and depth hold each pixel's own place; scaled and cropped, they still agree."""
    undistorted(monkeypatch)
    height, width = 60, 80
    i, j = np.mgrid[:height, :width]
    image = np.stack([3 * j, 3 * i, 0 * i], -1).astype("uint8")
    tasks = [Place("column", 1), Place("row", 1)]
    labels = {"column": (j + 1).astype("float32"), "row": (i + 1).astype("float32")}
    factors = []
    for k in range(30):
        found, places = augment(image, labels, (5, k), (48, 64), tasks)
        column, row = (places[name][..., 0] - 1 for name in ("column", "row"))
        inside = (
            (column >= 0) & (column > 0) & (column < width - 1) & (row > 0) & (row < height - 1)
        )
        assert inside.sum() > 100
        # A bilinear value lies within half a pixel of the nearest pixel's: its centre is.
        assert np.abs(found[..., 0] / 3 - column)[inside].max() <= 0.5 + 1e-3
        assert np.abs(found[..., 1] / 3 - row)[inside].max() <= 0.5 + 1e-3
        # And on the average they are equal: no shift.
        assert np.abs((found[..., 0] / 3 - column)[inside].mean()) < 0.2
        step = np.median(np.abs(np.diff(found[24, :, 0][inside[24]])))
        factors.append(3 / step)
    assert min(factors) < 0.75 and max(factors) > 1.6 and min(factors) > 0.48 and max(factors) < 2.1


class Place(DepthEstimation):
    """A label that scaling does not change."""

    def scaled_label(self, label, factor):
        return label


@FEW
@given(seeds)
def test_depth_is_divided_by_the_scale(augment, seed):
    """The factor is seen in the size of a flat picture between its paddings."""
    height, width = 40, 50
    image = np.full((height, width, 3), 7, "uint8")
    _, labels = augment(
        image, {"depth": np.full((height, width), 6.0, "float32")}, seed, (80, 100), nyud("depth")
    )
    depth = labels["depth"][..., 0]
    rows, columns = (depth > 0).any(1).sum(), (depth > 0).any(0).sum()
    (value,) = np.unique(depth[depth > 0])
    assert abs(rows - height * 6 / value) <= 0.51 and abs(columns - width * 6 / value) <= 0.51
    assert 0.5 <= 6 / value <= 2
    # Centred.
    top, left = np.argmax((depth > 0).any(1)), np.argmax((depth > 0).any(0))
    assert (top, left) == ((80 - rows) // 2, (100 - columns) // 2)


def test_depth_and_boxes_say_the_same(augment):
    """Where a camera counts nothing is scaled: depths stay as measured, and so do focal lengths."""
    boxes = Detection3D(most=(1, 1))
    label = {**boxes.no_label(40, 50), "camera": np.diag([30, 30, 1]).astype("float32")}
    label |= {"classes": np.zeros(1, "int32"), "places": np.array([[25, 20, 6]], "float32")}
    label |= {"boxes": np.array([[20, 15, 30, 25]], "float32")}
    stored = {"depth": np.full((40, 50), 6.0, "float32"), boxes.name: label}
    image, corners = np.full((40, 50, 3), 7, "uint8"), set()
    for k in range(8):
        _, found = augment(image, stored, (5, k), (32, 40), [DepthEstimation(), boxes])
        assert np.unique(found["depth"]).tolist() == [6]
        moved = found[boxes.name]
        np.testing.assert_allclose(np.diag(moved["camera"]), [30, 30, 1], rtol=1e-6)
        np.testing.assert_allclose(moved["places"][0, 2], 6)
        corners.add(tuple(moved["camera"][:2, 2]))
    assert len(corners) > 4  # they are cropped, and mirrored


@FEW
@given(seeds)
def test_crops_are_varied_unless_all_draws_failed(augment, seed):
    """One class fills the picture but for a corner: most crops would be too uniform."""
    classes = np.zeros((60, 80), "uint8")
    classes[:25, :30] = 1
    classes[:3] = 255
    drawn = []
    original = transforms.too_uniform
    image = np.zeros((60, 80, 3), "uint8")
    tasks = [SemanticSegmentation(channels=3)]

    def spy(label, repeats, ignore):
        pixels = np.repeat(np.ravel(label), np.ravel(repeats))
        assert pixels.size == 20 * 24
        drawn.append(uniform(pixels, ignore))
        verdict = original(label, repeats, ignore)
        assert bool(verdict) == drawn[-1]
        return verdict

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transforms, "too_uniform", spy)
        _, labels = transforms.augment(image, {"semseg": classes}, tasks, (20, 24), seed)
    assert drawn and all(drawn[:-1])  # drawn again only while too uniform
    if uniform(labels["semseg"].numpy(), 255):
        assert len(drawn) == 10 and drawn[-1]


def uniform(classes, ignore):
    counts = np.bincount(classes[classes != ignore], minlength=1)
    return (counts > 0).sum() < 2 or counts.max() > 0.75 * counts.sum()


def test_redrawing_finds_the_varied_part(augment):
    classes = np.zeros((60, 80), "uint8")
    classes[:, :20] = np.arange(60)[:, None] % 3
    image = np.zeros((60, 80, 3), "uint8")

    def share(tasks, name):
        found = [
            uniform(augment(image, {name: classes}, (1, k), (16, 16), tasks)[1][name], 255)
            for k in range(40)
        ]
        return np.mean(found)

    assert share(nyud("semseg"), "semseg") < 0.2
    assert share(pascal_context("human_parts"), "human_parts") > 0.5  # parts do not count


def test_no_class_to_vary(augment):
    image, labels = example(1, 60, 80)
    labels["semseg"][:] = 255
    _, found = augment(image, labels, (0, 1), (16, 16))
    assert (found["semseg"] == 255).all() and (found["depth"] > 0).any()


# === Mirroring ===


@FEW
@given(seeds)
def test_what_mirrored_labels_say(seed):
    _, labels = example(seed[0])
    planes = transforms.prepare_labels(labels, TASKS)

    def said(mirrored):
        adjustment = Adjustment(tf.constant(1.6), tf.constant(mirrored))
        return transforms.finish_labels(planes, adjustment, TASKS)

    plain, mirrored = said(False), said(True)
    for task in TASKS:
        label = mirrored[task.name]
        np.testing.assert_array_equal(label, task.flipped_label(plain[task.name].numpy()))
        np.testing.assert_array_equal(task.flipped_label(label), plain[task.name])


def test_image_and_labels_are_mirrored_together(augment, monkeypatch):
    """From right to left or not; never the image one way and a label the other."""
    undistorted(monkeypatch)
    column = np.arange(1, 41) * np.ones((30, 1))
    image = np.repeat(column[..., None], 3, -1).astype("uint8")
    names = [task.name for task in TASKS if task.label_channels != 3]
    labels = dict.fromkeys(names, column.astype("uint8"))
    ways = []
    for k in range(20):
        found, places = augment(image, labels, (7, k), (24, 32), nyud(*names))
        row = np.abs(found[12, :, 0] - IMAGE_MEAN[0]) > 1e-3
        steps = [np.diff(x[12].ravel()[row]) for x in (found[..., 0], *places.values())]
        ways += [{bool((each >= 0).all()) - bool((each <= 0).all()) for each in steps}]
    assert all(len(each) == 1 for each in ways) and {-1, 1} == set.union(*ways)


def labels_of(labels):
    return {name: tf.constant(label) for name, label in labels.items()}


def test_a_wall_is_mirrored_with_its_normals(augment, monkeypatch):
    """A wall on the left faces right (x > 0), one on the right left; so it stays."""
    undistorted(monkeypatch)
    image = np.zeros((30, 40, 3), "uint8")
    image[:, :20] = 200
    normals = np.full((30, 40, 3), 128, "uint8")
    normals[:, :20, 0], normals[:, 20:, 0] = 255, 0
    tasks, sides = nyud("normals"), set()
    for k in range(20):
        found, labels = augment(image, {"normals": normals}, (2, k), (24, 32), tasks)
        bright, dark = found[..., 0] > 190, (found < 10).all(-1)
        if not bright.any() or not dark.any():
            continue  # the crop shows one wall only
        x = labels["normals"][..., 0]
        left = np.argwhere(bright)[:, 1].mean() < np.argwhere(dark)[:, 1].mean()
        sides.add(bool(left))
        assert (x[bright] * (1 if left else -1) > 0.9).all()
        assert (x[dark] * (1 if left else -1) < -0.9).all()
    assert sides == {True, False}


@pytest.mark.parametrize("how", ["named", "given", "none", "never"])
def test_left_and_right_change_places(augment, monkeypatch, how):
    """The arm on the image's right is the left one, mirrored or not, if its class says so."""
    undistorted(monkeypatch)
    pairs = {"given": [(1, 0)], "none": []}.get(how)
    names = ["arm", "other arm"] if how == "given" else ["left arm", "right arm"]
    task = HumanParts(how, channels=2, labels=names, mirrored_pairs=pairs)
    task = HumanParts.from_config(task.get_config())
    column = np.tile(np.arange(40), (30, 1))
    image = np.stack([6 * column, 0 * column, 0 * column], -1).astype("uint8")
    arms, mirrored = np.where(column < 20, 1, 0).astype("uint8"), 0
    for k in range(72):
        found, labels = augment(image, {how: arms}, (3, k), (24, 32), [task], how != "never")
        place, label = found[..., 0] / 6, labels[how]
        labelled = label != 255
        turned = np.diff(place[12][labelled[12]]).mean() < 0
        mirrored += turned
        expected = np.where(place < 20, 1, 0) ^ (turned and how != "none")
        clear = labelled & (np.abs(place - 19.5) > 1)
        np.testing.assert_array_equal(label[clear], expected[clear])
    assert mirrored == 0 if how == "never" else 24 < mirrored < 48


# === Padding and labels ===


@FEW
@given(seeds, st.integers(0, 5))
def test_labels_are_valid_and_none_is_made_up(augment, seed, number):
    image, labels = example(number)
    found, found_labels = augment(image, labels, seed, (40, 44))
    assert found.dtype == "float32" and found.shape == (40, 44, 3)
    assert found.min() >= 0 and found.max() <= 255
    mean = np.isclose(found, IMAGE_MEAN, atol=1e-4).all(-1)
    labelled = {}
    for task in TASKS:
        label = found_labels[task.name]
        assert label.dtype == task.label_dtype and label.shape == task.label_shape(40, 44)
        task.check_labels(label[None], 40, 44)
        labelled[task.name] = ~(label.reshape(40, 44, -1) == task.ignore).all(-1)
        assert not (labelled[task.name] & mean).any()  # padding says nothing
    for name in labelled:  # they lacked the same pixels, and still do
        np.testing.assert_array_equal(labelled[name], labelled["semseg"])
    values = set(np.unique(found_labels["semseg"])) - {255}
    assert values <= set(np.unique(labels["semseg"]))


@pytest.mark.parametrize("kind", ["bool", "int8", "uint16", "float32"])
def test_numbers_that_cannot_say_no_label(augment, kind):
    image, label = np.zeros((20, 30, 3), "uint8"), np.ones((20, 30), kind)
    for found in (
        augment(image, {"edge": label}, (0, 1), (64, 64), nyud("edge"))[1]["edge"],
        transforms.centred(image, {"edge": label}, nyud("edge"), (64, 64))[1]["edge"],
    ):
        assert set(np.unique(found)) == {1, 255}


@FEW
@given(sizes, sizes)
def test_centred(size, target):
    image, labels = example(2, *size)
    found, found_labels = as_numpy(
        transforms.centred(tf.constant(image), labels_of(labels), TASKS, target)
    )
    expected = np.tile(np.float32(IMAGE_MEAN), (*target, 1))
    classes = np.full(target, 255)
    here, there = [], []
    for n, m in zip(size, target, strict=True):
        k = min(n, m)
        here.append(slice((m - k) // 2, (m - k) // 2 + k))
        there.append(slice((n - k) // 2, (n - k) // 2 + k))
    expected[tuple(here)], classes[tuple(here)] = (
        image[tuple(there)],
        labels["semseg"][tuple(there)],
    )
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found_labels["semseg"], classes)
    for task in TASKS:
        task.check_labels(found_labels[task.name][None], *target)


def test_normals_in_8_bit():
    colors = colours_of_normals(np.random.default_rng(0), 6, 7)
    greys = [[127, 127, 127], [128, 128, 128], [127, 128, 127], [128, 128, 127], [120, 120, 140]]
    colors[0] = [[0, 0, 0], [150, 128, 100], *greys]
    vectors = 2 * colors.astype(float) / 255 - 1
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors[0] = 0  # black, grey, and what is about grey
    np.testing.assert_allclose(unit_vectors(colors), vectors, atol=1e-5)


def test_float_normals_stay():
    normals = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")
    found = nyud("normals")[0].unpack(tf.constant(normals))
    np.testing.assert_array_equal(found, normals)


@pytest.mark.parametrize("task", [*nyud(), *pascal_context()], ids=lambda task: task.name)
def test_task_methods_take_numpy_and_tensorflow(task):
    label = np.random.default_rng(0).uniform(0, 1, task.label_shape(3, 4)).astype(task.label_dtype)
    for method in (lambda x: task.scaled_label(x, 1.6), task.flipped_label):
        found = method(tf.constant(label))
        assert found.dtype == task.label_dtype
        np.testing.assert_array_equal(found, method(label))
        nothing = task.no_label(3, 4)
        np.testing.assert_array_equal(method(nothing), nothing)


# === Which labels are kept ===


@FEW
@given(st.integers(1, 4), seeds)
def test_keep_some(count, seed):
    _, labels = example(0)
    kept = transforms.keep_some(labels, TASKS, count, seed)
    full = []
    for task in TASKS:
        if np.array_equal(kept[task.name], labels[task.name]):
            full.append(task.name)
        else:
            assert (kept[task.name].numpy() == task.ignore).all()
    assert len(full) == count


def test_every_task_is_kept_equally_often():
    _, labels = example(0, 2, 2)
    run = tf.function(lambda seed: transforms.keep_some(labels, TASKS, 1, seed))
    kept = [run(tf.constant([0, k])) for k in range(200)]
    for name in labels:
        times = sum(np.array_equal(each[name], labels[name]) for each in kept)
        assert 25 <= times <= 80, (name, times)


# === Seeds ===


def test_a_seed_settles_everything(augment):
    image, labels = example(0, 40, 50)
    first, second = augment(image, labels, (0, 1)), augment(image, labels, (0, 1))
    for a, b in zip(tf.nest.flatten(first), tf.nest.flatten(second), strict=True):
        np.testing.assert_array_equal(a, b)
    others = [augment(image, labels, seed)[0] for seed in ((0, 2), (1, 1))]
    assert all(not np.array_equal(first[0], other) for other in others)
