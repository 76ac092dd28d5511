"""TPANet's cross attention: a task's prior queries its mixed features."""

import keras
from keras import ops

from keras_mtl.computation.rematerialization import remat
from keras_mtl.layers.attention import attention_as_written, dot_product_attention
from keras_mtl.layers.mlp import MLP


@keras.saving.register_keras_serializable(package="keras_mtl")
class CrossAttention(keras.layers.Layer):
    """Self-attention of a task's features, and attention to them from the task's prior.

    Both share their weights (Eq. 9 and 10). Attention runs over all S = h w positions of one
    image, in memory that grows with S and not with its square.

    Args:
        num_heads: int. It must divide the channels.
        key_value_pooling: int. Average pooling of keys and values on the grid; 1 is the paper.

    Call arguments:
        features: tensor `(B, h, w, D)`, a task's features after mixing.
        prior: tensor `(B, h, w, D)`, the same task's features before mixing.

    Returns:
        Tensor `(B, h, w, D)`.

    Raises:
        ValueError: if the heads do not divide the channels.

    Example:

    >>> attend = keras_mtl.layers.CrossAttention()
    >>> features = keras.ops.ones((1, 6, 8, 16))
    >>> tuple(attend(features, features).shape)
    (1, 6, 8, 16)

    Reference: Task Prior Attention Network, Sec. 3.4, Eq. 8-11.
    """

    as_written = False  # see as_written.py

    def __init__(self, num_heads: int = 2, key_value_pooling: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.key_value_pooling = key_value_pooling

    def build(self, features_shape, prior_shape):
        dim = features_shape[-1]
        if dim % self.num_heads:
            raise ValueError(
                f"num_heads is {self.num_heads}, which does not divide the {dim} channels; use a "
                "number that does."
            )
        for name in ("query", "key", "value", "output"):
            dense = keras.layers.Dense(dim, dtype=self.dtype_policy, name=name)
            dense.build(features_shape)
            setattr(self, f"{name}_dense", dense)
        self.pool = keras.layers.AveragePooling2D(
            self.key_value_pooling, dtype=self.dtype_policy, name="pool"
        )

    def call(self, features, prior):
        _, h, w, dim = features.shape

        def heads(x):
            return ops.reshape(
                x, (-1, x.shape[1] * x.shape[2], self.num_heads, dim // self.num_heads)
            )

        pooled = self._pooled(features) if self.key_value_pooling > 1 else features
        # The queries of Eq. 9 and Eq. 10 one after the other: keys and values are the same.
        queries = [self.query_dense(x) for x in (features, prior)]
        attend = attention_as_written if self.as_written else dot_product_attention
        attended = attend(
            heads(ops.concatenate(queries, axis=1)),
            heads(self.key_dense(pooled)),
            heads(self.value_dense(pooled)),
        )
        attended = self.output_dense(ops.reshape(attended, (-1, 2 * h, w, dim)))
        own, queried = attended[:, :h], attended[:, h:]  # Eq. 9, Eq. 10
        return own + queried + prior + features  # Eq. 11

    def _pooled(self, features):
        """Means over the positions inside the grid; PyTorch's "same" would repeat the edge."""
        _, h, w, _ = features.shape
        missing = (-h % self.key_value_pooling, -w % self.key_value_pooling)
        padding = [(0, 0), *((n // 2, n - n // 2) for n in missing), (0, 0)]
        share = self.pool(ops.pad(ops.ones((1, h, w, 1), features.dtype), padding))
        return self.pool(ops.pad(features, padding)) / share

    def compute_output_shape(self, features_shape, prior_shape):
        return features_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_value_pooling": self.key_value_pooling,
        }


@keras.saving.register_keras_serializable(package="keras_mtl")
class ResidualMLP(keras.layers.Layer):
    """The perceptron after the cross attention, with its residual connection (Eq. 12).

    TPANet has one for all tasks. Like the published network, and as in Eq. 5-6, it normalizes
    once outside the perceptron and once inside.

    Args:
        expansion: int. Hidden channels in units of D.
        dropout: float. The paper's kappa.
        stochastic_depth: float. Chance to leave the perceptron out for an image in training.

    Call arguments:
        features: tensor `(B, h, w, D)`.

    Returns:
        Tensor `(B, h, w, D)`.

    Example:

    >>> tuple(keras_mtl.layers.ResidualMLP()(keras.ops.ones((1, 6, 8, 16))).shape)
    (1, 6, 8, 16)

    Reference: Task Prior Attention Network, Eq. 12.
    """

    def __init__(
        self,
        expansion: int = 2,
        dropout: float = 0.0,
        stochastic_depth: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.expansion = expansion
        self.dropout = dropout
        self.stochastic_depth = stochastic_depth

    def build(self, features_shape):
        policy = self.dtype_policy
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name="norm")
        self.mlp = MLP(self.expansion * features_shape[-1], self.dropout, dtype=policy, name="mlp")
        self.drop_image = keras.layers.Dropout(
            self.stochastic_depth, noise_shape=(None, 1, 1, 1), dtype=policy
        )
        self.norm.build(features_shape)
        self.mlp.build(features_shape)

    def call(self, features, training=False):
        if training and not self.dropout:  # what is drawn must not be drawn a second time
            update = remat(self._update)(features)
        else:
            update = self._update(features)
        return self.drop_image(update, training=training) + features  # Eq. 12

    def _update(self, features):
        return self.mlp(self.norm(features))

    def compute_output_shape(self, features_shape):
        return features_shape

    def get_config(self):
        return {
            **super().get_config(),
            "expansion": self.expansion,
            "dropout": self.dropout,
            "stochastic_depth": self.stochastic_depth,
        }
