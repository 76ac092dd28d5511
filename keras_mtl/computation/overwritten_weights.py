"""The drawing of random weights that a file's take the place of at once."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

# JAX compiles the drawing of every shape. That of a small network takes several times as long as
# what it draws, and without optimizations a fifth of that; drawing itself is four times slower
# then, which is what takes long in a large network.
SMALL = 2**25  # bytes of the file


@contextmanager
def drawn_for_a_file(size: float) -> Iterator[None]:
    """Builds what a file's weights are loaded into: under JAX, a small network more quickly.

    Args:
        size: float. Bytes of the file.

    Example:

    >>> with drawn_for_a_file(1000):
    ...     layer = keras.layers.Dense(2)
    ...     layer.build((None, 3))
    >>> layer.kernel.shape
    (3, 2)
    """
    if keras.backend.backend() != "jax" or size > SMALL:
        yield
        return
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
