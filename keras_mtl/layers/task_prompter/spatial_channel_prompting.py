"""Spatial-channel task prompt learning (TaskPrompter, Sec. 3.2, Eq. 2-5)."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_mtl.backbones.keras_hub import projections_of, serialize_attention
from keras_mtl.backbones.rotary_positions import rotated
from keras_mtl.layers.attention import attention_as_written, dot_product_attention

# Queries that share a block of scores. With a ViT's heads and thousand tokens the processor
# seconds of more chunks are 3 to 15 % more on TensorFlow, and fewer are stored scores.
CHUNK = 512
VARIANTS = ("paper", "released")


def check_variant(variant: str) -> None:
    """Refuses what is no variant of TaskPrompter."""
    if variant not in VARIANTS:
        raise ValueError(f"variant is {variant!r}; choose one of {', '.join(VARIANTS)}.")


def window_partition(x, grid: tuple[int, int], windows: tuple[int, int]):
    """Cuts the spatial axis into windows of neighbouring patches (Sec. 3.2 and A.2).

    Args:
        x: tensor `(B, R, N)`, R rows (task prompts or channels) over N patches.
        grid: `(H, W)`, patches along height and width, `H * W = N`.
        windows: windows along height and width; they must divide `grid`.

    Returns:
        Tensor `(B, windows, R, N / windows)`.
    """
    (h, w), (nh, nw) = grid, windows
    rows = x.shape[1]
    x = ops.reshape(x, (-1, rows, nh, h // nh, nw, w // nw))
    x = ops.transpose(x, (0, 2, 4, 1, 3, 5))
    return ops.reshape(x, (-1, nh * nw, rows, (h // nh) * (w // nw)))


def window_merge(x, grid: tuple[int, int], windows: tuple[int, int]):
    """Undoes `window_partition`: `(B, windows, R, N / windows)` to `(B, R, N)`."""
    (h, w), (nh, nw) = grid, windows
    rows = x.shape[2]
    x = ops.reshape(x, (-1, nh, nw, rows, h // nh, w // nw))
    x = ops.transpose(x, (0, 3, 1, 4, 2, 5))
    return ops.reshape(x, (-1, rows, h * w))


def _two_layer_mlp(units: int, dtype, name: str) -> keras.Sequential:
    return keras.Sequential(
        [
            keras.layers.Dense(units, activation=keras.activations.gelu, dtype=dtype),
            keras.layers.Dense(units, dtype=dtype),
        ],
        name=name,
    )


@keras.saving.register_keras_serializable(package="keras_mtl")
class ChannelTaskPromptLearning(keras.layers.Layer):
    """Task prompts attend to the channels of the patch tokens (Eq. 2, 4 and 5).

    A prompt is mapped from C channels to N patches; then prompts and channels are
    both N-vectors, and each prompt queries the channels within local windows of the
    patch grid (the heads of this attention).

    Args:
        grid: `(H, W)`, patches along height and width.
        windows: windows along height and width; their product is the number of
            channel heads.
        variant: `"paper"` (the equations) or `"released"` (the published network:
            one linear map C -> N, no key and value projections, and the attended
            result is not used: the prompts are updated by a linear map N -> C of
            the channel prompts).
        update_prompts: bool. Whether an update of the prompts is computed. The
            paper's last block has nobody to read it.

    Call arguments:
        prompts: tensor `(B, T, C)`, task prompts after LayerNorm.
        patches: tensor `(B, N, C)`, patch tokens after LayerNorm.

    Returns:
        Dict with `"affinity"` `(B, windows, T, C)`, the raw product of queries and
        keys, and, if `update_prompts`, `"prompts"` `(B, T, C)`.

    Example:

    >>> layer = keras_mtl.layers.ChannelTaskPromptLearning(grid=(4, 6), windows=(2, 2))
    >>> out = layer(keras.ops.ones((1, 3, 8)), keras.ops.ones((1, 24, 8)))
    >>> tuple(out["affinity"].shape), tuple(out["prompts"].shape)
    ((1, 4, 3, 8), (1, 3, 8))

    Reference: Ye and Xu, TaskPrompter, ICLR 2023, Sec. 3.2, Eq. 2, 4, 5, and A.2.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        windows: tuple[int, int],
        variant: str = "paper",
        update_prompts: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.grid = tuple(grid)
        self.windows = tuple(windows)
        check_variant(variant)
        self.variant = variant
        self.update_prompts = update_prompts

    def build(self, prompts_shape, patches_shape):
        channels = prompts_shape[-1]
        num_patches = math.prod(self.grid)
        dense, dtype = keras.layers.Dense, self.dtype_policy
        if self.variant == "released":
            self.to_patches = dense(num_patches, dtype=dtype, name="to_patches")
            self.to_patches.build(prompts_shape)
            if self.update_prompts:
                self.to_channels = dense(channels, dtype=dtype, name="to_channels")
                self.to_channels.build((*prompts_shape[:-1], num_patches))
            return
        channel_prompts_shape = (*prompts_shape[:-1], num_patches)
        self.to_patches = _two_layer_mlp(num_patches, dtype, "to_patches")
        self.to_patches.build(prompts_shape)
        self.query = dense(num_patches, use_bias=False, dtype=dtype, name="query")
        self.query.build(channel_prompts_shape)
        self.key = dense(channels, use_bias=False, dtype=dtype, name="key")
        self.key.build(patches_shape)
        if self.update_prompts:
            self.value = dense(channels, use_bias=False, dtype=dtype, name="value")
            self.value.build(patches_shape)
            self.project = dense(num_patches, dtype=dtype, name="project")
            self.project.build(channel_prompts_shape)
            self.to_channels = _two_layer_mlp(channels, dtype, "to_channels")
            self.to_channels.build(channel_prompts_shape)

    def call(self, prompts, patches):
        released = self.variant == "released"
        channel_prompts = self.to_patches(prompts)  # Eq. 2: P^c, (B, T, N)
        query = channel_prompts if released else self.query(channel_prompts)  # Eq. 4
        key = ops.transpose(patches if released else self.key(patches), (0, 2, 1))  # (B, C, N)
        query = window_partition(query, self.grid, self.windows)  # (B, windows, T, N / windows)
        key = window_partition(key, self.grid, self.windows)  # (B, windows, C, N / windows)
        affinity = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))  # A^c
        if not self.update_prompts:
            return {"affinity": affinity}
        if released:
            return {"affinity": affinity, "prompts": self.to_channels(channel_prompts)}

        value = ops.transpose(self.value(patches), (0, 2, 1))
        value = window_partition(value, self.grid, self.windows)
        scale = 1 / math.sqrt(query.shape[-1])
        weights = ops.softmax(ops.cast(affinity, "float32") * scale, axis=-1)
        attended = ops.matmul(ops.cast(weights, value.dtype), value)
        attended = self.project(window_merge(attended, self.grid, self.windows))  # P^c'
        return {"affinity": affinity, "prompts": self.to_channels(attended)}  # f(P^c') of Eq. 5

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
            "grid": self.grid,
            "windows": self.windows,
            "variant": self.variant,
            "update_prompts": self.update_prompts,
        }


@keras.saving.register_keras_serializable(package="keras_mtl")
class SpatialTaskPromptLearning(keras.layers.Layer):
    """Self-attention over task prompts and patch tokens together (Eq. 3).

    Args:
        attention: the block's own, `keras.layers.MultiHeadAttention` of a ViT and a DINOv2, or a
            DINOv3's; one set of projections serves prompts and patches.
        prefix_tokens: int R. Tokens among the patches, before them, that stand for none.
        rotary: cosines and sines, arrays `(N, d)`, that the queries and keys of patches are
            turned by (`keras_mtl.backbones.rotary_positions`), or `None`.

    Call arguments:
        prompts: tensor `(B, T, C)`, task prompts after LayerNorm.
        patches: tensor `(B, R + N, C)`, patch tokens after LayerNorm.

    Returns:
        Dict with `"prompts"` `(B, T, C)`, `"patches"` `(B, R + N, C)`, and
        `"affinity"` `(B, heads, T, T + N)`: the prompts' rows of the raw product of
        queries and keys, first over the T prompts, then over the N patches. The
        other N rows never leave the fused attention.

    Example:

    >>> attention = keras.layers.MultiHeadAttention(num_heads=2, key_dim=4)
    >>> layer = keras_mtl.layers.SpatialTaskPromptLearning(attention)
    >>> out = layer(keras.ops.ones((1, 3, 8)), keras.ops.ones((1, 24, 8)))
    >>> tuple(out["affinity"].shape)
    (1, 2, 3, 27)

    Reference: Ye and Xu, TaskPrompter, ICLR 2023, Sec. 3.2, Eq. 3.
    """

    as_written = False  # see as_written.py

    def __init__(
        self,
        attention: keras.layers.Layer,
        prefix_tokens: int = 0,
        rotary: Sequence | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.attention = attention
        self.prefix_tokens = prefix_tokens
        self.rotary = None if rotary is None else [np.asarray(each, "float32") for each in rotary]

    def build(self, prompts_shape, patches_shape):
        if not self.attention.built:  # Keras' own takes two shapes
            both = isinstance(self.attention, keras.layers.MultiHeadAttention)
            self.attention.build(*[patches_shape] * (1 + both))

    def call(self, prompts, patches):
        num_prompts = prompts.shape[1]
        tokens = ops.concatenate([prompts, patches], axis=1)  # [P^s; X]
        project = projections_of(self.attention)
        # Eq. 3: Q^s, K^s, V^s, (B, T+N, heads, d)
        query, key, value = (self._heads(one(tokens)) for one in project[:3])
        if self.rotary is not None:
            query, key = rotated(query, self.rotary), rotated(key, self.rotary)
        if self.as_written:
            attended = attention_as_written(query, key, value)
        else:
            attended = dot_product_attention(query, key, value, CHUNK)
        if isinstance(project.output, keras.layers.Dense):  # a DINOv3's
            attended = ops.reshape(attended, (-1, *tokens.shape[1:]))
        updated = project.output(attended)
        if self.prefix_tokens:
            behind = num_prompts + self.prefix_tokens
            key = ops.concatenate([key[:, :num_prompts], key[:, behind:]], axis=1)
        affinity = ops.einsum("bthd,bnhd->bhtn", query[:, :num_prompts], key)  # T rows of A^s
        return {
            "prompts": updated[:, :num_prompts],
            "patches": updated[:, num_prompts:],
            "affinity": affinity,
        }

    def _heads(self, x):
        """Of a DINOv3's projections, which are not divided into heads."""
        if len(x.shape) == 4:
            return x
        heads = self.attention.num_heads
        return ops.reshape(x, (-1, x.shape[1], heads, x.shape[2] // heads))

    def compute_output_spec(self, prompts, patches):
        batch, tasks, _ = prompts.shape
        patch_count = patches.shape[1] - self.prefix_tokens
        shape = (batch, self.attention.num_heads, tasks, tasks + patch_count)
        dtype = self.compute_dtype
        return {
            "prompts": keras.KerasTensor(prompts.shape, dtype=dtype),
            "patches": keras.KerasTensor(patches.shape, dtype=dtype),
            "affinity": keras.KerasTensor(shape, dtype=dtype),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "attention": serialize_attention(self.attention),
            "prefix_tokens": self.prefix_tokens,
            "rotary": self.rotary and [each.tolist() for each in self.rotary],
        }

    @classmethod
    def from_config(cls, config):
        attention = keras.saving.deserialize_keras_object(config["attention"])
        return cls(**{**config, "attention": attention})
