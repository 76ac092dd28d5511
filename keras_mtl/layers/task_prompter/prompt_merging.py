"""Between two stages of a Swin Transformer with task prompts (TaskPrompter, A.6)."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from keras_mtl.backbones.keras_hub import merge_patches
from keras_mtl.backbones.swin_layers import build_merging
from keras_mtl.layers.convolutions import convolution
from keras_mtl.layers.task_prompter.reduced_channel_prompting import truncated_dense


@keras.saving.register_keras_serializable(package="keras_mtl")
class PromptMerging(keras.layers.Layer):
    """Half the grid, twice the channels: of patches, of prompts, and if given of affinities.

    Patches are merged by the backbone's layer. "The channel number of task prompts is doubled at
    each Patch Merging layer", by a linear map. Affinities, which the published network decodes on
    the merged patches, are merged too: the channel affinity by a linear map over the channels, the
    spatial one by a 3x3 convolution of stride 2 that mixes heads and tasks.

    Args:
        merging: what merges patches after a stage of a `keras_hub.models.SwinTransformerBackbone`.
        grid: `(H, W)`, patches along height and width; odd ones are padded.

    Call arguments:
        prompts: tensor `(B, T, C)`.
        patches: tensor `(B, N, C)`.
        spatial_affinity: tensor `(B, heads, T, N)`, or `None`.
        channel_affinity: tensor `(B, windows, T, C)`, or `None`, as the other.

    Returns:
        Dict with `"prompts"` `(B, T, 2 C)` and `"patches"` `(B, N', 2 C)`, N' = ceil(H / 2) *
        ceil(W / 2); with affinities also `"spatial_affinity"` `(B, heads, T, N')` and
        `"channel_affinity"` `(B, windows, T, 2 C)`.

    Example:

    >>> backbone = keras_mtl.backbones.swin_transformer("tiny", (32, 48, 3)).backbone
    >>> merging = keras_mtl.backbones.keras_hub.swin_stages(backbone)[0].merging
    >>> layer = keras_mtl.layers.PromptMerging(merging, (8, 12))
    >>> out = layer(keras.ops.ones((1, 4, 96)), keras.ops.ones((1, 96, 96)))
    >>> tuple(out["prompts"].shape), tuple(out["patches"].shape)
    ((1, 4, 192), (1, 24, 192))

    Reference: Ye and Xu, TaskPrompter, ICLR 2023, A.6; affinities as the published code has them.
    """

    def __init__(self, merging: keras.layers.Layer, grid: Sequence[int], **kwargs):
        super().__init__(**kwargs)
        self.merging = merging
        self.grid = tuple(grid)
        self.merged_grid = tuple(math.ceil(length / 2) for length in self.grid)

    def build(
        self,
        prompts_shape,
        patches_shape,
        spatial_affinity_shape=None,
        channel_affinity_shape=None,
    ):
        build_merging(self.merging, patches_shape[-1])
        channels, dtype = prompts_shape[-1], self.dtype_policy
        self.widen = truncated_dense(2 * channels, dtype, "widen", use_bias=False)
        self.widen.build(prompts_shape)
        if spatial_affinity_shape is None:
            return
        self.widen_affinity = truncated_dense(2 * channels, dtype, "widen_affinity", use_bias=False)
        self.widen_affinity.build(channel_affinity_shape)
        maps = math.prod(spatial_affinity_shape[1:3])  # heads times tasks
        self.halve_affinity = convolution(
            maps, 3, use_bias=True, strides=2, padding="valid", dtype=dtype, name="halve_affinity"
        )
        self.halve_affinity.build((None, *(length + 2 for length in self.grid), maps))

    def call(self, prompts, patches, spatial_affinity=None, channel_affinity=None):
        out = {
            "prompts": self.widen(prompts),
            "patches": merge_patches(self.merging, patches, self.grid),
        }
        if spatial_affinity is not None:
            out["spatial_affinity"] = self._halved(spatial_affinity)
            out["channel_affinity"] = self.widen_affinity(channel_affinity)
        return out

    def _halved(self, affinity):
        _, heads, tasks, _ = affinity.shape
        maps = ops.reshape(affinity, (-1, heads * tasks, *self.grid))
        maps = ops.transpose(maps, (0, 2, 3, 1))
        # By one at all sides; "same" pads an even grid at two of them only.
        maps = self.halve_affinity(ops.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0))))
        maps = ops.transpose(maps, (0, 3, 1, 2))
        return ops.reshape(maps, (-1, heads, tasks, math.prod(self.merged_grid)))

    def compute_output_spec(self, prompts, patches, spatial_affinity=None, channel_affinity=None):
        merged, wide = math.prod(self.merged_grid), 2 * prompts.shape[-1]

        def spec(*shape):
            return keras.KerasTensor((prompts.shape[0], *shape), dtype=self.compute_dtype)

        out = {"prompts": spec(prompts.shape[1], wide), "patches": spec(merged, wide)}
        if spatial_affinity is not None:
            out["spatial_affinity"] = spec(*spatial_affinity.shape[1:3], merged)
            out["channel_affinity"] = spec(*channel_affinity.shape[1:3], wide)
        return out

    def get_config(self):
        merging = keras.saving.serialize_keras_object(self.merging)
        return {**super().get_config(), "merging": merging, "grid": self.grid}

    @classmethod
    def from_config(cls, config):
        merging = keras.saving.deserialize_keras_object(config["merging"])
        return cls(**{**config, "merging": merging})
