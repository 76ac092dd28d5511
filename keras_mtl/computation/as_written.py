"""Layers that compute otherwise than their formulas are written, and how to have the formulas."""

import contextlib
from collections.abc import Iterator, Sequence

import keras
from keras import ops

from keras_mtl.computation.sublayers import every_layer


@contextlib.contextmanager
def as_written(model: keras.layers.Layer) -> Iterator[None]:
    """Inside, a model's layers compute as their formulas are written: to be traced, not to be run.

    A layer that has two forms says so by an attribute `as_written`, which is `False` elsewhere:
    attention stores its scores, a head convolves the large map that it has upsampled, and a Swin
    Transformer shifts its maps by cutting them. Other models compute as before.

    Args:
        model: a layer or a model.

    Example:

    >>> head = keras_mtl.layers.PredictionHead(channels=1)
    >>> with as_written(head):
    ...     print(head.as_written)
    True
    >>> head.as_written
    False
    """
    layers = [layer for layer in every_layer(model) if hasattr(layer, "as_written")]
    for layer in layers:
        layer.as_written = True
    try:
        yield
    finally:
        for layer in layers:
            layer.as_written = False


def roll_by_cutting(x, shift: Sequence[int], axis: Sequence[int]):
    """`keras.ops.roll` of operations that every format has; LiteRT has no roll.

    Args:
        x: tensor.
        shift: places to move by, along each axis.
        axis: axes of known length.

    Returns:
        Tensor of the same shape.

    Example:

    >>> np.array(roll_by_cutting(keras.ops.arange(5), [2], [0])).tolist()
    [3, 4, 0, 1, 2]
    """
    for by, along in zip(shift, axis, strict=True):
        axes, cut = (slice(None),) * along, -by % x.shape[along]
        first, last = x[(*axes, slice(cut))], x[(*axes, slice(cut, None))]
        x = ops.concatenate([last, first], axis=along)
    return x
