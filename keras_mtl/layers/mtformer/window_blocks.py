"""MTFormer's transformer blocks: attention in windows, of one task, and across tasks."""

import keras
from keras import ops

from keras_mtl.arguments import check_integer
from keras_mtl.computation.as_written import roll_by_cutting
from keras_mtl.computation.windows import (
    join_windows,
    pad_to_multiple,
    relative_position_index,
    shift_mask,
    split_into_windows,
)
from keras_mtl.layers.mlp import MLP


def small_numbers() -> keras.initializers.Initializer:
    """What dense kernels of a Swin Transformer begin with."""
    return keras.initializers.TruncatedNormal(stddev=0.02)


class WindowBlock(keras.layers.Layer):
    """What both blocks have: windows, their relative positions, and the perceptron at the end.

    Maps are normalised, padded with zeros at the bottom and at the right to multiples of the
    window, shifted by half a window if `shifted`, cut, and put together again. In shifted windows
    positions that are no neighbours do not attend to each other.

    Args:
        num_heads: int.
        window: int, positions along a side.
        shifted: bool.
        scale: float or None. What scores are multiplied by; `None` means (D / heads)^-0.5.

    Raises:
        ValueError: if a number is no positive integer.
    """

    as_written = False  # see as_written.py

    def __init__(
        self,
        num_heads: int = 4,
        window: int = 7,
        shifted: bool = False,
        scale: float | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = check_integer("num_heads", num_heads, 1)
        self.window = check_integer("window", window, 1)
        self.shifted = shifted
        self.scale = scale

    def build_window_attention(self, x_shape) -> None:
        """Makes what both blocks have.

        Args:
            x_shape: `(B, h, w, D)`.

        Raises:
            ValueError: if heads do not divide D.
        """
        width = x_shape[-1]
        if width % self.num_heads:
            raise ValueError(
                f"{width} channels are not to be divided among num_heads={self.num_heads}; use "
                f"a width that is a multiple of it, such as {-(-width // self.num_heads)} * "
                f"{self.num_heads}."
            )
        self.size = tuple(x_shape[1:3])
        self.padded = tuple(length + -length % self.window for length in self.size)
        self.shift = self.window // 2 if self.shifted else 0
        self.mask = shift_mask(self.size, self.window, self.shift) if self.shift else None
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-5, dtype=self.dtype_policy, name="norm"
        )
        self.norm.build(x_shape)
        self.position_table = self.add_weight(
            shape=((2 * self.window - 1) ** 2, self.num_heads),
            initializer=small_numbers(),
            name="position_table",
        )
        self.project = self.dense(width, width, "project")
        self.mlp = MLP(4 * width, dtype=self.dtype_policy, name="mlp")
        self.mlp.build(x_shape)

    def dense(self, units: int, inputs: int, name: str, activation: str | None = None):
        """A dense layer, built for so many inputs."""
        layer = keras.layers.Dense(
            units,
            activation,
            kernel_initializer=small_numbers(),
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build((None, None, inputs))
        return layer

    def windows_of(self, x):
        """The normalised map in windows, `(B * windows, window**2, D)`."""
        x = pad_to_multiple(self.norm(x), self.window)
        if self.shift:
            x = self._roll(x, (-self.shift, -self.shift), axis=(1, 2))
        return split_into_windows(x, self.window)

    def map_of(self, windows):
        """The map `(B, h, w, D)` that windows make."""
        x = join_windows(windows, self.window, self.padded)
        if self.shift:
            x = self._roll(x, (self.shift, self.shift), axis=(1, 2))
        return x[:, : self.size[0], : self.size[1]]

    @property
    def _roll(self):
        return roll_by_cutting if self.as_written else ops.roll

    def scores(self, query, key):
        """What is taken the softmax of.

        Args:
            query, key: tensors `(B * windows, window**2, D)`.

        Returns:
            Tensor `(B * windows, heads, window**2, window**2)`.
        """
        scale = self.scale or (query.shape[-1] / self.num_heads) ** -0.5
        query, key = self._heads(query), self._heads(key)
        scores = ops.matmul(scale * query, ops.swapaxes(key, -2, -1))
        table = ops.convert_to_tensor(self.position_table)
        table = ops.take(table, relative_position_index(self.window), axis=0)
        scores = scores + ops.cast(ops.transpose(table, (2, 0, 1)), scores.dtype)
        if self.mask is None:
            return scores
        mask = ops.convert_to_tensor(self.mask, scores.dtype)[:, None]
        masked = ops.reshape(scores, (-1, len(self.mask), *scores.shape[1:])) + mask
        return ops.reshape(masked, (-1, *scores.shape[1:]))

    def attend(self, scores, value):
        """The values as the scores weigh them, projected.

        Args:
            scores: what `scores` gave.
            value: tensor `(B * windows, window**2, D)`.

        Returns:
            Tensor `(B * windows, window**2, D)`.
        """
        found = ops.matmul(ops.softmax(scores, axis=-1), self._heads(value))
        found = ops.transpose(found, (0, 2, 1, 3))
        return self.project(ops.reshape(found, (-1, *value.shape[1:])))

    def _heads(self, x):
        _, positions, width = x.shape
        x = ops.reshape(x, (-1, positions, self.num_heads, width // self.num_heads))
        return ops.transpose(x, (0, 2, 1, 3))

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "window": self.window,
            "shifted": self.shifted,
            "scale": self.scale,
        }


@keras.saving.register_keras_serializable(package="keras_mtl")
class SwinBlock(WindowBlock):
    """x + W-MSA(LN(x)), then x + MLP(LN(x)): a block of a Swin Transformer on maps of any size.

    Args:
        num_heads, window, shifted: see `WindowBlock`; every other block of a stage is shifted.
        scale: float or None. What scores are multiplied by; `None` means (D / heads)^-0.5.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Call arguments:
        x: tensor `(B, h, w, D)`.

    Returns:
        Tensor `(B, h, w, D)`.

    Raises:
        ValueError: if a number is no positive integer, or heads do not divide D.

    Example:

    >>> block = keras_mtl.layers.SwinBlock(num_heads=2, window=4, shifted=True)
    >>> tuple(block(keras.ops.ones((1, 5, 6, 8))).shape)
    (1, 5, 6, 8)

    Reference: Liu et al., Swin Transformer, ICCV 2021, Eq. 3.
    """

    def build(self, x_shape):
        self.build_window_attention(x_shape)
        self.query_key_value = self.dense(3 * x_shape[-1], x_shape[-1], "query_key_value")

    def call(self, x):
        windows = self.windows_of(x)
        query, key, value = _split(self.query_key_value(windows), 3)
        x = x + self.map_of(self.attend(self.scores(query, key), value))
        return x + self.mlp(x)

    def compute_output_shape(self, x_shape):
        return x_shape


@keras.saving.register_keras_serializable(package="keras_mtl")
class CrossTaskBlock(WindowBlock):
    """A block of one task t, in which the attention maps of all tasks act on its values.

    With F_t the task's features, F_j another's, LN the same for all:

    1. A_j, in windows: attention whose queries and keys are those of LN(F_j), and whose values are
       those of LN(F_t); one set of weights for all j, t among them.
    2. B_t = MLP_t(A_t) with D channels, B_j = MLP_j(A_j) with D / (T - 1) each, rounded down;
       A = MLP([B_t, B_j, ...]) + A_t. These perceptrons are T D wide.
    3. F_t + A, then x + MLP(LN(x)).

    Args:
        num_heads, window, shifted: see `WindowBlock`.
        scale: float or None. What scores are multiplied by; `None` means (D / heads)^-0.5.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Call arguments:
        features: list of T tensors `(B, h, w, D)`, the task's own first.

    Returns:
        Tensor `(B, h, w, D)`, the task's features.

    Raises:
        ValueError: if a number is no positive integer, heads do not divide D, or there is only one
            task.

    Example:

    >>> block = keras_mtl.layers.CrossTaskBlock(num_heads=2, window=4)
    >>> tuple(block([keras.ops.ones((1, 5, 6, 8))] * 3).shape)
    (1, 5, 6, 8)

    Reference: Xu et al., MTFormer: Multi-Task Learning via Transformer and Cross-Task Reasoning,
        ECCV 2022, as its published code has it.
    """

    def build(self, features_shape):
        tasks, own = len(features_shape), features_shape[0]
        if tasks < 2:
            raise ValueError(
                "CrossTaskBlock was given the features of 1 task; expected two tasks or more."
            )
        self.build_window_attention(own)
        width = own[-1]
        self.query_key = self.dense(2 * width, width, "query_key")
        self.value = self.dense(width, width, "value")
        widths = [width, *[max(width // (tasks - 1), 1)] * (tasks - 1)]
        self.fusions = [
            self._perceptron(tasks * width, width, out, f"fusion_{j}")
            for j, out in enumerate(widths)
        ]
        self.last_fusion = self._perceptron(tasks * width, sum(widths), width, "last_fusion")

    def _perceptron(self, hidden: int, inputs: int, out: int, name: str):
        first = self.dense(hidden, inputs, f"{name}_1", "gelu")
        return first, self.dense(out, hidden, f"{name}_2")

    def call(self, features):
        own = features[0]
        attended = [self.attend(*each) for each in self.attentions(features)]
        x = own + self.map_of(self.fuse(self.halves(attended)) + attended[0])
        return x + self.mlp(x)

    def attentions(self, features) -> list[tuple]:
        """Of each task its scores, and the values of the first.

        Args:
            features: list of tensors `(B, h, w, D)`, the target's first.
        """
        windows = [self.windows_of(x) for x in features]
        value = self.value(windows[0])
        pairs = [_split(self.query_key(x), 2) for x in windows]
        return [(self.scores(query, key), value) for query, key in pairs]

    def halves(self, attended):
        """What the fusions make of each task's answer, side by side: [B_t, B_j, ...].

        Args:
            attended: list of tensors, one a task.
        """
        found = [_run(mlp, x) for mlp, x in zip(self.fusions, attended, strict=True)]
        return ops.concatenate(found, axis=-1)

    def fuse(self, halves):
        """The answer for the target: MLP([B_t, B_j, ...]).

        Args:
            halves: tensor, what `halves` gives.
        """
        return _run(self.last_fusion, halves)

    def compute_output_shape(self, features_shape):
        return features_shape[0]


def _run(perceptron, x):
    first, second = perceptron
    return second(first(x))


def _split(x, count: int) -> list:
    """Equal parts of the last axis."""
    width = x.shape[-1] // count
    return [x[..., n * width : (n + 1) * width] for n in range(count)]
