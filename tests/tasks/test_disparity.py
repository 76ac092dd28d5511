"""Disparity: all labels are learned, the smaller ones scored."""

import numpy as np
import pytest
from keras import ops

from keras_mtl import tasks


def test_losses_scores_and_labels():
    (task,) = tasks.cityscapes_3d("disparity")
    rng = np.random.default_rng(0)
    label = rng.uniform(0.5, 150, (2, 6, 8, 1)).astype("float32")
    label[:, :2] = -1
    raw = rng.uniform(-10, 150, label.shape).astype("float32")
    known, scored = label > 0, (label > 0) & (label < 80)
    error = np.abs(raw - label)
    assert float(task.loss()(label, raw)) == pytest.approx(error[known].mean(), rel=1e-5)
    (rmse,) = task.metrics()
    rmse.update_state(label, raw)
    expected = np.sqrt(np.square(np.maximum(raw, 0) - label)[scored].mean())
    assert float(rmse.result()) == pytest.approx(expected, rel=1e-4)
    assert float(ops.convert_to_numpy(task.decode(raw)).min()) == 0
    assert task.scaled_label(np.array([2.0]), 1.5).tolist() == [3.0]
    task.check_labels(label, 6, 8)
    with pytest.raises(ValueError, match="hold the value nan; expected pixels from 0 on, or -1"):
        task.check_labels(np.where(label < 0, np.nan, label), 6, 8)
    picture = task.draw(label[0], None)
    assert picture.shape == (6, 8, 3) and (picture[:2] == 255).all()
    assert tasks.DisparityEstimation.from_config(task.get_config()).scored_below == 80
    with pytest.raises(ValueError, match="does not say which classes"):
        task.discretization()
