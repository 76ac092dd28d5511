"""TPANet's Eq. 5-7 against a float64 reference, one image at a time."""

import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import AdaptiveTaskMixing

B, H, W, T, D = 2, 3, 5, 2, 6


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(1).normal(0.3, 1, (B, H, W, T, D)).astype("float32")


def built(randomise=None, size=(H, W), **arguments):
    layer = AdaptiveTaskMixing(**arguments)
    layer.build((None, *size, T, D))
    if randomise:
        randomise(layer)
    return layer


def eq_5_to_7(image, layer, equations):
    fused = image.reshape(H * W, T * D).astype("float64")  # F_fu
    transposed = equations.layer_norm(fused, layer.norm).T  # (TD, S): a row holds a whole map
    fused = fused + equations.mlp(transposed, layer.spatial_mlp).T  # Eq. 5
    fused = fused + equations.mlp(equations.layer_norm(fused, layer.norm), layer.channel_mlp)
    tasks = [task.reshape(H, W, D) for task in np.split(fused, T, axis=-1)]  # Eq. 7
    return np.stack(tasks, axis=2)


@pytest.mark.parametrize("spatial_width", [None, 9])
def test_mixing(spatial_width, features, predict, randomise, assert_close, tpanet_equations):
    layer = built(randomise, spatial_width=spatial_width)
    expected = np.stack([eq_5_to_7(image, layer, tpanet_equations) for image in features])
    assert_close(predict(layer, features), expected)


@pytest.mark.parametrize(
    "size, spatial_width, expected",  # 0.0005 S is 7.49, 7.94, then less than 4
    [((107, 140), None, 7), ((128, 124), None, 7), ((H, W), None, 4), ((H, W), 9, 9)],
)
def test_hidden_units_of_the_spatial_mlp(size, spatial_width, expected):
    layer, positions = built(size=size, spatial_width=spatial_width), size[0] * size[1]
    assert tuple(layer.spatial_mlp.dense_1.kernel.shape) == (positions, expected)
    assert tuple(layer.spatial_mlp.dense_2.kernel.shape) == (expected, positions)


def test_learnable_parameters_are_those_of_the_equations():
    """One outer normalization for Eq. 5 and Eq. 6, and one inside each perceptron."""
    norm = [(T * D,)] * 2
    spatial = [(H * W,)] * 2 + [(H * W, 4), (4,), (4, H * W), (H * W,)]
    channel = [(T * D,)] * 2 + [(T * D, T * D), (T * D,)] * 2
    shapes = [tuple(weight.shape) for weight in built().weights]
    assert sorted(shapes) == sorted(norm + spatial + channel)


def test_positions_and_tasks_interact(features, predict, randomise):
    image = features[0]
    elsewhere = image.copy()
    elsewhere[1, 2, 0, 3] += 5  # one position, one task, one channel
    first, second = predict(built(randomise), np.stack([image, elsewhere]))
    assert (np.abs(first - second).max(-1) > 1e-3).all()  # every position of every task


def test_images_do_not_interact(features, predict, randomise, assert_close):
    layer = built(randomise)
    alone, together = predict(layer, features[:1]), predict(layer, features)
    assert_close(together[:1], alone, tolerance=1e-6)


@pytest.mark.parametrize("size", [(W, H), (H + 1, W)])  # the first has as many positions
def test_another_size(size):
    h, w = size
    message = (
        f"^Features of {h}x{w} arrived, but AdaptiveTaskMixing has spatial weights for {H}x{W}; "
        "give the model images of the size it was built for, or use its predict_maps, which "
        "resizes.$"
    )
    layer = built()
    with pytest.raises(ValueError, match=message):
        layer.call(ops.ones((1, h, w, T, D)))
