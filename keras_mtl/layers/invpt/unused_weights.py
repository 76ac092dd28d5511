"""What the released InvPT has and nothing reads."""

import keras
from keras import ops

from keras_mtl.layers.convolutions import convolution


@keras.saving.register_keras_serializable(package="keras_mtl")
class UnusedWeights(keras.layers.Layer):
    """Gives features back as they are, beside weights that count in InvPT's published figures.

    These are a skip from the backbone to the first stage, which is computed in vain, that stage's
    mixing of scores and reduction of channels, and a last layer normalization.

    Args:
        num_heads: int. Heads of the stages.

    Call arguments:
        features: list of T tensors `(B, h, w, M)`, those of the first stage.
        skip: tensor `(B, h', w', C)`, a map of the backbone.

    Returns:
        `features`.

    Example:

    >>> ones = keras.ops.ones
    >>> layer = keras_mtl.layers.UnusedWeights()
    >>> [tuple(x.shape) for x in layer([ones((1, 2, 3, 8))] * 2, ones((1, 4, 6, 5)))]
    [(1, 2, 3, 8), (1, 2, 3, 8)]

    Reference: the released code of Ye and Xu, InvPT, ECCV 2022.
    """

    def __init__(self, num_heads: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads

    def build(self, features_shape, skip_shape):
        count, dim, policy = len(features_shape), features_shape[0][-1], self.dtype_policy
        self.skip = convolution(dim, 3, use_bias=True, dtype=policy, name="skip")
        self.skip.build(skip_shape)
        self.fuse = keras.layers.Dense(self.num_heads, dtype=policy, name="fuse")
        self.fuse.build((None, 2 * self.num_heads))
        self.reductions = []
        for t, shape in enumerate(features_shape):
            reduction = convolution(dim, use_bias=True, dtype=policy, name=f"reduction_{t}")
            reduction.build(shape)
            self.reductions.append(reduction)
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name="norm")
        self.norm.build((None, count * dim // 4))

    def call(self, features, skip):
        self.skip(skip)
        return [ops.copy(x) for x in features]

    def compute_output_shape(self, features_shape, skip_shape):
        return features_shape

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads}
