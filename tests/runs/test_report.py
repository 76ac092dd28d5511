"""What a run says at its end."""

import numpy as np
import pytest

from keras_mtl import tasks
from keras_mtl.runs.report import constant_scores

tf = pytest.importorskip("tensorflow")


@pytest.mark.once("torch", "a guess knows no backend")
def test_the_floor_takes_one_pass_and_few_labels():
    class Counting(tasks.DepthEstimation):
        def constant(self, labels):
            assert len(labels) == 200
            return super().constant(labels)

    depth, edge = np.full((300, 1, 1, 1), 2.0, "float32"), np.ones((300, 1, 1, 1), "float32")
    labels = {"depth": depth, "edge": edge}
    batches = tf.data.Dataset.from_tensor_slices((np.zeros((300, 1, 1, 3)), labels)).batch(150)
    once_only = iter(batches.map(lambda x, y: (x, {**y, "depth": y["depth"] + 1})))
    both = [Counting(), tasks.BoundaryDetection()]
    scores = constant_scores(both, batches, once_only)
    assert scores == {
        "depth": pytest.approx(1.0),
        "edge": 100.0,
    }  # boundaries everywhere, as labelled
