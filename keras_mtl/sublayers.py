"""All layers of a model, however deep they lie in one another."""

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
    >>> [type(layer).__name__ for layer in every_layer(head)][:3]
    ['PredictionHead', 'Sequential', 'UpSampling2D']
    """
    found = {id(model): model}
    waiting = [model]
    while waiting:
        for value in vars(waiting.pop(0)).values():
            for each in keras.tree.flatten(value):
                if isinstance(each, keras.layers.Layer) and id(each) not in found:
                    found[id(each)] = each
                    waiting.append(each)
    return list(found.values())
