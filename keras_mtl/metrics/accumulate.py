"""How the metrics accumulate over a whole dataset: exact counts, and means over labelled pixels."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_mtl.losses.maps import Tensor

# A dataset has more pixels than an int32 can count (the 2,975 images of Cityscapes: 6e9), and no
# 64-bit integer works on every backend: a counter is a pair of int32, high * 2**24 + low.
_LOW = 2**24


def count_per_bin(bins: Tensor, counted: Tensor, num_bins: int) -> Tensor:
    """How many pixels of the batch fall into each bin, exactly.

    Args:
        bins: integer tensor `(B, ...)`; what lies outside of `0 .. num_bins - 1`, as NaN made an
            integer does, counts in the first or the last bin.
        counted: bool tensor `(B, ...)`, which pixels take part.
        num_bins: int.

    Returns:
        int32 tensor `(num_bins,)`.

    Example:

    >>> [int(n) for n in count_per_bin([[0, 2, 2, 1]], [[True, True, True, False]], 3)]
    [1, 0, 2]
    """
    counted = ops.cast(counted, "bool")
    # One bin too many holds the pixels that do not count. `ops.bincount` fails under jit on JAX,
    # `ops.segment_sum` fails while Keras builds a model on PyTorch and sums in float32 there.
    bins = ops.clip(ops.cast(bins, "int32"), 0, num_bins - 1)
    bins = ops.where(counted, bins, num_bins)
    bins = ops.reshape(bins, (-1, 1))
    ones = ops.ones_like(bins[:, 0])
    counts = ops.zeros((num_bins + 1,), dtype="int32")
    return ops.scatter_update(counts, bins, ones, reduction="add")[:num_bins]


class DatasetMetric(keras.metrics.Metric):
    """A metric whose state covers the whole dataset: the base of this package's metrics.

    A subclass sets `higher_is_better` and defines `accumulate(y_true, y_pred)`.

    Args:
        name: optional string, as it appears in the logs of `fit`.
        dtype: optional dtype of the metric; the arithmetic is float32 whatever it is.

    Example:

    >>> from keras_mtl.metrics import DepthRMSE
    >>> issubclass(DepthRMSE, DatasetMetric), DepthRMSE.higher_is_better
    (True, False)
    """

    higher_is_better: bool

    def __init__(self, name: str | None = None, dtype: str | None = None):
        super().__init__(name=name, dtype=dtype)

    def accumulate(self, y_true: Tensor, y_pred: Tensor) -> None:
        """Takes a batch into the state.

        Args:
            y_true: labels `(B, H, W)` or `(B, H, W, c)`.
            y_pred: raw maps `(B, H, W, channels)`, without a gradient.
        """
        raise NotImplementedError(f"{type(self).__name__} must define accumulate(y_true, y_pred).")

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Any = None) -> None:
        if sample_weight is not None:
            raise ValueError(
                f"{type(self).__name__} takes no sample_weight: mark the pixels that should not "
                "count as unlabelled instead."
            )
        # A metric needs no gradient: without this, PyTorch would record every operation.
        y_pred = ops.stop_gradient(ops.convert_to_tensor(y_pred))
        if isinstance(y_true, Mapping):  # a label of several arrays
            y_true = {name: ops.convert_to_tensor(values) for name, values in y_true.items()}
        else:
            y_true = ops.convert_to_tensor(y_true)
        self.accumulate(y_true, y_pred)

    def add_counter(self, size: int, name: str) -> Any:
        """Adds the state of exact counts, for `count_up` and `read_counter`.

        Args:
            size: int. How many.
            name: str.
        """
        return self.add_variable((2, size), "zeros", dtype="int32", name=name)


def count_up(counter: Any, counts: Tensor) -> None:
    """Adds int32 counts `(size,)` to a counter made by `DatasetMetric.add_counter`."""
    low = counter[1] + counts
    counter.assign(ops.stack([counter[0] + low // _LOW, low % _LOW]))


def read_counter(counter: Any) -> Tensor:
    """The counts `(size,)` of a counter as float32, exact up to 2**24, then to 7 digits."""
    high, low = ops.cast(counter[0], "float32"), ops.cast(counter[1], "float32")
    return high * _LOW + low


class MeanOverPixels(DatasetMetric):
    """Mean of a quantity over all labelled pixels of the dataset; 0 if there is none.

    A subclass sets `higher_is_better`, defines `pixel_values(y_true, y_pred)`, which returns the
    quantity and the mask of labelled pixels, both `(B, H, W)`, and may define `finish(mean)`.

    Args:
        name: optional string, as it appears in the logs of `fit`.
        dtype: optional dtype of the metric; the arithmetic is float32 whatever it is.

    Example:

    >>> from keras_mtl.losses import depth_loss_map
    >>> class DepthMAE(MeanOverPixels):
    ...     higher_is_better = False
    ...     def pixel_values(self, y_true, y_pred):
    ...         return depth_loss_map(y_true, y_pred)
    >>> float(DepthMAE()([[[[2.0], [0.0]]]], [[[[1.5], [9.0]]]]))
    0.5
    """

    def __init__(self, name: str | None = None, dtype: str | None = None):
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable((), "zeros", dtype="float32", name="total")
        self.pixels = self.add_counter(1, name="pixels")

    def pixel_values(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        """The quantity at each pixel, and the mask of labelled pixels.

        Args:
            y_true: labels `(B, H, W)` or `(B, H, W, c)`.
            y_pred: raw maps `(B, H, W, channels)`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define pixel_values().")

    def finish(self, mean: Tensor) -> Tensor:
        """The result.

        Args:
            mean: scalar, the quantity's mean over all labelled pixels.
        """
        return mean

    def accumulate(self, y_true: Tensor, y_pred: Tensor) -> None:
        values, labelled = self.pixel_values(y_true, y_pred)
        values = ops.where(labelled, values, 0.0)
        # Row by row first: a sum of a million float32 in one go loses digits on some backends.
        total = ops.sum(ops.sum(values, axis=-1))
        self.total.assign(self.total + total)
        count_up(self.pixels, ops.reshape(ops.sum(ops.cast(labelled, "int32")), (1,)))

    def result(self) -> Tensor:
        pixels = read_counter(self.pixels)[0]
        return self.finish(self.total / ops.maximum(pixels, 1.0))
