"""Two models never train the same weights."""

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.tasks import nyud
from tests import small

SIZE = (16, 24)


def test_a_backbone_is_of_one_model():
    backbone = small.vit(SIZE)
    first = keras_mtl.MultiTaskBaseline(backbone, nyud("depth"), head_width=4)
    pyramid = next(layer for layer in first.layers if layer.weights)
    before = first.get_weights()
    for given in (backbone, pyramid):
        with pytest.raises(ValueError, match=r"^The layer .* is part of MultiTaskBaseline .*\.$"):
            keras_mtl.MultiTaskBaseline(given, nyud("semseg"), head_width=4)
    with pytest.raises(ValueError, match="copy_backbone"):
        keras_mtl.TaskPrompter(backbone, nyud("depth"), prompting_levels=1, channel_windows=(1, 1))
    for found, was in zip(first.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, was)

    copy = keras_mtl.backbones.copy_backbone(backbone)
    second = keras_mtl.MultiTaskBaseline(copy, nyud("semseg"), head_width=4)
    assert not {id(w) for w in first.weights} & {id(w) for w in second.weights}
    third = keras.models.clone_model(first)
    assert not {id(w) for w in first.weights} & {id(w) for w in third.weights}


def test_a_model_that_is_gone_leaves_its_backbone():
    """With what it has learnt, in memory as in a file."""
    backbone = small.vit(SIZE)
    first = keras_mtl.MultiTaskBaseline(backbone, nyud("depth"), head_width=4)
    for weight in first.backbone_variables:
        weight.assign(weight + 1)
    learnt = [keras.ops.convert_to_numpy(weight) for weight in first.backbone_variables]
    del weight, first
    second = keras_mtl.MultiTaskBaseline(backbone, nyud("semseg"), head_width=4)
    for found, wanted in zip(second.backbone_variables, learnt, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(found), wanted)


def test_a_constructor_that_failed_claims_nothing():
    backbone = small.vit(SIZE)
    with pytest.raises(ValueError, match="upsampling"):
        keras_mtl.MultiTaskBaseline(backbone, nyud("depth"), upsampling=0)
    keras_mtl.MultiTaskBaseline(backbone, nyud("depth"), head_width=4)
