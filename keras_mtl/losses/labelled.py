"""Means over the labelled pixels of the batch, on one device or several."""

import keras
from keras import ops

from keras_mtl.distribution import replicas_in_step, sum_over_replicas
from keras_mtl.losses.maps import Tensor


def mean_over_labelled(loss: Tensor, labelled: Tensor) -> Tensor:
    """Mean of a loss map over the labelled pixels of the batch; 0 if there is none.

    Args:
        loss: float tensor `(B, H, W)`, zero where there is no label.
        labelled: bool tensor `(B, H, W)`.

    Returns:
        float32 scalar.

    Example:

    >>> labels = [[[[2.0], [0.0]]]]  # metres; the second pixel has no label
    >>> predictions = [[[[1.5], [9.0]]]]
    >>> float(mean_over_labelled(*keras_mtl.losses.depth_loss_map(labels, predictions)))
    0.5
    """
    return ops.mean(_scale_to_labelled(loss, labelled))


def _scale_to_labelled(loss: Tensor, labelled: Tensor) -> Tensor:
    """Divides by the share of labelled pixels: the mean over all becomes that over labelled."""
    share = mean_over_replicas(ops.mean(ops.cast(labelled, "float32")))
    return loss / ops.where(share > 0, share, 1.0)


def mean_over_replicas(x: Tensor) -> Tensor:
    return sum_over_replicas(x) / replicas_in_step()


class LabelledPixelLoss(keras.losses.Loss):
    """A loss averaged over labelled pixels: the base of this module's losses.

    A subclass defines `loss_map(y_true, y_pred)`, which returns the loss of each pixel and the
    mask of labelled pixels, both `(B, H, W)`.

    Args:
        name: optional string.
        reduction: `"sum_over_batch_size"` or `"mean"`, the mean over the labelled pixels of the
            whole batch; `"sum"`, the sum over them; `None` or `"none"`, the map itself, 0 where
            there is no label. A `sample_weight` of shape `(B,)`, `(B, 1, 1)` or `(B, H, W)`
            multiplies the map.
        dtype: optional dtype, float32 by default: leave it so under mixed precision.

    Example:

    >>> class DepthL2(LabelledPixelLoss):
    ...     def loss_map(self, y_true, y_pred):
    ...         loss, labelled = keras_mtl.losses.depth_loss_map(y_true, y_pred)
    ...         return keras.ops.square(loss), labelled
    >>> float(DepthL2()([[[[2.0], [0.0]]]], [[[[1.5], [9.0]]]]))
    0.25
    """

    def __init__(
        self,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
    ):
        if reduction == "mean_with_sample_weight":
            raise ValueError(
                f"{type(self).__name__} cannot reduce by 'mean_with_sample_weight', which would "
                "count pixels without a label: use 'sum_over_batch_size', 'sum' or None."
            )
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def loss_map(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each pixel, 0 where there is no label, and the mask of labelled pixels.

        Args:
            y_true: labels `(B, H, W)` or `(B, H, W, c)`.
            y_pred: raw maps `(B, H, W, channels)`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define loss_map(y_true, y_pred).")

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None):
        if sample_weight is not None and len(ops.shape(sample_weight)) == 1:
            sample_weight = ops.reshape(sample_weight, (-1, 1, 1))  # Keras would weigh columns
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        loss, labelled = self.loss_map(y_true, y_pred)
        if self.reduction in ("sum_over_batch_size", "mean"):
            # Keras divides by the number of all pixels; make that the number of labelled ones.
            loss = _scale_to_labelled(loss, labelled)
        return loss
