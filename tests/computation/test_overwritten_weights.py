import contextlib

import keras
import numpy as np
import pytest

from keras_mtl.computation.overwritten_weights import SMALL, drawn_for_a_file


@pytest.mark.once("jax", "the others do not compile what they draw")
@pytest.mark.parametrize("size, quickly", [(SMALL, True), (SMALL + 1, False)])
def test_what_a_small_file_replaces_is_compiled_without_optimizations(size, quickly):
    import jax

    with contextlib.suppress(ZeroDivisionError), drawn_for_a_file(size):
        assert jax.config.read("jax_disable_most_optimizations") == quickly
        1 / 0  # noqa: B018
    assert not jax.config.read("jax_disable_most_optimizations")


def test_what_is_drawn_is_the_same():
    def draw():
        return keras.ops.convert_to_numpy(keras.initializers.GlorotUniform(seed=1)((17, 19)))

    with drawn_for_a_file(1):
        quickly = draw()
    np.testing.assert_allclose(quickly, draw(), rtol=1e-6)
