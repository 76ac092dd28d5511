"""Less memory for the gradient: functions that are computed a second time for it."""

from collections.abc import Callable

import keras


def remat(function: Callable) -> Callable:
    """A function of tensors that keeps only its arguments for the gradient.

    It is `keras.remat`, except for TensorFlow and for JAX on a CPU. There XLA takes out what
    separates the second computation from the first, sees that both are the same, and keeps what the
    first one made after all.

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
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _in_tensorflow(function)
    if backend == "jax":
        import jax

        if jax.default_backend() == "cpu":
            return _in_jax(function)
    return keras.remat(function)


# Both add nothing to the arguments, but XLA cannot know: the second computation is another than
# the first one, and begins when the gradient of the result is there.


def _in_tensorflow(function):
    import tensorflow as tf

    def compute(*args):
        @tf.custom_gradient
        def once(*args):
            def backward(*gradient, variables=()):
                nothing = 0.0 * sum(tf.cast(tf.reshape(x, [-1])[0], "float32") for x in gradient)
                kept = [x + tf.cast(nothing, x.dtype) for x in args]
                with tf.GradientTape() as tape:
                    tape.watch(kept)
                    found = tf.nest.flatten(function(*kept))
                wanted = (kept, list(variables))
                of_args, of_variables = tape.gradient(found, wanted, list(gradient))
                return (of_args, of_variables) if variables else of_args

            return function(*args), backward

        return once(*args)

    return compute


def _in_jax(function):
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
            nothing = 0.0 * sum(x.ravel()[0].astype("float32") for x in jax.tree.leaves(gradient))
            kept = jax.tree.map(lambda x: x + nothing.astype(x.dtype), kept)
            return jax.vjp(lambda args, read: pure(*args, *read), *kept)[1](gradient)

        once.defvjp(forward, backward)
        return once(args, read)

    return compute
