"""Pattern-affinitive propagation against its equations in float64, one image at a time."""

import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import AffinityPropagation

B, H, W, T, D, C = 2, 3, 5, 3, 4, 6


def inputs(tasks=T):
    rng = np.random.default_rng(0)
    affinities = np.maximum(rng.normal(size=(B, H, W, tasks, D)), 0).astype("float32")
    affinities[0, 0, 0] = 0  # like no other
    return affinities, rng.normal(size=(B, H, W, tasks, C)).astype("float32")


def propagated(affinities, features, logits, iterations, beta):
    """Of one image, with the S x S matrices."""
    tasks = affinities.shape[2]
    x = affinities.reshape(H * W, tasks, D).astype("float64")
    matrices = []
    for t in range(tasks):
        products = x[:, t] @ x[:, t].T
        matrices.append(products / (products.sum(axis=1, keepdims=True) + 1e-6))
    out = np.zeros((H * W, tasks, C))
    for t in range(tasks):
        shares = np.exp(logits[t]) / np.exp(logits[t]).sum()
        mixed = sum(share * each for share, each in zip(shares, matrices, strict=True))
        start = features.reshape(H * W, tasks, C)[:, t].astype("float64")
        h = start
        for _ in range(iterations):
            h = mixed @ h
        out[:, t] = beta * h + (1 - beta) * start
    return out.reshape(H, W, tasks, C)


@pytest.mark.parametrize("full_matrices", [False, True])
@pytest.mark.parametrize("tasks, iterations", [(T, 3), (1, 1)])
def test_propagation(full_matrices, tasks, iterations, randomise, predict, assert_close):
    arrays = inputs(tasks)
    layer = AffinityPropagation(iterations, beta=0.7, full_matrices=full_matrices)
    layer.build(*(array.shape for array in arrays))
    randomise(layer)
    logits = ops.convert_to_numpy(layer.mixing).astype("float64")
    expected = [propagated(*image, logits, iterations, 0.7) for image in zip(*arrays, strict=True)]
    assert_close(predict(layer, *arrays), np.stack(expected))


def test_gradients_of_both_forms(randomise, gradient, assert_close):
    affinities, features = inputs()
    found = []
    for full_matrices in (False, True):
        layer = AffinityPropagation(3, beta=0.7, full_matrices=full_matrices)
        layer.build(affinities.shape, features.shape)
        randomise(layer)

        def loss(x, mixing, layer=layer):
            out, _ = layer.stateless_call([mixing], [], x, ops.convert_to_tensor(features))
            return ops.sum(ops.square(out))

        mixing = ops.convert_to_numpy(layer.mixing)
        by_x = gradient(lambda x, loss=loss, mixing=mixing: loss(x, mixing), affinities)
        by_mixing = gradient(
            lambda m, loss=loss: loss(ops.convert_to_tensor(affinities), m), mixing
        )
        found.append((by_x, by_mixing))
    for one, other in zip(*found, strict=True):
        assert np.abs(one).max() > 1e-3
        assert_close(one, other)


def test_no_matrix_of_all_pairs():
    """Memory grows with the positions: more of them than a matrix of their square would fit."""
    layer, shape = AffinityPropagation(1), (1, 400, 500, 1, 1)
    x = ops.ones(shape)
    assert tuple(layer(x, x).shape) == shape  # S^2 numbers would be 160 GB


@pytest.mark.once("torch", "a refusal knows no backend")
def test_refusals():
    for arguments in ({"beta": 1.5}, {"beta": -0.1}, {"iterations": 0}):
        with pytest.raises(ValueError, match="expected a"):
            AffinityPropagation(**arguments)
    assert AffinityPropagation(beta=1).beta == 1
