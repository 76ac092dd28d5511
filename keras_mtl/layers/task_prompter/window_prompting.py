"""Spatial task prompt learning in the windows of a Swin Transformer (TaskPrompter, A.6)."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_mtl.backbones.keras_hub import (
    fused_projections,
    relative_positions,
    serialize_window_attention,
    window_length,
)
from keras_mtl.backbones.swin_layers import build_window_attention
from keras_mtl.computation.as_written import roll_by_cutting
from keras_mtl.computation.windows import (
    join_windows,
    pad_to_multiple,
    relative_position_index,
    shift_mask,
    split_into_windows,
)


@keras.saving.register_keras_serializable(package="keras_mtl")
class WindowTaskPromptLearning(keras.layers.Layer):
    """Self-attention over the prompts and the patches of each window together (A.6, Eq. 3).

    Every window has a copy of the prompts in front of its patches. Relative positions and the mask
    of shifted windows are added to the scores between patches only, so a prompt sees all of each
    window. The prompts' updates are the mean over the windows; their rows of the raw scores are
    stitched to maps of the whole grid.

    Windows are no longer than the shorter side of the grid, and not shifted where they are as
    long; their relative positions are then the middle of the attention's table. A grid that
    windows do not divide is padded with zeros at the bottom and at the right, and tokens of padding
    are attended to as any other.

    Args:
        attention: of a block of a `keras_hub.models.SwinTransformerBackbone`; one set of
            projections serves prompts and patches.
        grid: `(H, W)`, patches along height and width.
        shifted: bool. Whether windows are shifted by half of one.

    Call arguments:
        prompts: tensor `(B, T, C)`, task prompts after LayerNorm.
        patches: tensor `(B, N, C)`, patch tokens after LayerNorm, N = H * W.

    Returns:
        Dict with `"prompts"` `(B, T, C)`, `"patches"` `(B, N, C)`, and `"affinity"`
        `(B, heads, T, T + N)`: the prompts' rows of the raw product of queries and keys, first over
        the T prompts (mean over the windows), then over the N patches.

    Example:

    >>> backbone = keras_mtl.backbones.swin_transformer("tiny", (32, 48, 3)).backbone
    >>> block = keras_mtl.backbones.keras_hub.swin_stages(backbone)[0].blocks[1]
    >>> attention = keras_mtl.backbones.keras_hub.parts_of(block).attention
    >>> layer = keras_mtl.layers.WindowTaskPromptLearning(attention, (8, 12), shifted=True)
    >>> out = layer(keras.ops.ones((1, 4, 96)), keras.ops.ones((1, 96, 96)))
    >>> tuple(out["affinity"].shape)
    (1, 3, 4, 100)

    Reference: Ye and Xu, TaskPrompter, ICLR 2023, A.6 and Sec. 3.2, Eq. 3.
    """

    as_written = False  # see as_written.py

    def __init__(
        self, attention: keras.layers.Layer, grid: Sequence[int], shifted: bool = False, **kwargs
    ):
        super().__init__(**kwargs)
        self.attention = attention
        self.grid = tuple(grid)
        self.shifted = shifted

    def build(self, prompts_shape, patches_shape):
        build_window_attention(self.attention, patches_shape[-1])
        self.window = min(window_length(self.attention), *self.grid)
        whole = self.window == min(self.grid)  # there are no neighbours to shift to
        self.shift = 0 if whole or not self.shifted else self.window // 2
        self.padded = tuple(length + -length % self.window for length in self.grid)
        self.windows = math.prod(self.padded) // self.window**2
        self.mask = shift_mask(self.grid, self.window, self.shift) if self.shift else None

    def call(self, prompts, patches):
        (height, width), tasks, channels = self.grid, prompts.shape[1], patches.shape[-1]
        x = pad_to_multiple(ops.reshape(patches, (-1, height, width, channels)), self.window)
        x = split_into_windows(self._shift(x, -self.shift), self.window)  # (B * windows, w^2, C)
        copies = ops.tile(ops.expand_dims(prompts, 1), (1, self.windows, 1, 1))
        copies = ops.reshape(copies, (-1, tasks, channels))
        tokens = ops.concatenate([copies, x], axis=1)  # [P^s; X of a window]

        project, project_out = fused_projections(self.attention)
        heads = self.attention.num_heads
        qkv = ops.reshape(project(tokens), (-1, tokens.shape[1], 3, heads, channels // heads))
        query, key, value = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3, axis=0)
        affinity = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))  # A^s of each window
        weights = ops.softmax(self._between_patches(affinity, tasks), axis=-1)
        updated = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        updated = project_out(ops.reshape(updated, (-1, *tokens.shape[1:])))

        each = ops.reshape(updated[:, :tasks], (-1, self.windows, tasks, channels))
        among = affinity[:, :, :tasks, :tasks]
        among = ops.reshape(among, (-1, self.windows, heads, tasks, tasks))
        rows = ops.transpose(affinity[:, :, :tasks, tasks:], (0, 3, 1, 2))
        rows = self._stitched(ops.reshape(rows, (-1, self.window**2, heads * tasks)))
        rows = ops.reshape(ops.transpose(rows, (0, 2, 1)), (-1, heads, tasks, height * width))
        return {
            "prompts": ops.mean(each, axis=1),  # A.6: "merged into one by taking their average"
            "patches": self._stitched(updated[:, tasks:]),
            "affinity": ops.concatenate([ops.mean(among, axis=1), rows], axis=-1),
        }

    def _between_patches(self, affinity, tasks: int):
        """The scores: scaled, and between patches with their relative positions and the mask."""
        scores = affinity * (self.attention.dim / self.attention.num_heads) ** -0.5
        table = ops.convert_to_tensor(relative_positions(self.attention))
        full, heads = 2 * window_length(self.attention) - 1, table.shape[-1]
        cut, side = window_length(self.attention) - self.window, 2 * self.window - 1
        table = ops.reshape(table, (full, full, heads))[cut : cut + side, cut : cut + side]
        table = ops.reshape(table, (side * side, heads))
        positions = ops.take(table, relative_position_index(self.window), axis=0)
        positions = ops.transpose(positions, (2, 0, 1))
        positions = ops.pad(positions, ((0, 0), (tasks, 0), (tasks, 0)))
        scores = scores + ops.cast(positions, scores.dtype)
        if self.mask is None:
            return scores
        mask = np.pad(self.mask, ((0, 0), (tasks, 0), (tasks, 0)))[:, None]
        masked = ops.reshape(scores, (-1, self.windows, *scores.shape[1:]))
        masked = masked + ops.convert_to_tensor(mask, scores.dtype)
        return ops.reshape(masked, (-1, *scores.shape[1:]))

    def _stitched(self, windows):
        """Windows `(B * windows, w^2, c)` as tokens `(B, N, c)` of the grid, without padding."""
        x = self._shift(join_windows(windows, self.window, self.padded), self.shift)
        x = x[:, : self.grid[0], : self.grid[1]]
        return ops.reshape(x, (-1, math.prod(self.grid), windows.shape[-1]))

    def _shift(self, x, by: int):
        if not by:
            return x
        return (roll_by_cutting if self.as_written else ops.roll)(x, (by, by), axis=(1, 2))

    def compute_output_spec(self, prompts, patches):
        batch, tasks, _ = prompts.shape
        shape = (batch, self.attention.num_heads, tasks, tasks + patches.shape[1])
        dtype = self.compute_dtype
        return {
            "prompts": keras.KerasTensor(prompts.shape, dtype=dtype),
            "patches": keras.KerasTensor(patches.shape, dtype=dtype),
            "affinity": keras.KerasTensor(shape, dtype=dtype),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "attention": serialize_window_attention(self.attention),
            "grid": self.grid,
            "shifted": self.shifted,
        }

    @classmethod
    def from_config(cls, config):
        attention = keras.saving.deserialize_keras_object(config["attention"])
        return cls(**{**config, "attention": attention})
