import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mtl.metrics import MeanIoU
from keras_mtl.metrics.segmentation import confusion_matrix


def reference(label, prediction, num_classes):
    label, prediction = label.ravel(), prediction.argmax(-1).ravel()
    prediction = prediction[label != 255]
    label = label[label != 255]
    ious = []
    for c in range(num_classes):
        union = np.sum((label == c) | (prediction == c))
        ious.append(np.sum((label == c) & (prediction == c)) / union if union else 0.0)
    return 100 * np.array(ious)


@given(
    seed=st.integers(0, 2**31),
    unlabelled=st.sampled_from([0.0, 0.4, 1.0]),
    classes_present=st.integers(1, 6),
)
@settings(max_examples=20, deadline=None, derandomize=True)
def test_equals_the_definition(seed, unlabelled, classes_present):
    rng = np.random.default_rng(seed)
    metric = MeanIoU(num_classes=6)
    labels, predictions = [], []
    for _ in range(2):
        label = rng.integers(0, classes_present, (2, 5, 7))
        label = np.where(rng.random(label.shape) < unlabelled, 255, label).astype("int32")
        prediction = rng.normal(size=(2, 5, 7, 6)).astype("float32")
        metric.update_state(label, prediction)
        labels.append(label)
        predictions.append(prediction)
    expected = reference(np.stack(labels), np.stack(predictions), 6)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(metric.class_iou()), expected, rtol=1e-6)
    np.testing.assert_allclose(float(metric.result()), expected.mean(), rtol=1e-6)
    assert 0 <= float(metric.result()) <= 100


@pytest.mark.parametrize(
    "task, num_classes, key",
    [
        ("semseg", 21, "semseg_pascal"),
        ("semseg40", 40, "semseg_nyud"),
        ("human_parts", 7, "human_parts"),
    ],
)
def test_golden(golden, task, num_classes, key):
    values = golden("golden_losses_metrics")
    metric = MeanIoU(num_classes)
    label = values[f"label/{task}"][:, 0].astype("int32")
    for prediction in ("pred", "pred2"):
        metric.update_state(label, np.moveaxis(values[f"{prediction}/{task}"], 1, -1))
    np.testing.assert_allclose(float(metric.result()), values[f"metric/{key}/mIoU"], rtol=1e-5)


def test_a_class_that_never_occurs_counts_as_zero():
    label = np.zeros((1, 4, 4), "int32")
    prediction = np.eye(4, dtype="float32")[label]
    metric = MeanIoU(4)
    assert float(metric(label, prediction)) == 25.0
    assert float(metric.of_occurring()) == 100.0
    metric.update_state(label, np.eye(4, dtype="float32")[label + 1])  # as often another class
    assert float(metric.of_occurring()) == 25.0  # of one half and none
    assert float(MeanIoU(4).of_occurring()) == 0.0


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32"])
def test_labels_of_any_dtype(dtype):
    label = np.array([[[0, 1, 39, 255]]]).astype(dtype)
    prediction = np.eye(40, dtype="float32")[[[[0, 1, 38, 3]]]]
    counts = keras.ops.convert_to_numpy(confusion_matrix(label, prediction, 40))
    assert counts.dtype == np.int32
    assert counts.sum() == 3 and counts[0, 0] == counts[1, 1] == counts[39, 38] == 1


def test_ids_that_are_no_class_take_no_part():
    label = np.array([[[0, -1, 2, 100, 254]]], "int32")
    prediction = np.eye(2, dtype="float32")[[[[0, 1, 1, 1, 1]]]]
    counts = keras.ops.convert_to_numpy(confusion_matrix(label, prediction, 2, ignore=254))
    np.testing.assert_array_equal(counts, [[1, 0], [0, 0]])


def test_wrong_number_of_channels_is_named():
    with pytest.raises(ValueError, match=r"\(B, H, W, 3\)"):
        MeanIoU(3)(np.zeros((1, 2, 2), "int32"), np.zeros((1, 2, 2, 4), "float32"))
