"""The scores of boundaries over a dataset: odsF, OIS, AP and the curve they are read from."""

from typing import NamedTuple

import numpy as np

from keras_mtl.metrics.odsf.image import THRESHOLDS, Counts


class Curve(NamedTuple):
    """Precision, recall and F in percent, each `(T,)`, at each threshold."""

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    F: np.ndarray


class BoundaryScores:
    """odsF, OIS and AP over a dataset, in percent, higher is better.

    It keeps sums only, the same few numbers after one image and after thousands: for each threshold
    the predicted pixels and how many are right, the labelled pixels and how many are found, and for
    OIS the same of each image at its own best threshold.

    Args:
        thresholds: those that the images were evaluated at, from 0 to 1.

    Attributes:
        images: how many were added.

    Raises:
        ValueError: if there is none, or one is no probability.

    Example:

    >>> scores = BoundaryScores(thresholds=[0.2, 0.5])
    >>> scores.add(Counts(np.array([6, 4]), np.array([10, 5]), labelled=10))
    >>> scores.add(Counts(np.array([2, 3]), np.array([10, 5]), labelled=10))
    >>> round(scores.odsF, 4), scores.best_threshold, round(scores.OIS, 4)
    (46.6667, 0.5, 51.4286)
    """

    def __init__(self, thresholds: np.ndarray = THRESHOLDS):
        try:
            self.thresholds = np.asarray(thresholds, "float32")
        except (TypeError, ValueError):  # no numbers
            self.thresholds = np.empty(0, "float32")
        shares = (self.thresholds >= 0) & (self.thresholds <= 1)
        if self.thresholds.ndim != 1 or not self.thresholds.size or not shares.all():
            raise ValueError(
                f"thresholds is {thresholds!r}; expected probabilities, such as "
                "keras_mtl.evaluation.FAST_THRESHOLDS."
            )
        self.images = 0
        self._matched = np.zeros(len(self.thresholds), "int64")
        self._predicted = np.zeros(len(self.thresholds), "int64")
        self._found = np.zeros(len(self.thresholds), "int64")
        self._labelled = 0
        self._best_matched = self._best_predicted = self._best_found = 0

    def add(self, counts: Counts) -> None:
        """Adds one image.

        Args:
            counts: what `evaluate_image` returned.

        Raises:
            ValueError: if the counts are not for these thresholds.
        """
        matched, predicted = np.asarray(counts.matched), np.asarray(counts.predicted)
        found = matched if counts.found is None else np.asarray(counts.found)
        if not matched.shape == predicted.shape == found.shape == self.thresholds.shape:
            raise ValueError(
                f"The counts are for {len(matched)} thresholds, expected {len(self.thresholds)}."
            )
        self._matched += matched
        self._predicted += predicted
        self._found += found
        self._labelled += int(counts.labelled)
        # Of several best thresholds the first, as in the reference: where nothing matches at all
        # (an image without a boundary), all that is predicted counts as wrong.
        best = np.argmax(_f(matched, predicted, found, counts.labelled))
        self._best_matched += int(matched[best])
        self._best_predicted += int(predicted[best])
        self._best_found += int(found[best])
        self.images += 1

    @property
    def curve(self) -> Curve:
        """Precision, recall and F at each threshold."""
        return Curve(
            self.thresholds,
            100 * self._matched / np.maximum(self._predicted, 1),
            100 * self._found / max(self._labelled, 1),
            100 * _f(self._matched, self._predicted, self._found, self._labelled),
        )

    @property
    def odsF(self) -> float:
        """The best F that one threshold for all images reaches."""
        return float(self.curve.F.max())

    @property
    def best_threshold(self) -> float:
        """The (first) threshold of odsF."""
        return round(float(self.thresholds[self.curve.F.argmax()]), 6)

    @property
    def OIS(self) -> float:
        """F of the sums over images, each at its own best threshold."""
        best = (self._best_matched, self._best_predicted, self._best_found)
        return 100 * float(_f(*best, self._labelled))

    @property
    def AP(self) -> float:
        """Mean precision at the recalls 0, 0.01 .. 1, between measured ones on straight lines.

        It counts 0 at recalls that no threshold reaches, below the least one too, as in the
        reference. Of several precisions at one recall the best counts.
        """
        recall, precision = self.curve.recall / 100, self.curve.precision
        order = np.lexsort((-precision, recall))
        recall, first = np.unique(recall[order], return_index=True)
        wanted = np.arange(101) / 100
        return float(
            np.interp(wanted, recall, precision[order][first], left=0, right=0).sum() / 100
        )


def _f(matched, predicted, found, labelled):
    # 2PR / (P + R), with the sums put in; 0 where there is nothing.
    both = np.float64(matched) * labelled + np.float64(found) * predicted
    return 2.0 * matched * found / np.maximum(both, 1)
