"""Channel task prompt learning in D numbers a channel, as published on Swin (TaskPrompter, A.6)."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from keras_mtl.arguments import check_integer, check_integers
from keras_mtl.layers.task_prompter.spatial_channel_prompting import window_merge, window_partition


def truncated_dense(units: int, dtype, name: str, use_bias: bool = True) -> keras.layers.Dense:
    """A linear map as the published network on Swin begins it."""
    begin = keras.initializers.TruncatedNormal(stddev=0.02)
    return keras.layers.Dense(
        units, use_bias=use_bias, kernel_initializer=begin, dtype=dtype, name=name
    )


def channel_plane(dim: int, windows: Sequence[int]) -> tuple[int, int]:
    """The square that D numbers are read as, which windows must divide.

    Args:
        dim: int D.
        windows: along height and width.

    Raises:
        ValueError: if D is no square, or windows do not divide its side.

    Example:

    >>> channel_plane(36, (3, 2))
    (6, 6)
    """
    side = math.isqrt(check_integer("channel_dim", dim, 1))
    if side * side != dim or any(side % count for count in windows):
        raise ValueError(
            f"channel_dim={dim} is no square whose side {windows[0]} x {windows[1]} channel "
            "windows divide; use for example the published 256 = 16 * 16, or other channel_windows."
        )
    return side, side


@keras.saving.register_keras_serializable(package="keras_mtl")
class ReducedChannelTaskPromptLearning(keras.layers.Layer):
    """Task prompts attend to the channels, prompts and channels being D numbers each.

    The published network on Swin: prompts are mapped from C channels to D numbers, and each
    channel from its N patches to D numbers, so that the weights have the size of one grid. The D
    numbers are read as a square, which the windows cut (Eq. 4). Unlike on ViT there are maps W_q,
    W_k and W_v, and the attended result updates the prompts (Eq. 5).

    Args:
        dim: int D, a square.
        windows: windows along height and width of the square.
        update_prompts: bool. Whether an update of the prompts is computed.

    Call arguments:
        prompts: tensor `(B, T, C)`, task prompts before LayerNorm.
        patches: tensor `(B, N, C)`, what the attention in windows made of the patch tokens.

    Returns:
        Dict with `"affinity"` `(B, windows, T, C)`, the raw product of queries and keys, and, if
        `update_prompts`, `"prompts"` `(B, T, C)`.

    Raises:
        ValueError: if `dim` is no square, or the windows do not divide its side.

    Example:

    >>> layer = keras_mtl.layers.ReducedChannelTaskPromptLearning(dim=16, windows=(2, 2))
    >>> out = layer(keras.ops.ones((1, 3, 8)), keras.ops.ones((1, 24, 8)))
    >>> tuple(out["affinity"].shape), tuple(out["prompts"].shape)
    ((1, 4, 3, 8), (1, 3, 8))

    Reference: Ye and Xu, TaskPrompter, ICLR 2023, A.6 and Eq. 4, 5, as the published code has it.
    """

    def __init__(
        self,
        dim: int = 256,
        windows: Sequence[int] = (1, 1),
        update_prompts: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.windows = check_integers("windows", windows, (1, 1))
        self.plane = channel_plane(dim, self.windows)
        self.dim = dim
        self.update_prompts = update_prompts

    def build(self, prompts_shape, patches_shape):
        batch, tasks, channels = prompts_shape
        dtype, reduced = self.dtype_policy, (batch, tasks, self.dim)
        self.reduce = truncated_dense(self.dim, dtype, "reduce")
        self.query = truncated_dense(self.dim, dtype, "query")
        self.key_value = truncated_dense(2 * self.dim, dtype, "key_value")
        self.reduce.build(prompts_shape)
        self.query.build(reduced)
        self.key_value.build((batch, channels, patches_shape[1]))
        if self.update_prompts:
            self.project = truncated_dense(self.dim, dtype, "project")
            self.to_channels = truncated_dense(channels, dtype, "to_channels")
            self.project.build(reduced)
            self.to_channels.build(reduced)

    def call(self, prompts, patches):
        query = self.query(self.reduce(prompts))  # P^c W_q, (B, T, D)
        key_value = self.key_value(ops.transpose(patches, (0, 2, 1)))  # (B, C, 2 D)
        query, key, value = (
            window_partition(x, self.plane, self.windows)  # (B, windows, T or C, D / windows)
            for x in (query, key_value[..., : self.dim], key_value[..., self.dim :])
        )
        affinity = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))  # A^c
        if not self.update_prompts:
            return {"affinity": affinity}
        scale = self.dim**-0.5  # of all D numbers, not of one window's
        weights = ops.softmax(ops.cast(affinity, "float32") * scale, axis=-1)
        attended = ops.matmul(ops.cast(weights, value.dtype), value)  # Eq. 4
        attended = self.project(window_merge(attended, self.plane, self.windows))
        return {"affinity": affinity, "prompts": self.to_channels(attended)}  # of Eq. 5

    def compute_output_spec(self, prompts, patches):
        batch, tasks, channels = prompts.shape
        dtype = self.compute_dtype
        shape = (batch, math.prod(self.windows), tasks, channels)
        spec = {"affinity": keras.KerasTensor(shape, dtype=dtype)}
        if self.update_prompts:
            spec["prompts"] = keras.KerasTensor(prompts.shape, dtype=dtype)
        return spec

    def get_config(self):
        return {
            **super().get_config(),
            "dim": self.dim,
            "windows": self.windows,
            "update_prompts": self.update_prompts,
        }
