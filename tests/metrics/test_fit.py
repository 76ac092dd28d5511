"""All six tasks in one compiled model: losses and metrics inside the train step."""

import keras
import numpy as np
import pytest

from keras_mtl import losses, metrics

H, W = 8, 12
CHANNELS = {"semseg": 40, "human_parts": 7, "depth": 1, "normals": 3, "sal": 2, "edge": 1}


def tasks():
    segmentation = {"from_logits": True, "ignore_class": 255}
    loss = {
        "semseg": keras.losses.SparseCategoricalCrossentropy(**segmentation),
        "human_parts": keras.losses.SparseCategoricalCrossentropy(**segmentation),
        "depth": losses.DepthLoss(),
        "normals": losses.NormalsLoss(),
        "sal": losses.SaliencyLoss(),
        "edge": losses.BoundaryLoss(),
    }
    metric = {
        "semseg": [metrics.MeanIoU(40)],
        "human_parts": [metrics.MeanIoU(7)],
        "depth": [
            metrics.DepthRMSE(),
            metrics.DepthAbsRel(),
            metrics.DepthSqRel(),
            metrics.DepthLogRMSE(),
            metrics.DepthDelta(),
        ],
        "normals": [
            metrics.NormalsMeanError(),
            metrics.NormalsMedianError(),
            metrics.NormalsWithin(11.25),
        ],
        "sal": [metrics.SaliencyMaxF()],
        "edge": [metrics.BoundaryF()],
    }
    return loss, metric


def batches(labelled):
    """Three batches of 2 images; `labelled` says which have labels."""
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(6, H, W, 3))
    labels = {
        "semseg": rng.integers(0, 40, (6, H, W)),
        "human_parts": rng.integers(0, 7, (6, H, W)),
        "depth": rng.uniform(0.5, 9, (6, H, W, 1)),
        "normals": normals / np.linalg.norm(normals, axis=-1, keepdims=True),
        "sal": rng.integers(0, 2, (6, H, W)),
        "edge": rng.integers(0, 2, (6, H, W, 1)),
    }
    for task, label in labels.items():
        integer = task in ("semseg", "human_parts", "sal")
        none = 0 if task in ("depth", "normals") else 255
        label = label.astype("int32" if integer else "float32")
        for batch, has_labels in enumerate(labelled):
            if not has_labels:
                label[2 * batch : 2 * batch + 2] = none
        labels[task] = label
    return rng.uniform(0, 1, (6, H, W, 3)).astype("float32"), labels


def compiled_model(**how):
    image = keras.Input((H, W, 3))
    outputs = {
        task: keras.layers.Conv2D(channels, 1, name=task)(image)
        for task, channels in CHANNELS.items()
    }
    model = keras.Model(image, outputs)
    loss, metric = tasks()
    model.compile("sgd", loss=loss, metrics=metric, **how)
    return model


def test_compiled_steps_with_labels_missing(policy):
    # PyTorch has no compiled step worth the wait on a CPU; TensorFlow needs to be asked for XLA.
    model = compiled_model(jit_compile=keras.backend.backend() != "torch")
    how = {"batch_size": 2, "shuffle": False, "verbose": 0}

    # No label at all: no loss, no step, no NaN.
    before = [keras.ops.convert_to_numpy(w) for w in model.weights]
    history = model.fit(*batches((False, False, False)), **how).history
    assert {"loss", "semseg_mIoU", "depth_RMSE", "normals_mErr", "sal_maxF"} <= set(history)
    assert "edge_F_within_2px" in history
    assert all(values == [0.0] for values in history.values()), history
    for weight, now in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(weight, keras.ops.convert_to_numpy(now))

    # A batch without labels between two with: it trains.
    images, labels = batches((True, False, True))
    history = model.fit(images, labels, **how).history
    assert all(np.isfinite(values).all() for values in history.values()), history
    assert history["loss"][0] > 0 and history["depth_RMSE"][0] > 0
    now = [keras.ops.convert_to_numpy(w) for w in model.weights]
    assert any(np.any(a != b) for a, b in zip(before, now, strict=True))

    # What the compiled steps accumulate is what the metrics give by themselves. (In float32:
    # compiled bfloat16 layers round differently from one function to another.)
    if policy == "float32":
        found = model.evaluate(images, labels, batch_size=2, verbose=0, return_dict=True)
        predictions = model.predict(images, batch_size=2, verbose=0)
        for task, task_metrics in tasks()[1].items():
            for metric in task_metrics:
                value = float(metric(labels[task], predictions[task]))
                key = f"{task}_{metric.name}"
                np.testing.assert_allclose(found[key], value, rtol=1e-5, err_msg=key)


def test_compiled_model_comes_back_from_its_file(tmp_path):
    images, labels = batches((True, True, True))
    model = compiled_model(run_eagerly=True)
    before = model.evaluate(images, labels, batch_size=2, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    after = again.evaluate(images, labels, batch_size=2, verbose=0, return_dict=True)
    assert after == pytest.approx(before, rel=1e-6)
