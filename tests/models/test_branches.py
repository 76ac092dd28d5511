"""How a network is cut into what its tasks share and a branch for each."""

import keras
import pytest

from keras_mtl.models.branches import Branches

pytestmark = pytest.mark.once("torch", "a graph is cut alike on every backend")


def dense(name, x):
    return keras.layers.Dense(3, name=name)(x)


def names(model):
    return {layer.name for layer in model.layers if layer.weights}


def test_tasks_that_use_each_others_features():
    """What several tasks use is shared, also what was made for one of them."""
    image = keras.Input((4, 6, 3))
    stem = dense("stem", image)
    first = {task: dense(f"first_{task}", stem) for task in "ab"}
    exchange = keras.layers.Add(name="exchange")(list(first.values()))
    outputs = {
        "a": {"a": dense("last_a", exchange), "a/initial": dense("initial_a", first["a"])},
        "b": {"b": dense("last_b", keras.layers.Add()([exchange, stem]))},
    }
    branches = Branches(image, outputs)
    assert names(branches.shared) == {"stem", "first_a", "first_b"}
    assert names(branches.own["a"].model) == {"last_a", "initial_a"}
    assert names(branches.own["b"].model) == {"last_b"}
    assert len(branches.shared.outputs) == 3  # exchange, first_a, stem
    assert set(branches.own["a"].model.output) == {"a", "a/initial"}


def test_networks_beside_each_other_are_refused():
    image = keras.Input((4, 6, 3))
    outputs = {task: {task: dense(f"all_of_{task}", image)} for task in "ab"}
    with pytest.raises(ValueError, match="The tasks of this network share no layer"):
        Branches(image, outputs)
