"""What the layers' tests share: random weights, one compiled call, a comparison."""

import keras
import numpy as np
import pytest
from keras import ops


@pytest.fixture(scope="session")
def randomise():
    """Fills every weight of a built layer, zero-initialised biases too, with random values."""

    def fill(layer, seed=0):
        rng = np.random.default_rng(seed)
        for weight in layer.weights:
            kind = weight.path.rsplit("/", 1)[-1]
            if "seed" in kind:
                continue
            if kind in ("gamma", "moving_variance"):
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
            else:
                fan_in = np.prod(weight.shape[:-1]) if len(weight.shape) > 1 else 10
                weight.assign(rng.normal(0, 1.5 / np.sqrt(fan_in), weight.shape))

    return fill


@pytest.fixture(scope="session")
def predict():
    """`predict(layer, *arrays)`: the layer's output, compiled, of the shapes it promised."""

    def compiled(layer, *arrays):
        inputs = [keras.Input(array.shape[1:]) for array in arrays]
        outputs = layer(*inputs)
        found = keras.Model(inputs, outputs).predict_on_batch(list(arrays))
        for promised, array in zip(
            keras.tree.flatten(outputs), keras.tree.flatten(found), strict=True
        ):
            assert tuple(promised.shape[1:]) == array.shape[1:]
        return found

    return compiled


@pytest.fixture(scope="session")
def assert_close():
    """Compares with a float64 reference, relative to the reference's largest value."""

    def close(found, expected, tolerance=1e-5):
        found = ops.convert_to_numpy(found)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()

    return close
