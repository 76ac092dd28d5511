"""Softmax cross-entropy of classes."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.losses.labelled import LabelledPixelLoss
from keras_mtl.losses.maps import NO_LABEL, Tensor, check_maps, labelled_classes


def segmentation_loss_map(
    y_true: Tensor,
    y_pred: Tensor,
    ignore: int = NO_LABEL,
    class_weights: Sequence[float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Softmax cross-entropy of classes, pixel by pixel.

    Args:
        y_true: integer tensor `(B, H, W)`, class ids, `ignore` where there is no label; an id
            that is none of the C classes counts as none, as in `keras_mtl.metrics.MeanIoU`.
        y_pred: float tensor `(B, H, W, C)`, logits.
        ignore: int.
        class_weights: C numbers that the losses of each class's pixels are multiplied by, or None.

    Returns:
        The loss, float32 `(B, H, W)`, 0 where there is no label, and the mask of labelled
        pixels, bool `(B, H, W)`.

    Example:

    >>> loss, _ = segmentation_loss_map([[[1, 255]]], keras.ops.zeros((1, 1, 2, 4)))
    >>> [round(float(v), 4) for v in loss[0, 0]]  # log(4)
    [1.3863, 0.0]

    Source: Ye and Xu, TaskPrompter, ICLR 2023, Sec. A.3.
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    check_maps("The segmentation loss", y_true, y_pred, "(B, H, W)", "(B, H, W, C)")
    # Beyond the classes backends differ: one answers with a loss, another one dies.
    labelled = labelled_classes(y_true, y_pred.shape[-1], ignore)
    classes = ops.cast(ops.where(labelled, y_true, 0.0), "int32")
    loss = ops.sparse_categorical_crossentropy(classes, y_pred, from_logits=True)
    if class_weights is not None:
        if len(class_weights) != y_pred.shape[-1]:
            raise ValueError(
                f"The segmentation loss has {len(class_weights)} class_weights for "
                f"{y_pred.shape[-1]} classes; give one for each class."
            )
        loss = loss * ops.take(ops.convert_to_tensor(class_weights, "float32"), classes)
    return ops.where(labelled, loss, 0.0), labelled


@keras.saving.register_keras_serializable(package="keras_mtl")
class SegmentationLoss(LabelledPixelLoss):
    """Mean cross-entropy of classes over the labelled pixels of the batch.

    Called with labels `(B, H, W)`, class ids, and logits `(B, H, W, C)`. On one device
    `keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)` is the same; on
    several TensorFlow devices that one averages the devices' means.

    Args:
        ignore: int, the label that means "no label here"; ids that are no class count as none
            either.
        name: string.
        reduction: as in `LabelledPixelLoss`.
        dtype: optional dtype, float32 by default.
        class_weights: a number for each class, which the losses of its pixels are multiplied by
            (the mean is still over the labelled pixels), or None: all weigh the same.

    Example:

    >>> round(float(SegmentationLoss()([[[1, 255]]], keras.ops.zeros((1, 1, 2, 4)))), 4)
    1.3863

    Source: Ye and Xu, TaskPrompter, ICLR 2023, Sec. A.3.
    """

    def __init__(
        self,
        ignore: int = NO_LABEL,
        name: str = "segmentation_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
        class_weights: Sequence[float] | None = None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.ignore = ignore
        self.class_weights = None if class_weights is None else [float(w) for w in class_weights]

    def loss_map(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        return segmentation_loss_map(y_true, y_pred, self.ignore, self.class_weights)

    def get_config(self) -> dict[str, Any]:
        weighted = {} if self.class_weights is None else {"class_weights": self.class_weights}
        return {**super().get_config(), "ignore": self.ignore, **weighted}
