"""The mean of what a network says of each image by itself, over the images that a task knows."""

from typing import Any

from keras import ops

from keras_mtl.losses.labelled import LabelledPixelLoss
from keras_mtl.losses.maps import Tensor


def labelled_places(labels: Tensor, ignore: float) -> Tensor:
    """Which numbers of a label say anything, of its shape.

    Args:
        labels: tensor of any shape.
        ignore: the value that means "no label here".

    Example:

    >>> np.array(labelled_places(ops.convert_to_tensor([0, 255, 3]), 255)).tolist()
    [True, False, True]
    """
    return ops.logical_and(ops.not_equal(labels, ignore), ops.isfinite(labels))


class LabelledImagesMean(LabelledPixelLoss):
    """The mean over the images that have any label of a task, of a value for each.

    Called with labels `(B, H, W)` or `(B, H, W, c)` and values `(B,)`.

    Args:
        task: whose labels they are.
        name: string.
        reduction, dtype: as in `LabelledPixelLoss`.

    Example:

    >>> loss = LabelledImagesMean(keras_mtl.tasks.DepthEstimation())
    >>> labels = np.array([[[[1.0]]], [[[0.0]]]])  # none in the second image
    >>> float(loss(labels, np.array([3.0, 100.0])))
    3.0
    """

    def __init__(
        self,
        task: Any,
        name: str = "labelled_images_mean",
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.task = task

    def loss_map(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        known = labelled_places(y_true, self.task.ignore)
        labelled = ops.any(known, axis=tuple(range(1, len(known.shape))))[:, None, None]
        return ops.where(labelled, y_pred[:, None, None], 0.0), labelled
