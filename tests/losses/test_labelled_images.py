"""A mean over the images that a task knows."""

import numpy as np
import pytest
from keras import ops

from keras_mtl.losses import LabelledImagesMean
from keras_mtl.tasks import DepthEstimation, SemanticSegmentation


@pytest.mark.parametrize("weights", [None, [1.0, 5.0, 3.0]])
def test_images_without_a_label_are_left_out(weights):
    labels = np.full((3, 2, 2), 255)
    labels[0, 1, 0] = 1
    labels[2] = 0
    loss = LabelledImagesMean(SemanticSegmentation(channels=3))
    values, weight = np.array([2.0, 50.0, 4.0], "float32"), weights and np.array(weights, "float32")
    found = loss(labels, values, weight)
    wanted = (2 * 1 + 4 * 3) / 2 if weights else 3
    assert float(ops.convert_to_numpy(found)) == pytest.approx(wanted)


def test_none_labelled():
    labels = np.zeros((2, 3, 4, 1), "float32")
    labels[0, 0, 0] = np.nan
    loss = LabelledImagesMean(DepthEstimation())
    assert float(ops.convert_to_numpy(loss(labels, np.ones(2, "float32")))) == 0
