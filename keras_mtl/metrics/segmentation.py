"""Mean intersection over union of semantic segmentation and human parts."""

from typing import Any

import keras
from keras import ops

from keras_mtl.losses.maps import NO_LABEL, Tensor, check_maps, labelled_classes
from keras_mtl.metrics.accumulate import DatasetMetric, count_per_bin, count_up, read_counter


def confusion_matrix(
    y_true: Tensor, y_pred: Tensor, num_classes: int, ignore: int = NO_LABEL
) -> Tensor:
    """Counts pixels by true class (row) and predicted class (column).

    Args:
        y_true: integer tensor `(B, H, W)`, class ids; a pixel whose id is `ignore` or no class
            takes no part.
        y_pred: float tensor `(B, H, W, num_classes)`, logits or probabilities.
        num_classes: int.
        ignore: int, the id that means "no label here".

    Returns:
        int32 tensor `(num_classes, num_classes)`.

    Example:

    >>> counts = confusion_matrix([[[0, 255]]], [[[[0.2, 0.8], [0.9, 0.1]]]], num_classes=2)
    >>> [[int(n) for n in row] for row in counts]
    [[0, 1], [0, 0]]
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.convert_to_tensor(y_pred)
    check_maps("mIoU", y_true, y_pred, "(B, H, W)", f"(B, H, W, {num_classes})")
    labelled = labelled_classes(y_true, num_classes, ignore)
    classes = ops.cast(ops.where(labelled, y_true, 0.0), "int32")
    cell = classes * num_classes + ops.cast(ops.argmax(y_pred, axis=-1), "int32")
    counts = count_per_bin(cell, labelled, num_classes**2)
    return ops.reshape(counts, (num_classes, num_classes))


@keras.saving.register_keras_serializable(package="keras_mtl")
class MeanIoU(DatasetMetric):
    """Mean intersection over union, in percent, over ALL classes of the whole dataset.

    A class that never occurs, neither labelled nor predicted, counts as 0, as in the published
    evaluations. Called with labels `(B, H, W)`, class ids, and logits or probabilities
    `(B, H, W, num_classes)`.

    Args:
        num_classes: int, 40 for NYUD semantics, 21 for PASCAL-Context, 7 for human parts, each
            with its background if it has one.
        ignore: int, the label that means "no label here"; ids that are no class take no part
            either.
        name: string, as it appears in the logs of `fit`.
        dtype: optional dtype of the metric.

    Example:

    >>> metric = MeanIoU(num_classes=2)
    >>> logits = [[[[3.0, 0.0], [3.0, 0.0], [0.0, 3.0], [0.0, 1.0]]]]
    >>> metric.update_state([[[0, 1, 1, 255]]], logits)
    >>> round(float(metric.result()), 4)
    50.0

    Source: Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2015.
    """

    higher_is_better = True

    def __init__(
        self,
        num_classes: int,
        ignore: int = NO_LABEL,
        name: str = "mIoU",
        dtype: str | None = None,
    ):
        super().__init__(name=name, dtype=dtype)
        self.num_classes = num_classes
        self.ignore = ignore
        self.confusion = self.add_counter(num_classes**2, name="confusion")

    def accumulate(self, y_true: Tensor, y_pred: Tensor) -> None:
        counts = confusion_matrix(y_true, y_pred, self.num_classes, self.ignore)
        count_up(self.confusion, ops.reshape(counts, (-1,)))

    def class_iou(self) -> Tensor:
        """The IoU of each class in percent, float32 `(num_classes,)`."""
        correct, union = self._correct_and_union()
        return 100.0 * correct / ops.maximum(union, 1.0)

    def of_occurring(self) -> Tensor:
        """The mean over the classes that occur, labelled or predicted; float32 scalar, percent."""
        _, union = self._correct_and_union()
        occurring = ops.sum(ops.cast(union > 0, "float32"))
        return ops.sum(self.class_iou()) / ops.maximum(occurring, 1.0)

    def _correct_and_union(self) -> tuple[Tensor, Tensor]:
        shape = (self.num_classes, self.num_classes)
        confusion = ops.reshape(read_counter(self.confusion), shape)
        correct = ops.diagonal(confusion)
        return correct, ops.sum(confusion, axis=0) + ops.sum(confusion, axis=1) - correct

    def result(self) -> Tensor:
        return ops.mean(self.class_iou())

    def get_config(self) -> dict[str, Any]:
        config = {"num_classes": self.num_classes, "ignore": self.ignore}
        return {**super().get_config(), **config}
