"""All layers of a model, however deep they lie in one another."""

from collections.abc import Iterator, Mapping

import keras


def every_layer(model: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The model itself, its layers and theirs; each once.

    `keras.Model.layers` ends at the first level, and layers that are no models have no such list.
    Keras finds layers in the attributes that they are given to, and so does this.

    Args:
        model: `keras.layers.Layer`, for instance a model.

    Example:

    >>> head = keras_mtl.layers.PredictionHead(channels=1)
    >>> head.build((None, 4, 6, 16))
    >>> {"PredictionHead", "Conv2D"} < {type(layer).__name__ for layer in every_layer(head)}
    True
    """
    found = {id(model): model}
    waiting = [model]
    while waiting:
        for value in vars(waiting.pop(0)).values():
            for each in _layers_in(value):
                if id(each) not in found:
                    found[id(each)] = each
                    waiting.append(each)
    return list(found.values())


def _layers_in(value) -> Iterator[keras.layers.Layer]:
    """Those in lists, tuples, sets and dicts, but not those in layers."""
    if isinstance(value, keras.layers.Layer):
        yield value
    elif isinstance(value, Mapping):
        yield from _layers_in(list(value.values()))
    elif isinstance(value, (list, tuple, set)):
        for each in value:
            yield from _layers_in(each)
