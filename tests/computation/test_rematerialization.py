"""Functions computed a second time for the gradient: the same numbers, less memory."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.computation.rematerialization import remat
from keras_mtl.layers import AdaptiveTaskMixing, ResidualMLP


class Wave(keras.layers.Layer):
    """Reads weights and returns two tensors, of which the second may go unused."""

    def __init__(self, how=remat, **kwargs):
        super().__init__(**kwargs)
        self.how = how

    def build(self, shape):
        self.dense = keras.layers.Dense(shape[-1])
        self.dense.build(shape)

    def call(self, x):
        out = self.how(self._compute)(x, x + 1)
        return out["wave"]

    def _compute(self, x, y):
        return {"wave": ops.sin(self.dense(x)) * y, "dense": self.dense(y)}


def test_training_stays(assert_close):
    """Batches of two sizes are traced apart, and what one trace read must not reach the other."""
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    models = [keras.Sequential([keras.Input((4,)), Wave(how)]) for how in (remat, lambda f: f)]
    again, once = models
    once.set_weights(again.get_weights())
    for model in models:
        assert_close(model(x), ops.convert_to_numpy(once(x)))
        model.compile(keras.optimizers.SGD(0.1), "mse")
    before = once.get_weights()
    for batch in (x, x[:2], x):
        losses = [float(model.train_on_batch(batch, 0 * batch)) for model in models]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for start, found, expected in zip(before, again.get_weights(), once.get_weights(), strict=True):
        assert np.abs(expected - start).max() > 0.01
        assert_close(found, expected)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(AdaptiveTaskMixing(), (2, 4, 6, 3, 5)), (ResidualMLP(), (2, 4, 6, 8))],
    ids=["mixing", "perceptron"],
)
def test_layers_in_training(layer, shape, gradient, assert_close):
    """They compute again in training only; without dropout both give the same."""
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    layer.build((None, *shape[1:]))
    in_training, otherwise = (
        gradient(lambda x, t=t: ops.sum(layer(x, training=t) ** 2), x) for t in (True, False)
    )
    assert np.abs(otherwise).max() > 0.1
    assert_close(in_training, otherwise)


def test_memory_on_a_cpu():
    """What XLA sets aside for the gradient through ten wide perceptrons, one after the other."""
    if keras.backend.backend() != "jax":
        pytest.skip("TensorFlow and PyTorch say nothing about memory before they compute")
    import jax

    inner, outer = np.full((8, 512), 0.1, "float32"), np.full((512, 8), 0.1, "float32")

    def perceptron(x):
        return x + ops.matmul(ops.sin(ops.sin(ops.matmul(x, inner))), outer)

    def needed(how):
        def loss(x):
            for _ in range(10):
                x = how(perceptron)(x)
            return ops.sum(x)

        compiled = jax.jit(jax.grad(loss)).lower(np.ones((500, 8), "float32")).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    plain, again = needed(lambda function: function), needed(remat)
    one = 500 * 512 * 4
    assert plain > 10 * one  # each perceptron keeps a wide layer at least
    assert again < 6 * one


def test_a_frozen_or_half_precise_argument(gradient):
    """No gradient is asked of the weights here, and bfloat16 stays bfloat16."""
    kernel = ops.cast(ops.ones((4, 4)), "bfloat16")

    def total(x):
        y = remat(lambda x: ops.tanh(ops.matmul(x, kernel)))(ops.cast(x, "bfloat16"))
        assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
        return ops.sum(ops.cast(y, "float32"))

    found = gradient(total, np.zeros((2, 4), "float32"))
    np.testing.assert_array_equal(found, 4)
