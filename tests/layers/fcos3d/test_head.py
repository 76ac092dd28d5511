"""FCOS3D's head: what it takes, and how it begins."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.boxes3d.points import parts_of_raw
from keras_mtl.layers import FCOS3DHead, LevelPyramid
from keras_mtl.layers.fcos3d.level_pyramid import enlarged


def test_pyramid_against_its_convolutions():
    """Levels of one size, and of no simple ratio; nearest neighbours by loops."""
    rng = np.random.default_rng(0)
    levels = [rng.normal(size=(1, h, w, 3)).astype("float32") for h, w in ((5, 8), (3, 4), (3, 4))]
    pyramid = LevelPyramid(4)
    found = [ops.convert_to_numpy(each) for each in pyramid(list(levels))]
    lateral = [
        ops.convert_to_numpy(layer(x)) for layer, x in zip(pyramid.lateral, levels, strict=True)
    ]
    lateral[1] += lateral[2]
    for i in range(5):
        for j in range(8):
            lateral[0][:, i, j] += lateral[1][:, i * 3 // 5, j * 4 // 8]
    for k, layer in enumerate(pyramid.smooth):
        np.testing.assert_allclose(found[k], ops.convert_to_numpy(layer(lateral[k])), atol=1e-5)
    around = np.pad(found[2], [[0, 0], [1, 1], [1, 1], [0, 0]])
    np.testing.assert_allclose(found[3], ops.convert_to_numpy(pyramid.coarser(around)), atol=1e-5)
    assert found[3].shape[1:3] == (2, 2)
    assert enlarged(ops.ones((1, 2, 3, 1)), (2, 3)).shape == (1, 2, 3, 1)


def test_levels_are_ordered_by_stride_and_may_share_one():
    rng = np.random.default_rng(0)
    fine, middle, last = (
        rng.normal(size=(2, h, w, 3)).astype("float32") for h, w in ((4, 6), (2, 3), (2, 3))
    )
    head = FCOS3DHead(2, width=4, class_branch=(4,), groups=2)
    raw = ops.convert_to_numpy(head({21.5: [middle, last], 10.75: fine}))
    assert raw.shape == (2, 24 + 6 + 6 + 2, 2 + 25)
    parts = parts_of_raw(raw)
    strides, counts = np.unique(parts.stride[0], return_counts=True)
    assert strides.tolist() == [10.75, 21.5, 43.0] and counts.tolist() == [24, 12, 2]
    assert len(np.unique(parts.span[0, :, 0])) == 4  # of four levels
    again = ops.convert_to_numpy(head({10.75: fine, 21.5: [middle, last]}))
    np.testing.assert_array_equal(again, raw)
    inputs = {8.0: keras.Input((4, 6, 3)), 16.0: [keras.Input((2, 3, 3)), keras.Input((2, 3, 3))]}
    model = keras.Model(inputs, FCOS3DHead(2, width=4, class_branch=(4,), groups=2)(inputs))
    assert model.output.shape == (None, 38, 27)
    outputs = model({8.0: fine, 16.0: [middle, last]})
    assert tuple(outputs.shape) == (2, 38, 27)


def test_it_begins_as_published():
    head = FCOS3DHead(3, width=8, class_branch=(8, 4), groups=4)
    raw = ops.convert_to_numpy(head({8: np.zeros((1, 4, 6, 3), "float32")}))
    parts = parts_of_raw(raw)
    np.testing.assert_allclose(1 / (1 + np.exp(-parts.classes)), 0.01, atol=1e-3)
    np.testing.assert_allclose(parts.direction, -4.595, atol=1e-2)
    np.testing.assert_allclose(parts.depth, 1.0, atol=1e-2)
    assert (parts.size > 0).all() and (parts.box >= 0).all()
    assert not head.class_tower[-1].convolution.offsets.get_weights()[0].any()
    twin = FCOS3DHead.from_config(head.get_config())
    assert twin.class_branch == (8, 4) and twin.groups == 4
    with pytest.raises(ValueError, match="groups is 3, which does not divide 8 channels; .* as 4"):
        FCOS3DHead(3, width=8, class_branch=(8, 4), groups=3)
