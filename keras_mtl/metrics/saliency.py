"""Maximal F-measure of saliency over the whole dataset."""

from typing import Any

import keras
from keras import ops

from keras_mtl.losses.maps import NO_LABEL, Tensor, check_maps, labelled_binary
from keras_mtl.metrics.accumulate import DatasetMetric, count_per_bin, count_up, read_counter

_LEVELS = 20  # thresholds 1/20 .. 19/20
_BETA_SQUARED = 0.3


@keras.saving.register_keras_serializable(package="keras_mtl")
class SaliencyMaxF(DatasetMetric):
    """Best F-measure of saliency over 19 thresholds, in percent, beta^2 = 0.3.

    Precision and recall are those of the whole dataset at the thresholds 0.05, 0.10 .. 0.95 on
    the softmax probability of class 1 (a pixel on the threshold is salient). Called with labels
    `(B, H, W)` in {0, 1}, `ignore` where there is no label, and logits `(B, H, W, 2)`.

    Args:
        protocol: `None`, or `"taskprompter"` for the published TaskPrompter evaluation, which
            puts a sigmoid on top of the probability, so that all values lie in 0.5 .. 0.73 and
            only the thresholds 0.55 .. 0.70 differ in anything. For comparison with its figures.
        ignore: int, the label that means "no label here".
        name: string, as it appears in the logs of `fit`.
        dtype: optional dtype of the metric.

    Example:

    >>> metric = SaliencyMaxF()
    >>> metric.update_state([[[1, 0, 255]]], [[[[0.0, 2.0], [0.0, 1.0], [0.0, 9.0]]]])
    >>> round(float(metric.result()), 4)
    100.0

    Source: Achanta et al., Frequency-tuned Salient Region Detection, CVPR 2009; thresholds of
    Ye and Xu, TaskPrompter, ICLR 2023.
    """

    higher_is_better = True

    def __init__(
        self,
        protocol: str | None = None,
        name: str = "maxF",
        dtype: str | None = None,
        ignore: int = NO_LABEL,
    ):
        if protocol not in (None, "taskprompter"):
            raise ValueError(
                f"SaliencyMaxF received protocol={protocol!r}: it must be None or 'taskprompter'."
            )
        super().__init__(name=name, dtype=dtype)
        self.protocol = protocol
        self.ignore = ignore
        self.counts = self.add_counter(2 * _LEVELS, name="counts")

    def accumulate(self, y_true: Tensor, y_pred: Tensor) -> None:
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        check_maps("maxF", y_true, y_pred, "(B, H, W)", "(B, H, W, 2)")
        probability = ops.sigmoid(y_pred[..., 1] - y_pred[..., 0])  # softmax of two classes
        if self.protocol == "taskprompter":
            probability = ops.sigmoid(probability)
        # Sorting each pixel by the thresholds it reaches once replaces a pass per threshold.
        level = ops.minimum(ops.cast(probability * _LEVELS, "int32"), _LEVELS - 1)
        label = ops.cast(y_true == 1, "int32")
        labelled = labelled_binary(y_true, self.ignore)
        counts = count_per_bin(label * _LEVELS + level, labelled, 2 * _LEVELS)
        count_up(self.counts, counts)

    def result(self) -> Tensor:
        negative, positive = ops.split(read_counter(self.counts), 2)
        found = count_from_level(positive)
        predicted = found + count_from_level(negative)
        # F = (1 + b) P R / (b P + R) with P = found / predicted, R = found / all positives.
        denominator = _BETA_SQUARED * ops.sum(positive) + predicted
        f = (1.0 + _BETA_SQUARED) * found / ops.maximum(denominator, _BETA_SQUARED)
        return 100.0 * ops.max(f)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "protocol": self.protocol, "ignore": self.ignore}


def count_from_level(per_level: Tensor) -> Tensor:
    """Counts at each level `(n,)` to counts at thresholds 1 .. n - 1: pixels that reach them.

    Example:

    >>> [int(n) for n in count_from_level(keras.ops.convert_to_tensor([5, 2, 1]))]
    [3, 1]
    """
    return ops.flip(ops.cumsum(ops.flip(per_level)))[1:]
