"""odsF, OIS and AP against plain loops and figures by hand."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="the extra `evaluation` is not installed")

from keras_mtl.metrics.odsf.image import FAST_THRESHOLDS, THRESHOLDS, Counts, evaluate_image
from keras_mtl.metrics.odsf.scores import BoundaryScores

pytestmark = pytest.mark.once("torch", "needs no backend")


def test_scores_of_several_images(scene):
    every = [evaluate_image(*scene(seed)) for seed in range(6)]
    scores = BoundaryScores()
    for counts in every:
        scores.add(counts)
    # Written out with plain loops.
    labelled = sum(c.labelled for c in every)
    curve = []
    for t in range(101):
        matched = sum(int(c.matched[t]) for c in every)
        predicted = sum(int(c.predicted[t]) for c in every)
        precision, recall = matched / max(predicted, 1), matched / labelled
        f = 2 * precision * recall / (precision + recall) if matched else 0.0
        curve.append((precision, recall, f))
    expected = np.array(curve).T * 100
    np.testing.assert_allclose(scores.curve[1:], expected)
    assert scores.odsF == pytest.approx(expected[2].max())
    assert scores.best_threshold == pytest.approx(THRESHOLDS[expected[2].argmax()])
    best = [
        max(range(101), key=lambda t, c=c: c.matched[t] / (c.predicted[t] + c.labelled))
        for c in every
    ]
    matched = sum(c.matched[t] for c, t in zip(every, best, strict=True))
    predicted = sum(c.predicted[t] for c, t in zip(every, best, strict=True))
    precision, recall = matched / predicted, matched / labelled
    assert scores.OIS == pytest.approx(200 * precision * recall / (precision + recall))
    assert scores.images == 6 and scores.OIS >= scores.odsF > 20
    assert 0 < scores.AP < 100


def test_average_precision_by_hand():
    scores = BoundaryScores(thresholds=[0.2, 0.5, 0.8])
    # Recall 0.8, 0.8, 0.4 at precision 0.4, 0.5, 1.
    scores.add(Counts(np.array([8, 8, 4]), np.array([20, 16, 4]), 10))
    recalls = np.arange(40, 81) / 100
    assert scores.AP == pytest.approx(sum(1 - (r - 0.4) * 0.5 / 0.4 for r in recalls))


def test_nothing_predicted_or_labelled(scene):
    prediction, label = scene(0)
    nothing = np.zeros_like(label)
    for first, second in ((nothing, label), (prediction, nothing), (nothing, nothing)):
        scores = BoundaryScores()
        scores.add(evaluate_image(first, second))
        assert (scores.odsF, scores.OIS, scores.AP) == (0, 0, 0)


def test_counts_for_other_thresholds(scene):
    with pytest.raises(ValueError, match="for 2 thresholds, expected 101"):
        BoundaryScores().add(evaluate_image(*scene(0), thresholds=[0.2, 0.5]))


def test_fast_thresholds_give_a_lower_bound(scene):
    few, every = BoundaryScores(FAST_THRESHOLDS), BoundaryScores()
    for seed in range(6):
        few.add(evaluate_image(*scene(seed), thresholds=FAST_THRESHOLDS))
        every.add(evaluate_image(*scene(seed)))
        at_these = np.isin(THRESHOLDS, FAST_THRESHOLDS)
        assert few.odsF == every.curve.F[at_these].max() <= every.odsF
