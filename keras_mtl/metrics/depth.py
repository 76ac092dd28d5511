"""Depth errors over all labelled pixels of the dataset."""

from typing import Any

import keras
from keras import ops

from keras_mtl.losses.maps import VALID_DEPTH, Tensor, check_maps, labelled_depth
from keras_mtl.metrics.accumulate import MeanOverPixels

MAX_DEPTH = VALID_DEPTH[1]  # metres; labels from here on are not evaluated
_SMALLEST = 1e-9  # metres; stands for a prediction of 0 where it is divided by or its log taken


def valid_depth(
    y_true: Tensor,
    y_pred: Tensor,
    ignore: float = 0.0,
    valid_range: tuple[float, float] = VALID_DEPTH,
) -> tuple[Tensor, Tensor, Tensor]:
    """Depth labels and predictions ready to be compared.

    Args:
        y_true: float tensor `(B, H, W, 1)`, metres, `ignore` where there is no label.
        y_pred: float tensor `(B, H, W, 1)`, metres.
        ignore: float.
        valid_range: `(nearest, farthest)` in metres; labels that do not lie between count as none.

    Returns:
        Labels, float32 `(B, H, W)`, 1 where not valid; predictions clipped at 0, float32
        `(B, H, W)`; the mask of valid pixels, bool `(B, H, W)`.

    Example:

    >>> label, prediction, valid = valid_depth([[[[2.0], [0.0]]]], [[[[-1.5], [9.0]]]])
    >>> [float(v) for v in prediction[0, 0]], [bool(v) for v in valid[0, 0]]
    ([0.0, 9.0], [True, False])
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    check_maps("A depth metric", y_true, y_pred, "(B, H, W, 1)", "(B, H, W, 1)")
    y_true, y_pred = y_true[..., 0], y_pred[..., 0]
    valid = labelled_depth(y_true, ignore, valid_range)
    return ops.where(valid, y_true, 1.0), ops.maximum(y_pred, 0.0), valid


class DepthMetric(MeanOverPixels):
    """A mean over all labelled pixels of the dataset of what depth and label give: the base.

    A subclass sets `higher_is_better` and defines `compare(label, prediction)`. Called with labels
    `(B, H, W, 1)` in metres, 0 where there is no label, and predictions `(B, H, W, 1)` in metres,
    clipped at 0 here. Labels of 80 m and more take no part.

    Args:
        ignore: float, the label that means "no label here".
        valid_range: `(nearest, farthest)` in metres; labels that do not lie between take no part.
        name: optional string, as it appears in the logs of `fit`.
        dtype: optional dtype of the metric.

    Example:

    >>> class DepthMAE(keras_mtl.metrics.depth.DepthMetric):
    ...     higher_is_better = False
    ...     def compare(self, label, prediction):
    ...         return keras.ops.abs(label - prediction)
    >>> float(DepthMAE()([[[[2.0], [0.0]]]], [[[[1.5], [9.0]]]]))
    0.5
    """

    default_name: str | None = None

    def __init__(
        self,
        name: str | None = None,
        dtype: str | None = None,
        ignore: float = 0.0,
        valid_range: tuple[float, float] = VALID_DEPTH,
    ):
        super().__init__(name=name or self.default_name, dtype=dtype)
        self.ignore = ignore
        self.valid_range = (valid_range[0], valid_range[1])

    def compare(self, label: Tensor, prediction: Tensor) -> Tensor:
        """The quantity at each pixel.

        Args:
            label: float32 `(B, H, W)`, metres, above 0.
            prediction: float32 `(B, H, W)`, metres, 0 or more.
        """
        raise NotImplementedError(f"{type(self).__name__} must define compare().")

    def pixel_values(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        label, prediction, valid = valid_depth(y_true, y_pred, self.ignore, self.valid_range)
        return self.compare(label, prediction), valid

    def get_config(self) -> dict[str, Any]:
        config = {"ignore": self.ignore, "valid_range": self.valid_range}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="keras_mtl")
class DepthRMSE(DepthMetric):
    """Root mean squared error of depth, metres, over all valid pixels of the dataset.

    Called with labels `(B, H, W, 1)` in metres, 0 where there is no label, and predictions
    `(B, H, W, 1)` in metres, clipped at 0 here. Labels of 80 m and more take no part.

    Args:
        ignore, valid_range, name, dtype: see `DepthMetric`.

    Example:

    >>> metric = DepthRMSE()
    >>> metric.update_state([[[[2.0], [4.0], [0.0]]]], [[[[5.0], [-1.0], [9.0]]]])
    >>> round(float(metric.result()), 4)  # sqrt((3**2 + 4**2) / 2)
    3.5355

    Source: Eigen et al., Depth Map Prediction from a Single Image, NeurIPS 2014; valid pixels as
    in Ye and Xu, TaskPrompter, ICLR 2023.
    """

    default_name = "RMSE"
    higher_is_better = False

    def compare(self, label: Tensor, prediction: Tensor) -> Tensor:
        return ops.square(label - prediction)

    def finish(self, mean: Tensor) -> Tensor:
        return ops.sqrt(mean)


@keras.saving.register_keras_serializable(package="keras_mtl")
class DepthAbsRel(DepthMetric):
    """Mean of |label - prediction| / label, a fraction, over all valid pixels of the dataset.

    Called with labels `(B, H, W, 1)` in metres, 0 where there is no label, and predictions
    `(B, H, W, 1)` in metres, clipped at 0 here. Labels of 80 m and more take no part.

    Args:
        ignore, valid_range, name, dtype: see `DepthMetric`.

    Example:

    >>> metric = DepthAbsRel()
    >>> metric.update_state([[[[2.0], [0.0]]]], [[[[3.0], [9.0]]]])
    >>> round(float(metric.result()), 4)
    0.5

    Source: Eigen et al., Depth Map Prediction from a Single Image, NeurIPS 2014.
    """

    default_name = "abs_rel"
    higher_is_better = False

    def compare(self, label: Tensor, prediction: Tensor) -> Tensor:
        return ops.abs(label - prediction) / label


@keras.saving.register_keras_serializable(package="keras_mtl")
class DepthSqRel(DepthMetric):
    """Mean of (label - prediction)^2 / label, metres, over all valid pixels of the dataset.

    Called with labels `(B, H, W, 1)` in metres, 0 where there is no label, and predictions
    `(B, H, W, 1)` in metres, clipped at 0 here. Labels of 80 m and more take no part.

    Args:
        ignore, valid_range, name, dtype: see `DepthMetric`.

    Example:

    >>> metric = DepthSqRel()
    >>> metric.update_state([[[[2.0], [0.0]]]], [[[[4.0], [9.0]]]])
    >>> round(float(metric.result()), 4)
    2.0

    Source: Eigen et al., Depth Map Prediction from a Single Image, NeurIPS 2014.
    """

    default_name = "sq_rel"
    higher_is_better = False

    def compare(self, label: Tensor, prediction: Tensor) -> Tensor:
        return ops.square(label - prediction) / label


@keras.saving.register_keras_serializable(package="keras_mtl")
class DepthLogRMSE(DepthMetric):
    """Root mean squared error of the natural log of depth over all valid pixels of the dataset.

    Called with labels `(B, H, W, 1)` in metres, 0 where there is no label, and predictions
    `(B, H, W, 1)` in metres. Labels of 80 m and more take no part. A prediction of 0 or less
    counts as 1e-9 m, as in the published evaluation: one such pixel weighs heavily.

    Args:
        ignore, valid_range, name, dtype: see `DepthMetric`.

    Example:

    >>> metric = DepthLogRMSE()
    >>> metric.update_state([[[[2.0], [0.0]]]], [[[[4.0], [9.0]]]])
    >>> round(float(metric.result()), 4)  # log(2)
    0.6931

    Source: Eigen et al., Depth Map Prediction from a Single Image, NeurIPS 2014; the guard as in
    Ye and Xu, TaskPrompter, ICLR 2023.
    """

    default_name = "log_RMSE"
    higher_is_better = False

    def compare(self, label: Tensor, prediction: Tensor) -> Tensor:
        return ops.square(ops.log(label) - ops.log(ops.maximum(prediction, _SMALLEST)))

    def finish(self, mean: Tensor) -> Tensor:
        return ops.sqrt(mean)


@keras.saving.register_keras_serializable(package="keras_mtl")
class DepthDelta(DepthMetric):
    """Fraction (0 to 1) of valid pixels whose depth is right within a factor of `1.25**power`.

    A pixel is right if max(label / prediction, prediction / label) < 1.25**power; a prediction
    of 0 or less never is. Called with labels `(B, H, W, 1)` in metres, 0 where there is no
    label, and predictions `(B, H, W, 1)` in metres. Labels of 80 m and more take no part.

    Args:
        power: int, 1, 2 or 3 in the literature.
        ignore, valid_range, name, dtype: see `DepthMetric`.

    Example:

    >>> metric = DepthDelta(power=1)
    >>> metric.update_state([[[[2.0], [2.0], [0.0]]]], [[[[2.4], [1.5], [9.0]]]])
    >>> round(float(metric.result()), 4)
    0.5

    Source: Eigen et al., Depth Map Prediction from a Single Image, NeurIPS 2014.
    """

    higher_is_better = True

    def __init__(self, power: int = 1, name: str | None = None, dtype: str | None = None, **kwargs):
        super().__init__(name=name or f"delta_{power}", dtype=dtype, **kwargs)
        self.power = power

    def compare(self, label: Tensor, prediction: Tensor) -> Tensor:
        prediction = ops.maximum(prediction, _SMALLEST)
        ratio = ops.maximum(label / prediction, prediction / label)
        return ops.cast(ratio < 1.25**self.power, "float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "power": self.power}
