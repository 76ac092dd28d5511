"""L1 distance of depths."""

import keras
from keras import ops

from keras_mtl.losses.labelled import LabelledPixelLoss
from keras_mtl.losses.maps import Tensor, check_maps


def depth_loss_map(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """L1 distance of depths, pixel by pixel.

    Args:
        y_true: float tensor `(B, H, W, 1)`, metres, 0 where there is no label.
        y_pred: float tensor `(B, H, W, 1)`, metres.

    Returns:
        The loss, float32 `(B, H, W)`, 0 where there is no label, and the mask of labelled
        pixels, bool `(B, H, W)`.

    Example:

    >>> loss, labelled = depth_loss_map([[[[2.0], [0.0]]]], [[[[1.5], [9.0]]]])
    >>> [float(v) for v in loss[0, 0]], [bool(v) for v in labelled[0, 0]]
    ([0.5, 0.0], [True, False])

    Source: Ye and Xu, TaskPrompter, ICLR 2023, Sec. A.3.
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    check_maps("The depth loss", y_true, y_pred, "(B, H, W, 1)", "(B, H, W, 1)")
    y_true, y_pred = y_true[..., 0], y_pred[..., 0]
    labelled = y_true > 0
    return ops.where(labelled, ops.abs(y_true - y_pred), 0.0), labelled


@keras.saving.register_keras_serializable(package="keras_mtl")
class DepthLoss(LabelledPixelLoss):
    """Mean L1 distance of depths, metres, over the labelled pixels of the batch.

    Called with labels `(B, H, W, 1)` in metres, 0 where there is no label, and predictions
    `(B, H, W, 1)` in metres.

    Args:
        name: string.
        reduction: as in `LabelledPixelLoss`.
        dtype: optional dtype, float32 by default.

    Example:

    >>> float(DepthLoss()([[[[2.0], [0.0]]]], [[[[1.5], [9.0]]]]))
    0.5

    Source: Ye and Xu, TaskPrompter, ICLR 2023, Sec. A.3.
    """

    def __init__(
        self,
        name: str = "depth_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def loss_map(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        return depth_loss_map(y_true, y_pred)
