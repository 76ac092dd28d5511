"""The discriminator of gradients, and the loss that it is trained by."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import GradientDiscriminator
from keras_mtl.layers.astmt.gradient_discriminator import bilinear_matrix
from keras_mtl.losses import GradientAdversarialLoss
from keras_mtl.tasks import SemanticSegmentation

B, H, W, C, TASKS = 2, 3, 4, 5, 3


@pytest.fixture
def layer():
    found = GradientDiscriminator(TASKS)
    found(np.zeros((1, H, W, C), "float32"))
    rng = np.random.default_rng(1)
    found.set_weights([rng.normal(size=w.shape) for w in found.weights])
    found.alpha.assign(0.4)
    return found


def weights(layer):
    layers = (layer.hidden, layer.out)
    return [np.array(ops.convert_to_numpy(w), "float64") for each in layers for w in each.weights]


def test_scores_and_the_reversed_gradient(layer, assert_close, gradient):
    x = np.random.default_rng(0).normal(size=(B, H, W, C)).astype("float32")
    x[0, 0, 0] = 0  # no gradient there
    hidden, kernel, bias = weights(layer)

    def scores(x):
        unit = x / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-10)
        return np.maximum(unit @ hidden[0, 0], 0) @ kernel[0, 0] + bias

    assert_close(layer.scores(x), scores(x.astype("float64")))
    found = np.array(gradient(lambda x: ops.sum(layer.scores(x)[..., 1]), x))
    assert np.isfinite(found).all()
    step, expected = 1e-5, np.zeros(x.shape)
    for place in np.ndindex(*x.shape):
        if place[:3] != (0, 0, 0):
            a, b = x.astype("float64"), x.astype("float64")
            a[place] += step
            b[place] -= step
            change = scores(a)[..., 1].sum() - scores(b)[..., 1].sum()
            expected[place] = -0.4 * change / (2 * step)
    found[0, 0, 0] = 0
    assert_close(found, expected, 1e-3)


def test_loss(layer, assert_close, gradient):
    """Of a linear prediction: the gradient of cross-entropy is written down."""
    rng = np.random.default_rng(0)
    task = SemanticSegmentation(channels=2, loss_weight=3.0)
    predict = rng.normal(size=(C, 2))
    features = rng.normal(size=(B, H, W, C)).astype("float32")
    labels = rng.integers(0, 2, (B, H, W))
    labels[0, 1] = 255

    def linear(x):
        return ops.matmul(x, ops.convert_to_tensor(predict.astype("float32")))

    known = labels != 255
    raw = features.astype("float64") @ predict
    share = np.exp(raw) / np.exp(raw).sum(axis=-1, keepdims=True)
    share -= np.eye(2)[np.where(known, labels, 0)]
    g = 3.0 * (share * known[..., None]) @ predict.T / known.sum()
    loss = GradientAdversarialLoss(task, linear, layer.scores, number=2)
    found = ops.stop_gradient(loss.gradient(labels, ops.convert_to_tensor(features)))
    assert_close(found, g)

    hidden, kernel, bias = weights(layer)
    unit = g / (np.linalg.norm(g, axis=-1, keepdims=True) + 1e-10)
    scores = np.maximum(unit @ hidden[0, 0], 0) @ kernel[0, 0] + bias
    wrong = np.log(np.exp(scores).sum(axis=-1)) - scores[..., 2]
    for all_pixels, counted in ((False, known), (True, np.ones_like(known))):
        loss = GradientAdversarialLoss(task, linear, layer.scores, 2, all_pixels)
        value = loss(labels, ops.convert_to_tensor(features))
        value = float(ops.convert_to_numpy(ops.stop_gradient(value)))
        assert value == pytest.approx(wrong[counted].mean(), rel=1e-4)
    # The loss has a gradient of its own, through the gradient.
    slope = gradient(lambda x: loss(labels, x), features)
    assert np.isfinite(slope).all() and np.abs(slope).max() > 0


def test_bilinear_matrix(resized):
    x = np.random.default_rng(0).normal(size=(1, 3, 5, 2))
    rows, columns = bilinear_matrix(3, 7), bilinear_matrix(5, 9)
    found = np.einsum("yi,bijc,xj->byxc", rows, x, columns)
    np.testing.assert_allclose(found, resized(x, (7, 9)), atol=1e-6)


def test_in_a_network_it_changes_nothing(layer):
    inputs = keras.Input((H, W, C))
    model = keras.Model(inputs, layer(inputs))
    x = np.ones((1, H, W, C), "float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(model(x)), x)
    assert len(model.trainable_weights) == 3
