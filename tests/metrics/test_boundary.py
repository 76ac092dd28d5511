import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mtl.metrics import BoundaryF


def nearby(mask, tolerance):
    """Pixels with a pixel of `mask` (B, H, W) in the square window around them."""
    height, width = mask.shape[1:]
    found = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            rows = slice(max(y - tolerance, 0), y + tolerance + 1)
            columns = slice(max(x - tolerance, 0), x + tolerance + 1)
            found[:, y, x] = mask[:, rows, columns].any(axis=(1, 2))
    return found


def reference(label, logits, tolerance):
    label, logits = label[..., 0], logits[..., 0].astype("float64")
    probability = 1 / (1 + np.exp(-logits))
    best = 0.0
    for threshold in np.arange(1, 100) / 100:
        predicted = (probability >= threshold) & (label != 255)
        boundary = label == 1
        right = predicted & nearby(boundary, tolerance)
        found = boundary & nearby(predicted, tolerance)
        if right.any():
            precision, recall = right.sum() / predicted.sum(), found.sum() / boundary.sum()
            best = max(best, 2 * precision * recall / (precision + recall))
    return 100 * best


@pytest.mark.parametrize("tolerance", [0, 1, 2])
@given(seed=st.integers(0, 2**31), boundaries=st.sampled_from([0.0, 0.02, 0.2]))
@settings(max_examples=5, deadline=None, derandomize=True)
def test_equals_the_definition(tolerance, seed, boundaries):
    rng = np.random.default_rng(seed)
    label = (rng.random((2, 2, 11, 13, 1)) < boundaries).astype("float32")
    # Steps of 1/8: no probability is within rounding of a threshold but 0.5, which is exact.
    logits = np.round(rng.normal(size=label.shape) * 16) / 8 + 2 * label
    label[rng.random(label.shape) < 0.2] = 255
    logits = logits.astype("float32")
    metric = BoundaryF(tolerance)
    for batch in range(2):
        metric.update_state(label[batch], logits[batch])
    expected = reference(label.reshape(4, 11, 13, 1), logits.reshape(4, 11, 13, 1), tolerance)
    np.testing.assert_allclose(float(metric.result()), expected, rtol=1e-5)


@pytest.mark.parametrize("shift, expected", [(0, 100.0), (2, 100.0), (3, 0.0)])
def test_a_shifted_line_counts_within_the_tolerance(shift, expected):
    label = np.zeros((1, 12, 12, 1), "float32")
    label[:, :, 4] = 1
    logits = np.full_like(label, -20.0)
    logits[:, :, 4 + shift] = 20.0
    assert float(BoundaryF(2)(label, logits)) == expected


def test_predictions_without_a_label_take_no_part():
    label = np.full((1, 5, 9, 1), 255, "float32")
    label[:, :, :4] = 0
    label[:, 2, 3] = 1
    logits = np.full_like(label, -20.0)
    logits[:, :, 4:] = 20.0  # nothing is labelled here: neither wrong nor a find
    metric = BoundaryF(2)
    assert float(metric(label, logits)) == 0.0
    logits[:, 2, 3] = 20.0
    metric.reset_state()
    assert float(metric(label, logits)) == 100.0


def test_name_tells_the_tolerance():
    assert BoundaryF().name == "F_within_2px"
    assert BoundaryF(3).name == "F_within_3px"
    with pytest.raises(ValueError, match="tolerance=-1"):
        BoundaryF(tolerance=-1)
