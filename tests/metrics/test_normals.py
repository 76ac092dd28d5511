import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mtl.metrics import NormalsMeanError, NormalsMedianError, NormalsWithin


def angles(label, prediction):
    label, prediction = label.astype("float64"), prediction.astype("float64")
    labelled = np.linalg.norm(label, axis=-1) > 0
    g, p = label[labelled], prediction[labelled]
    g = g / np.linalg.norm(g, axis=-1, keepdims=True)
    p = p / np.linalg.norm(p, axis=-1, keepdims=True)
    cross = np.linalg.norm(np.cross(p, g), axis=-1)
    return np.degrees(np.arctan2(cross, np.sum(p * g, axis=-1)))


def random_normals(rng, shape, spread, unlabelled=0.3):
    label = rng.normal(size=(*shape, 3))
    label /= np.linalg.norm(label, axis=-1, keepdims=True)
    prediction = (label + spread * rng.normal(size=label.shape)) * rng.uniform(0.1, 9, (*shape, 1))
    label[rng.random(shape) < unlabelled] = 0
    return label.astype("float32"), prediction.astype("float32")


@given(seed=st.integers(0, 2**31), spread=st.sampled_from([0.01, 0.3, 3.0]))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_equals_the_definition(seed, spread):
    label, prediction = random_normals(np.random.default_rng(seed), (2, 2, 9, 8), spread)
    angle = angles(label, prediction)
    expected = [np.mean(angle), *(100 * np.mean(angle < d) for d in (11.25, 22.5, 30))]
    metrics = [NormalsMeanError(), *(NormalsWithin(d) for d in (11.25, 22.5, 30))]
    for metric, value in zip(metrics, expected, strict=True):
        for batch in range(2):
            metric.update_state(label[batch], prediction[batch])
        np.testing.assert_allclose(float(metric.result()), value, rtol=1e-5, err_msg=metric.name)
    metric = NormalsMedianError()
    for batch in range(2):
        metric.update_state(label[batch], prediction[batch])
    # 0.005 is the stated resolution; the rest is float32 rounding of the angle itself.
    np.testing.assert_allclose(float(metric.result()), np.median(angle), atol=0.005 + 1e-4)


def test_golden(golden):
    values = golden("golden_losses_metrics")
    label = np.moveaxis(values["label/normals"], 1, -1)
    label = np.where(label == 255, 0, label)
    metric = NormalsMeanError()
    for prediction in ("pred", "pred2"):
        metric.update_state(label, np.moveaxis(values[f"{prediction}/normals"], 1, -1))
    np.testing.assert_allclose(float(metric.result()), values["metric/normals/mean"], rtol=1e-5)


@pytest.mark.parametrize("degrees", [0.0, 0.001, 0.1, 45, 90, 179.9, 180])
def test_known_angles(degrees):
    a = np.radians(degrees)
    label = np.array([[[[0, 0, 1]]]], "float32")
    prediction = np.array([[[[np.sin(a) * 5, 0, np.cos(a) * 5]]]], "float32")
    np.testing.assert_allclose(
        float(NormalsMeanError()(label, prediction)), degrees, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        float(NormalsMedianError()(label, prediction)), degrees, atol=0.005 + 1e-4
    )


def test_a_zero_prediction_is_ninety_degrees_off():
    label = np.array([[[[0, 0.6, 0.8]]]], "float32")
    found = float(NormalsMeanError()(label, np.zeros((1, 1, 1, 3), "float32")))
    np.testing.assert_allclose(found, 90, rtol=1e-6)


def test_median_of_an_even_number_is_between_the_middle_two():
    angle = np.radians([1.0, 10.0, 20.0, 80.0])
    prediction = np.stack([np.sin(angle), 0 * angle, np.cos(angle)], -1).astype("float32")
    label = np.broadcast_to(np.array([0, 0, 1], "float32"), (1, 1, 4, 3))
    found = float(NormalsMedianError()(label, prediction[None, None]))
    np.testing.assert_allclose(found, 15, atol=0.011)
