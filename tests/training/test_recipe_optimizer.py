"""The optimizer of a recipe: its rates after a step are seen in how far variables move."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.training import recipe_optimizer
from tests import small

SIZE = (16, 24)
TASKS = keras_mtl.tasks.nyud("depth", "edge")
PLAIN = {
    "optimizer": {"class_name": "SGD", "config": {}},
    "weight_decay": None,
    "learning_rate": 1e-4,
}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras_mtl.CrossStitch(small.vit(SIZE), TASKS, level="encoder", width=4)


def moves(model, optimizer, at_step=0):
    """How far each variable moves in one step, by path, and the gradient of ones."""
    before = [np.array(ops.convert_to_numpy(each)) for each in model.trainable_variables]
    optimizer.build(model.trainable_variables)
    for each in [optimizer, *getattr(optimizer, "optimizers", [])]:
        each.iterations.assign(at_step)
    gradients = [ops.ones(each.shape) for each in model.trainable_variables]
    optimizer.apply(gradients, model.trainable_variables)
    after = [ops.convert_to_numpy(each) for each in model.trainable_variables]
    for variable, values in zip(model.trainable_variables, before, strict=True):
        variable.assign(values)
    found = zip(model.trainable_variables, before, after, strict=True)
    return {variable.path: float(np.mean(a - b)) for variable, a, b in found}


@pytest.mark.parametrize("step", [0, 5])
def test_interaction_variables_are_faster_all_along(model, step):
    """Through the schedule too, where the published code loses it."""
    found = moves(model, recipe_optimizer(model, 10, **PLAIN), step)
    rate = 1e-4 * (1 - step / 10) ** 0.9
    faster = {path for path in found if path.startswith("cross_stitch_stage_")}
    assert faster
    for path, move in found.items():
        assert move == pytest.approx(rate * (100 if path in faster else 1), rel=1e-2), path


def test_all_alike_where_the_multiplier_is_one(model):
    optimizer = recipe_optimizer(model, interaction_lr_multiplier=1, **PLAIN)
    assert set(np.round(list(moves(model, optimizer).values()), 6)) == {1e-4}


@pytest.mark.once("torch", "the settings of an optimizer")
def test_recipes(model):
    slow = recipe_optimizer(model).optimizers[1]
    assert isinstance(slow, keras.optimizers.SGD)
    assert (slow.momentum, slow.weight_decay) == (0.9, 1e-4)
    decoder = keras_mtl.CrossStitch(small.vit(SIZE), TASKS, width=4)
    optimizer = recipe_optimizer(decoder, accumulate=3)
    assert isinstance(optimizer, keras.optimizers.SGD)
    assert (optimizer.weight_decay, optimizer.global_clipnorm) == (5e-4, None)
    assert optimizer.gradient_accumulation_steps == 3
    baseline = keras_mtl.MultiTaskBaseline(small.vit(SIZE), TASKS, head_width=4)
    optimizer = recipe_optimizer(baseline)
    assert isinstance(optimizer, keras.optimizers.Adam) and optimizer.global_clipnorm == 10.0
    baseline.recipe = {"learning_rate": 0.5}  # a user's own may say less
    assert float(recipe_optimizer(baseline).learning_rate) == 0.5
    assert float(recipe_optimizer(baseline, learning_rate=0.25).learning_rate) == 0.25
