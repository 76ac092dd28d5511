"""Layers that know which task they compute for: shared weights, and some of each task's own."""

from collections.abc import Callable

import keras
from keras import ops

from keras_mtl.arguments import check_integer


class TaskConditioned(keras.layers.Layer):
    """A layer with parts of each task's own; a call names the task by its number.

    Args:
        num_tasks: int.

    Raises:
        ValueError: if there is no task.
    """

    def __init__(self, num_tasks: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.num_tasks = check_integer("num_tasks", num_tasks, 1)
        self.own_parts: list[str] = []

    def add_own(self, name: str, make: Callable, shape) -> None:
        """Makes a part for each task: a list of layers, built for inputs of a shape.

        Args:
            name: str, the attribute that holds the list.
            make: function of `name` and `dtype` to a layer.
            shape: tuple.
        """
        parts = [
            make(name=f"{name}_task_{k}", dtype=self.dtype_policy) for k in range(self.num_tasks)
        ]
        for part in parts:
            part.build(shape)
        setattr(self, name, parts)
        self.own_parts.append(name)

    def own_variables(self, task: int) -> list[keras.Variable]:
        """The variables that belong to one task alone."""
        return [each for name in self.own_parts for each in getattr(self, name)[task].variables]

    def get_config(self):
        return {**super().get_config(), "num_tasks": self.num_tasks}


@keras.saving.register_keras_serializable(package="keras_mtl")
class SqueezeExcitation(keras.layers.Layer):
    """Channels weighed by what the whole map shows: x sigmoid(W_2 ReLU(W_1 mean(x))).

    Args:
        reduction: int. How many times fewer channels are between the two linear maps.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Call arguments:
        x: tensor `(B, h, w, C)`.

    Returns:
        Tensor `(B, h, w, C)`.

    Example:

    >>> gate = keras_mtl.layers.SqueezeExcitation(reduction=4)
    >>> tuple(gate(keras.ops.ones((1, 4, 6, 8))).shape)
    (1, 4, 6, 8)

    Reference: Hu, Shen and Sun, Squeeze-and-Excitation Networks, CVPR 2018, Eq. 2 to 4.
    """

    def __init__(self, reduction: int = 16, **kwargs):
        super().__init__(**kwargs)
        self.reduction = check_integer("reduction", reduction, 1)

    def build(self, x_shape):
        channels = x_shape[-1]
        hidden = max(channels // self.reduction, 1)

        def dense(units, activation, name):
            return keras.layers.Dense(
                units,
                activation,
                kernel_initializer="he_normal",
                dtype=self.dtype_policy,
                name=name,
            )

        self.squeeze = dense(hidden, "relu", "squeeze")
        self.excite = dense(channels, "sigmoid", "excite")
        self.squeeze.build((None, channels))
        self.excite.build((None, hidden))

    def gate(self, x):
        """What channels are multiplied by, `(B, C)`."""
        return self.excite(self.squeeze(ops.mean(x, axis=(1, 2))))

    def call(self, x):
        return x * self.gate(x)[:, None, None, :]

    def compute_output_shape(self, x_shape):
        return x_shape

    def get_config(self):
        return {**super().get_config(), "reduction": self.reduction}


@keras.saving.register_keras_serializable(package="keras_mtl")
class AdaptedConvolution(TaskConditioned):
    """A convolution that all tasks share, adapted to one of them.

    ReLU(BN_t(W * x + A_t x)), its channels weighed by the task's `SqueezeExcitation`; A_t, a 1x1
    convolution, begins at zero.

    Args:
        filters: int. Channels of the answer.
        kernel_size: int. Side of the kernel.
        dilation: int.
        adapter: bool. Whether there is an A_t.
        reduction: int, of the task's `SqueezeExcitation`.
        num_tasks: int.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Call arguments:
        x: tensor `(B, h, w, C)`.
        task: int, the number of the task.

    Returns:
        Tensor `(B, h, w, filters)`.

    Raises:
        ValueError: if a number is no positive integer.

    Example:

    >>> convolve = keras_mtl.layers.AdaptedConvolution(8, num_tasks=2)
    >>> tuple(convolve(keras.ops.ones((1, 4, 6, 3)), task=1).shape)
    (1, 4, 6, 8)

    Reference: Maninis, Radosavovic and Kokkinos, Attentive Single-Tasking of Multiple Tasks,
        CVPR 2019, Sec. 4, as its published code has it.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 1,
        dilation: int = 1,
        adapter: bool = True,
        reduction: int = 16,
        num_tasks: int = 1,
        **kwargs,
    ):
        super().__init__(num_tasks, **kwargs)
        self.filters = check_integer("filters", filters, 1)
        self.kernel_size = check_integer("kernel_size", kernel_size, 1)
        self.dilation = check_integer("dilation", dilation, 1)
        self.adapter = adapter
        self.reduction = reduction

    def build(self, x_shape):
        out = (*x_shape[:-1], self.filters)
        self.convolution = small_convolution(
            self.filters,
            self.kernel_size,
            dilation=self.dilation,
            name="convolution",
            dtype=self.dtype_policy,
        )
        self.convolution.build(x_shape)
        if self.adapter:
            self.add_own("adapters", adapter_of(self.filters), x_shape)
        self.add_own("norms", normalization, out)
        self.add_own("gates", gate_of(self.reduction), out)

    def call(self, x, task=0, training=False):
        out = self.convolution(x)
        if self.adapter:
            out = out + self.adapters[task](x)
        return self.gates[task](ops.relu(self.norms[task](out, training=training)))

    def compute_output_shape(self, x_shape):
        return (*x_shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "dilation": self.dilation,
            "adapter": self.adapter,
            "reduction": self.reduction,
        }


# === What these layers are made of ===


def small_convolution(
    filters: int, size: int, strides: int = 1, dilation: int = 1, **arguments
) -> keras.layers.Conv2D:
    """A convolution without bias, whose kernel begins with a deviation of 0.01."""
    return keras.layers.Conv2D(
        filters,
        size,
        strides,
        dilation_rate=dilation,
        use_bias=False,
        **{
            "padding": "same",
            "kernel_initializer": keras.initializers.RandomNormal(stddev=0.01),
            **arguments,
        },
    )


def normalization(**arguments) -> keras.layers.BatchNormalization:
    """Batch normalization with the epsilon and the momentum of the published code."""
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, **arguments)


def adapter_of(filters: int) -> Callable:
    """A function that makes an adapter, a 1x1 convolution that begins at zero."""
    return lambda **how: small_convolution(filters, 1, kernel_initializer="zeros", **how)


def gate_of(reduction: int) -> Callable:
    """A function that makes a `SqueezeExcitation`."""
    return lambda **how: SqueezeExcitation(reduction, **how)
