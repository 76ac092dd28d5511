"""Less memory for the gradient: functions that are computed a second time for it."""

from collections.abc import Callable

import keras


def remat(function: Callable) -> Callable:
    """A function of tensors that keeps only its arguments for the gradient.

    It is `keras.remat`, except for JAX on a CPU. There XLA takes the barriers out that separate the
    second computation from the first, sees that both are the same, and keeps what the first one
    made after all.

    Args:
        function: of tensors, returning a tensor or a dict of tensors; it may read variables.
            Random numbers belong outside: they would be drawn again.

    Returns:
        The function, with the same results and gradients.

    Example:

    >>> square = remat(lambda x: x * x)
    >>> float(square(keras.ops.convert_to_tensor(3.0)))
    9.0
    """
    if keras.backend.backend() != "jax":
        return keras.remat(function)
    import jax

    return (
        _after_its_gradient(function) if jax.default_backend() == "cpu" else keras.remat(function)
    )


def _after_its_gradient(function):
    import jax

    def compute(*args):
        # Variables that the function reads become arguments too. JAX would remember those of an
        # equal function, and a method of one layer is equal each time: so here is a new one.
        pure, read = jax.closure_convert(lambda *args: function(*args), *args)

        @jax.custom_vjp
        def once(args, read):
            return pure(*args, *read)

        def forward(args, read):
            return once(args, read), (args, read)

        def backward(kept, gradient):
            # Nothing is added, but XLA cannot know: this is another computation than the first
            # one, and begins when the gradient of the result is there.
            nothing = 0.0 * sum(x.ravel()[0].astype("float32") for x in jax.tree.leaves(gradient))
            kept = jax.tree.map(lambda x: x + nothing.astype(x.dtype), kept)
            return jax.vjp(lambda args, read: pure(*args, *read), *kept)[1](gradient)

        once.defvjp(forward, backward)
        return once(args, read)

    return compute
