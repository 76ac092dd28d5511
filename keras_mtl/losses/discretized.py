"""Labels as classes: the losses of auxiliary predictions that need classes of every kind of task.

Source: Brueggemann et al., Exploring Relational Context for Multi-Task Dense Prediction, ICCV 2021,
and its published code.
"""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_mtl.losses.labelled import LabelledPixelLoss
from keras_mtl.losses.maps import (
    NO_LABEL,
    VALID_DEPTH,
    Tensor,
    check_maps,
    labelled_binary,
    labelled_depth,
    labelled_vectors,
)
from keras_mtl.losses.normals_centroids import NORMALS_CENTROIDS
from keras_mtl.losses.segmentation import segmentation_loss_map


class DiscretizedLoss(LabelledPixelLoss):
    """Mean cross-entropy of the classes that labels fall into, over the labelled pixels.

    A subclass says which they are.

    Args:
        name, reduction, dtype: as in `LabelledPixelLoss`.
        ignore: float, the label that means "no label here".

    Attributes:
        num_classes: int.
        label: str, the shape of labels, such as `"(B, H, W, 1)"`.
        class_weights: list of numbers, or `None`, as in `SegmentationLoss`.
    """

    num_classes: int
    label: str
    class_weights: Sequence[float] | None = None

    def __init__(
        self,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
        ignore: float = 0.0,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.ignore = ignore

    def classes(self, y_true: Tensor) -> tuple[Tensor, Tensor]:
        """The class of each pixel, any where there is no label, and the mask of labelled pixels.

        Args:
            y_true: float tensor of labels.
        """
        raise NotImplementedError(f"{type(self).__name__} must define classes(y_true).")

    def loss_map(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        wanted = f"(B, H, W, {self.num_classes})"
        check_maps("The loss of discretised labels", y_true, y_pred, self.label, wanted)
        classes, labelled = self.classes(y_true)
        ids = ops.where(labelled, ops.cast(classes, "float32"), float(NO_LABEL))
        return segmentation_loss_map(ids, y_pred, NO_LABEL, self.class_weights)

    def get_config(self) -> dict:
        return {**super().get_config(), "ignore": self.ignore}


@keras.saving.register_keras_serializable(package="keras_mtl")
class DepthBinsLoss(DiscretizedLoss):
    """Cross-entropy of bins of depth, equally wide in its logarithm.

    Bin k of n: floor(n ln(y / nearest) / ln(farthest / nearest)), the first and the last one being
    open. Called with labels `(B, H, W, 1)` in metres and logits `(B, H, W, n)`.

    Args:
        bins: int, n.
        nearest, farthest: float, metres.
        ignore: float, the label that means "no label here".
        valid_range: `(nearest, farthest)` in metres; labels that do not lie between count as none.
        name, reduction, dtype: as in `LabelledPixelLoss`.

    Example:

    >>> classes, labelled = DepthBinsLoss().classes(np.array([[[[0.5], [0.8], [20.0], [0.0]]]]))
    >>> np.array(classes)[0, 0].tolist()[:3], np.array(labelled)[0, 0].tolist()
    ([0, 2, 39], [True, True, True, False])
    """

    label = "(B, H, W, 1)"

    def __init__(
        self,
        bins: int = 40,
        nearest: float = 0.7,
        farthest: float = 10.0,
        name: str = "depth_bins_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
        ignore: float = 0.0,
        valid_range: tuple[float, float] = VALID_DEPTH,
    ):
        super().__init__(name, reduction, dtype, ignore)
        self.num_classes, self.nearest, self.farthest = bins, nearest, farthest
        self.valid_range = (valid_range[0], valid_range[1])

    def classes(self, y_true):
        depth = ops.cast(y_true, "float32")[..., 0]
        labelled = labelled_depth(depth, self.ignore, self.valid_range)
        depth = ops.where(labelled, depth, self.nearest)
        scale = self.num_classes / math.log(self.farthest / self.nearest)
        bins = ops.floor(scale * ops.log(depth / self.nearest))
        return ops.cast(ops.clip(bins, 0, self.num_classes - 1), "int32"), labelled

    def get_config(self) -> dict:
        config = {"bins": self.num_classes, "nearest": self.nearest, "farthest": self.farthest}
        return {**super().get_config(), **config, "valid_range": self.valid_range}


@keras.saving.register_keras_serializable(package="keras_mtl")
class NormalsCentroidsLoss(DiscretizedLoss):
    """Cross-entropy of the nearest of some directions.

    Called with labels `(B, H, W, 3)`, unit vectors, and logits `(B, H, W, K)`.

    Args:
        centroids: K unit vectors `(x, y, z)`; the 40 published ones of NYUD-v2, along the axes of
            `keras_mtl.tasks.SurfaceNormals`, unless given.
        ignore: float, which in all three components means "no label here".
        name, reduction, dtype: as in `LabelledPixelLoss`.

    Example:

    >>> loss = NormalsCentroidsLoss([(1, 0, 0), (0, 0, -1)])
    >>> classes, _ = loss.classes(np.array([[[[0.0, 0.6, -0.8], [0.8, 0.6, 0.0]]]]))
    >>> np.array(classes)[0, 0].tolist()
    [1, 0]
    """

    label = "(B, H, W, 3)"

    def __init__(
        self,
        centroids: Sequence[Sequence[float]] = NORMALS_CENTROIDS,
        name: str = "normals_centroids_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
        ignore: float = 0.0,
    ):
        super().__init__(name, reduction, dtype, ignore)
        self.centroids = np.asarray(centroids, "float32")
        if self.centroids.ndim != 2 or self.centroids.shape[1] != 3:
            raise ValueError(
                f"centroids have the shape {self.centroids.shape}; expected unit vectors (K, 3)."
            )
        self.num_classes = len(self.centroids)

    def classes(self, y_true):
        normals = ops.cast(y_true, "float32")
        labelled = labelled_vectors(normals, self.ignore)
        normals = ops.where(labelled[..., None], normals, 0.0)
        # |n - c|^2 but for |n|^2, which is the same for all.
        square = ops.convert_to_tensor((self.centroids**2).sum(axis=1))
        products = ops.matmul(normals, ops.convert_to_tensor(self.centroids.T))
        return ops.argmin(square - 2 * products, axis=-1), labelled

    def get_config(self) -> dict:
        return {**super().get_config(), "centroids": self.centroids.tolist()}


@keras.saving.register_keras_serializable(package="keras_mtl")
class BoundaryClassesLoss(DiscretizedLoss):
    """Cross-entropy of boundary against none, of one logit each.

    Called with labels `(B, H, W, 1)` in {0, 1} and logits `(B, H, W, 2)`.

    Args:
        positive_weight: float in `(0, 1)`, weight of boundary pixels; the others weigh
            `1 - positive_weight`.
        ignore: float, the label that means "no label here".
        name, reduction, dtype: as in `LabelledPixelLoss`.

    Example:

    >>> loss = BoundaryClassesLoss(0.75)
    >>> round(float(loss([[[[1.0], [0.0]]]], keras.ops.zeros((1, 1, 2, 2)))), 4)  # log(2) / 2
    0.3466
    """

    label, num_classes = "(B, H, W, 1)", 2

    def __init__(
        self,
        positive_weight: float = 0.95,
        name: str = "boundary_classes_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
        ignore: float = NO_LABEL,
    ):
        super().__init__(name, reduction, dtype, ignore)
        self.positive_weight = positive_weight
        self.class_weights = [1 - positive_weight, positive_weight]

    def classes(self, y_true):
        edge = ops.cast(y_true, "float32")[..., 0]
        return ops.cast(edge >= 0.5, "int32"), labelled_binary(edge, self.ignore)

    def get_config(self) -> dict:
        return {**super().get_config(), "positive_weight": self.positive_weight}
