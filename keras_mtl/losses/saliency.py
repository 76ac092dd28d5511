"""Class-balanced cross-entropy of saliency."""

from typing import Any

import keras
from keras import ops

from keras_mtl.losses.labelled import LabelledPixelLoss, mean_over_replicas
from keras_mtl.losses.maps import (
    NO_LABEL,
    Tensor,
    check_maps,
    labelled_binary,
    weighted_logistic_loss,
)


def saliency_loss_map(
    y_true: Tensor, y_pred: Tensor, ignore: int = NO_LABEL
) -> tuple[Tensor, Tensor]:
    """Class-balanced softmax cross-entropy of salient against not salient, pixel by pixel.

    Each class weighs the share of the other one among the labelled pixels of the batch.

    Args:
        y_true: integer tensor `(B, H, W)`, 1 salient, 0 not, `ignore` where there is no label;
            nor does what lies outside 0..1 count as one.
        y_pred: float tensor `(B, H, W, 2)`, logits.
        ignore: int.

    Returns:
        The loss, float32 `(B, H, W)`, 0 where there is no label, and the mask of labelled
        pixels, bool `(B, H, W)`.

    Example:

    >>> loss, _ = saliency_loss_map([[[1, 0, 0, 0]]], keras.ops.zeros((1, 1, 4, 2)))
    >>> [round(float(v), 4) for v in loss[0, 0]]  # log(2) times 3/4 or 1/4
    [0.5199, 0.1733, 0.1733, 0.1733]

    Source: Ye and Xu, TaskPrompter, ICLR 2023, Sec. A.3.
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    check_maps("The saliency loss", y_true, y_pred, "(B, H, W)", "(B, H, W, 2)")
    labelled = labelled_binary(y_true, ignore)
    positive = ops.cast(labelled & (y_true == 1), "float32")
    share_labelled = mean_over_replicas(ops.mean(ops.cast(labelled, "float32")))
    share_positive = mean_over_replicas(ops.mean(positive))
    share_positive = share_positive / ops.where(share_labelled > 0, share_labelled, 1.0)
    # Softmax over two classes is a sigmoid of the difference of their logits.
    logit = y_pred[..., 1] - y_pred[..., 0]
    loss = weighted_logistic_loss(positive, logit, positive_weight=1.0 - share_positive)
    return ops.where(labelled, loss, 0.0), labelled


@keras.saving.register_keras_serializable(package="keras_mtl")
class SaliencyLoss(LabelledPixelLoss):
    """Mean class-balanced cross-entropy of saliency over the labelled pixels of the batch.

    Called with labels `(B, H, W)` in {0, 1}, 255 where there is no label, and logits
    `(B, H, W, 2)`. Each class weighs the share of the other among the labelled pixels.

    Args:
        ignore: int, the label that means "no label here".
        name: string.
        reduction: as in `LabelledPixelLoss`.
        dtype: optional dtype, float32 by default.

    Example:

    >>> loss = SaliencyLoss()
    >>> round(float(loss([[[1, 0, 0, 0]]], keras.ops.zeros((1, 1, 4, 2)))), 4)
    0.2599

    Source: Ye and Xu, TaskPrompter, ICLR 2023, Sec. A.3.
    """

    def __init__(
        self,
        name: str = "saliency_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
        ignore: int = NO_LABEL,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.ignore = ignore

    def loss_map(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        return saliency_loss_map(y_true, y_pred, self.ignore)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ignore": self.ignore}
