"""Weighted cross-entropy of boundaries."""

from typing import Any

import keras
from keras import ops

from keras_mtl.losses.labelled import LabelledPixelLoss
from keras_mtl.losses.maps import (
    NO_LABEL,
    Tensor,
    check_maps,
    labelled_binary,
    weighted_logistic_loss,
)


def boundary_loss_map(
    y_true: Tensor, y_pred: Tensor, positive_weight: float = 0.95, ignore: float = NO_LABEL
) -> tuple[Tensor, Tensor]:
    """Weighted binary cross-entropy of boundaries, pixel by pixel.

    Args:
        y_true: float tensor `(B, H, W, 1)`, 1 boundary, 0 not, `ignore` where there is no label;
            nor does what lies outside 0..1 count as one.
        y_pred: float tensor `(B, H, W, 1)`, logits.
        positive_weight: float in `(0, 1)`, weight of boundary pixels; the others weigh
            `1 - positive_weight`.
        ignore: float.

    Returns:
        The loss, float32 `(B, H, W)`, 0 where there is no label, and the mask of labelled
        pixels, bool `(B, H, W)`.

    Example:

    >>> loss, _ = boundary_loss_map([[[[1.0], [0.0]]]], [[[[0.0], [0.0]]]])
    >>> [round(float(v), 4) for v in loss[0, 0]]  # log(2) times 0.95 or 0.05
    [0.6585, 0.0347]

    Source: Ye and Xu, TaskPrompter, ICLR 2023, Sec. A.3.
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    check_maps("The boundary loss", y_true, y_pred, "(B, H, W, 1)", "(B, H, W, 1)")
    y_true, y_pred = y_true[..., 0], y_pred[..., 0]
    labelled = labelled_binary(y_true, ignore)
    positive = ops.where(labelled, y_true, 0.0)
    loss = weighted_logistic_loss(positive, y_pred, positive_weight)
    return ops.where(labelled, loss, 0.0), labelled


@keras.saving.register_keras_serializable(package="keras_mtl")
class BoundaryLoss(LabelledPixelLoss):
    """Mean weighted cross-entropy of boundaries over the labelled pixels of the batch.

    Called with labels `(B, H, W, 1)` in {0, 1}, 255 where there is no label, and logits
    `(B, H, W, 1)`.

    Args:
        positive_weight: float in `(0, 1)`, weight of boundary pixels; the others weigh
            `1 - positive_weight`.
        ignore: float, the label that means "no label here".
        name: string.
        reduction: as in `LabelledPixelLoss`.
        dtype: optional dtype, float32 by default.

    Example:

    >>> loss = BoundaryLoss(positive_weight=0.95)
    >>> round(float(loss([[[[1.0], [0.0]]]], [[[[0.0], [0.0]]]])), 4)
    0.3466

    Source: Ye and Xu, TaskPrompter, ICLR 2023, Sec. A.3.
    """

    def __init__(
        self,
        positive_weight: float = 0.95,
        name: str = "boundary_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
        ignore: float = NO_LABEL,
    ):
        if not 0 < positive_weight < 1:
            raise ValueError(
                f"positive_weight is {positive_weight}, the weight of boundary pixels; expected a "
                "number strictly between 0 and 1, such as 0.95."
            )
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.positive_weight = positive_weight
        self.ignore = ignore

    def loss_map(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        return boundary_loss_map(y_true, y_pred, self.positive_weight, self.ignore)

    def get_config(self) -> dict[str, Any]:
        config = {"positive_weight": self.positive_weight, "ignore": self.ignore}
        return {**super().get_config(), **config}
