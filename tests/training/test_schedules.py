import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl


@pytest.mark.parametrize("steps", [7, 300, 1000, 40_000])
def test_polynomial_decay_in_a_compiled_step(steps):
    """At the end and past it the rate is 0, also where 1 / steps is not exact."""
    schedule = keras_mtl.schedules.PolynomialDecay(1e-3, steps, power=0.9)
    at = np.array([0, 1, steps // 2, steps - 1, steps, steps + 5])
    call = schedule
    if keras.backend.backend() == "jax":
        import jax

        call = jax.jit(schedule)
    found = [float(call(ops.convert_to_tensor(step, "int32"))) for step in at]
    expected = 1e-3 * np.maximum(1 - at / steps, 0) ** 0.9
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)


def test_training_past_the_last_step_changes_nothing():
    layer = keras.layers.Dense(1)
    model = keras.Sequential([keras.Input((2,)), layer])
    rate = keras_mtl.schedules.PolynomialDecay(0.1, steps=3)
    model.compile(keras.optimizers.Adam(rate), loss="mse")
    x, y = np.ones((4, 2), "float32"), np.zeros((4, 1), "float32")
    model.fit(x, y, batch_size=4, epochs=3, verbose=0)
    after = layer.get_weights()
    model.fit(x, y, batch_size=4, epochs=3, verbose=0)
    for before, now in zip(after, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(before, now)


def test_serialization():
    schedule = keras_mtl.schedules.PolynomialDecay(1e-3, 10, power=0.5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert again.get_config() == schedule.get_config()
