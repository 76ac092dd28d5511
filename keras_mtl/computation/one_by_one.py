"""Sums of large terms, of which one at a time is in memory."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_mtl.computation.rematerialization import remat


def sum_one_by_one(function: Callable, shared: Any, items: tuple) -> Any:
    """The sum of what a function makes of each item, computed a second time for the gradient.

    JAX compiles a loop: of terms that stand beside each other, XLA would hold all at once. The
    others compute them in the order in which they are written.

    Args:
        function: of `shared` and of one of each of the items, returning a tensor.
        shared: tensor.
        items: tuple of tensors of the same first axis.

    Example:

    >>> weights = keras.ops.convert_to_tensor([1.0, 2.0])
    >>> float(sum_one_by_one(lambda x, weight: weight * x, keras.ops.ones(()), (weights,)))
    3.0
    """
    function = remat(function)
    first, rest = [each[0] for each in items], tuple(each[1:] for each in items)
    total = function(shared, *first)
    if keras.backend.backend() == "jax":
        return ops.scan(lambda sum_, one: (sum_ + function(shared, *one), None), total, rest)[0]
    for k in range(rest[0].shape[0]):
        total = total + function(shared, *(each[k] for each in rest))
    return total
