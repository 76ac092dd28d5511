"""Convolutions and batch normalizations as the compared systems' code begins them."""

import keras


def convolution(
    filters: int, size: int = 1, use_bias: bool = False, **arguments
) -> keras.layers.Conv2D:
    """A convolution that keeps the size of maps, its kernel uniform in +-1 / sqrt(fan in).

    Those systems' code draws biases from the same range; here they begin at zero, as everywhere in
    this package. Before a batch normalization they make no difference.

    Args:
        filters: int. Channels of the answer.
        size: int. Side of the kernel.
        use_bias: bool. Whether there is a bias.
        **arguments: `name`, `dtype` and the like, for `keras.layers.Conv2D`.

    Example:

    >>> tuple(convolution(5, 3)(keras.ops.ones((1, 4, 6, 2))).shape)
    (1, 4, 6, 5)
    """
    uniform = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    return keras.layers.Conv2D(
        filters,
        size,
        use_bias=use_bias,
        **{"padding": "same", "kernel_initializer": uniform, **arguments},
    )


def batch_normalization(momentum: float = 0.9, **arguments) -> keras.layers.BatchNormalization:
    """With the epsilon and the momentum of those systems.

    Args:
        momentum: float. Share of the running statistics that a step keeps.
        **arguments: `name`, `dtype` and the like.

    Example:

    >>> batch_normalization().epsilon
    1e-05
    """
    return keras.layers.BatchNormalization(momentum=momentum, epsilon=1e-5, **arguments)
