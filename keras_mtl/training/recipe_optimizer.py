"""The optimizer that a model's recipe describes."""

from typing import Any

import keras

from keras_mtl.training.schedules import PolynomialDecay

# TaskPrompter's; an architecture's own recipe replaces some of it.
BASE_RECIPE: dict[str, Any] = {
    "optimizer": {"class_name": "Adam", "config": {}},
    "steps": 40_000,
    "learning_rate": 2e-5,
    "power": 0.9,  # of the polynomial decay
    "weight_decay": 1e-6,
    "global_clipnorm": 10.0,
    "interaction_lr_multiplier": 1,
    "interaction_recipe": {},  # of the variables by which tasks exchange features, where it differs
}


def recipe_optimizer(
    model, decay_steps: int | None = None, accumulate: int | None = None, **changes: Any
) -> keras.optimizers.Optimizer:
    """What a model's `recipe` trains it with; `compile` takes it for `"auto"`, without a schedule.

    Where the recipe has an `interaction_lr_multiplier`, the variables by which tasks exchange
    features (`interaction_variables`, a pattern of their paths) have a learning rate so many times
    higher, through the whole schedule; where it has an `interaction_recipe`, settings of their own.
    Then it is a `keras.optimizers.MultiOptimizer`.

    Args:
        model: `MultiTaskModel`.
        decay_steps: int or None. Steps of a polynomial decay; `None` keeps the learning rate.
        accumulate: int or None. Steps whose gradients are averaged before an update.
        **changes: of the recipe: `learning_rate`, `optimizer`, `interaction_lr_multiplier` and so
            on.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (32, 32, 3), num_layers=1)
    >>> model = keras_mtl.CrossStitch(backbone, keras_mtl.tasks.nyud("depth"), width=4)
    >>> keras_mtl.training.recipe_optimizer(model, learning_rate=0.1).momentum
    0.9
    """
    settings = {**BASE_RECIPE, **model.recipe, **changes}
    if decay_steps is not None:
        decay_steps *= model.updates_a_step

    def optimizer(recipe, factor: float = 1.0):
        rate = factor * recipe["learning_rate"]
        how = recipe["optimizer"]
        return getattr(keras.optimizers, how["class_name"])(
            rate if decay_steps is None else PolynomialDecay(rate, decay_steps, recipe["power"]),
            weight_decay=recipe["weight_decay"],
            global_clipnorm=recipe["global_clipnorm"],
            gradient_accumulation_steps=accumulate,
            **how["config"],
        )

    factor, others = settings["interaction_lr_multiplier"], settings["interaction_recipe"]
    if factor == 1 and not others:
        return optimizer(settings)
    # One pattern for all: a saved map has an optimizer for each of its keys.
    own = {settings["interaction_variables"]: optimizer({**settings, **others}, factor)}
    return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(optimizer(settings), own))
