"""Boxes in space against loops over the equations."""

import math

import numpy as np
import pytest
from keras import ops

from keras_mtl import boxes3d, tasks
from keras_mtl.boxes3d.points import points_of, spans

pytestmark = pytest.mark.once("torch", "geometry is NumPy")

rng = np.random.default_rng(0)


def turn(axis, angle):
    """About one axis, by Rodrigues' formula."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def test_quaternions_are_turns_about_their_axis():
    for _ in range(20):
        axis, angle = rng.normal(size=3), rng.uniform(-7, 7)
        axis /= np.linalg.norm(axis)
        quaternion = np.array([math.cos(angle / 2), *(math.sin(angle / 2) * axis)])
        matrix = boxes3d.matrix_from_quaternion(3 * quaternion)
        np.testing.assert_allclose(matrix, turn(axis, angle), atol=1e-12)
        back = boxes3d.quaternion_from_matrix(matrix)
        assert back[0] >= 0
        np.testing.assert_allclose(back * np.sign(back @ quaternion), quaternion, atol=1e-12)
    for half in np.eye(4)[1:]:  # half turns, whose w is 0
        matrix = boxes3d.matrix_from_quaternion(half)
        np.testing.assert_allclose(abs(boxes3d.quaternion_from_matrix(matrix)), half, atol=1e-12)


def test_angles_are_turns_one_after_the_other():
    x, y, z = np.eye(3)
    for _ in range(10):
        roll, pitch, yaw = rng.uniform(-3, 3), rng.uniform(-1.5, 1.5), rng.uniform(-3, 3)
        matrix = turn(y, yaw) @ turn(x, pitch) @ turn(z, roll)
        np.testing.assert_allclose(boxes3d.rotation_from([roll, pitch, yaw]), matrix, atol=1e-12)
        np.testing.assert_allclose(boxes3d.angles_of(matrix), [roll, pitch, yaw], atol=1e-9)
        # Published: the quaternion read in another order, then turns about z, x and y.
        w, *xyz = boxes3d.quaternion_from_matrix(matrix)
        read = boxes3d.matrix_from_quaternion([xyz[2], w, *xyz[:2]])
        first, second, third = boxes3d.angles_of(matrix, "published")
        again = turn(z, first) @ turn(x, second) @ turn(y, third)
        np.testing.assert_allclose(again, read, atol=1e-9)
        again = boxes3d.rotation_from([first, second, third], "published")
        np.testing.assert_allclose(again, matrix, atol=1e-9)


def sampled_iou(one, other, count=400):
    """By counting points of a fine grid."""

    def inside(rectangle, points):
        x, z, across, along, angle = rectangle
        dx, dz = points[..., 0] - x, points[..., 1] - z
        # x' = x cos + z sin, z' = -x sin + z cos, turned back
        own_x = dx * math.cos(angle) - dz * math.sin(angle)
        own_z = dx * math.sin(angle) + dz * math.cos(angle)
        return (abs(own_x) <= across / 2) & (abs(own_z) <= along / 2)

    line = (np.arange(count) + 0.5) / count * 12 - 6
    points = np.stack(np.meshgrid(line, line), -1)
    a, b = inside(one, points), inside(other, points)
    return (a & b).sum() / (a | b).sum()


def test_overlap_against_counted_points():
    rectangles = np.concatenate(
        [rng.uniform(-2, 2, (8, 2)), rng.uniform(1, 4, (8, 2)), rng.uniform(-4, 4, (8, 1))], -1
    )
    found = boxes3d.rotated_iou(rectangles, rectangles)
    np.testing.assert_allclose(np.diag(found), 1.0, atol=1e-9)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    for i in range(4):
        for j in range(4, 8):
            expected = sampled_iou(rectangles[i], rectangles[j])
            assert abs(found[i, j] - expected) < 0.01
    square, inner = [0.0, 0, 4, 4, 0.2], [0.3, 0.1, 1, 2, 1.0]
    beside = [4.0, 0, 4, 4, 0.0]
    exact = boxes3d.rotated_iou([square, [0.0, 0, 4, 4, 0.0]], [inner, beside])
    assert exact[0, 0] == pytest.approx(2 / 16) and exact[1, 1] == pytest.approx(0, abs=1e-9)
    assert boxes3d.rotated_iou([[0.0, 0, 0, 4, 0]], [square])[0, 0] == 0  # of no area


def test_greedy_choice_against_a_loop():
    rectangles = np.concatenate(
        [rng.uniform(-5, 5, (40, 2)), rng.uniform(1, 4, (40, 2)), rng.uniform(-4, 4, (40, 1))], -1
    )
    scores = rng.uniform(size=40)
    overlap, kept = boxes3d.rotated_iou(rectangles, rectangles), []
    for k in np.argsort(-scores):
        if all(overlap[k, other] <= 0.3 for other in kept):
            kept.append(k)
    assert boxes3d.rotated_nms(rectangles, scores, 0.3, 40).tolist() == kept
    assert boxes3d.rotated_nms(rectangles, scores, 0.3, 5).tolist() == kept[:5]
    assert boxes3d.rotated_nms(np.zeros((0, 5)), [], 0.3, 5).shape == (0,)


def test_boxes_near_the_camera_are_cut_off():
    """Beside it, half behind: edges end a centimetre in front, and the box reaches the border."""
    camera = np.array([[100.0, 0, 50], [0, 100, 30], [0, 0, 1]])
    corners = boxes3d.box_corners([1.0, 0.5, 0.5], [4.0, 1, 1], np.eye(3))
    left, top, right, bottom = boxes3d.amodal_boxes(corners, camera, (60, 100))
    assert (right, top, bottom) == (99, 30, 59)
    assert left == pytest.approx(50 + 100 * 0.5 / 2.5)  # the corner that is farthest ahead
    ends, there = boxes3d.visible_edges(corners, camera)
    assert np.isfinite(ends[there]).all()
    with pytest.raises(ValueError, match="A box is behind the camera"):
        boxes3d.amodal_boxes(corners - [0, 0, 9], camera, (60, 100))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: boxes3d.unit_quaternions([0.0, 0, 0, 0]), "not all 0"),
        (lambda: boxes3d.unit_quaternions([[1, 0, 0, 0], [math.nan, 0, 0, 1]]), "is .nan"),
        (lambda: boxes3d.unit_quaternions([1.0, 0, 0]), "expected a quaternion"),
        (lambda: boxes3d.unit_quaternions("abcd"), "expected a quaternion"),
        (lambda: boxes3d.Sensor(np.eye(2)), "expected 3 rows of 3 finite numbers"),
        (lambda: boxes3d.Sensor(np.full((3, 3), math.nan)), "finite numbers"),
        (lambda: boxes3d.Sensor(np.diag([-1.0, 1, 1])), "focal lengths -1 and 1"),
        (lambda: boxes3d.Sensor(np.eye(3), np.ones((3, 4))), "is no rotation"),
        (lambda: boxes3d.Sensor.from_json({"fx": 1}, "a.json"), "a.json lacks fy, u0, v0, sensor"),
        (
            lambda: boxes3d.Sensor.from_json(
                {"fx": 0, "fy": 1, "u0": 0, "v0": 0, "sensor_T_ISO_8855": np.eye(3, 4)}, "a.json"
            ),
            "a.json: A camera has the focal lengths",
        ),
        (lambda: boxes3d.angles_of(np.eye(3), "publish"), "did you mean 'published'"),
    ],
)
def test_what_is_wrong_is_one_sentence(made, said):
    with pytest.raises(ValueError, match=said) as error:
        made()
    assert "\n" not in str(error.value)


def test_points_and_spans():
    strides = [8 / 0.75, 16 / 0.75, 32 / 0.75, 32 / 0.75, 64 / 0.75]
    expected = [(-1, 96), (96, 192), (192, 384), (384, 768), (768, 1e8)]
    np.testing.assert_allclose(spans(strides), expected, rtol=1e-12)
    found = points_of([(2, 3), (1, 2)], [4, 8])
    expected = [
        (j * s + s // 2, i * s + s // 2, s, *span)
        for (h, w), s, span in (((2, 3), 4, (-1, 36)), ((1, 2), 8, (36, 1e8)))
        for i in range(h)
        for j in range(w)
    ]
    np.testing.assert_array_equal(found, np.array(expected, "float32"))


def test_differences_of_points():
    """Each kind of number by itself: where points lie reaches 1e8, and says nothing of scores."""
    task = tasks.Detection3D(labels=["car", "bus"], width=8, class_branch=(8,), groups=2)
    raw = np.zeros((4, 27), "float32")
    raw[:, 4] = 20.0  # metres away
    raw[:, 8:11] = 0.5  # radians
    raw[:, 15] = 2.0  # which way the first one points
    raw[:, 22:] = points_of([(2, 2)], [8.0])
    for channel, by, expected in ((0, 0.1, 0.1), (4, 1.0, 0.05), (8, 0.3, 0.3), (22, 6.0, 0.5)):
        other = raw.copy()
        other[1, channel] += by
        errors, scale = task.difference(raw, other, decoded=False)
        np.testing.assert_allclose(errors.max() / scale, expected, rtol=1e-5)
    own = ops.convert_to_numpy(task.decode(raw))
    turned = own.copy()
    turned[2, 7] += np.pi  # of an angle that may point either way
    assert task.difference(raw, turned, decoded=True)[0].max() < 1e-6
    turned[2, 6] += np.pi  # and of the first, which may not
    errors, _ = task.difference(raw, turned, decoded=True)
    np.testing.assert_allclose(errors.max(), np.sin(0.5), rtol=1e-5)
