"""L1 distance of unit normals."""

from typing import Any

import keras
from keras import ops

from keras_mtl.losses.labelled import LabelledPixelLoss
from keras_mtl.losses.maps import Tensor, check_maps, labelled_vectors, unit_vectors


def normals_loss_map(y_true: Tensor, y_pred: Tensor, ignore: float = 0.0) -> tuple[Tensor, Tensor]:
    """L1 distance of unit normals, summed over the three components, pixel by pixel.

    Args:
        y_true: float tensor `(B, H, W, 3)`, unit vectors, all `ignore` where there is no label;
            a vector that is not finite or shorter than 0.5 counts as none.
        y_pred: float tensor `(B, H, W, 3)`, of any length: made unit vectors here.
        ignore: float.

    Returns:
        The loss, float32 `(B, H, W)`, 0 where there is no label, and the mask of labelled
        pixels, bool `(B, H, W)`.

    Example:

    >>> loss, _ = normals_loss_map([[[[0.0, 0.0, 1.0]]]], [[[[0.0, 2.0, 0.0]]]])
    >>> float(loss[0, 0, 0])
    2.0

    Source: Ye and Xu, TaskPrompter, ICLR 2023, Sec. A.3.
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    check_maps("The normals loss", y_true, y_pred, "(B, H, W, 3)", "(B, H, W, 3)")
    labelled = labelled_vectors(y_true, ignore)
    # Selected before the difference is taken: a label of NaN would spoil the gradient.
    y_true = ops.where(labelled[..., None], y_true, 0.0)
    loss = ops.sum(ops.abs(unit_vectors(y_pred) - y_true), axis=-1)
    return ops.where(labelled, loss, 0.0), labelled


@keras.saving.register_keras_serializable(package="keras_mtl")
class NormalsLoss(LabelledPixelLoss):
    """Mean L1 distance of unit normals, summed over components, over labelled pixels.

    Called with labels `(B, H, W, 3)`, unit vectors, `(0, 0, 0)` where there is no label, and
    predictions `(B, H, W, 3)` of any length.

    Args:
        ignore: float, which in all three components means "no label here".
        name: string.
        reduction: as in `LabelledPixelLoss`.
        dtype: optional dtype, float32 by default.

    Example:

    >>> float(NormalsLoss()([[[[0.0, 0.0, 1.0]]]], [[[[0.0, 2.0, 0.0]]]]))
    2.0

    Source: Ye and Xu, TaskPrompter, ICLR 2023, Sec. A.3.
    """

    def __init__(
        self,
        name: str = "normals_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
        ignore: float = 0.0,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.ignore = ignore

    def loss_map(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        return normals_loss_map(y_true, y_pred, self.ignore)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ignore": self.ignore}
