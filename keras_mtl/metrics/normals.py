"""Angles between predicted and labelled surface normals, over the whole dataset."""

import math
from typing import Any

import keras
from keras import ops

from keras_mtl.losses.maps import Tensor, check_maps, labelled_vectors, unit_vectors
from keras_mtl.metrics.accumulate import (
    DatasetMetric,
    MeanOverPixels,
    count_per_bin,
    count_up,
    read_counter,
)

_BINS_PER_DEGREE = 100
_BINS = 180 * _BINS_PER_DEGREE


def normals_angle(y_true: Tensor, y_pred: Tensor, ignore: float = 0.0) -> tuple[Tensor, Tensor]:
    """Angle between predicted and labelled normals, pixel by pixel.

    Args:
        y_true: float tensor `(B, H, W, 3)`, unit vectors, all three `ignore` where there is no
            label.
        y_pred: float tensor `(B, H, W, 3)`, of any length; a zero vector is 90 degrees off.
        ignore: float.

    Returns:
        The angle in degrees, float32 `(B, H, W)`, and the mask of labelled pixels, bool
        `(B, H, W)`.

    Example:

    >>> angle, _ = normals_angle([[[[0.0, 0.0, 1.0]]]], [[[[0.0, 2.0, 2.0]]]])
    >>> round(float(angle[0, 0, 0]), 3)
    45.0
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    check_maps("A normals metric", y_true, y_pred, "(B, H, W, 3)", "(B, H, W, 3)")
    labelled = labelled_vectors(y_true, ignore)
    y_true = ops.where(labelled[..., None], y_true, 0.0)
    # Labels decoded from images are a little off unit length, which the formula does not forgive.
    y_true, y_pred = unit_vectors(y_true), unit_vectors(y_pred)
    # Unlike the arc cosine of the dot product, this is exact for small angles too.
    angle = 2.0 * ops.arctan2(_length(y_pred - y_true), _length(y_pred + y_true))
    return angle * (180.0 / math.pi), labelled


def _length(vectors: Tensor) -> Tensor:
    return ops.sqrt(ops.sum(ops.square(vectors), axis=-1))


@keras.saving.register_keras_serializable(package="keras_mtl")
class NormalsMeanError(MeanOverPixels):
    """Mean angle between predicted and labelled normals, degrees, over the whole dataset.

    Called with labels `(B, H, W, 3)`, unit vectors, `(0, 0, 0)` where there is no label, and
    predictions `(B, H, W, 3)` of any length.

    Args:
        ignore: float, which in all three components means "no label here".
        name: string, as it appears in the logs of `fit`.
        dtype: optional dtype of the metric.

    Example:

    >>> metric = NormalsMeanError()
    >>> metric.update_state([[[[0.0, 0.0, 1.0]]]], [[[[0.0, 2.0, 2.0]]]])
    >>> round(float(metric.result()), 3)
    45.0

    Source: Fouhey et al., Data-Driven 3D Primitives for Single Image Understanding, ICCV 2013;
    the headline "mErr" of Ye and Xu, TaskPrompter, ICLR 2023.
    """

    higher_is_better = False

    def __init__(self, name: str = "mErr", dtype: str | None = None, ignore: float = 0.0):
        super().__init__(name=name, dtype=dtype)
        self.ignore = ignore

    def pixel_values(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        return normals_angle(y_true, y_pred, self.ignore)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ignore": self.ignore}


@keras.saving.register_keras_serializable(package="keras_mtl")
class NormalsWithin(MeanOverPixels):
    """Percentage of labelled pixels whose normal is less than `degrees` off.

    Called with labels `(B, H, W, 3)`, unit vectors, `(0, 0, 0)` where there is no label, and
    predictions `(B, H, W, 3)` of any length.

    Args:
        degrees: float, 11.25, 22.5 or 30 in the literature.
        ignore: float, which in all three components means "no label here".
        name: optional string, as it appears in the logs of `fit`; `"within_{degrees}"` by
            default.
        dtype: optional dtype of the metric.

    Example:

    >>> metric = NormalsWithin(30)
    >>> metric.update_state(
    ...     [[[[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]]], [[[[0.0, 0.1, 1.0], [1.0, 0.0, 0.0]]]])
    >>> round(float(metric.result()), 4)
    50.0

    Source: Fouhey et al., Data-Driven 3D Primitives for Single Image Understanding, ICCV 2013.
    """

    higher_is_better = True

    def __init__(
        self,
        degrees: float,
        name: str | None = None,
        dtype: str | None = None,
        ignore: float = 0.0,
    ):
        super().__init__(name=name or f"within_{degrees:g}", dtype=dtype)
        self.degrees = degrees
        self.ignore = ignore

    def pixel_values(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        angle, labelled = normals_angle(y_true, y_pred, self.ignore)
        return ops.cast(angle < self.degrees, "float32"), labelled

    def finish(self, mean: Tensor) -> Tensor:
        return 100.0 * mean

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "degrees": self.degrees, "ignore": self.ignore}


@keras.saving.register_keras_serializable(package="keras_mtl")
class NormalsMedianError(DatasetMetric):
    """Median angle between predicted and labelled normals, degrees, over the whole dataset.

    The state is a histogram of angles in steps of 0.01 degrees, so the median is right within
    0.005 degrees however large the dataset. Called with labels `(B, H, W, 3)`, unit vectors,
    `(0, 0, 0)` where there is no label, and predictions `(B, H, W, 3)` of any length.

    Args:
        ignore: float, which in all three components means "no label here".
        name: string, as it appears in the logs of `fit`.
        dtype: optional dtype of the metric.

    Example:

    >>> metric = NormalsMedianError()
    >>> metric.update_state([[[[0.0, 0.0, 1.0]]]], [[[[0.0, 2.0, 1.0]]]])
    >>> round(float(metric.result()), 1)
    63.4

    Source: Fouhey et al., Data-Driven 3D Primitives for Single Image Understanding, ICCV 2013.
    """

    higher_is_better = False

    def __init__(self, name: str = "median_err", dtype: str | None = None, ignore: float = 0.0):
        super().__init__(name=name, dtype=dtype)
        self.ignore = ignore
        self.histogram = self.add_counter(_BINS, name="histogram")

    def accumulate(self, y_true: Tensor, y_pred: Tensor) -> None:
        angle, labelled = normals_angle(y_true, y_pred, self.ignore)
        step = ops.clip(ops.floor(angle * _BINS_PER_DEGREE), 0, _BINS - 1)  # 180 joins the last
        count_up(self.histogram, count_per_bin(step, labelled, _BINS))

    def result(self) -> Tensor:
        up_to = ops.cumsum(read_counter(self.histogram))
        half = up_to[-1] / 2.0
        # The middle pixel, or for an even number the mean of the middle two, as usual.
        lower = ops.sum(ops.cast(up_to < half, "float32"))
        upper = ops.sum(ops.cast(up_to <= half, "float32"))
        median = ((lower + upper) / 2.0 + 0.5) / _BINS_PER_DEGREE
        return ops.where(half > 0, median, 0.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ignore": self.ignore}
