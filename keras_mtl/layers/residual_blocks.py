"""Residual blocks of convolutions, which several decoders are made of."""

import keras
from keras import ops

from keras_mtl.arguments import check_integer
from keras_mtl.layers.convolutions import batch_normalization, convolution


class ResidualBlock(keras.layers.Layer):
    """Convolutions without bias, each normalised, and the input added to what they give.

    The activation is a ReLU, after each convolution but the last, and after the sum. Where the
    input is of another width, a 1x1 convolution, normalised too, brings it to the block's.

    Subclasses list their convolutions in `convolutions`.

    Args:
        filters: int. Channels of the block's answer.
        convolutions: `(filters, kernel size)` of each.
    """

    def __init__(self, filters: int, convolutions: tuple[tuple[int, int], ...], **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.convolutions = convolutions

    def build(self, x_shape):
        self.kernels, self.norms, shape = [], [], x_shape
        for n, (filters, size) in enumerate(self.convolutions, start=1):
            kernel, norm = self._normalized_convolution(shape, filters, size, f"{n}")
            self.kernels.append(kernel)
            self.norms.append(norm)
            shape = (*shape[:-1], filters)
        self.projection = self.projection_norm = None
        if x_shape[-1] != self.filters:
            self.projection, self.projection_norm = self._normalized_convolution(
                x_shape, self.filters, 1, "projection"
            )

    def _normalized_convolution(self, shape, filters: int, size: int, name: str):
        policy = self.dtype_policy
        kernel = convolution(filters, size, dtype=policy, name=f"convolution_{name}")
        norm = batch_normalization(dtype=policy, name=f"norm_{name}")
        kernel.build(shape)
        norm.build((*shape[:-1], filters))
        return kernel, norm

    def call(self, x, training=False):
        shortcut = x
        if self.projection is not None:
            shortcut = self.projection_norm(self.projection(x), training=training)
        for kernel, norm in zip(self.kernels[:-1], self.norms[:-1], strict=True):
            x = ops.relu(norm(kernel(x), training=training))
        return ops.relu(self.norms[-1](self.kernels[-1](x), training=training) + shortcut)

    def compute_output_shape(self, x_shape):
        return (*x_shape[:-1], self.filters)


@keras.saving.register_keras_serializable(package="keras_mtl")
class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions with a shortcut: ReLU(BN(W2 * ReLU(BN(W1 * x))) + x).

    Args:
        filters: int. Channels of all convolutions.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Call arguments:
        x: tensor `(B, H, W, C)`; a C other than `filters` is projected.

    Returns:
        Tensor `(B, H, W, filters)`.

    Raises:
        ValueError: if `filters` is no positive integer.

    Example:

    >>> tuple(keras_mtl.layers.BasicBlock(8)(keras.ops.ones((1, 4, 6, 16))).shape)
    (1, 4, 6, 8)

    Reference: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, Sec. 3.3.
    """

    def __init__(self, filters: int, **kwargs):
        filters = check_integer("filters", filters, 1)
        super().__init__(filters, ((filters, 3), (filters, 3)), **kwargs)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable(package="keras_mtl")
class Bottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions with a shortcut; the last one widens four times.

    Args:
        planes: int. Channels of the first two convolutions; the answer has 4 times as many.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Call arguments:
        x: tensor `(B, H, W, C)`; a C other than `4 * planes` is projected.

    Returns:
        Tensor `(B, H, W, 4 * planes)`.

    Raises:
        ValueError: if `planes` is no positive integer.

    Example:

    >>> tuple(keras_mtl.layers.Bottleneck(4)(keras.ops.ones((1, 4, 6, 10))).shape)
    (1, 4, 6, 16)

    Reference: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, Sec. 4.1.
    """

    def __init__(self, planes: int, **kwargs):
        self.planes = planes = check_integer("planes", planes, 1)
        super().__init__(4 * planes, ((planes, 1), (planes, 3), (4 * planes, 1)), **kwargs)

    def get_config(self):
        return {**super().get_config(), "planes": self.planes}


def refine_features(x, width: int, name: str):
    """Two bottlenecks, one after the other, which decoders compute a task's features with.

    Args:
        x: tensor `(B, H, W, C)`.
        width: int, a multiple of 4. Channels of the answer.
        name: str that the layers' names begin with.

    Returns:
        Tensor `(B, H, W, width)`.

    Raises:
        ValueError: if `width` is no multiple of 4.

    Example:

    >>> refine_features(keras.Input((4, 6, 10)), 16, "depth").shape
    (None, 4, 6, 16)
    """
    if width % 4:
        raise ValueError(
            f"A bottleneck widens its features 4 times, so that {width} channels are no width for "
            f"it; use a multiple of 4, such as {width + 4 - width % 4}."
        )
    for n in (1, 2):
        x = Bottleneck(width // 4, name=f"{name}_bottleneck_{n}")(x)
    return x
