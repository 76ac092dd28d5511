"""What a run says at its end."""

import numpy as np
import pytest

from keras_mtl import tasks
from keras_mtl.runs.report import best_guesses

tf = pytest.importorskip("tensorflow")


@pytest.mark.once("torch", "a guess knows no backend")
def test_the_floor_takes_one_pass_and_few_labels():
    class Counting(tasks.DepthEstimation):
        def constants(self, labels):
            assert len(labels) == 200
            return super().constants(labels)

    depth, edge = np.full((300, 1, 1, 1), 2.0, "float32"), np.ones((300, 1, 1, 1), "float32")
    labels = {"depth": depth, "edge": edge}
    batches = tf.data.Dataset.from_tensor_slices((np.zeros((300, 1, 1, 3)), labels)).batch(150)
    once_only = iter(batches.map(lambda x, y: (x, {**y, "depth": y["depth"] + 1})))
    both = [Counting(), tasks.BoundaryDetection()]
    scores = best_guesses(both, batches, once_only)
    assert scores == {
        "depth": ("2.00 m", pytest.approx(1.0)),
        "edge": ("everywhere", 100.0),
    }  # as labelled


@pytest.mark.once("torch", "a guess knows no backend")
def test_of_boundaries_the_best_of_three_guesses_is_taken():
    """A thin cross that pixels far from each other meet, and next to nothing else."""
    edge = np.zeros((2, 15, 15, 1), "float32")
    edge[:, 7], edge[:, :, 7] = 1, 1
    far = edge.copy()
    far[:, :5, :5] = far[:, 10:, 10:] = 255  # not labelled
    images = np.zeros((2, 15, 15, 3))
    for label in (edge, far):
        batches = tf.data.Dataset.from_tensor_slices((images, {"edge": label})).batch(2)
        task = tasks.BoundaryDetection()
        words, score = best_guesses([task], batches, batches)["edge"]
        scores = {}
        for name, guess in task.constants(label).items():
            metric = task.metrics()[0]
            metric.update_state(label, np.broadcast_to(guess, label.shape).copy())
            scores[name] = float(metric.result())
        assert score == max(scores.values()) and words == max(scores, key=scores.get)
        assert scores["nowhere"] == 0 < scores["thinned everywhere"]
