"""Gradients as values to compute with, whose own gradients can be taken."""

import keras


def gradient_of(function, x):
    """The gradient of a scalar function, on every backend, inside a step that differentiates, too.

    Args:
        function: from a tensor to a scalar tensor; it changes no variable.
        x: float tensor.

    Returns:
        Tensor of the shape of `x`.

    Example:

    >>> x = keras.ops.convert_to_tensor([1.0, 3.0])
    >>> np.array(keras.ops.stop_gradient(gradient_of(lambda x: keras.ops.sum(x**2), x))).tolist()
    [2.0, 6.0]
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.grad(function)(x)
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x)
    import torch

    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        return torch.autograd.grad(function(x), x, create_graph=True)[0]
