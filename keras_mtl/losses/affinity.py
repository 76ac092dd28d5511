"""How far the affinity of pixels' features is from that of their labels."""

from typing import Any

import numpy as np
from keras import ops

from keras_mtl.losses.labelled import LabelledPixelLoss
from keras_mtl.losses.maps import Tensor

NO_ROW = 1e-6  # what is added to a row's sum: a row of zeros stays one


def normalized_rows(affinity: Tensor) -> Tensor:
    """Affinities whose rows sum to 1, or to 0 where nothing is like that pixel.

    Args:
        affinity: float tensor `(..., S, S)`, none below 0.

    Example:

    >>> np.array(normalized_rows(np.array([[1.0, 3.0], [0.0, 0.0]], "float32"))).round(2).tolist()
    [[0.25, 0.75], [0.0, 0.0]]
    """
    return affinity / (ops.sum(affinity, axis=-1, keepdims=True) + NO_ROW)


def affinity_matrix(features: Tensor) -> Tensor:
    """M = X X^T, each row divided by its sum.

    Args:
        features: float tensor X `(..., S, d)`, none below 0.

    Returns:
        Tensor `(..., S, S)`.

    Example:

    >>> np.array(affinity_matrix(np.array([[1.0], [3.0]], "float32"))).round(2).tolist()
    [[0.25, 0.75], [0.25, 0.75]]
    """
    return normalized_rows(ops.matmul(features, ops.swapaxes(features, -2, -1)))


class AffinityLoss(LabelledPixelLoss):
    """The mean difference of two affinities, over all pairs of labelled pixels of the batch.

    One is that of the features, the other what the task says of its labels
    (`keras_mtl.tasks.Task.target_affinity`); the rows of both sum to 1. Labels are taken at the
    features' size, each the nearest to the upper left. Called with labels of an image's size and
    features `(B, h, w, d)`, none below 0. Both matrices are made, of (h w)^2 numbers an image.

    Args:
        task: whose labels they are.
        name: string.
        reduction, dtype: as in `LabelledPixelLoss`.

    Raises:
        ValueError: if this kind of task does not say how alike its labels are.

    Example:

    >>> loss = AffinityLoss(keras_mtl.tasks.SemanticSegmentation(channels=3))
    >>> labels, features = np.array([[[0, 1]]]), np.array([[[[1.0], [3.0]]]], "float32")
    >>> round(float(loss(labels, features)), 2)  # 0.75 where 1 is right, 0.25 where 0 is
    0.5

    Source: our reading of Zhang et al., Pattern-Affinitive Propagation, CVPR 2019: that a loss of
        pairs of pixels is taken is certain, its form is not.
    """

    def __init__(
        self,
        task: Any,
        name: str = "affinity_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.task = task
        task.target_affinity(ops.convert_to_tensor(task.no_label(1, 1)[0][None]))  # or refuses

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None):
        if sample_weight is not None and len(sample_weight.shape) == 3:
            if sample_weight.shape[1:] != (1, 1):  # of pixels: a pair has both of theirs
                weight = pixels_at(sample_weight, y_pred.shape[1:3])
                sample_weight = weight[:, :, None] * weight[:, None, :]
        return super().__call__(y_true, y_pred, sample_weight)

    def loss_map(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        _, height, width, channels = y_pred.shape
        found = affinity_matrix(ops.reshape(y_pred, (-1, height * width, channels)))
        labels = pixels_at(ops.convert_to_tensor(y_true), (height, width))
        target, labelled = self.task.target_affinity(labels)
        pairs = labelled[:, :, None] & labelled[:, None, :]
        target = normalized_rows(ops.where(pairs, target, 0.0))
        return ops.where(pairs, ops.abs(found - target), 0.0), pairs


def pixels_at(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps at a smaller size, each pixel the nearest to the upper left, and those in one row.

    Args:
        maps: tensor `(B, H, W)` or `(B, H, W, c)`.
        size: `(h, w)`.

    Returns:
        Tensor `(B, h w)` or `(B, h w, c)`.

    Example:

    >>> np.array(pixels_at(np.arange(12).reshape(1, 3, 4), (2, 2))).tolist()
    [[0, 2, 4, 6]]
    """
    rows, columns = (
        np.arange(small) * large // small
        for small, large in zip(size, maps.shape[1:3], strict=True)
    )
    maps = ops.take(ops.take(maps, rows, axis=1), columns, axis=2)
    return ops.reshape(maps, (-1, len(rows) * len(columns), *maps.shape[3:]))
