"""The attention of MTAN, the multi-task attention network, and what goes from stage to stage."""

import keras
from keras import ops

from keras_mtl.arguments import check_integer
from keras_mtl.layers.convolutions import batch_normalization, convolution
from keras_mtl.layers.residual_blocks import Bottleneck


@keras.saving.register_keras_serializable(package="keras_mtl")
class AttentionMask(keras.layers.Layer):
    """What a task takes of the shared features: a number in 0..1 for each place and channel.

    `m = sigmoid(BN(W_2 ReLU(BN(W_1 z))))`, both 1x1 convolutions with bias, a quarter as wide
    between them.

    Args:
        channels: int. Of the features to be masked.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Call arguments:
        z: tensor `(B, H, W, C)`.

    Returns:
        Tensor `(B, H, W, channels)`.

    Raises:
        ValueError: if `channels` is no positive integer.

    Example:

    >>> mask = keras_mtl.layers.AttentionMask(8)(keras.ops.ones((1, 4, 6, 12)))
    >>> tuple(mask.shape)
    (1, 4, 6, 8)

    Reference: Liu et al., End-to-End Multi-Task Learning with Attention, CVPR 2019, Eq. 2.
    """

    def __init__(self, channels: int, **kwargs):
        super().__init__(**kwargs)
        self.channels = check_integer("channels", channels, 1)

    def build(self, z_shape):
        width, policy = max(self.channels // 4, 1), self.dtype_policy
        self.reduce = convolution(width, use_bias=True, dtype=policy, name="reduce")
        self.reduce_norm = batch_normalization(dtype=policy, name="reduce_norm")
        self.widen = convolution(self.channels, use_bias=True, dtype=policy, name="widen")
        self.widen_norm = batch_normalization(dtype=policy, name="widen_norm")
        between = (*z_shape[:-1], width)
        self.reduce.build(z_shape)
        self.reduce_norm.build(between)
        self.widen.build(between)
        self.widen_norm.build((*z_shape[:-1], self.channels))

    def call(self, z, training=False):
        x = ops.relu(self.reduce_norm(self.reduce(z), training=training))
        return ops.sigmoid(self.widen_norm(self.widen(x), training=training))

    def compute_output_shape(self, z_shape):
        return (*z_shape[:-1], self.channels)

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}


@keras.saving.register_keras_serializable(package="keras_mtl")
class SharedRefinement(keras.layers.Layer):
    """What the tasks pass on to the next stage: one bottleneck for all of them, and max pooling.

    `g = D(R(a))`. The bottleneck sees one task after the other, in their order, and in training
    normalises each by its own statistics, which move the running ones one after the other.

    Args:
        channels: int, a multiple of 4. Of the next stage.
        pooling: int. How much coarser the next stage is; 1 for no pooling.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Call arguments:
        features: list of T tensors `(B, H, W, C)`, the masked features of each task.

    Returns:
        List of T tensors `(B, ceil(H / pooling), ceil(W / pooling), channels)`.

    Raises:
        ValueError: if `channels` is no multiple of 4, or `pooling` no positive integer.

    Example:

    >>> refine = keras_mtl.layers.SharedRefinement(12, pooling=2)
    >>> [tuple(each.shape) for each in refine([keras.ops.ones((1, 5, 6, 8))] * 2)]
    [(1, 3, 3, 12), (1, 3, 3, 12)]

    Reference: the port of Liu et al., CVPR 2019, to ResNet.
    """

    def __init__(self, channels: int, pooling: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.channels = check_integer("channels", channels, 4)
        self.pooling = check_integer("pooling", pooling, 1)
        if self.channels % 4:
            raise ValueError(
                f"channels is {channels}, but a bottleneck widens its features 4 times; use a "
                f"multiple of 4, such as {4 * (channels // 4 + 1)}."
            )

    def build(self, features_shape):
        self.block = Bottleneck(self.channels // 4, dtype=self.dtype_policy, name="block")
        self.block.build(features_shape[0])

    def call(self, features, training=False):
        refined = [self.block(x, training=training) for x in features]
        if self.pooling == 1:
            return refined
        return [ops.max_pool(x, self.pooling, self.pooling, "same") for x in refined]

    def compute_output_shape(self, features_shape):
        return [
            (batch, *(-(-length // self.pooling) for length in size), self.channels)
            for batch, *size, _ in features_shape
        ]

    def get_config(self):
        return {**super().get_config(), "channels": self.channels, "pooling": self.pooling}
