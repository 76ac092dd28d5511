import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mtl.metrics import DepthAbsRel, DepthDelta, DepthLogRMSE, DepthRMSE, DepthSqRel


def reference(label, prediction):
    valid = (label > 0) & (label < 80)
    y = label[valid].astype("float64")
    p = np.maximum(prediction[valid].astype("float64"), 0)
    positive = np.maximum(p, 1e-9)
    ratio = np.maximum(y / positive, positive / y)
    return {
        "RMSE": np.sqrt(np.mean((y - p) ** 2)),
        "abs_rel": np.mean(np.abs(y - p) / y),
        "sq_rel": np.mean((y - p) ** 2 / y),
        "log_RMSE": np.sqrt(np.mean((np.log(y) - np.log(positive)) ** 2)),
        "delta_1": np.mean(ratio < 1.25),
        "delta_2": np.mean(ratio < 1.25**2),
        "delta_3": np.mean(ratio < 1.25**3),
    }


def metrics():
    deltas = [DepthDelta(power) for power in (1, 2, 3)]
    return [DepthRMSE(), DepthAbsRel(), DepthSqRel(), DepthLogRMSE(), *deltas]


@given(seed=st.integers(0, 2**31), negative=st.booleans())
@settings(max_examples=10, deadline=None, derandomize=True)
def test_equals_the_definition(seed, negative):
    rng = np.random.default_rng(seed)
    label = rng.uniform(0.3, 100, (2, 2, 9, 8, 1)).astype("float32")  # some are 80 m or more
    label[rng.random(label.shape) < 0.3] = 0
    prediction = label + rng.normal(size=label.shape).astype("float32") * 20
    prediction = prediction if negative else np.abs(prediction) + 0.1
    prediction = prediction.astype("float32")
    for metric in metrics():
        for batch in range(2):
            metric.update_state(label[batch], prediction[batch])
        expected = reference(label, prediction)[metric.name]
        np.testing.assert_allclose(float(metric.result()), expected, rtol=1e-5, err_msg=metric.name)


@pytest.mark.parametrize("label_key", ["depth", "depth_zero_ignored"])
def test_golden(golden, label_key):
    values = golden("golden_losses_metrics")
    label = np.moveaxis(values[f"label/{label_key}"], 1, -1)  # -1 or 0: neither is valid
    for metric, key in zip(metrics(), ["rmse", "abs_rel", "sq_rel", "log_rmse"], strict=False):
        for prediction in ("pred", "pred2"):
            metric.update_state(label, np.moveaxis(values[f"{prediction}/depth"], 1, -1))
        expected = values[f"metric/depth/{key}"]
        np.testing.assert_allclose(float(metric.result()), expected, rtol=1e-5, err_msg=key)


def test_a_label_that_is_not_a_number_takes_no_part():
    label = np.array([[[[2.0], [np.nan]]]], "float32")
    assert float(DepthRMSE()(label, np.full((1, 1, 2, 1), 5.0, "float32"))) == 3.0


def test_a_million_pixels_keep_their_digits():
    rng = np.random.default_rng(0)
    label = rng.uniform(0.5, 10, (4, 448, 576, 1)).astype("float32")
    prediction = (label + rng.normal(size=label.shape)).astype("float32")
    expected = reference(label, prediction)
    for metric in metrics():
        for _ in range(3):
            metric.update_state(label, prediction)
        found = float(metric.result())
        np.testing.assert_allclose(found, expected[metric.name], rtol=1e-5, err_msg=metric.name)


def test_label_without_channel_is_named_instead_of_broadcast():
    with pytest.raises(ValueError, match=r"\(1, 2, 2\)"):
        DepthRMSE()(np.ones((1, 2, 2), "float32"), np.ones((1, 2, 2, 1), "float32"))
