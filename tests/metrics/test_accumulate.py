"""What holds for every metric: it accumulates over the dataset, whatever the batches."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mtl import metrics
from keras_mtl.metrics.accumulate import count_per_bin, count_up, read_counter

N, H, W, CLASSES = 6, 7, 8, 5
METRICS = {
    "mIoU": ("semseg", lambda: metrics.MeanIoU(CLASSES)),
    "RMSE": ("depth", metrics.DepthRMSE),
    "abs_rel": ("depth", metrics.DepthAbsRel),
    "sq_rel": ("depth", metrics.DepthSqRel),
    "log_RMSE": ("depth", metrics.DepthLogRMSE),
    "delta_2": ("depth", lambda: metrics.DepthDelta(power=2)),
    "mErr": ("normals", metrics.NormalsMeanError),
    "median_err": ("normals", metrics.NormalsMedianError),
    "within_22.5": ("normals", lambda: metrics.NormalsWithin(22.5)),
    "maxF": ("sal", metrics.SaliencyMaxF),
    "F_within_2px": ("edge", metrics.BoundaryF),
}
each_metric = pytest.mark.parametrize("name", METRICS)


def random_images(task, seed=0, unlabelled=0.3):
    rng = np.random.default_rng(seed)
    none = rng.random((N, H, W)) < unlabelled
    channels = {"depth": 1, "normals": 3, "sal": 2, "edge": 1, "semseg": CLASSES}[task]
    prediction = rng.normal(size=(N, H, W, channels)).astype("float32") * 3
    if task == "depth":
        label = np.where(none, 0, rng.uniform(0.5, 9, (N, H, W)))[..., None]
    elif task == "normals":
        label = rng.normal(size=(N, H, W, 3))
        label /= np.linalg.norm(label, axis=-1, keepdims=True)
        label = np.where(none[..., None], 0, label)
    else:
        label = rng.integers(0, CLASSES if task == "semseg" else 2, (N, H, W))
        if task == "edge":  # few boundaries, or any prediction has one nearby
            label = rng.random((N, H, W)) < 0.02
        label = np.where(none, 255, label)
        if task != "edge":
            return label.astype("int32"), prediction
        label = label[..., None]
    return label.astype("float32"), prediction


def perfect(task, label):
    if task == "semseg":
        return np.eye(256, dtype="float32")[label][..., :CLASSES] * 9
    if task == "sal":
        return np.eye(256, dtype="float32")[label][..., :2] * 20
    if task == "edge":
        return np.where(label == 1, 20, -20).astype("float32")
    return label


@each_metric
@given(seed=st.integers(0, 2**31), order=st.permutations(range(N)))
@settings(max_examples=6, deadline=None, derandomize=True)
def test_batches_and_order_do_not_matter(name, seed, order):
    task, make = METRICS[name]
    label, prediction = random_images(task, seed)
    whole = make()
    whole.update_state(label, prediction)
    parts = make()
    for start in range(0, N, 2):
        images = list(order[start : start + 2])
        parts.update_state(label[images], prediction[images])
    np.testing.assert_allclose(float(parts.result()), float(whole.result()), rtol=1e-5)


@each_metric
def test_unlabelled_data_gives_zero_and_changes_nothing(name):
    task, make = METRICS[name]
    metric = make()
    nothing = random_images(task, unlabelled=1.0)
    metric.update_state(*nothing)
    assert float(metric.result()) == 0.0
    metric.update_state(*random_images(task, seed=1))
    before = float(metric.result())
    assert before > 0
    metric.update_state(*nothing)
    assert float(metric.result()) == before
    metric.reset_state()
    assert float(metric.result()) == 0.0


@each_metric
def test_nothing_beats_a_perfect_prediction(name):
    task, make = METRICS[name]
    label, prediction = random_images(task)
    metric = make()
    assert metric.name == name
    best = {False: 0.0, True: 1.0 if name == "delta_2" else 100.0}[metric.higher_is_better]
    # float32 normals are unit vectors to 1e-7; the median is the middle of its first bin.
    tolerance = {"mErr": 1e-4, "median_err": 0.005 + 1e-6}.get(name, 1e-5)
    value = float(metric(label, perfect(task, label)))
    assert value == pytest.approx(best, abs=tolerance)
    metric.reset_state()
    random = float(metric(label, prediction))
    assert random < value if metric.higher_is_better else random > value


@each_metric
def test_unlabelled_predictions_do_not_matter(name):
    task, make = METRICS[name]
    label, prediction = random_images(task)
    none = (label == 255) if task in ("semseg", "sal") else (label == 255).any(-1)
    if task in ("depth", "normals"):
        none = (label == 0).all(-1)
    other = np.where(none[..., None], 50.0, prediction).astype("float32")
    assert float(make()(label, prediction)) == float(make()(label, other))


@each_metric
def test_serializable(name):
    metric = METRICS[name][1]()
    config = keras.metrics.serialize(metric)
    assert config["registered_name"] == f"keras_mtl>{type(metric).__name__}"
    copy = keras.metrics.deserialize(config)
    assert type(copy) is type(metric)
    assert copy.get_config() == metric.get_config()


@each_metric
def test_sample_weight_is_refused_in_one_sentence(name):
    task, make = METRICS[name]
    with pytest.raises(ValueError, match="takes no sample_weight: mark the pixels"):
        make().update_state(*random_images(task), sample_weight=np.ones(N))


@each_metric
def test_bfloat16_predictions_are_computed_in_float32(name):
    task, make = METRICS[name]
    label, prediction = random_images(task)
    prediction = keras.ops.cast(prediction, "bfloat16")
    rounded = keras.ops.convert_to_numpy(keras.ops.cast(prediction, "float32"))
    found = make()(label, prediction)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    np.testing.assert_allclose(float(found), float(make()(label, rounded)), rtol=1e-6)


def test_counters_stay_exact_beyond_int32():
    metric = metrics.DatasetMetric(name="any")
    counter = metric.add_counter(2, name="counter")
    for _ in range(40):
        count_up(counter, keras.ops.convert_to_tensor([2**30 + 7, 3], dtype="int32"))
    high, low = keras.ops.convert_to_numpy(counter.value).astype("int64")
    np.testing.assert_array_equal(high * 2**24 + low, [40 * (2**30 + 7), 120])
    found = keras.ops.convert_to_numpy(read_counter(counter))
    np.testing.assert_allclose(found, [40 * (2**30 + 7), 120], rtol=1e-7)


@pytest.mark.parametrize("shape", [(1, 4), (3, 5, 2), (2, 3, 4, 1)])
def test_count_per_bin(shape):
    rng = np.random.default_rng(0)
    bins, counted = rng.integers(0, 4, shape), rng.random(shape) < 0.7
    found = keras.ops.convert_to_numpy(count_per_bin(bins.astype("int32"), counted, 4))
    np.testing.assert_array_equal(found, np.bincount(bins[counted], minlength=4))


@each_metric
def test_diverged_predictions_end_nothing(name):
    """The loss says that training diverged; a metric on the way there raises nothing."""
    task, make = METRICS[name]
    label, prediction = random_images(task)
    metric = make()
    metric.update_state(label, np.full_like(prediction, np.nan))
    metric.result()
