"""Weights belong to one model: a second one on the same backbone would train the first one's."""

import gc
import weakref

import keras

# The model of each variable, by the variable's `id`; gone with the model, which keeps the variable.
_OWNERS: "weakref.WeakValueDictionary[int, keras.Model]" = weakref.WeakValueDictionary()


def claim_weights(model: keras.Model) -> None:
    """Makes a model the owner of its weights.

    What a model that is gone has left behind is free: a backbone then brings what it was trained.

    Args:
        model: `MultiTaskModel`.

    Raises:
        ValueError: if weights belong to another model.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (32, 32, 3), num_layers=1)
    >>> tasks = keras_mtl.tasks.nyud("depth")
    >>> first = keras_mtl.MultiTaskBaseline(backbone, tasks, head_width=4)
    >>> copy = keras_mtl.backbones.copy_backbone(backbone)
    >>> second = keras_mtl.MultiTaskBaseline(copy, tasks, head_width=4)
    """
    if _owner_of(model) is not None:
        gc.collect()  # models are full of circles, which outlive `del`
    owner = _owner_of(model)
    if owner is not None:
        owned = {id(weight) for weight in owner.weights}
        shared = [
            layer.name
            for layer in model.layers
            if owned.intersection(id(weight) for weight in layer.weights)
        ]
        raise ValueError(
            f"The layer {shared[0]!r} is part of {type(owner).__name__} {owner.name!r} already, "
            "and the two models would train the same weights; give each a backbone of its own "
            "(keras_mtl.backbones.copy_backbone), or del the other model first."
        )
    _OWNERS.update({id(weight): model for weight in model.weights})


def _owner_of(model):
    found = (_OWNERS.get(id(weight)) for weight in model.weights)
    return next((owner for owner in found if owner is not None and owner is not model), None)
