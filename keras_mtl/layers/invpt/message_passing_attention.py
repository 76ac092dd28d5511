"""InvPT's attention: each task's positions attend to those of all, and scores are handed on."""

import keras
from keras import ops

from keras_mtl.layers.convolutions import batch_normalization


@keras.saving.register_keras_serializable(package="keras_mtl")
class MessagePassingAttention(keras.layers.Layer):
    """Attention of every task's positions to those of all tasks, at one stage of a decoder.

    The queries of a task are its features after a depthwise 3x3 convolution of stride 2 and batch
    normalization, its keys and values means over squares; the linear maps behind them are all
    tasks'. The scores q k^T / sqrt(M), M all channels and not those of a head, are mixed with the
    ones that the stage before passes, enlarged to this one's queries:

        S = W [q k^T / sqrt(M); up(S')] + b over the heads,  F = softmax(S) v

    Args:
        num_heads: int. It must divide the channels.
        pooling: int. Side of the squares that a key stands for.

    Call arguments:
        features: list of T tensors `(B, h, w, M)`, the tasks' after a layer normalization; h and w
            are even.
        passed: tensor `(B, num_heads, Q / 4, K)`, the scores of a stage half as large with as many
            keys; left out in the first one.

    Returns:
        Dict: `"features"`, a list of T tensors `(B, h / 2, w / 2, M)`, and `"scores"`, a tensor
        `(B, num_heads, Q, K)` of Q = T h w / 4 queries, task after task, and K keys.

    Raises:
        ValueError: if the heads do not divide the channels, or the sizes do not fit.

    Example:

    >>> attend = keras_mtl.layers.MessagePassingAttention(pooling=4)
    >>> found = attend([keras.ops.ones((1, 8, 12, 16))] * 3, keras.ops.ones((1, 2, 18, 18)))
    >>> [tuple(x.shape) for x in found["features"]], tuple(found["scores"].shape)
    ([(1, 4, 6, 16), (1, 4, 6, 16), (1, 4, 6, 16)], (1, 2, 72, 18))

    Reference: Ye and Xu, InvPT: Inverted Pyramid Multi-task Transformer for Dense Scene
    Understanding, ECCV 2022, attention message passing; the sizes are the released code's.
    """

    def __init__(self, num_heads: int = 2, pooling: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.pooling = pooling

    def build(self, features_shape, passed_shape=None):
        _, height, width, dim = features_shape[0]
        if dim % self.num_heads:
            raise ValueError(
                f"num_heads is {self.num_heads}, which does not divide the {dim} channels; use a "
                "number that does."
            )
        count, quarter = len(features_shape), (height // 4) * (width // 4)
        if height % 2 or width % 2:
            raise ValueError(f"The features are {height}x{width}; expected even sides.")
        if passed_shape and passed_shape[2] != count * quarter:
            raise ValueError(
                f"The scores passed are of {passed_shape[2]} queries, and a stage half as large as "
                f"this one has {count * quarter}."
            )
        policy, third = self.dtype_policy, keras.initializers.RandomUniform(-1 / 3, 1 / 3)
        self.query_convolutions, self.query_norms = [], []
        for t, shape in enumerate(features_shape):
            convolution = keras.layers.DepthwiseConv2D(
                3,
                strides=2,
                use_bias=False,
                depthwise_initializer=third,
                dtype=policy,
                name=f"query_convolution_{t}",
            )
            convolution.build((None, height + 2, width + 2, dim))
            norm = batch_normalization(dtype=policy, name=f"query_norm_{t}")
            norm.build(shape)
            self.query_convolutions.append(convolution)
            self.query_norms.append(norm)
        self.pool = keras.layers.AveragePooling2D(self.pooling, dtype=policy, name="pool")
        for name in ("query", "key", "value", "output"):
            dense = keras.layers.Dense(
                dim,
                kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
                dtype=policy,
                name=name,
            )
            dense.build((None, None, dim))
            setattr(self, f"{name}_dense", dense)
        self.fuse = None
        if passed_shape:
            uniform = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
            self.fuse = keras.layers.Dense(
                self.num_heads, kernel_initializer=uniform, dtype=policy, name="fuse"
            )
            self.fuse.build((None, None, None, 2 * self.num_heads))

    def call(self, features, passed=None, training=False):
        query, key, value = self.project(features, training)
        scores = self.scores(query, key)
        if passed is not None:
            _, h, w, _ = features[0].shape
            scores = self.mix(scores, passed, (h // 2, w // 2))
        attended = self.output_dense(self.attend(scores, value))
        _, h, w, dim = features[0].shape
        attended = ops.reshape(attended, (-1, len(features), h // 2, w // 2, dim))
        return {"features": [attended[:, t] for t in range(len(features))], "scores": scores}

    def project(self, features, training=False):
        """Queries, keys and values of all tasks, one task after the other.

        Args:
            features: list of T tensors `(B, h, w, M)`.
            training: bool, as for a Keras layer.

        Returns:
            Tensors `(B, Q, M)`, `(B, K, M)` and `(B, K, M)`.
        """
        dim = features[0].shape[-1]

        def tokens(maps):
            return ops.concatenate([ops.reshape(x, (-1, _area(x), dim)) for x in maps], axis=1)

        # One row and column of zeros at every border, where "same" has them at two alone.
        padding = [(0, 0), (1, 1), (1, 1), (0, 0)]
        queries = [
            norm(convolution(ops.pad(x, padding)), training=training)
            for convolution, norm, x in zip(
                self.query_convolutions, self.query_norms, features, strict=True
            )
        ]
        pooled = tokens([self.pool(x) for x in features])
        return self.query_dense(tokens(queries)), self.key_dense(pooled), self.value_dense(pooled)

    def scores(self, query, key):
        """q k^T / sqrt(M), head by head.

        Args:
            query: tensor `(B, Q, M)`.
            key: tensor `(B, K, M)`.

        Returns:
            Tensor `(B, num_heads, Q, K)`.
        """
        query = self._heads(query * query.shape[-1] ** -0.5)
        return ops.matmul(query, ops.transpose(self._heads(key), (0, 1, 3, 2)))

    def mix(self, scores, passed, grid):
        """The message: own scores and those of the stage before, mixed over the heads.

        Args:
            scores: tensor `(B, num_heads, Q, K)`.
            passed: tensor `(B, num_heads, Q / 4, K)`.
            grid: height and width of a task's queries.

        Returns:
            Tensor `(B, num_heads, Q, K)`.
        """
        (h, w), (_, heads, queries, keys) = grid, scores.shape
        passed = ops.reshape(passed, (-1, h // 2, w // 2, keys))  # of a head and a task
        passed = ops.image.resize(passed, (h, w), interpolation="bilinear")
        passed = ops.reshape(passed, (-1, heads, queries, keys))
        both = ops.concatenate([scores, passed], axis=1)
        return ops.transpose(self.fuse(ops.transpose(both, (0, 2, 3, 1))), (0, 3, 1, 2))

    def attend(self, scores, value):
        """softmax(S) v.

        Args:
            scores: tensor `(B, num_heads, Q, K)`.
            value: tensor `(B, K, M)`.

        Returns:
            Tensor `(B, Q, M)`.
        """
        attended = ops.matmul(self.attention(scores), self._heads(value))
        attended = ops.transpose(attended, (0, 2, 1, 3))
        return ops.reshape(attended, (-1, scores.shape[2], value.shape[-1]))

    def attention(self, scores):
        """The softmax over the keys, taken in float32.

        Args:
            scores: tensor `(B, num_heads, Q, K)`.

        Returns:
            Tensor of the same shape.
        """
        weights = ops.softmax(ops.cast(scores, "float32"), axis=-1)
        return ops.cast(weights, scores.dtype)

    def _heads(self, x):
        """`(B, N, M)` to `(B, num_heads, N, M / num_heads)`."""
        _, count, dim = x.shape
        x = ops.reshape(x, (-1, count, self.num_heads, dim // self.num_heads))
        return ops.transpose(x, (0, 2, 1, 3))

    def compute_output_spec(self, features, passed=None, training=False):
        batch, h, w, dim = features[0].shape
        keys = (h // self.pooling) * (w // self.pooling)
        scores = (self.num_heads, len(features) * (h // 2) * (w // 2), len(features) * keys)

        def spec(*shape):
            return keras.KerasTensor((batch, *shape), self.compute_dtype)

        return {"features": [spec(h // 2, w // 2, dim) for _ in features], "scores": spec(*scores)}

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads, "pooling": self.pooling}


def _area(x) -> int:
    return x.shape[1] * x.shape[2]
