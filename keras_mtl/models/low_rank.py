"""Low-rank updates of a backbone's linear maps: all that a large backbone trains (LoRA).

Keras' own layers hold them (`enable_lora`). They write merged kernels to files, and read a file as
one whose updates are nothing: so a saved model is an ordinary one again.
"""

from collections.abc import Sequence

import keras

from keras_mtl.arguments import check_integer, check_number
from keras_mtl.computation.sublayers import every_layer

_LINEAR = (keras.layers.Dense, keras.layers.EinsumDense)


def add_updates(layers: Sequence[keras.layers.Layer], rank: int, alpha: float | None) -> None:
    """Gives every linear map in some layers an update of low rank, which begins at zero.

    Args:
        layers: of a backbone, built.
        rank: int, from 1.
        alpha: float. The updates count `alpha / rank`; `None` means once.

    Raises:
        ValueError: if there is no linear map, or all have updates already.
    """
    rank = check_integer("rank", rank, 1)
    if alpha is not None:
        check_number("alpha", alpha)
    maps = [each for layer in layers for each in every_layer(layer) if isinstance(each, _LINEAR)]
    maps = list({id(each): each for each in maps}.values())
    if not maps:
        raise ValueError(
            "The backbone has no linear maps, which low-rank updates are of; use a Transformer, or "
            "freeze_backbone alone."
        )
    if any(each.lora_enabled for each in maps):
        raise ValueError(
            "The backbone has low-rank updates already; call merged() for a model that has taken "
            "them over, and begin anew with that."
        )
    for each in maps:
        each.enable_lora(rank, lora_alpha=rank if alpha is None else alpha)


def updated_maps(model: keras.Model) -> list[keras.layers.Layer]:
    """The linear maps of a model that have low-rank updates."""
    return [each for each in every_layer(model) if getattr(each, "lora_enabled", False)]


def own_weights(model) -> list[keras.Variable]:
    """A network's weights without low-rank updates, and without those of a rule that balances it.

    They are what a model has that is made of the configuration.

    Args:
        model: `MultiTaskModel`.
    """
    others = {
        id(each)
        for layer in updated_maps(model)
        for each in (layer.lora_kernel_a, layer.lora_kernel_b)
    }
    others |= {id(each) for each in model.balancing.weights} if model.balancing else set()
    return [weight for weight in model.weights if id(weight) not in others]


def take_over(model: keras.Model, merged: keras.Model) -> None:
    """Gives a model without updates the weights of one with updates, as if always trained so.

    Args:
        model: with updates.
        merged: of the same configuration, without.
    """
    kernels = {}
    for layer in updated_maps(model):
        (kernel,) = [weight for weight in layer.weights if weight.name == "kernel"]
        kernels[id(kernel)] = layer.kernel
    for old, new in zip(own_weights(model), merged.weights, strict=True):
        new.assign(kernels.get(id(old), old))


def begin_anew(model: keras.Model) -> None:
    """Draws the updates' first factors again: reading a file leaves both at zero, where no gradient
    would ever move them."""
    for layer in updated_maps(model):
        factor = layer.lora_kernel_a
        factor.assign(keras.initializers.HeUniform()(factor.shape, factor.dtype))
