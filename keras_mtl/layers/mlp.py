"""TPANet's two-layer perceptron, over the last axis."""

import keras


@keras.saving.register_keras_serializable(package="keras_mtl")
class MLP(keras.layers.Layer):
    """Layer normalization, linear map, GELU, linear map back to the input's channels (Eq. 4).

    Args:
        width: int. Channels between the linear maps.
        dropout: float. Drop rate after the GELU and after the second map.
        kernel_initializer: of both maps, as for `keras.layers.Dense`.

    Call arguments:
        x: tensor `(..., C)`.

    Returns:
        Tensor `(..., C)`.

    Example:

    >>> tuple(keras_mtl.layers.MLP(width=32)(keras.ops.ones((1, 6, 16))).shape)
    (1, 6, 16)

    Reference: Task Prior Attention Network, Eq. 4.
    """

    def __init__(
        self,
        width: int,
        dropout: float = 0.0,
        kernel_initializer: str | keras.Initializer = "glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.width = width
        self.dropout = dropout
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, x_shape):
        policy = self.dtype_policy

        def dense(units, name):
            begin = self.kernel_initializer.clone()
            return keras.layers.Dense(units, kernel_initializer=begin, dtype=policy, name=name)

        self.norm = keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name="norm")
        self.dense_1 = dense(self.width, "dense_1")
        self.dense_2 = dense(x_shape[-1], "dense_2")
        self.drop = keras.layers.Dropout(self.dropout, dtype=policy)
        self.norm.build(x_shape)
        self.dense_1.build(x_shape)
        self.dense_2.build((*x_shape[:-1], self.width))

    def call(self, x, training=False):
        hidden = keras.activations.gelu(self.dense_1(self.norm(x)))
        hidden = self.drop(hidden, training=training)
        return self.drop(self.dense_2(hidden), training=training)

    def compute_output_shape(self, x_shape):
        return x_shape

    def get_config(self):
        return {
            **super().get_config(),
            "width": self.width,
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
