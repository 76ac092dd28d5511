"""The weights that a model is given as arrays: all of them fit, or none is taken."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_mtl.declared import fits_float32
from keras_mtl.training.arrays import as_numpy


def checked_weights(given: Any, variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    """Arrays to be assigned to variables one after the other.

    Args:
        given: list of arrays, as `get_weights` returns it.
        variables: those of a model.

    Raises:
        ValueError: if they are not as many, or one has another shape or holds no finite real
            numbers.

    Example:

    >>> checked_weights([[1.0, 2.0]], [keras.Variable([0.0, 0.0], name="bias")])
    [array([1., 2.])]
    """
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ValueError(
            f"The weights are a {type(given).__name__}; expected a list of arrays, such as "
            "get_weights returns."
        )
    if len(given) != len(variables):
        raise ValueError(f"There are {len(given)} weights; this model has {len(variables)}.")
    arrays = [as_numpy(each) for each in given]
    for number, (values, variable) in enumerate(zip(arrays, variables, strict=True)):
        if values.shape != tuple(variable.shape):
            raise ValueError(
                f"Weight {number} has shape {values.shape}; {variable.path} has "
                f"{tuple(variable.shape)}."
            )
        check_finite(values, f"Weight {number}, of {variable.path},")
    return arrays


def check_finite(values: np.ndarray, what: str) -> None:
    """Refuses weights with which a network computes nothing.

    Args:
        values: array of numbers.
        what: what it is called in the sentence.

    Raises:
        ValueError: if it holds something else than finite real numbers that fit float32.
    """
    if values.dtype.kind == "V":  # bfloat16
        values = values.astype("float32")
    if not fits_float32(values):
        raise ValueError(
            f"{what} holds NaN, infinity or what is no number of float32; take the weights from "
            "before that, and train with a lower learning rate."
        )
