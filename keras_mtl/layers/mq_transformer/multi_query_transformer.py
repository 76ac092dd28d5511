"""MQTransformer's exchange: a few queries of each task, filled, exchanged and written back."""

import keras
from keras import ops

from keras_mtl.layers.mlp import MLP
from keras_mtl.layers.mq_transformer.query_attention import (
    PositionAttention,
    QueryAttention,
    check_heads,
    split_heads,
)


@keras.saving.register_keras_serializable(package="keras_mtl")
class MultiQueryTransformer(keras.layers.Layer):
    """Exchange between tasks by N queries of each one, instead of by their positions.

    A task t has learned queries P_t and positions p_t (of queries) and k_t (of keys), the same for
    every head. With A a `QueryAttention`, S a `PositionAttention`, M a layer normalization and a
    perceptron, and x_t the task's features:

    1. Encoder, one for all tasks: P = P_t + A(P_t + p_t, x_t, x_t), P = P + W LN(P),
       Q_t = P + M(P).
    2. Between tasks, Q all Q_t one after the other: Q = Q + S'(Q), Q = Q + M(LN(Q)).
    3. Decoder, one for all tasks: y = x_t + A'(x_t, Q_t + k_t, Q_t), y = y + M(y),
       z = x_t + S(y), z = z + M(z); what comes out is GELU(z).

    Args:
        num_queries: int. N.
        num_heads: int. It must divide the channels.
        attention_axis: what S runs over, `"positions"` of an image, or `"batch"` as in the
            published code, where an image's outputs depend on the others of its batch.
        dropout: float. Drop rate of the attention between tasks.
        stochastic_depth: float. Chance of an image to go without an update, in training, in the
            encoder and in the decoder.
        cross_task_stochastic_depth: float. The same between tasks.
        unused_weights: bool. Whether to have, too, what the released code has and does not use: an
            embedding of patches, computed in vain for each task, and a second attention of the
            decoder.

    Call arguments:
        features: list of T tensors `(B, h, w, d)`.

    Returns:
        List of T tensors `(B, h, w, d)`.

    Raises:
        ValueError: if the heads do not divide the channels, or there is no such axis.

    Example:

    >>> layer = keras_mtl.layers.MultiQueryTransformer(num_queries=3)
    >>> [tuple(x.shape) for x in layer([keras.ops.ones((1, 4, 6, 8))] * 2)]
    [(1, 4, 6, 8), (1, 4, 6, 8)]

    Reference: Xu et al., Multi-Task Learning with Multi-Query Transformer for Dense Prediction,
    IEEE TCSVT 2023; sizes, residuals and rates are the released code's.
    """

    def __init__(
        self,
        num_queries: int = 64,
        num_heads: int = 4,
        attention_axis: str = "positions",
        dropout: float = 0.1,
        stochastic_depth: float = 0.1,
        cross_task_stochastic_depth: float = 0.5,
        unused_weights: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_queries = num_queries
        self.num_heads = num_heads
        self.dropout = dropout
        self.stochastic_depth = stochastic_depth
        self.cross_task_stochastic_depth = cross_task_stochastic_depth
        self.unused_weights = unused_weights
        self.position_attention = PositionAttention(
            num_heads, attention_axis, dtype=self.dtype_policy, name="position_attention"
        )

    def build(self, features_shape):
        dim, policy, heads = features_shape[0][-1], self.dtype_policy, self.num_heads
        check_heads(heads, dim)
        small = keras.initializers.TruncatedNormal(stddev=0.02)
        self.queries, self.query_positions, self.key_positions = [], [], []
        for t in range(len(features_shape)):
            for kind, shape in (
                ("queries", (1, self.num_queries, dim)),
                ("query_positions", (1, self.num_queries, 1, dim // heads)),
                ("key_positions", (1, self.num_queries, 1, dim // heads)),
            ):
                weight = self.add_weight(shape=shape, initializer=small.clone(), name=f"{kind}_{t}")
                getattr(self, kind).append(weight)

        def mlp(width, name):
            layer = MLP(width, dtype=policy, name=name)
            layer.build((None, None, dim))
            return layer

        def norm(name):
            layer = keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name=name)
            layer.build((None, None, dim))
            return layer

        self.encoder_attention = QueryAttention(heads, dtype=policy, name="encoder_attention")
        self.reason_norm = norm("reason_norm")
        self.reason = keras.layers.Dense(dim, use_bias=False, dtype=policy, name="reason")
        self.encoder_mlp = mlp(dim, "encoder_mlp")
        self.cross_task_attention = PositionAttention(
            heads, dropout=self.dropout, dtype=policy, name="cross_task_attention"
        )
        self.cross_task_norm = norm("cross_task_norm")
        self.cross_task_mlp = mlp(dim, "cross_task_mlp")
        self.decoder_attention = QueryAttention(heads, dtype=policy, name="decoder_attention")
        self.decoder_mlps = [mlp(3 * dim, f"decoder_mlp_{n}") for n in (1, 2)]
        some = (None, None, dim)
        self.encoder_attention.build(some, some, some)
        self.reason.build(some)
        self.cross_task_attention.build(some)
        self.decoder_attention.build(some, some, some)
        self.position_attention.build(some)

        def drop(rate):
            return keras.layers.Dropout(rate, noise_shape=(None, 1, 1), dtype=policy)

        self.drop_update = drop(self.stochastic_depth)
        self.drop_cross_task_update = drop(self.cross_task_stochastic_depth)
        if self.unused_weights:
            self.unused_embedding = keras.layers.Conv2D(
                dim, 4, strides=4, padding="same", dtype=policy, name="unused_embedding"
            )
            self.unused_embedding.build(features_shape[0])
            self.unused_norm = norm("unused_norm")
            self.unused_attention = QueryAttention(heads, dtype=policy, name="unused_attention")
            self.unused_attention.build(some, some, some)

    def call(self, features, training=False):
        for x in features if self.unused_weights else ():
            self.unused_norm(self.unused_embedding(x))
        _, h, w, dim = features[0].shape
        flat = [ops.reshape(x, (-1, h * w, dim)) for x in features]
        queries = [self.encode(t, x, training) for t, x in enumerate(flat)]
        queries = self.exchange(queries, training)
        decoded = [
            keras.activations.gelu(self.decode(t, x, own, training))
            for t, (x, own) in enumerate(zip(flat, queries, strict=True))
        ]
        return [ops.reshape(x, (-1, h, w, dim)) for x in decoded]

    # === The steps ===

    def encode(self, t: int, x, training: bool = False):
        """A task's queries, filled from its features.

        Args:
            t: which task it is.
            x: tensor `(B, S, d)`.
            training: bool, as for a Keras layer.

        Returns:
            Tensor `(B, N, d)`.
        """
        tokens, asking = self.asking(t, x)
        p = tokens + self._drop(self.encoder_attention(asking, x, x), training)
        p = p + self._drop(self.reason(self.reason_norm(p)), training)
        return p + self._drop(self.encoder_mlp(p), training)

    def asking(self, t: int, x):
        """A task's learned queries, and the same with their positions.

        Args:
            t: which task it is.
            x: tensor `(B, S, d)`, for as many images.

        Returns:
            Tensors `(B, N, d)`.
        """
        tokens = ops.cast(self.queries[t], x.dtype) + ops.zeros_like(x[:, :1])  # for each image
        return tokens, self.with_position(tokens, self.query_positions[t])

    def exchange(self, queries, training: bool = False):
        """All tasks' queries after they attended to each other.

        Args:
            queries: list of T tensors `(B, N, d)`.
            training: bool, as for a Keras layer.

        Returns:
            List of T tensors `(B, N, d)`.
        """
        q = ops.concatenate(queries, axis=1)
        attended = self.cross_task_attention(q, training=training)
        q = q + self.drop_cross_task_update(attended, training=training)
        update = self.cross_task_mlp(self.cross_task_norm(q))
        q = q + self.drop_cross_task_update(update, training=training)
        return ops.split(q, len(queries), axis=1)

    def decode(self, t: int, x, queries, training: bool = False):
        """A task's features with what its queries brought, z.

        Args:
            t: which task it is.
            x: tensor `(B, S, d)`.
            queries: tensor `(B, N, d)`.
            training: bool, as for a Keras layer.

        Returns:
            Tensor `(B, S, d)`.
        """
        y = self.written(t, x, queries, training)
        attended = self.position_attention(y, training=training)
        z = x + self._drop(attended, training)
        return z + self._drop(self.decoder_mlps[1](z), training)

    def written(self, t: int, x, queries, training: bool = False):
        """What the positions attend to each other as, y.

        Args:
            t: which task it is.
            x: tensor `(B, S, d)`.
            queries: tensor `(B, N, d)`.
            training: bool, as for a Keras layer.

        Returns:
            Tensor `(B, S, d)`.
        """
        keys = self.with_position(queries, self.key_positions[t])
        y = x + self._drop(self.decoder_attention(x, keys, queries), training)
        return y + self._drop(self.decoder_mlps[0](y), training)

    def with_position(self, x, position):
        """Queries with a position added to every head's share of the channels.

        Args:
            x: tensor `(B, N, d)`.
            position: tensor `(1, N, 1, d / heads)`.

        Returns:
            Tensor `(B, N, d)`.
        """
        by_head = split_heads(x, self.num_heads) + ops.cast(position, x.dtype)
        return ops.reshape(by_head, (-1, *x.shape[1:]))

    def _drop(self, update, training):
        return self.drop_update(update, training=training)

    def compute_output_shape(self, features_shape):
        return features_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_queries": self.num_queries,
            "num_heads": self.num_heads,
            "attention_axis": self.position_attention.axis,
            "dropout": self.dropout,
            "stochastic_depth": self.stochastic_depth,
            "cross_task_stochastic_depth": self.cross_task_stochastic_depth,
            "unused_weights": self.unused_weights,
        }
