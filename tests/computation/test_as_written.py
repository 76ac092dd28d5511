"""Layers give the same as their formulas; which they compute, each model has of its own."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.computation.as_written import as_written, roll_by_cutting
from keras_mtl.computation.sublayers import every_layer


def pyramid():
    """Blocks with shifted windows."""
    sizes = {"embed_dim": 8, "depths": (2,), "num_heads": (1,), "window_size": 2}
    return keras_mtl.backbones.swin_transformer("tiny", (12, 20, 3), **sizes)


def with_two_forms(model):
    return [layer for layer in every_layer(model) if hasattr(layer, "as_written")]


def test_of_one_model_only_and_not_for_longer():
    ours, other = (keras.Sequential([keras_mtl.layers.PredictionHead(2)]) for _ in range(2))
    with pytest.raises(KeyError), as_written(ours):
        assert [layer.as_written for layer in with_two_forms(ours)] == [True]
        assert [layer.as_written for layer in with_two_forms(other)] == [False]
        raise KeyError
    assert [layer.as_written for layer in with_two_forms(ours)] == [False]


def test_a_swin_transformer_of_cut_maps(monkeypatch):
    layer = pyramid()
    images = np.random.default_rng(0).normal(size=(2, 12, 20, 3)).astype("float32")
    expected = ops.convert_to_numpy(layer(images)[4])
    monkeypatch.setattr(ops, "roll", None)  # it must do without
    with as_written(layer):
        found = ops.convert_to_numpy(layer(images)[4])
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(TypeError):
        layer(images)


@pytest.mark.parametrize("shift", [(2, 3), (-2, -3), (0, 5), (-7, 12)])
def test_roll_by_cutting(shift):
    x = np.arange(2 * 5 * 6 * 2).reshape(2, 5, 6, 2)
    found = ops.convert_to_numpy(roll_by_cutting(ops.convert_to_tensor(x), shift, (1, 2)))
    np.testing.assert_array_equal(found, np.roll(x, shift, (1, 2)))
