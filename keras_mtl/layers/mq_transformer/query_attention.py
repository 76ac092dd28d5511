"""MQTransformer's attention: between a task's queries and positions, and among positions."""

import keras
from keras import ops

from keras_mtl.layers.attention import attention_as_written, dot_product_attention

AXES = ("positions", "batch")


@keras.saving.register_keras_serializable(package="keras_mtl")
class QueryAttention(keras.layers.Layer):
    """Attention whose query, key and value are normalised, each by a layer normalization.

    The linear maps of the three have no bias, the last one has. Memory grows with the number of
    queries and of keys, and not with their product.

    Args:
        num_heads: int. It must divide the channels.

    Call arguments:
        query: tensor `(B, Q, d)`.
        key: tensor `(B, K, d)`.
        value: tensor `(B, K, d)`.

    Returns:
        Tensor `(B, Q, d)`.

    Example:

    >>> ones = keras.ops.ones
    >>> attend = keras_mtl.layers.QueryAttention()
    >>> tuple(attend(ones((1, 6, 8)), ones((1, 20, 8)), ones((1, 20, 8))).shape)
    (1, 6, 8)

    Reference: the released code of Xu et al., Multi-Task Learning with Multi-Query Transformer for
    Dense Prediction, IEEE TCSVT 2023.
    """

    as_written = False  # see as_written.py

    def __init__(self, num_heads: int = 4, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads

    def build(self, query_shape, key_shape, value_shape):
        dim, policy = query_shape[-1], self.dtype_policy
        check_heads(self.num_heads, dim)
        self.norms, self.maps = [], []
        for name in ("query", "key", "value"):
            norm = keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name=f"{name}_norm")
            dense = keras.layers.Dense(dim, use_bias=False, dtype=policy, name=name)
            norm.build((None, None, dim))
            dense.build((None, None, dim))
            self.norms.append(norm)
            self.maps.append(dense)
        self.output_dense = keras.layers.Dense(dim, dtype=policy, name="output")
        self.output_dense.build((None, None, dim))

    def call(self, query, key, value):
        attend = attention_as_written if self.as_written else dot_product_attention
        attended = attend(*self.project(query, key, value))
        return self.output_dense(ops.reshape(attended, (-1, *query.shape[1:])))

    def project(self, query, key, value):
        """The three, normalised and mapped, head by head.

        Args:
            query: tensor `(B, Q, d)`.
            key: tensor `(B, K, d)`.
            value: tensor `(B, K, d)`.

        Returns:
            Tensors `(B, Q, heads, d / heads)` and twice `(B, K, heads, d / heads)`.
        """
        return [
            split_heads(dense(norm(x)), self.num_heads)
            for norm, dense, x in zip(self.norms, self.maps, (query, key, value), strict=True)
        ]

    def compute_output_shape(self, query_shape, key_shape, value_shape):
        return query_shape

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads}


@keras.saving.register_keras_serializable(package="keras_mtl")
class PositionAttention(keras.layers.Layer):
    """Self-attention over the positions of one image, in memory linear in their number.

    The published code hands the positions to an attention that takes the first axis for them, so
    that it runs over the batch, at each position: what becomes of an image depends on the others
    in its batch. `axis="batch"` does that, too.

    Args:
        num_heads: int. It must divide the channels.
        axis: `"positions"`, or `"batch"` as in the published code.
        dropout: float. Drop rate of the weights in training, where they are then stored; for few
            positions.

    Call arguments:
        x: tensor `(B, S, d)`.

    Returns:
        Tensor `(B, S, d)`.

    Raises:
        ValueError: if there is no such axis, or the heads do not divide the channels.

    Example:

    >>> tuple(keras_mtl.layers.PositionAttention()(keras.ops.ones((1, 20, 8))).shape)
    (1, 20, 8)

    Reference: the released code of Xu et al., Multi-Task Learning with Multi-Query Transformer for
    Dense Prediction, IEEE TCSVT 2023.
    """

    as_written = False  # see as_written.py

    def __init__(self, num_heads: int = 4, axis: str = "positions", dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        if axis not in AXES:
            raise ValueError(f"axis is {axis!r}; expected one of {', '.join(map(repr, AXES))}.")
        self.num_heads = num_heads
        self.axis = axis
        self.dropout = dropout
        # Given a shape, PyTorch also draws from the layer's seed: runs can be repeated.
        shape = (None, None, None, None)
        self.drop = keras.layers.Dropout(dropout, shape, dtype=self.dtype_policy, name="drop")

    def build(self, x_shape):
        check_heads(self.num_heads, x_shape[-1])
        for name in ("query", "key", "value", "output"):
            dense = keras.layers.Dense(x_shape[-1], dtype=self.dtype_policy, name=name)
            dense.build(x_shape)
            setattr(self, f"{name}_dense", dense)

    def call(self, x, training=False):
        query, key, value = (
            split_heads(dense(x), self.num_heads)
            for dense in (self.query_dense, self.key_dense, self.value_dense)
        )
        if self.axis == "batch":
            order = (1, 2, 0, 3)  # the images of a position are what the positions are otherwise
            attended = self._stored(
                *(ops.transpose(y, order) for y in (query, key, value)), training
            )
            attended = ops.transpose(attended, (2, 0, 1, 3))
        elif training and self.dropout:
            order = (0, 2, 1, 3)
            attended = self._stored(
                *(ops.transpose(y, order) for y in (query, key, value)), training
            )
            attended = ops.transpose(attended, order)
        else:
            attend = attention_as_written if self.as_written else dot_product_attention
            attended = attend(query, key, value)
        return self.output_dense(ops.reshape(attended, (-1, *x.shape[1:])))

    def _stored(self, query, key, value, training):
        """Attention with all weights at once, along the last axis but one."""
        scores = ops.matmul(query * query.shape[-1] ** -0.5, ops.swapaxes(key, -1, -2))
        scores = ops.cast(scores, "float32")
        # A softmax, of which Keras would warn where there is one image.
        weights = ops.exp(scores - ops.logsumexp(scores, axis=-1, keepdims=True))
        weights = self.drop(ops.cast(weights, value.dtype), training=training)
        return ops.matmul(weights, value)

    def compute_output_shape(self, x_shape):
        return x_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "axis": self.axis,
            "dropout": self.dropout,
        }


def split_heads(x, num_heads: int):
    """`(B, S, d)` to `(B, S, heads, d / heads)`.

    Args:
        x: tensor `(B, S, d)`.
        num_heads: int.

    Example:

    >>> tuple(split_heads(keras.ops.ones((1, 6, 8)), 2).shape)
    (1, 6, 2, 4)
    """
    _, count, dim = x.shape
    return ops.reshape(x, (-1, count, num_heads, dim // num_heads))


def check_heads(num_heads: int, dim: int) -> None:
    """Refuses heads that do not divide the channels.

    Args:
        num_heads: int.
        dim: int. The channels.

    Raises:
        ValueError: if they do not.

    Example:

    >>> check_heads(4, 8)
    """
    if dim % num_heads:
        raise ValueError(
            f"num_heads is {num_heads}, which does not divide the {dim} channels; use a number "
            "that does."
        )
