"""The augmentation against independent references in NumPy, and its laws."""

import colorsys

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mtl.images import IMAGE_MEAN
from keras_mtl.tasks import DepthEstimation, SemanticSegmentation, nyud, pascal_context

if keras.backend.backend() != "tensorflow":
    pytest.skip("tf.data is the same under every backend", allow_module_level=True)

import tensorflow as tf

from keras_mtl.data import transforms

TASKS = nyud()
FEW = settings(max_examples=25, deadline=None)
seeds = st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
sizes = st.tuples(st.integers(6, 40), st.integers(6, 40))


def example(seed, height=21, width=30):
    """An image and the labels of NYUD as they are stored, some pixels without a label."""
    rng = np.random.default_rng(seed)
    none = rng.random((height, width)) < 0.1
    labels = {
        "semseg": np.where(none, 255, rng.integers(0, 40, (height, width))).astype("uint8"),
        "depth": np.where(none, 0, rng.uniform(0.5, 9, (height, width))).astype("float32"),
        "normals": rng.integers(1, 256, (height, width, 3)).astype("uint8") * ~none[..., None],
        "edge": np.where(none, 255, rng.integers(0, 2, (height, width))).astype("uint8")[..., None],
    }
    return rng.integers(0, 256, (height, width, 3)).astype("uint8"), labels


def as_numpy(result):
    image, labels = result
    return np.array(image), {name: np.array(label) for name, label in labels.items()}


@pytest.fixture(scope="module")
def augment():
    """`augment(example, seed, size)` in a graph, as in a pipeline."""
    graphs = {}

    def run(image, labels, seed, size=(24, 32), tasks=TASKS):
        key = size, tuple(task.name for task in tasks), transforms.distorted
        if key not in graphs:
            graphs[key] = tf.function(
                lambda image, labels, seed: transforms.augment(image, labels, tasks, size, seed),
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


@FEW
@given(sizes, st.floats(0.5, 2), st.data())
def test_a_crop_equals_resizing_and_then_cropping(size, factor, data):
    image, labels = example(3, *size)
    scaled = transforms.scaled_size(image, tf.constant(factor, tf.float32)).numpy()
    assert (np.abs(scaled - np.array(size) * factor) <= 0.5 + 1e-4).all()
    window = [data.draw(st.integers(1, int(n))) for n in scaled]
    top, left = (data.draw(st.integers(0, int(n - w))) for n, w in zip(scaled, window, strict=True))
    corner, window = np.array([top, left], "int32"), np.array(window, "int32")
    found = transforms.resized(tf.constant(image), scaled, corner, window)
    rows, columns = transforms.sources(size, scaled, corner, window)
    frame = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))
    planes = transforms.framed(
        transforms.as_planes(labels, TASKS), rows, columns, tuple(window + frame)
    )
    here = slice(top, top + window[0]), slice(left, left + window[1])
    np.testing.assert_allclose(found, tf.image.resize(image, scaled)[here], atol=0.01)
    # Nearest: the pixel whose square holds the centre of the new one.
    rows = [int((2 * i + 1) * size[0] / (2 * scaled[0])) for i in range(scaled[0])]
    columns = [int((2 * j + 1) * size[1] / (2 * scaled[1])) for j in range(scaled[1])]
    before = [n // 2 for n in frame]
    inside = tuple(slice(k, k + n) for k, n in zip(before, window, strict=True))
    for task in TASKS:
        label, found = labels[task.name], np.array(planes[task.name]).transpose(1, 2, 0)
        expected = np.full((*(window + frame), task.label_channels or 1), task.ignore, label.dtype)
        expected[inside] = label.reshape(*size, -1)[rows][:, columns][here]
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == label.dtype


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
    planes = transforms.as_planes(labels, TASKS)

    def said(mirrored):
        change = {"factor": tf.constant(1.6), "mirrored": tf.constant(mirrored)}
        return transforms.said(planes, change, TASKS)

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


# === Colours ===


def hsv(change):
    """A NumPy version of a change in (hue, saturation, value), pixel by pixel."""

    def apply(image, amount):
        flat = [
            colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel), amount))
            for pixel in (image / 255).reshape(-1, 3).tolist()
        ]
        return 255 * np.array(flat).reshape(image.shape)

    return apply


REFERENCES = {
    "brightness": (lambda x, amount: np.clip(x + amount, 0, 255), -32, 32),
    "contrast": (lambda x, amount: np.clip(x * amount, 0, 255), 0.5, 1.5),
    "saturation": (hsv(lambda h, s, v, amount: (h, min(s * amount, 1), v)), 0.5, 1.5),
    "hue": (hsv(lambda h, s, v, amount: ((h + amount) % 1, s, v)), -0.1, 0.1),
}


@FEW
@given(st.sampled_from(list(REFERENCES)), st.floats(0, 1), st.integers(0, 2**31))
def test_each_distortion(name, where, seed):
    reference, low, high = REFERENCES[name]
    amount = low + where * (high - low)
    image = np.random.default_rng(seed).uniform(0, 255, (5, 7, 3)).astype("float32")
    image[0, 0], image[0, 1], image[0, 2], image[0, 3] = 0, 255, (255, 0, 0), 80
    found = getattr(transforms, name)(tf.constant(image), tf.constant(amount, tf.float32))
    np.testing.assert_allclose(found, reference(image.astype(float), amount), atol=0.02)


def test_distortions_come_as_often_as_published():
    """Which of the four were applied, and with what, from what they leave of two colours."""
    image = np.zeros((1, 2, 3), "float32")
    image[0, 0], image[0, 1] = (120, 100, 110), (90, 90, 90)
    run = tf.function(transforms.distorted)
    results = np.array([run(tf.constant(image), tf.constant([3, k])) for k in range(400)])
    assert results.min() >= 0 and results.max() <= 255
    grey = results[:, 0, 1, 0] / 90  # neither saturation nor hue changes grey
    np.testing.assert_allclose(results[:, 0, 1], results[:, 0, 1, :1].repeat(3, 1), atol=1e-3)
    assert abs((np.abs(grey - 1) < 1e-5).mean() - 1 / 4) < 0.07
    assert (
        abs(grey.min() - 0.5 * (1 - 32 / 90)) < 0.2 and abs(grey.max() - 1.5 * (1 + 32 / 90)) < 0.3
    )
    color = results[:, 0, 0]
    spread = (color.max(-1) - color.min(-1)) / color.max(-1)
    turned = (color.argmin(-1) != 1) | (
        np.abs((color[:, 2] - color[:, 1]) / np.ptp(color, axis=-1) - 0.5) > 1e-3
    )
    assert abs(turned.mean() - 1 / 2) < 0.08
    assert (np.abs(results - image).max((1, 2, 3)) < 1e-4).mean() == pytest.approx(1 / 16, abs=0.04)
    assert spread.min() > 0.05 and spread.max() < 0.45


def test_distorted_is_one_of_the_two_orders(monkeypatch):
    """All coins heads: brightness, contrast, saturation, hue; or with contrast at the end."""
    image = np.random.default_rng(0).uniform(0, 255, (4, 5, 3)).astype("float32")
    for contrast_first in (True, False):
        draws = [0.1, 0.1, 0.1, 0.1, 0.9, 0.8, 0.95, 0.2, 0.1 if contrast_first else 0.9]
        monkeypatch.setattr(
            tf.random, "stateless_uniform", lambda shape, seed, draws=draws: tf.constant(draws)
        )
        found = transforms.distorted(tf.constant(image), (0, 0))
        names = ["saturation", "hue"]
        names = ["contrast", *names] if contrast_first else [*names, "contrast"]
        amounts = {"brightness": 0.9, "contrast": 0.8, "saturation": 0.95, "hue": 0.2}
        expected = image.astype(float)
        for name in ["brightness", *names]:
            reference, low, high = REFERENCES[name]
            expected = reference(expected, low + (high - low) * amounts[name])
        np.testing.assert_allclose(found, expected, atol=0.05)


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
    colors = np.random.default_rng(0).integers(0, 256, (6, 7, 3)).astype("uint8")
    colors[0, 0] = 0
    vectors = 2 * colors.astype(float) / 255 - 1
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors[0, 0] = 0
    np.testing.assert_allclose(transforms.unit_vectors(colors), vectors, atol=1e-5)


def test_float_normals_stay():
    normals = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")
    found = transforms.finished({"normals": tf.constant(normals)}, nyud("normals"))["normals"]
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
