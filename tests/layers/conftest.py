"""What the layers' tests share: random weights, one compiled call, gradients."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import erf


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
def weight_gradients(gradient):
    """`weight_gradients(layer, *arrays)`: of the output's squares at inference, by weight path."""

    def of(layer, *arrays):
        arrays = [ops.convert_to_tensor(array) for array in arrays]
        values = [ops.convert_to_numpy(weight) for weight in layer.trainable_variables]
        ends = np.cumsum([value.size for value in values])[:-1]

        def loss(flat):
            parts = [
                ops.reshape(part, value.shape)
                for part, value in zip(ops.split(flat, ends.tolist()), values, strict=True)
            ]
            out, _ = layer.stateless_call(parts, layer.non_trainable_variables, *arrays)
            return ops.sum(ops.square(out))

        flat = gradient(loss, np.concatenate([value.ravel() for value in values]))
        paths = [weight.path.removeprefix(f"{layer.name}/") for weight in layer.trainable_variables]
        return dict(zip(paths, np.split(flat, ends), strict=True))

    return of


@pytest.fixture(scope="session")
def tpanet_equations():
    """TPANet's layer normalization, linear map and Eq. 4 in NumPy, with a layer's weights."""

    def array(variable):
        return ops.convert_to_numpy(variable).astype("float64")

    def layer_norm(x, layer):
        mean = x.mean(-1, keepdims=True)
        variance = ((x - mean) ** 2).mean(-1, keepdims=True)
        return (x - mean) / np.sqrt(variance + 1e-5) * array(layer.gamma) + array(layer.beta)

    def dense(x, layer):
        return x @ array(layer.kernel) + array(layer.bias)

    def mlp(x, layer):
        """Eq. 4, with the biases of its linear maps."""
        hidden = dense(layer_norm(x, layer.norm), layer.dense_1)
        return dense(hidden * (1 + erf(hidden / np.sqrt(2))) / 2, layer.dense_2)

    return SimpleNamespace(array=array, layer_norm=layer_norm, dense=dense, mlp=mlp)


@pytest.fixture(scope="session")
def decoder_equations():
    """Convolution, batch normalization and residual blocks in NumPy, with a layer's weights."""

    def array(variable):
        return ops.convert_to_numpy(variable).astype("float64")

    def convolution(x, layer):
        """Of odd size, with zeros around."""
        kernel = array(layer.kernel)
        reach, (_, h, w, _) = kernel.shape[0] // 2, x.shape
        padded = np.pad(x, [(0, 0), (reach, reach), (reach, reach), (0, 0)])
        y = sum(
            padded[:, i : i + h, j : j + w] @ kernel[i, j]
            for i in range(kernel.shape[0])
            for j in range(kernel.shape[1])
        )
        return y if layer.bias is None else y + array(layer.bias)

    def batch_norm(x, layer):
        scale = array(layer.gamma) / np.sqrt(array(layer.moving_variance) + 1e-5)
        return (x - array(layer.moving_mean)) * scale + array(layer.beta)

    def block(layer, x):
        shortcut = x
        if layer.projection is not None:
            shortcut = batch_norm(convolution(x, layer.projection), layer.projection_norm)
        for kernel, norm in zip(layer.kernels[:-1], layer.norms[:-1], strict=True):
            x = np.maximum(batch_norm(convolution(x, kernel), norm), 0)
        return np.maximum(
            batch_norm(convolution(x, layer.kernels[-1]), layer.norms[-1]) + shortcut, 0
        )

    return SimpleNamespace(array=array, convolution=convolution, batch_norm=batch_norm, block=block)
