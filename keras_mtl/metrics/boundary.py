"""A cheap figure for boundaries to watch during training. It is not odsF."""

import functools
from typing import Any

import keras
from keras import ops

from keras_mtl.losses.maps import NO_LABEL, Tensor, check_maps, labelled_binary
from keras_mtl.metrics.accumulate import DatasetMetric, count_per_bin, count_up, read_counter
from keras_mtl.metrics.saliency import count_from_level

_LEVELS = 100  # thresholds 0.01 .. 0.99


@keras.saving.register_keras_serializable(package="keras_mtl")
class BoundaryF(DatasetMetric):
    """Best F-measure of boundaries with a tolerance in pixels, in percent. This is NOT odsF.

    Nothing is thinned and pixels are not matched one to one, so that thick boundaries cost
    little: watch it during training, and do not report it as odsF.

    At each threshold 0.01, 0.02 .. 0.99 on the probability, a predicted pixel is right if a
    labelled boundary lies within `tolerance` pixels (precision), and a labelled boundary pixel is
    found if a predicted one does (recall), counted over the whole dataset; the best F of all
    thresholds is the result. Called with labels `(B, H, W, 1)` in {0, 1} and logits
    `(B, H, W, 1)`; pixels labelled `ignore` take no part.

    Args:
        tolerance: int, pixels along each axis (a square window), at the size of the labels.
        ignore: float, the label that means "no label here".
        name: optional string, as it appears in the logs of `fit`;
            `"F_within_{tolerance}px"` by default.
        dtype: optional dtype of the metric.

    Example:

    >>> metric = BoundaryF(tolerance=1)
    >>> metric.update_state([[[[1.0], [0.0], [0.0], [0.0]]]], [[[[-9.0], [4.0], [-9.0], [3.0]]]])
    >>> round(float(metric.result()), 4)
    100.0
    >>> metric.name
    'F_within_1px'
    """

    higher_is_better = True

    def __init__(
        self,
        tolerance: int = 2,
        name: str | None = None,
        dtype: str | None = None,
        ignore: float = NO_LABEL,
    ):
        if tolerance != int(tolerance) or tolerance < 0:
            raise ValueError(
                f"BoundaryF received tolerance={tolerance}: it must be a whole number of pixels, "
                "0 or more."
            )
        super().__init__(name=name or f"F_within_{tolerance}px", dtype=dtype)
        self.tolerance = tolerance
        self.ignore = ignore
        self.wrong = self.add_counter(_LEVELS, name="wrong")
        self.right = self.add_counter(_LEVELS, name="right")
        self.found = self.add_counter(_LEVELS, name="found")

    def accumulate(self, y_true: Tensor, y_pred: Tensor) -> None:
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        check_maps("BoundaryF", y_true, y_pred, "(B, H, W, 1)", "(B, H, W, 1)")
        labelled = labelled_binary(y_true, self.ignore)
        boundary = labelled & (y_true == 1)
        probability = ops.where(labelled, ops.sigmoid(y_pred), 0.0)
        # The largest probability nearby reaches a threshold if any does: one map serves all.
        near_prediction = self._largest_nearby(probability)
        near_boundary = self._largest_nearby(ops.cast(boundary, "float32")) > 0
        right = ops.cast(near_boundary, "int32") * _LEVELS
        counts = count_per_bin(right + _level(probability), labelled, 2 * _LEVELS)
        count_up(self.wrong, counts[:_LEVELS])
        count_up(self.right, counts[_LEVELS:])
        count_up(self.found, count_per_bin(_level(near_prediction), boundary, _LEVELS))

    def _largest_nearby(self, x: Tensor) -> Tensor:
        # Along one axis, then the other: the same square window with far fewer comparisons than
        # `ops.max_pool`, which besides fails while Keras builds a model on PyTorch.
        t, (height, width) = self.tolerance, ops.shape(x)[1:3]
        x = ops.pad(x, [[0, 0], [t, t], [t, t], [0, 0]])  # with 0, the smallest value
        x = functools.reduce(ops.maximum, [x[:, i : i + height] for i in range(2 * t + 1)])
        return functools.reduce(ops.maximum, [x[:, :, i : i + width] for i in range(2 * t + 1)])

    def result(self) -> Tensor:
        found = read_counter(self.found)
        right = count_from_level(read_counter(self.right))
        predicted = right + count_from_level(read_counter(self.wrong))
        precision = right / ops.maximum(predicted, 1.0)
        recall = count_from_level(found) / ops.maximum(ops.sum(found), 1.0)
        both = precision + recall
        return 100.0 * ops.max(2.0 * precision * recall / ops.where(both > 0, both, 1.0))

    def get_config(self) -> dict[str, Any]:
        config = {"tolerance": self.tolerance, "ignore": self.ignore}
        return {**super().get_config(), **config}


def _level(probability: Tensor) -> Tensor:
    """How many of the thresholds a probability reaches."""
    return ops.minimum(ops.cast(probability * _LEVELS, "int32"), _LEVELS - 1)
