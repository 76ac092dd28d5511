import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mtl import losses, metrics
from keras_mtl.losses import (
    BoundaryLoss,
    DepthLoss,
    NormalsLoss,
    SaliencyLoss,
    SegmentationLoss,
)

B, H, W = 2, 6, 7


LOSSES = {
    "semseg": SegmentationLoss,
    "semseg40": SegmentationLoss,
    "human_parts": SegmentationLoss,
    "depth": DepthLoss,
    "normals": NormalsLoss,
    "sal": SaliencyLoss,
    "edge": BoundaryLoss,
}
METRICS = {
    "semseg": [metrics.MeanIoU(5)],
    "depth": [metrics.DepthRMSE(), metrics.DepthAbsRel()],
    "normals": [metrics.NormalsMeanError(), metrics.NormalsMedianError()],
    "sal": [metrics.SaliencyMaxF()],
    "edge": [metrics.BoundaryF()],
}
OURS = ["depth", "normals", "sal", "edge"]
GOLDEN = {"sal": "sal_balanced", "edge": "edge_posw0.95"}  # published name, where it differs


def golden_batch(values, task):
    """The golden label (channels first, no label = 255 or -1) and prediction, as ours."""
    label = np.moveaxis(values[f"label/{task}"], 1, -1)
    prediction = np.moveaxis(values[f"pred/{task}"], 1, -1)
    if task == "normals":
        label = np.where(label == 255, 0, label)
    elif task == "depth":
        label = np.where(label == -1, 0, label)
    elif task != "edge":
        label = label[..., 0].astype("int32")
    return label, prediction


def random_batch(task, seed=0, unlabelled=0.3):
    rng = np.random.default_rng(seed)
    none = rng.random((B, H, W)) < unlabelled
    channels = {"depth": 1, "normals": 3, "sal": 2, "edge": 1}.get(task, 5)
    prediction = rng.normal(size=(B, H, W, channels)).astype("float32") * 3
    if task == "depth":
        label = np.where(none, 0, rng.uniform(0.5, 9, (B, H, W)))[..., None]
    elif task == "normals":
        label = rng.normal(size=(B, H, W, 3))
        label /= np.linalg.norm(label, axis=-1, keepdims=True)
        label = np.where(none[..., None], 0, label)
    elif task == "edge":
        label = np.where(none, 255, rng.integers(0, 2, (B, H, W)))[..., None]
    else:
        classes = 2 if task == "sal" else 5
        return np.where(none, 255, rng.integers(0, classes, (B, H, W))).astype("int32"), prediction
    return label.astype("float32"), prediction


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def reference(task, label, prediction):
    """The definitions of the losses in plain float64 NumPy: loss and mask of each pixel."""
    label, x = label.astype("float64"), prediction.astype("float64")
    if task == "depth":
        return np.abs(label - x)[..., 0], label[..., 0] > 0
    if task == "normals":
        unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
        return np.abs(unit - label).sum(-1), np.linalg.norm(label, axis=-1) > 0
    if task == "edge":
        p = 1 / (1 + np.exp(-x[..., 0]))
        label = label[..., 0]
        return np.where(label == 1, -0.95 * np.log(p), -0.05 * np.log(1 - p)), label != 255
    labelled = label != 255
    index = np.where(labelled, label, 0).astype(int)
    cross_entropy = -np.take_along_axis(log_softmax(x), index[..., None], -1)[..., 0]
    if task == "sal":
        negatives = (label == 0).sum() / max(labelled.sum(), 1)
        cross_entropy = cross_entropy * np.where(label == 1, negatives, 1 - negatives)
    return cross_entropy, labelled


@pytest.mark.parametrize("task", LOSSES)
def test_value_and_gradient_are_the_published_ones(task, golden, gradient):
    values = golden("golden_losses_metrics")
    label, prediction = golden_batch(values, task)
    loss = LOSSES[task]()
    key = GOLDEN.get(task, task)
    np.testing.assert_allclose(float(loss(label, prediction)), values[f"loss/{key}"], rtol=1e-5)
    expected = np.moveaxis(values[f"loss_grad/{key}"], 1, -1)
    found = gradient(lambda x: loss(label, x), prediction)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("recipe", ["pascal", "nyud"])
def test_weighted_total_is_the_published_one(recipe, golden):
    values = golden("golden_losses_metrics")
    total = 0.0
    for weight in values[f"multitask_{recipe}_weights"]:
        task, weight = weight.split("=")
        key = "semseg40" if (recipe, task) == ("nyud", "semseg") else task
        loss = float(LOSSES[key]()(*golden_batch(values, key)))
        np.testing.assert_allclose(loss, values[f"multitask_{recipe}/{task}"], rtol=1e-5)
        total += float(weight) * loss
    np.testing.assert_allclose(total, values[f"multitask_{recipe}/total"], rtol=1e-5)


@pytest.mark.parametrize("task", LOSSES)
@given(seed=st.integers(0, 2**31), unlabelled=st.sampled_from([0.0, 0.3, 0.95]))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_loss_is_the_mean_over_labelled_pixels(task, seed, unlabelled):
    label, prediction = random_batch(task, seed, unlabelled)
    loss, labelled = reference(task, label, prediction)
    expected = loss[labelled].mean() if labelled.any() else 0.0
    np.testing.assert_allclose(float(LOSSES[task]()(label, prediction)), expected, rtol=1e-5)


@pytest.mark.parametrize("task", LOSSES)
def test_no_label_costs_exactly_nothing(task, gradient):
    label, prediction = random_batch(task, unlabelled=1.0)
    loss = LOSSES[task]()
    assert float(loss(label, prediction)) == 0.0
    assert np.all(gradient(lambda x: loss(label, x), prediction) == 0.0)


@pytest.mark.parametrize("task", LOSSES)
def test_unlabelled_pixels_have_no_gradient_and_no_influence(task, gradient):
    label, prediction = random_batch(task)
    _, labelled = reference(task, label, prediction)
    other = np.where(labelled[..., None], prediction, 7.0).astype("float32")
    loss = LOSSES[task]()
    np.testing.assert_allclose(float(loss(label, prediction)), float(loss(label, other)), rtol=1e-6)
    found = gradient(lambda x: loss(label, x), prediction)
    assert np.all(found[~labelled] == 0.0)
    assert np.all(np.any(found[labelled] != 0.0, axis=-1))


@pytest.mark.parametrize("task", OURS)
@pytest.mark.parametrize("extreme", [0.0, 1e-30, 1e4, -1e4])
def test_extreme_predictions_give_finite_losses_and_gradients(task, extreme, gradient):
    label, prediction = random_batch(task)
    prediction = np.full_like(prediction, extreme)
    prediction[..., -1] *= -1
    loss = LOSSES[task]()
    assert np.isfinite(float(loss(label, prediction)))
    assert np.all(np.isfinite(gradient(lambda x: loss(label, x), prediction)))


NO_LABELS = {  # besides the value that means so
    "semseg": [-1, 5, 254, 65535, np.nan, np.inf],
    "depth": [np.nan, np.inf, -np.inf, 655.35, -1],
    "normals": [np.nan, np.inf, 0.004],  # grey
    "sal": [np.nan, np.inf, -1, 2, 254],
    "edge": [np.nan, -np.inf, -1, 2, 254],
}


@pytest.mark.parametrize("task", NO_LABELS)
def test_what_is_no_label_counts_as_none(task, gradient):
    """Value, gradient and metrics are those of pixels without a label, on every backend."""
    label, prediction = random_batch(task, unlabelled=0)
    label, loss = label.astype("float32"), LOSSES[task]()
    none = label.copy()
    for i, value in enumerate(NO_LABELS[task]):
        label[0, 0, i], none[0, 0, i] = value, 0 if task in ("depth", "normals") else 255
    assert float(loss(label, prediction)) == pytest.approx(float(loss(none, prediction)), rel=1e-6)
    slope = gradient(lambda x: loss(label, x), prediction)
    np.testing.assert_allclose(slope, gradient(lambda x: loss(none, x), prediction), rtol=1e-5)
    assert np.isfinite(slope).all() and not slope[0, 0, : len(NO_LABELS[task])].any()
    for metric in METRICS[task]:
        found = []
        for each in (label, none):
            metric.reset_state()
            metric.update_state(each, prediction)
            found.append(float(metric.result()))
        assert found[0] == found[1] > 0, metric.name


def test_class_weights():
    label, prediction = random_batch("semseg")
    weights = [0.0, 1.0, 2.0, 0.5, 3.0]
    plain = keras.ops.convert_to_numpy(SegmentationLoss(reduction=None)(label, prediction))
    factors = np.where(label == 255, 0, np.array(weights)[np.where(label == 255, 0, label)])
    expected = (plain * factors).sum() / (label != 255).sum()
    loss = SegmentationLoss(class_weights=weights)
    assert float(loss(label, prediction)) == pytest.approx(expected, rel=1e-5)
    twin = SegmentationLoss.from_config(loss.get_config())
    assert float(twin(label, prediction)) == pytest.approx(expected, rel=1e-5)
    assert "class_weights" not in SegmentationLoss().get_config()


def test_zero_normal_prediction_has_zero_gradient_and_leaves_the_others_alone(gradient):
    label, prediction = random_batch("normals", unlabelled=0.0)
    before = gradient(lambda x: NormalsLoss()(label, x), prediction)
    prediction[0, 0, 0] = 0.0
    after = gradient(lambda x: NormalsLoss()(label, x), prediction)
    assert np.all(after[0, 0, 0] == 0.0)
    np.testing.assert_array_equal(after[1], before[1])


@pytest.mark.parametrize("task", OURS)
def test_pure_function_agrees_with_the_loss(task):
    label, prediction = random_batch(task)
    functions = {"sal": losses.saliency_loss_map, "edge": losses.boundary_loss_map}
    function = functions.get(task) or getattr(losses, f"{task}_loss_map")
    loss, labelled = function(label, prediction)
    expected, expected_labelled = reference(task, label, prediction)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(labelled), expected_labelled)
    expected = np.where(expected_labelled, expected, 0.0)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(loss), expected, rtol=1e-5, atol=1e-6)
    mean = losses.mean_over_labelled(loss, labelled)
    np.testing.assert_allclose(float(mean), float(LOSSES[task]()(label, prediction)), rtol=1e-6)


@pytest.mark.parametrize("task", OURS)
def test_reductions_and_sample_weight(task):
    label, prediction = random_batch(task)
    loss, labelled = reference(task, label, prediction)
    loss = np.where(labelled, loss, 0.0)
    make = LOSSES[task]
    found = keras.ops.convert_to_numpy(make(reduction=None)(label, prediction))
    np.testing.assert_allclose(found, loss, rtol=1e-5, atol=1e-6)
    found = float(make(reduction="sum")(label, prediction))
    np.testing.assert_allclose(found, loss.sum(), rtol=1e-5)
    weight = np.array([2.0, 0.0], "float32").reshape(2, 1, 1)
    found = float(make()(label, prediction, sample_weight=weight))
    np.testing.assert_allclose(found, 2 * loss[0].sum() / labelled.sum(), rtol=1e-5)
    found = float(make()(label, prediction, sample_weight=weight.ravel()))  # a number an image
    np.testing.assert_allclose(found, 2 * loss[0].sum() / labelled.sum(), rtol=1e-5)
    with pytest.raises(ValueError, match="mean_with_sample_weight"):
        make(reduction="mean_with_sample_weight")


@pytest.mark.parametrize("task", LOSSES)
def test_bfloat16_predictions_are_computed_in_float32(task):
    label, prediction = random_batch(task)
    prediction = keras.ops.cast(prediction, "bfloat16")
    loss = LOSSES[task]()(label, prediction)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    rounded = keras.ops.convert_to_numpy(keras.ops.cast(prediction, "float32"))
    expected, labelled = reference(task, label, rounded)
    np.testing.assert_allclose(float(loss), expected[labelled].mean(), rtol=1e-5)


@pytest.mark.parametrize(
    "loss", [DepthLoss(), NormalsLoss(), SaliencyLoss(), BoundaryLoss(0.8, reduction="sum")]
)
def test_losses_are_serializable(loss):
    config = keras.losses.serialize(loss)
    assert config["registered_name"] == f"keras_mtl>{type(loss).__name__}"
    copy = keras.losses.deserialize(config)
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()


def test_positive_weight_is_the_weight_of_boundaries():
    label, prediction = [[[[1.0], [0.0]]]], [[[[0.0], [0.0]]]]
    found = keras.ops.convert_to_numpy(BoundaryLoss(0.8, reduction=None)(label, prediction))
    np.testing.assert_allclose(found[0, 0], np.log(2) * np.array([0.8, 0.2]), rtol=1e-6)
    with pytest.raises(ValueError, match="positive_weight is 1.5"):
        BoundaryLoss(positive_weight=1.5)


@pytest.mark.parametrize("task", OURS)
def test_wrong_shapes_are_named_in_one_sentence(task):
    label, prediction = random_batch(task)
    for bad_label, bad_prediction in [
        (label[0], prediction),
        (label, prediction[..., 0]),
        (label, prediction[:, ::2]),
        (label, np.concatenate([prediction, prediction], -1)),
    ]:
        with pytest.raises(ValueError, match="expects labels of shape"):
            LOSSES[task]()(bad_label, bad_prediction)
