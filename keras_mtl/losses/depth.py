"""L1 distance of depths."""

from typing import Any

import keras
from keras import ops

from keras_mtl.losses.labelled import LabelledPixelLoss
from keras_mtl.losses.maps import VALID_DEPTH, Tensor, check_maps, labelled_depth


def depth_loss_map(
    y_true: Tensor,
    y_pred: Tensor,
    ignore: float = 0.0,
    valid_range: tuple[float, float] = VALID_DEPTH,
) -> tuple[Tensor, Tensor]:
    """L1 distance of depths, pixel by pixel.

    Args:
        y_true: float tensor `(B, H, W, 1)`, metres, `ignore` where there is no label.
        y_pred: float tensor `(B, H, W, 1)`, metres.
        ignore: float.
        valid_range: `(nearest, farthest)` in metres; labels that do not lie between count as none.

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
    labelled = labelled_depth(y_true, ignore, valid_range)
    # Selected before the difference is taken: a label of NaN would spoil the gradient.
    y_true = ops.where(labelled, y_true, 0.0)
    return ops.where(labelled, ops.abs(y_true - y_pred), 0.0), labelled


@keras.saving.register_keras_serializable(package="keras_mtl")
class DepthLoss(LabelledPixelLoss):
    """Mean L1 distance of depths, metres, over the labelled pixels of the batch.

    Called with labels `(B, H, W, 1)` in metres, 0 where there is no label, and predictions
    `(B, H, W, 1)` in metres.

    Args:
        ignore: float, the label that means "no label here".
        valid_range: `(nearest, farthest)` in metres; labels that do not lie between count as none.
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
        ignore: float = 0.0,
        valid_range: tuple[float, float] = VALID_DEPTH,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.ignore = ignore
        self.valid_range = (valid_range[0], valid_range[1])

    def loss_map(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        return depth_loss_map(y_true, y_pred, self.ignore, self.valid_range)

    def get_config(self) -> dict[str, Any]:
        config = {"ignore": self.ignore, "valid_range": self.valid_range}
        return {**super().get_config(), **config}
