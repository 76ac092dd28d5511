"""The pyramid that a detector's levels are brought into."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_mtl")
class LevelPyramid(keras.layers.Layer):
    """Feature pyramid network: every level also knows what the coarser ones do.

    1x1 convolutions bring all levels to one width; from the coarsest on each is enlarged (nearest
    neighbours) and added to the next finer one; 3x3 convolutions follow. A 3x3 convolution of
    stride 2 on the coarsest answer gives one level more. No normalization, no activation.

    Args:
        width: int. Channels of all levels of the answer.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Call arguments:
        levels: list of tensors `(B, H, W, C)`, finest first; neighbours may have one size.

    Returns:
        List of tensors `(B, H, W, width)`, one more.

    Example:

    >>> pyramid = keras_mtl.layers.LevelPyramid(8)
    >>> levels = pyramid([keras.ops.ones((1, 6, 12, 4)), keras.ops.ones((1, 3, 6, 5))])
    >>> [tuple(each.shape[1:]) for each in levels]
    [(6, 12, 8), (3, 6, 8), (2, 3, 8)]

    Reference: Lin et al., Feature Pyramid Networks for Object Detection, CVPR 2017, Fig. 3.
    """

    def __init__(self, width: int = 256, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def build(self, levels_shape):
        def convolution(size, name, **arguments):
            return keras.layers.Conv2D(
                self.width,
                size,
                kernel_initializer=keras.initializers.VarianceScaling(
                    2.0, "fan_out", "untruncated_normal"
                ),
                dtype=self.dtype_policy,
                name=name,
                **arguments,
            )

        self.lateral = [convolution(1, f"lateral_{k}") for k in range(len(levels_shape))]
        self.smooth = [
            convolution(3, f"smooth_{k}", padding="same") for k in range(len(levels_shape))
        ]
        self.coarser = convolution(3, "coarser", strides=2)
        for layer, shape in zip(self.lateral, levels_shape, strict=True):
            layer.build(shape)
        for layer in (*self.smooth, self.coarser):
            layer.build((None, None, None, self.width))

    def call(self, levels):
        levels = [layer(x) for layer, x in zip(self.lateral, levels, strict=True)]
        for k in range(len(levels) - 1, 0, -1):
            levels[k - 1] = levels[k - 1] + enlarged(levels[k], levels[k - 1].shape[1:3])
        levels = [layer(x) for layer, x in zip(self.smooth, levels, strict=True)]
        around = ops.pad(levels[-1], [[0, 0], [1, 1], [1, 1], [0, 0]])
        return [*levels, self.coarser(around)]

    def compute_output_shape(self, levels_shape):
        shapes = [(*shape[:3], self.width) for shape in levels_shape]
        batch, height, width = levels_shape[-1][:3]
        return [*shapes, (batch, -(-height // 2), -(-width // 2), self.width)]

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def enlarged(x: Any, size: tuple[int, int]) -> Any:
    """A map `(B, h, w, C)` at another size by nearest neighbours: pixel i is that of i h // H.

    Args:
        x: the map.
        size: `(height, width)`.

    Example:

    >>> enlarged(keras.ops.reshape(keras.ops.arange(2), (1, 1, 2, 1)), (1, 4))[0, 0, :, 0].tolist()
    [0, 0, 1, 1]
    """
    for axis, length in ((1, size[0]), (2, size[1])):
        if x.shape[axis] != length:
            x = ops.take(x, ops.arange(length) * x.shape[axis] // length, axis=axis)
    return x
