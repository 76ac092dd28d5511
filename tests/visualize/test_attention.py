import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl import visualize
from keras_mtl.layers.attention import dot_product_attention
from keras_mtl.visualize.attention import attention_rows


@pytest.fixture(scope="module")
def photograph():
    return np.random.default_rng(0).uniform(0, 255, (40, 56, 3)).astype("float32")


def inputs_of(model, task, image):
    layer = model.get_layer(f"{task}_cross_attention")
    features, prior = keras.Model(model.input, layer.input).predict_on_batch(image[None])
    return layer, features[0], prior[0]


@pytest.mark.parametrize("pooling", [1, 4])
@pytest.mark.parametrize("heads", [1, 2])
def test_rows_times_values_are_what_the_layer_adds(tpanet, photograph, pooling, heads):
    """The layer at one position, rebuilt from the two rows, equals the layer's output."""
    model = tpanet(key_value_pooling=pooling, num_heads=heads)
    layer, features, prior = inputs_of(model, "depth", photograph)
    for name in ("query", "key", "bias"):  # far from uniform
        for weight in layer.weights:
            if name in weight.path:
                weight.assign(np.random.default_rng(1).normal(0, 1, weight.shape))
    row, column = 7, 9
    weights = attention_rows(layer, features, prior, (row, column))
    keys = features[None]
    if pooling > 1:
        keys = ops.convert_to_numpy(layer._pooled(ops.convert_to_tensor(keys)))
        assert keys.shape[1:3] == (3, 4)
    assert weights.shape == (2, heads, keys.shape[1] * keys.shape[2])
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    assert weights.max() > 1.5 / weights.shape[-1]

    value = ops.convert_to_numpy(layer.value_dense(keys)).reshape(-1, heads, 8 // heads)
    attended = np.einsum("qhk,khd->qhd", weights, value).reshape(1, 2, 8)
    own, queried = ops.convert_to_numpy(layer.output_dense(attended))[0]
    expected = ops.convert_to_numpy(layer(features[None], prior[None]))[0, row, column]
    rebuilt = own + queried + prior[row, column] + features[row, column]  # Eq. 11
    np.testing.assert_allclose(rebuilt, expected, rtol=1e-5, atol=1e-5)

    # And the row of one query alone equals the layer's own attention of that query.
    split = (1, -1, heads, 8 // heads)
    alone = dot_product_attention(
        ops.reshape(layer.query_dense(prior[None, row, column]), split),
        ops.reshape(layer.key_dense(keys), split),
        ops.reshape(layer.value_dense(keys), split),
    )
    alone = ops.convert_to_numpy(alone)[0, 0].reshape(-1)
    np.testing.assert_allclose(attended[0, 1], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "pixel, position", [((0, 0), (0, 0)), ((39, 55), (9, 13)), ((5, 6), (1, 1))]
)
def test_the_pixels_position_asks(tpanet, photograph, pixel, position):
    model = tpanet()
    maps = visualize.cross_attention_maps(model, photograph, pixel, "semseg")
    rows = attention_rows(*inputs_of(model, "semseg", photograph), position)
    for kind, row in zip(("features", "prior"), rows, strict=True):
        assert maps[kind].shape == (2, 10, 14)
        np.testing.assert_allclose(maps[kind], row.reshape(2, 10, 14), atol=1e-5)


def test_padding_is_cut_off_and_the_photograph_found(tpanet, photograph):
    model = tpanet()
    wide = np.repeat(np.repeat(photograph[:20], 2, axis=0), 2, axis=1)  # 40x112, twice too large
    image, box = model.fit_to_input(wide)
    assert box == (10, 0, 20, 56)
    maps = visualize.cross_attention_maps(model, wide, (20, 30), "depth")
    # Pixel (20, 30) is at (20.25, 15.25) of the model's image, in row 5 and column 3 of the grid.
    rows = attention_rows(*inputs_of(model, "depth", image), (5, 3)).reshape(2, 2, 10, 14)
    assert maps["prior"].shape == (2, 6, 14)  # rows 10 to 30 are in cells 2 to 7
    np.testing.assert_allclose(maps["prior"], rows[1][:, 2:8], atol=1e-5)
    assert maps["prior"].sum((1, 2)).min() < 0.999


def test_figure(tpanet, photograph):
    model = tpanet(key_value_pooling=4)
    figure = visualize.cross_attention(model, photograph, (12, 30))
    first, *over = figure.axes
    assert len(over) == 2 * 6
    titles = [axis.get_title() for axis in over[:6]]
    assert titles == ["features ask: mean", "head 1", "head 2"] + [
        "prior asks: mean",
        "head 1",
        "head 2",
    ]
    assert [axis.get_ylabel() for axis in over[::6]] == ["semseg", "depth"]
    for axis in (first, *over):
        (mark,) = axis.lines
        assert (mark.get_xdata(), mark.get_ydata()) == ([30], [12])
    maps = visualize.cross_attention_maps(model, photograph, (12, 30), "depth")
    drawn = [axis.images[1].get_array() for axis in over[6:]]
    np.testing.assert_allclose(drawn[0], maps["features"].mean(0), atol=1e-6)
    np.testing.assert_allclose(drawn[5], maps["prior"][1], atol=1e-6)
    # 10x14 positions are pooled to 3x4 cells of 16 pixels, one row of padding on both sides.
    left, right, bottom, top = over[0].images[1].get_extent()
    assert (top, bottom) == pytest.approx((-4.5, 43.5))
    assert (left, right) == pytest.approx((-4.5, 59.5))

    one = visualize.cross_attention(tpanet(num_heads=1), photograph, (0, 0), task="depth")
    assert len(one.axes) == 1 + 2


def test_what_cannot_be_shown(prompter, tpanet, photograph):
    with pytest.raises(ValueError, match="is a TaskPrompter, which has no cross attention"):
        visualize.cross_attention(prompter, photograph, (0, 0))
    with pytest.raises(ValueError, match="built with cross_attention=False"):
        visualize.cross_attention(tpanet(cross_attention=False), photograph, (0, 0))
    model = tpanet()
    with pytest.raises(ValueError, match="Unknown task 'edge'; the model has semseg, depth"):
        visualize.cross_attention_maps(model, photograph, (0, 0), "edge")
    for pixel in ((40, 0), (0, -1), (0, 0, 0)):
        with pytest.raises(ValueError, match="of 40 rows and 56 columns"):
            visualize.cross_attention_maps(model, photograph, pixel, "depth")
