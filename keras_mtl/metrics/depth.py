"""Depth errors over all valid pixels of the dataset: 0 < label < 80 metres."""

from typing import Any

import keras
from keras import ops

from keras_mtl.losses.maps import Tensor, check_maps
from keras_mtl.metrics.accumulate import MeanOverPixels

MAX_DEPTH = 80.0  # metres; labels from here on are not evaluated
_SMALLEST = 1e-9  # metres; stands for a prediction of 0 where it is divided by or its log taken


def valid_depth(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Depth labels and predictions ready to be compared.

    Args:
        y_true: float tensor `(B, H, W, 1)`, metres, 0 where there is no label.
        y_pred: float tensor `(B, H, W, 1)`, metres.

    Returns:
        Labels, float32 `(B, H, W)`, 1 where not valid; predictions clipped at 0, float32
        `(B, H, W)`; the mask of valid pixels, `0 < label < 80`, bool `(B, H, W)`.

    Example:

    >>> label, prediction, valid = valid_depth([[[[2.0], [0.0]]]], [[[[-1.5], [9.0]]]])
    >>> [float(v) for v in prediction[0, 0]], [bool(v) for v in valid[0, 0]]
    ([0.0, 9.0], [True, False])
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    check_maps("A depth metric", y_true, y_pred, "(B, H, W, 1)", "(B, H, W, 1)")
    y_true, y_pred = y_true[..., 0], y_pred[..., 0]
    valid = (y_true > 0) & (y_true < MAX_DEPTH)
    return ops.where(valid, y_true, 1.0), ops.maximum(y_pred, 0.0), valid


@keras.saving.register_keras_serializable(package="keras_mtl")
class DepthRMSE(MeanOverPixels):
    """Root mean squared error of depth, metres, over all valid pixels of the dataset.

    Called with labels `(B, H, W, 1)` in metres, 0 where there is no label, and predictions
    `(B, H, W, 1)` in metres, clipped at 0 here. Labels of 80 m and more take no part.

    Args:
        name: string, as it appears in the logs of `fit`.
        dtype: optional dtype of the metric.

    Example:

    >>> metric = DepthRMSE()
    >>> metric.update_state([[[[2.0], [4.0], [0.0]]]], [[[[5.0], [-1.0], [9.0]]]])
    >>> round(float(metric.result()), 4)  # sqrt((3**2 + 4**2) / 2)
    3.5355

    Source: Eigen et al., Depth Map Prediction from a Single Image, NeurIPS 2014; valid pixels as
    in Ye and Xu, TaskPrompter, ICLR 2023.
    """

    higher_is_better = False

    def __init__(self, name: str = "RMSE", dtype: str | None = None):
        super().__init__(name=name, dtype=dtype)

    def pixel_values(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        label, prediction, valid = valid_depth(y_true, y_pred)
        return ops.square(label - prediction), valid

    def finish(self, mean: Tensor) -> Tensor:
        return ops.sqrt(mean)


@keras.saving.register_keras_serializable(package="keras_mtl")
class DepthAbsRel(MeanOverPixels):
    """Mean of |label - prediction| / label, a fraction, over all valid pixels of the dataset.

    Called with labels `(B, H, W, 1)` in metres, 0 where there is no label, and predictions
    `(B, H, W, 1)` in metres, clipped at 0 here. Labels of 80 m and more take no part.

    Args:
        name: string, as it appears in the logs of `fit`.
        dtype: optional dtype of the metric.

    Example:

    >>> metric = DepthAbsRel()
    >>> metric.update_state([[[[2.0], [0.0]]]], [[[[3.0], [9.0]]]])
    >>> round(float(metric.result()), 4)
    0.5

    Source: Eigen et al., Depth Map Prediction from a Single Image, NeurIPS 2014.
    """

    higher_is_better = False

    def __init__(self, name: str = "abs_rel", dtype: str | None = None):
        super().__init__(name=name, dtype=dtype)

    def pixel_values(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        label, prediction, valid = valid_depth(y_true, y_pred)
        return ops.abs(label - prediction) / label, valid


@keras.saving.register_keras_serializable(package="keras_mtl")
class DepthSqRel(MeanOverPixels):
    """Mean of (label - prediction)^2 / label, metres, over all valid pixels of the dataset.

    Called with labels `(B, H, W, 1)` in metres, 0 where there is no label, and predictions
    `(B, H, W, 1)` in metres, clipped at 0 here. Labels of 80 m and more take no part.

    Args:
        name: string, as it appears in the logs of `fit`.
        dtype: optional dtype of the metric.

    Example:

    >>> metric = DepthSqRel()
    >>> metric.update_state([[[[2.0], [0.0]]]], [[[[4.0], [9.0]]]])
    >>> round(float(metric.result()), 4)
    2.0

    Source: Eigen et al., Depth Map Prediction from a Single Image, NeurIPS 2014.
    """

    higher_is_better = False

    def __init__(self, name: str = "sq_rel", dtype: str | None = None):
        super().__init__(name=name, dtype=dtype)

    def pixel_values(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        label, prediction, valid = valid_depth(y_true, y_pred)
        return ops.square(label - prediction) / label, valid


@keras.saving.register_keras_serializable(package="keras_mtl")
class DepthLogRMSE(MeanOverPixels):
    """Root mean squared error of the natural log of depth over all valid pixels of the dataset.

    Called with labels `(B, H, W, 1)` in metres, 0 where there is no label, and predictions
    `(B, H, W, 1)` in metres. Labels of 80 m and more take no part. A prediction of 0 or less
    counts as 1e-9 m, as in the published evaluation: one such pixel weighs heavily.

    Args:
        name: string, as it appears in the logs of `fit`.
        dtype: optional dtype of the metric.

    Example:

    >>> metric = DepthLogRMSE()
    >>> metric.update_state([[[[2.0], [0.0]]]], [[[[4.0], [9.0]]]])
    >>> round(float(metric.result()), 4)  # log(2)
    0.6931

    Source: Eigen et al., Depth Map Prediction from a Single Image, NeurIPS 2014; the guard as in
    Ye and Xu, TaskPrompter, ICLR 2023.
    """

    higher_is_better = False

    def __init__(self, name: str = "log_RMSE", dtype: str | None = None):
        super().__init__(name=name, dtype=dtype)

    def pixel_values(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        label, prediction, valid = valid_depth(y_true, y_pred)
        return ops.square(ops.log(label) - ops.log(ops.maximum(prediction, _SMALLEST))), valid

    def finish(self, mean: Tensor) -> Tensor:
        return ops.sqrt(mean)


@keras.saving.register_keras_serializable(package="keras_mtl")
class DepthDelta(MeanOverPixels):
    """Fraction (0 to 1) of valid pixels whose depth is right within a factor of `1.25**power`.

    A pixel is right if max(label / prediction, prediction / label) < 1.25**power; a prediction
    of 0 or less never is. Called with labels `(B, H, W, 1)` in metres, 0 where there is no
    label, and predictions `(B, H, W, 1)` in metres. Labels of 80 m and more take no part.

    Args:
        power: int, 1, 2 or 3 in the literature.
        name: optional string, as it appears in the logs of `fit`; `"delta_{power}"` by default.
        dtype: optional dtype of the metric.

    Example:

    >>> metric = DepthDelta(power=1)
    >>> metric.update_state([[[[2.0], [2.0], [0.0]]]], [[[[2.4], [1.5], [9.0]]]])
    >>> round(float(metric.result()), 4)
    0.5

    Source: Eigen et al., Depth Map Prediction from a Single Image, NeurIPS 2014.
    """

    higher_is_better = True

    def __init__(self, power: int = 1, name: str | None = None, dtype: str | None = None):
        super().__init__(name=name or f"delta_{power}", dtype=dtype)
        self.power = power

    def pixel_values(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        label, prediction, valid = valid_depth(y_true, y_pred)
        prediction = ops.maximum(prediction, _SMALLEST)
        ratio = ops.maximum(label / prediction, prediction / label)
        return ops.cast(ratio < 1.25**self.power, "float32"), valid

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "power": self.power}
