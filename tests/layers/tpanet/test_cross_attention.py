"""TPANet's Eq. 8-12 against a float64 reference: one image, one head, one query set at a time."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import CrossAttention, ResidualMLP, attention

B, H, W, D = 3, 5, 7, 12  # an odd grid, and heads of 12 and 6 channels: no multiples of 8


@pytest.fixture(scope="module")
def inputs():
    """Features after mixing, and the task's prior."""
    rng = np.random.default_rng(1)
    return [rng.normal(0.3, 1, (B, H, W, D)).astype("float32") for _ in range(2)]


# === The paper's equations in NumPy ===


def mhsa(query, memory, layer, dense):
    """Eq. 8 with its linear maps, for one image's tokens `(S, D)`."""
    q = dense(query, layer.query_dense)
    k, v = dense(memory, layer.key_dense), dense(memory, layer.value_dense)
    size, heads = D // layer.num_heads, []
    for head in range(layer.num_heads):
        own = slice(head * size, (head + 1) * size)
        weights = np.exp(q[:, own] @ k[:, own].T / np.sqrt(size))
        weights /= weights.sum(-1, keepdims=True)
        heads.append(weights @ v[:, own])
    return dense(np.concatenate(heads, axis=-1), layer.output_dense)


def pooled(image, size):
    """Means over the windows of Keras' "same" padding, of the pixels inside the grid only."""

    def windows(length):
        count = -(-length // size)
        start = -((count * size - length) // 2)  # the smaller half of the padding comes first
        for number in range(count):
            at = start + number * size
            yield slice(max(at, 0), min(at + size, length))

    rows, columns = list(windows(image.shape[0])), list(windows(image.shape[1]))
    return np.array([[image[i, j].mean((0, 1)) for j in columns] for i in rows])


def eq_9_to_11(features, prior, layer, equations):
    results = []
    for image, image_prior in zip(features.astype("float64"), prior.astype("float64"), strict=True):
        memory = pooled(image, layer.key_value_pooling).reshape(-1, D)
        image, image_prior = image.reshape(-1, D), image_prior.reshape(-1, D)
        own = mhsa(image, memory, layer, equations.dense)  # Eq. 9
        queried = mhsa(image_prior, memory, layer, equations.dense)  # Eq. 10
        results.append(own + queried + image_prior + image)  # Eq. 11
    return np.reshape(results, features.shape)


# === Cross attention ===


def built(randomise, **arguments):
    layer = CrossAttention(**arguments)
    layer.build((None, H, W, D), (None, H, W, D))
    randomise(layer)
    return layer


@pytest.mark.parametrize("chunk", [attention.CHUNK, 8])
@pytest.mark.parametrize("num_heads", [1, 2])
def test_attention(
    num_heads, chunk, inputs, predict, randomise, assert_close, tpanet_equations, monkeypatch
):
    monkeypatch.setattr(attention, "CHUNK", chunk)
    layer = built(randomise, num_heads=num_heads)
    assert sum(np.prod(weight.shape) for weight in layer.weights) == 4 * (D * D + D)  # shared
    expected = eq_9_to_11(*inputs, layer, tpanet_equations)
    assert_close(predict(layer, *inputs), expected)


@pytest.mark.parametrize("pooling", [2, 4])  # 4 pads more than one row or column
def test_pooled_keys_and_values(
    pooling, inputs, predict, randomise, assert_close, tpanet_equations
):
    layer = built(randomise, key_value_pooling=pooling)
    expected = eq_9_to_11(*inputs, layer, tpanet_equations)
    assert_close(predict(layer, *inputs), expected)


@pytest.mark.parametrize("pooling", [1, 2])
def test_images_do_not_attend_to_each_other(pooling, inputs, predict, randomise, assert_close):
    """The published network's attention runs over the batch."""
    layer = built(randomise, key_value_pooling=pooling)
    together = predict(layer, *inputs)
    alone = predict(layer, *(x[:1] for x in inputs))
    assert_close(together[:1], alone, tolerance=1e-6)


def test_one_image_teaches_every_weight(inputs, randomise, weight_gradients):
    """The published queries and keys learn nothing from a batch of one image."""
    gradients = weight_gradients(built(randomise), *(x[:1] for x in inputs))
    # A bias of the keys moves all scores of a query alike, and the softmax takes that out.
    assert np.abs(gradients.pop("key/bias")).max() < 1e-3
    assert len(gradients) == 7
    for path, values in gradients.items():
        assert np.abs(values).max() > 0.1, path


def test_heads_that_do_not_divide():
    message = "^num_heads is 5, which does not divide the 12 channels; use a number that does.$"
    features = ops.ones((1, 2, 2, D))
    with pytest.raises(ValueError, match=message):
        CrossAttention(num_heads=5)(features, features)


# === The perceptron after it ===


def perceptron(randomise, **arguments):
    layer = ResidualMLP(**arguments)
    layer.build((None, H, W, D))
    randomise(layer)
    return layer


@pytest.mark.parametrize("expansion", [2, 3])
def test_eq_12(expansion, inputs, predict, randomise, assert_close, tpanet_equations):
    features = inputs[0]
    layer = perceptron(randomise, expansion=expansion, dropout=0.5, stochastic_depth=0.5)
    assert layer.mlp.width == expansion * D
    normal = tpanet_equations.layer_norm(features.astype("float64"), layer.norm)
    expected = tpanet_equations.mlp(normal, layer.mlp) + features
    assert_close(predict(layer, features), expected)  # nothing is dropped at inference


def test_dropout_acts_in_training(inputs, randomise):
    keras.utils.set_random_seed(0)
    layer = perceptron(randomise, dropout=0.5)
    update = ops.convert_to_numpy(layer(inputs[0], training=True)) - inputs[0]
    assert 0.4 < (update == 0).mean() < 0.6


def test_stochastic_depth_leaves_whole_images_out(inputs, randomise):
    keras.utils.set_random_seed(0)
    layer = perceptron(randomise, stochastic_depth=0.5)
    images = np.repeat(inputs[0][:1], 100, axis=0)
    inference = ops.convert_to_numpy(layer(images[:1])) - images[0]
    update = ops.convert_to_numpy(layer(images, training=True)) - images
    dropped = (update == 0).all((1, 2, 3))
    assert 30 < dropped.sum() < 70  # expected 50, four standard deviations
    kept = update[~dropped]
    np.testing.assert_allclose(kept, np.broadcast_to(2 * inference, kept.shape), rtol=0, atol=1e-5)
