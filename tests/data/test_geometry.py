"""What is done to images and labels: they stay together to the pixel, and so do points."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mtl.data import geometry
from keras_mtl.tasks import nyud
from tests.data.stored import example

pytestmark = pytest.mark.once("tensorflow", "tf.data is the same under every backend")

TASKS = nyud()
FEW = settings(max_examples=25, deadline=None)
sizes = st.tuples(st.integers(6, 40), st.integers(6, 40))


@FEW
@given(sizes, st.floats(0.5, 2), st.data())
def test_a_crop_equals_resizing_and_then_cropping(size, factor, data):
    image, labels = example(3, *size)
    scaled = geometry.scaled_size(image, tf.constant(factor, tf.float32)).numpy()
    assert (np.abs(scaled - np.array(size) * factor) <= 0.5 + 1e-4).all()
    window = [data.draw(st.integers(1, int(n))) for n in scaled]
    top, left = (data.draw(st.integers(0, int(n - w))) for n, w in zip(scaled, window, strict=True))
    corner, window = np.array([top, left], "int32"), np.array(window, "int32")
    found = geometry.resized(tf.constant(image), scaled, corner, window)
    frame = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))
    change = geometry.Change(np.array(size), scaled, corner, window, tuple(window + frame))
    planes = {task.name: task.move(task.prepare_move(labels[task.name]), change) for task in TASKS}
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


def changes(data, size):
    """A change in TensorFlow's numbers, and the same in NumPy's."""
    factor, mirrored = data.draw(st.floats(0.5, 2)), data.draw(st.booleans())
    scaled = geometry.scaled_size(np.zeros((*size, 3)), tf.constant(factor, tf.float32)).numpy()
    frame = data.draw(sizes)
    window = np.minimum(scaled, frame)
    corner = np.array([data.draw(st.integers(0, int(n))) for n in scaled - window], "int32")
    numbers = (np.array(size, "int32"), scaled, corner, window)
    tensors = (tf.constant(x) for x in numbers)
    return (
        geometry.Change(*tensors, frame, tf.constant(factor, tf.float32), tf.constant(mirrored)),
        geometry.Change(*numbers, frame, np.float32(factor), mirrored),
    )


@FEW
@given(sizes, st.data())
def test_points_move_with_the_pixels(size, data):
    """A map that holds each pixel's own place says where its points have come to lie."""
    tensors, numbers = changes(data, size)
    rows, columns = np.mgrid[: size[0], : size[1]].astype("float32") + 1
    planes = np.stack([np.pad(each.T, (0, 1)) for each in (columns, rows)])  # 0: no label
    x, y = tensors.resample(tf.constant(planes)).numpy()
    inside = np.argwhere(x > 0)
    # The pixel whose square holds the centre of the new one: within half of it.
    seen = np.stack([x[x > 0] - 0.5, y[x > 0] - 0.5], -1)
    moved = numbers.points(seen.astype("float32"))
    gain = np.abs(numbers.scaled / numbers.source)[::-1]
    assert (np.abs(moved - (inside[:, ::-1] + 0.5)) <= gain / 2 + 1e-3).all()
    np.testing.assert_allclose(tensors.points(tf.constant(seen, tf.float32)), moved, atol=1e-3)


@FEW
@given(sizes, st.data())
def test_cameras_move_with_the_points(size, data):
    tensors, numbers = changes(data, size)
    matrix = np.array([[30, 0, size[1] / 2], [0, 32, size[0] / 2], [0, 0, 1]], "float32")
    scene = np.random.default_rng(0).uniform([-2, -2, 3], [2, 2, 9], (5, 3)).astype("float32")

    def seen(points, camera):
        projected = points @ np.asarray(camera).T
        return projected[:, :2] / projected[:, 2:]

    camera = numbers.camera(matrix)
    assert camera[0, 0] > 0 and camera[1, 1] > 0
    mirrored = scene * np.array([-1 if numbers.mirrored else 1, 1, 1], "float32")
    np.testing.assert_allclose(
        seen(mirrored, camera), numbers.points(seen(scene, matrix)), rtol=1e-4, atol=1e-3
    )
    np.testing.assert_allclose(tensors.camera(tf.constant(matrix)), camera, rtol=1e-5, atol=1e-4)
