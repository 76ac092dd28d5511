"""Losses of the dense prediction tasks, each a mean over the labelled pixels of the batch.

Every loss exists twice: a pure function that returns the loss of each pixel beside the mask of
labelled pixels, and a `keras.losses.Loss` around it for `compile(loss={...})`. A batch without
any label for a task costs exactly zero, with zero gradient.

On several devices these are means over the labelled pixels of all of them
(`keras_mtl.distribution`).
"""

from typing import Any

import keras
from keras import ops

from keras_mtl.distribution import replicas_in_step, sum_over_replicas

Tensor = Any  # a tensor of the active backend, or anything it can be made from

NO_LABEL = 255  # "no label here" in class, saliency and boundary maps


# === What the losses and the metrics share ===


def check_maps(name: str, y_true: Tensor, y_pred: Tensor, label: str, prediction: str) -> None:
    """Raises a one-sentence `ValueError` if labels and predictions do not fit together.

    Without it `(B, H, W)` labels would broadcast against `(B, H, W, 1)` predictions in silence.

    Args:
        name: string, who is asking, named in the error.
        y_true: labels with a static rank.
        y_pred: predictions with a static rank.
        label: string, the expected shape of the labels, such as `"(B, H, W, 1)"`; a number is
            checked, a letter is not.
        prediction: string, the expected shape of the predictions.

    Example:

    >>> labels, predictions = keras.ops.zeros((2, 4, 4, 1)), keras.ops.zeros((2, 4, 4, 1))
    >>> check_maps("DepthLoss", labels, predictions, "(B, H, W, 1)", "(B, H, W, 1)")
    """
    fits = _has_shape(y_true, label) and _has_shape(y_pred, prediction)
    for a, b in zip(y_true.shape[:3], y_pred.shape[:3], strict=False):
        fits = fits and (a is None or b is None or a == b)
    if not fits:
        raise ValueError(
            f"{name} expects labels of shape {label} and predictions of shape {prediction} at the "
            f"same size, but received labels of shape {tuple(y_true.shape)} and predictions of "
            f"shape {tuple(y_pred.shape)}: resize or reshape one of them."
        )


def _has_shape(x: Tensor, expected: str) -> bool:
    expected = expected.strip("()").split(", ")
    return len(x.shape) == len(expected) and all(
        not want.isdigit() or found is None or int(want) == found
        for want, found in zip(expected, x.shape, strict=True)
    )


def unit_vectors(vectors: Tensor) -> Tensor:
    """Scales vectors to unit length; the zero vector stays zero, with zero gradient.

    Args:
        vectors: float tensor `(..., C)`.

    Returns:
        float32 tensor `(..., C)`.

    Example:

    >>> [round(float(v), 4) for v in unit_vectors([3.0, 0.0, 4.0])]
    [0.6, 0.0, 0.8]
    """
    vectors = ops.cast(vectors, "float32")
    squared = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    # Both branches of a `where` are differentiated, so the length must be harmless at zero too.
    nonzero = squared > 1e-12
    length = ops.sqrt(ops.where(nonzero, squared, 1.0))
    return ops.where(nonzero, vectors / length, 0.0)


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
    >>> float(mean_over_labelled(*depth_loss_map(labels, predictions)))
    0.5
    """
    return ops.mean(_scale_to_labelled(loss, labelled))


def _scale_to_labelled(loss: Tensor, labelled: Tensor) -> Tensor:
    """Divides by the share of labelled pixels: the mean over all becomes that over labelled."""
    share = _mean_over_replicas(ops.mean(ops.cast(labelled, "float32")))
    return loss / ops.where(share > 0, share, 1.0)


def _mean_over_replicas(x: Tensor) -> Tensor:
    return sum_over_replicas(x) / replicas_in_step()


# === Pure functions: the loss of each pixel, and which pixels are labelled ===


def segmentation_loss_map(
    y_true: Tensor, y_pred: Tensor, ignore: int = NO_LABEL
) -> tuple[Tensor, Tensor]:
    """Softmax cross-entropy of classes, pixel by pixel.

    Args:
        y_true: integer tensor `(B, H, W)`, class ids, `ignore` where there is no label.
        y_pred: float tensor `(B, H, W, C)`, logits.
        ignore: int.

    Returns:
        The loss, float32 `(B, H, W)`, 0 where there is no label, and the mask of labelled
        pixels, bool `(B, H, W)`.

    Example:

    >>> loss, _ = segmentation_loss_map([[[1, 255]]], keras.ops.zeros((1, 1, 2, 4)))
    >>> [round(float(v), 4) for v in loss[0, 0]]  # log(4)
    [1.3863, 0.0]

    Source: Ye and Xu, TaskPrompter, ICLR 2023, Sec. A.3.
    """
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.cast(y_pred, "float32")
    check_maps("The segmentation loss", y_true, y_pred, "(B, H, W)", "(B, H, W, C)")
    labelled = y_true != ignore
    classes = ops.cast(ops.where(labelled, y_true, 0), "int32")
    loss = ops.sparse_categorical_crossentropy(classes, y_pred, from_logits=True)
    return ops.where(labelled, loss, 0.0), labelled


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


def normals_loss_map(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """L1 distance of unit normals, summed over the three components, pixel by pixel.

    Args:
        y_true: float tensor `(B, H, W, 3)`, unit vectors, `(0, 0, 0)` where there is no label.
        y_pred: float tensor `(B, H, W, 3)`, of any length: made unit vectors here.

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
    labelled = ops.any(y_true != 0, axis=-1)
    loss = ops.sum(ops.abs(unit_vectors(y_pred) - y_true), axis=-1)
    return ops.where(labelled, loss, 0.0), labelled


def saliency_loss_map(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Class-balanced softmax cross-entropy of salient against not salient, pixel by pixel.

    Each class weighs the share of the other one among the labelled pixels of the batch.

    Args:
        y_true: integer tensor `(B, H, W)`, 1 salient, 0 not, 255 where there is no label.
        y_pred: float tensor `(B, H, W, 2)`, logits.

    Returns:
        The loss, float32 `(B, H, W)`, 0 where there is no label, and the mask of labelled
        pixels, bool `(B, H, W)`.

    Example:

    >>> loss, _ = saliency_loss_map([[[1, 0, 0, 0]]], keras.ops.zeros((1, 1, 4, 2)))
    >>> [round(float(v), 4) for v in loss[0, 0]]  # log(2) times 3/4 or 1/4
    [0.5199, 0.1733, 0.1733, 0.1733]

    Source: Ye and Xu, TaskPrompter, ICLR 2023, Sec. A.3.
    """
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.cast(y_pred, "float32")
    check_maps("The saliency loss", y_true, y_pred, "(B, H, W)", "(B, H, W, 2)")
    labelled = y_true != NO_LABEL
    positive = ops.cast(y_true == 1, "float32")
    share_labelled = _mean_over_replicas(ops.mean(ops.cast(labelled, "float32")))
    share_positive = _mean_over_replicas(ops.mean(positive))
    share_positive = share_positive / ops.where(share_labelled > 0, share_labelled, 1.0)
    # Softmax over two classes is a sigmoid of the difference of their logits.
    logit = y_pred[..., 1] - y_pred[..., 0]
    loss = _weighted_logistic_loss(positive, logit, positive_weight=1.0 - share_positive)
    return ops.where(labelled, loss, 0.0), labelled


def boundary_loss_map(
    y_true: Tensor, y_pred: Tensor, positive_weight: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Weighted binary cross-entropy of boundaries, pixel by pixel.

    Args:
        y_true: float tensor `(B, H, W, 1)`, 1 boundary, 0 not, 255 where there is no label.
        y_pred: float tensor `(B, H, W, 1)`, logits.
        positive_weight: float in `(0, 1)`, weight of boundary pixels; the others weigh
            `1 - positive_weight`.

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
    labelled = y_true != NO_LABEL
    positive = ops.where(labelled, y_true, 0.0)
    loss = _weighted_logistic_loss(positive, y_pred, positive_weight)
    return ops.where(labelled, loss, 0.0), labelled


def _weighted_logistic_loss(positive: Tensor, logit: Tensor, positive_weight) -> Tensor:
    # softplus(-x) = -log(sigmoid(x)), without overflow for any x.
    return positive_weight * positive * ops.softplus(-logit) + (1.0 - positive_weight) * (
        1.0 - positive
    ) * ops.softplus(logit)


# === Keras losses ===


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
    ...         loss, labelled = depth_loss_map(y_true, y_pred)
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


@keras.saving.register_keras_serializable(package="keras_mtl")
class SegmentationLoss(LabelledPixelLoss):
    """Mean cross-entropy of classes over the labelled pixels of the batch.

    Called with labels `(B, H, W)`, class ids, and logits `(B, H, W, C)`. On one device
    `keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)` is the same; on
    several TensorFlow devices that one averages the devices' means.

    Args:
        ignore: int, the label that means "no label here".
        name: string.
        reduction: as in `LabelledPixelLoss`.
        dtype: optional dtype, float32 by default.

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
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.ignore = ignore

    def loss_map(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        return segmentation_loss_map(y_true, y_pred, self.ignore)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ignore": self.ignore}


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


@keras.saving.register_keras_serializable(package="keras_mtl")
class NormalsLoss(LabelledPixelLoss):
    """Mean L1 distance of unit normals, summed over components, over labelled pixels.

    Called with labels `(B, H, W, 3)`, unit vectors, `(0, 0, 0)` where there is no label, and
    predictions `(B, H, W, 3)` of any length.

    Args:
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
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def loss_map(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        return normals_loss_map(y_true, y_pred)


@keras.saving.register_keras_serializable(package="keras_mtl")
class SaliencyLoss(LabelledPixelLoss):
    """Mean class-balanced cross-entropy of saliency over the labelled pixels of the batch.

    Called with labels `(B, H, W)` in {0, 1}, 255 where there is no label, and logits
    `(B, H, W, 2)`. Each class weighs the share of the other among the labelled pixels.

    Args:
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
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def loss_map(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        return saliency_loss_map(y_true, y_pred)


@keras.saving.register_keras_serializable(package="keras_mtl")
class BoundaryLoss(LabelledPixelLoss):
    """Mean weighted cross-entropy of boundaries over the labelled pixels of the batch.

    Called with labels `(B, H, W, 1)` in {0, 1}, 255 where there is no label, and logits
    `(B, H, W, 1)`.

    Args:
        positive_weight: float in `(0, 1)`, weight of boundary pixels; the others weigh
            `1 - positive_weight`.
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
    ):
        if not 0 < positive_weight < 1:
            raise ValueError(
                f"BoundaryLoss received positive_weight={positive_weight}: it must lie strictly "
                "between 0 and 1."
            )
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.positive_weight = positive_weight

    def loss_map(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        return boundary_loss_map(y_true, y_pred, self.positive_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "positive_weight": self.positive_weight}
