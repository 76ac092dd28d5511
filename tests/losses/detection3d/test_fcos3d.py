"""Targets and losses against loops over their equations."""

import math

import numpy as np
import pytest
from keras import ops

from keras_mtl import boxes3d
from keras_mtl.boxes3d.points import parts_of_raw, points_of
from keras_mtl.losses import FCOS3DLoss
from keras_mtl.losses.detection3d.fcos3d import loss_terms
from keras_mtl.losses.detection3d.targets import angles_of_quaternions, point_targets

CLASSES = 3
rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def given():
    """Raw outputs and labels of three images, the second without objects."""
    where = points_of([(5, 8), (3, 4)], [8, 16])
    raw = rng.normal(size=(3, len(where), CLASSES + 25)).astype("float32")
    raw[..., -5:] = where
    count = 5
    centre = rng.uniform(0, [64, 40], (3, count, 2))
    half = rng.uniform(2, 30, (3, count, 2))
    label = {
        "classes": rng.integers(0, CLASSES, (3, count)),
        "places": np.concatenate([centre, rng.uniform(5, 50, (3, count, 1))], -1),
        "sizes": rng.uniform(1, 5, (3, count, 3)),
        "angles": rng.uniform(-4, 4, (3, count, 3)),
        "boxes": np.concatenate([centre - half, centre + half], -1),
    }
    label["classes"][0, 3:] = label["classes"][1] = -1
    return raw, {
        name: x.astype("int32" if name == "classes" else "float32") for name, x in label.items()
    }


def assigned(label, where):
    """For each image and point its object, or `None`, and its distance: section 3.2's rules."""
    found = []
    for b in range(3):
        for x, y, stride, low, high in where:
            best = None
            for n, kind in enumerate(label["classes"][b]):
                u, v, _ = label["places"][b, n]
                left, top, right, bottom = label["boxes"][b, n]
                largest = max(x - left, y - top, right - x, bottom - y)
                near = abs(x - u) < 1.5 * stride and abs(y - v) < 1.5 * stride
                if kind >= 0 and near and low <= largest <= high:
                    far = math.hypot(x - u, y - v)
                    if best is None or far < best[1]:
                        best = n, far
            found.append(best)
    return found


def test_targets_against_loops(given):
    raw, label = given
    wanted = point_targets(label, parts_of_raw(ops.convert_to_tensor(raw)))
    positive, objects = (ops.convert_to_numpy(x).ravel() for x in (wanted.positive, wanted.object))
    expected = assigned(label, raw[0, :, -5:].astype("float64"))
    assert [each is not None for each in expected] == positive.tolist()
    assert 5 < positive.sum() < 50
    for found, each in zip(objects, expected, strict=True):
        assert each is None or found == each[0]
    near = ops.convert_to_numpy(wanted.centerness).ravel()
    strides = np.tile(raw[0, :, -3], 3)
    for value, each, stride in zip(near, expected, strides, strict=True):
        if each is not None:
            assert value == pytest.approx(
                math.exp(-2.5 * each[1] / (1.414 * 1.5 * stride)), rel=1e-4
            )


def smooth(difference):
    size = abs(difference)
    return 4.5 * size**2 if size < 1 / 9 else size - 1 / 18


def log_loss(target, logit):
    p = 1 / (1 + math.exp(-logit))
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


def test_losses_against_loops(given):
    raw, label = given
    points = raw.shape[1]
    expected = assigned(label, raw[0, :, -5:].astype("float64"))
    positives = sum(each is not None for each in expected)
    found = loss_terms(label, ops.convert_to_tensor(raw))
    sums = dict.fromkeys(found, 0.0)
    for number, each in enumerate(expected):
        b, row = number // points, raw[number // points, number % points].astype("float64")
        if b == 1:  # without objects: removed
            continue
        kind = -1 if each is None else label["classes"][b, each[0]]
        for k in range(CLASSES):
            p, t = 1 / (1 + math.exp(-row[k])), float(k == kind)
            alpha, wrong = (0.25, 1 - p) if t else (0.75, p)
            sums["classes"] += 5 * alpha * wrong**2 * log_loss(t, row[k]) / (positives + 2)
        if each is None:
            continue
        n, far = each
        x, y, stride = row[-5:-2]
        values, ahead, centerness = row[CLASSES : CLASSES + 13], row[-12:-6], row[-6]
        u, v, depth = label["places"][b, n]
        left, top, right, bottom = label["boxes"][b, n]
        sums["offset"] += smooth(values[0] - (x - u) / stride) + smooth(
            values[1] - (y - v) / stride
        )
        sums["depth"] += 0.2 * smooth(values[2] - depth)
        sums["size"] += sum(smooth(values[3 + k] - label["sizes"][b, n, k]) for k in range(3))
        for k, angle in enumerate(label["angles"][b, n]):
            sums["angles"] += 5 * smooth(math.sin(values[6 + k] - angle))
            half = int((angle % (2 * math.pi)) >= math.pi)
            one, other = ahead[2 * k + half], ahead[2 * k + 1 - half]
            sums["direction"] += math.log(1 + math.exp(other - one))
        sides = (x - left, y - top, right - x, bottom - y)
        sums["box"] += sum(smooth(values[9 + k] - side / stride) for k, side in enumerate(sides))
        centred = math.exp(-2.5 * far / (1.414 * 1.5 * stride))
        sums["centerness"] += log_loss(centred, centerness)
    for name, value in sums.items():
        value = value if name == "classes" else value / positives
        assert float(ops.sum(found[name])) == pytest.approx(value, rel=1e-4), name


@pytest.mark.parametrize("slots", boxes3d.ANGLES)
def test_angles_of_quaternions(slots):
    quaternions = boxes3d.unit_quaternions(rng.normal(size=(20, 4)))
    found = angles_of_quaternions(ops.convert_to_tensor(quaternions.astype("float32")), slots)
    expected = boxes3d.angles_of(boxes3d.matrix_from_quaternion(quaternions), slots)
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=1e-4)
    loss = FCOS3DLoss(slots)
    assert FCOS3DLoss.from_config(loss.get_config()).angles == slots
