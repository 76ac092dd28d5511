import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mtl.metrics import SaliencyMaxF


def reference(label, logits, extra_sigmoid=False):
    logits = logits.astype("float64")
    probability = 1 / (1 + np.exp(logits[..., 0] - logits[..., 1]))
    if extra_sigmoid:
        probability = 1 / (1 + np.exp(-probability))
    probability, label = probability[label != 255], label[label != 255]
    best = 0.0
    for threshold in np.arange(1, 20) / 20:
        predicted = probability >= threshold
        tp = np.sum(predicted & (label == 1))
        if tp:
            precision, recall = tp / predicted.sum(), tp / (label == 1).sum()
            best = max(best, 1.3 * precision * recall / (0.3 * precision + recall))
    return 100 * best


@given(seed=st.integers(0, 2**31), positives=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_equals_the_definition(seed, positives):
    rng = np.random.default_rng(seed)
    label = (rng.random((2, 2, 9, 8)) < positives).astype("int32")
    # Steps of 1/8: no probability is within rounding of a threshold but 0.5, which is exact.
    logits = np.round(rng.normal(size=(*label.shape, 2)) * 8) / 8
    logits[..., 1] += 1.5 * label
    label[rng.random(label.shape) < 0.3] = 255
    logits = logits.astype("float32")
    for protocol in (None, "taskprompter"):
        metric = SaliencyMaxF(protocol=protocol)
        for batch in range(2):
            metric.update_state(label[batch], logits[batch])
        expected = reference(label, logits, extra_sigmoid=protocol is not None)
        np.testing.assert_allclose(float(metric.result()), expected, rtol=1e-5)


@pytest.mark.parametrize("protocol", [None, "taskprompter"])
def test_golden(golden, protocol):
    # The published evaluation ("metric/sal/maxF") puts a sigmoid on top of the probability; the
    # value without it, a fraction there, is "metric/atrc_sal".
    values = golden("golden_losses_metrics")
    expected = values["metric/sal/maxF"] if protocol else 100 * values["metric/atrc_sal/value"]
    metric = SaliencyMaxF(protocol=protocol)
    label = values["label/sal"][:, 0].astype("int32")
    for prediction in ("pred", "pred2"):
        metric.update_state(label, np.moveaxis(values[f"{prediction}/sal"], 1, -1))
    np.testing.assert_allclose(float(metric.result()), expected, rtol=1e-5)


def test_saturated_probabilities():
    label = np.array([[[1, 0]]], "int32")
    logits = np.array([[[[-200, 200], [200, -200]]]], "float32")
    assert float(SaliencyMaxF()(label, logits)) == 100.0


def test_unknown_protocol_is_named():
    with pytest.raises(ValueError, match="protocol='other'"):
        SaliencyMaxF(protocol="other")
