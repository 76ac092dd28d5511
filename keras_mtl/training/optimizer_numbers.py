"""The numbers of an optimizer: with one that is none, the first step would spoil every weight."""

import math
import numbers
from typing import Any

import keras
from keras import ops


def check_optimizer(optimizer: Any) -> None:
    """Refuses an optimizer whose learning rate, or another number, no training can use.

    Args:
        optimizer: Keras optimizer, also one of several or around another; or `None`.

    Raises:
        ValueError: if its learning rate, now or of its schedule, is negative, NaN or infinite, or
            another of its numbers is NaN or infinite.

    Example:

    >>> check_optimizer(keras.optimizers.SGD(float("nan")))
    Traceback (most recent call last):
    ValueError: The learning rate of SGD is nan, expected a finite number from 0 on, such as 0.001.
    """
    for each in _each(optimizer):
        kind = type(each).__name__
        rate = float(ops.convert_to_numpy(each.learning_rate))
        if not 0 <= rate < math.inf:
            raise ValueError(
                f"The learning rate of {kind} is {rate:g}, expected a finite number from 0 on, "
                "such as 0.001."
            )
        for name, value in vars(each).items():
            if isinstance(value, numbers.Real) and not math.isfinite(value):
                raise ValueError(
                    f"{name.lstrip('_')} of {kind} is {value}, expected a finite number, or none."
                )


def _each(optimizer: Any) -> list:
    """The optimizers that change variables."""
    if optimizer is None:
        return []
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return _each(optimizer.inner_optimizer)
    return getattr(optimizer, "optimizers", [optimizer])  # of a MultiOptimizer


class CheckOptimizerEachEpoch(keras.callbacks.Callback):
    """Looks at what schedules and other callbacks have made of the learning rate.

    Raises:
        ValueError: in `fit`, before the first step of an epoch with one that no training can use.
    """

    def on_epoch_begin(self, epoch, logs=None):
        check_optimizer(self.model.optimizer)
