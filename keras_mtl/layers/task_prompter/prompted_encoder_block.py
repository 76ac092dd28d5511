"""A ViT block whose attention is spatial-channel task prompt learning (TaskPrompter, Fig. 2)."""

import math

import keras
from keras import ops

from keras_mtl.backbones.keras_hub import parts_of, serialize_block
from keras_mtl.computation.rematerialization import remat
from keras_mtl.layers.task_prompter.spatial_channel_prompting import (
    ChannelTaskPromptLearning,
    SpatialTaskPromptLearning,
    check_variant,
)


@keras.saving.register_keras_serializable(package="keras_mtl")
class PromptedEncoderBlock(keras.layers.Layer):
    """A ViT encoder block whose attention is Spatial-Channel Task Prompt Learning.

    LayerNorm, attention projections and MLP are the given block's, one set for
    prompts and patches, so the block of a pretrained ViT brings its weights along.

    Args:
        block: encoder block of a `keras_hub.models.ViTBackbone`.
        grid: `(H, W)`, patches along height and width.
        channel_windows: windows along height and width of the channel attention, or
            `None` to leave channel task prompts out.
        spatial_prompts: bool. Whether the prompts take part in the self-attention.
        variant: `"paper"` or `"released"`, see `ChannelTaskPromptLearning`.
        update_prompts: bool. Whether updated prompts are returned.
        stochastic_depth: float. Probability of dropping a residual branch in
            training, drawn for each image, apart for prompts and patches.
        remat: bool. Keep only inputs and outputs of the block for the gradient and
            compute the rest again: less memory, more time.

    Call arguments:
        prompts: tensor `(B, T, C)`.
        patches: tensor `(B, N, C)`.

    Returns:
        Dict with `"patches"` `(B, N, C)`; `"prompts"` `(B, T, C)` if
        `update_prompts`; `"spatial_affinity"` `(B, heads, T, T + N)` if
        `spatial_prompts`; `"channel_affinity"` `(B, windows, T, C)` if
        `channel_windows`.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (32, 48, 3))
    >>> block = keras_mtl.backbones.keras_hub.blocks_of(backbone)[0]
    >>> layer = keras_mtl.layers.PromptedEncoderBlock(block, (2, 3), channel_windows=(1, 1))
    >>> out = layer(keras.ops.ones((1, 4, 192)), keras.ops.ones((1, 6, 192)))
    >>> sorted(out)
    ['channel_affinity', 'patches', 'prompts', 'spatial_affinity']

    Reference: Ye and Xu, TaskPrompter, ICLR 2023, Sec. 3.2, Fig. 2.
    """

    def __init__(
        self,
        block: keras.layers.Layer,
        grid: tuple[int, int],
        channel_windows: tuple[int, int] | None = None,
        spatial_prompts: bool = True,
        variant: str = "paper",
        update_prompts: bool = True,
        stochastic_depth: float = 0.0,
        remat: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.block = block
        self.grid = tuple(grid)
        self.channel_windows = tuple(channel_windows) if channel_windows else None
        self.spatial_prompts = spatial_prompts
        check_variant(variant)
        self.variant = variant
        self.update_prompts = update_prompts
        self.stochastic_depth = stochastic_depth
        self.remat = remat

    def build(self, prompts_shape, patches_shape):
        if not self.block.built:
            self.block.build(patches_shape)
        if self.spatial_prompts:
            self.spatial = SpatialTaskPromptLearning(
                parts_of(self.block).attention, dtype=self.dtype_policy, name="spatial"
            )
            self.spatial.build(prompts_shape, patches_shape)
        if self.channel_windows:
            self.channel = ChannelTaskPromptLearning(
                self.grid,
                self.channel_windows,
                variant=self.variant,
                update_prompts=self.update_prompts,
                dtype=self.dtype_policy,
                name="channel",
            )
            self.channel.build(prompts_shape, patches_shape)
        self.drop_path = keras.layers.Dropout(
            self.stochastic_depth, noise_shape=(None, 1, 1), dtype=self.dtype_policy
        )

    def call(self, prompts, patches, training=False):
        # Drawn here: what is computed a second time must not be drawn a second time.
        kept = []
        if training and self.stochastic_depth:
            branches = [patches, patches, *[prompts, prompts] * self.update_prompts]
            kept = [self._kept(tokens) for tokens in branches]
        compute = remat(self._compute) if self.remat and training else self._compute
        return compute(prompts, patches, *kept)

    def _compute(self, prompts, patches, *kept):
        parts, out = parts_of(self.block), {}
        p, x = parts.norm1(prompts), parts.norm1(patches)
        prompt_update = 0.0
        if self.spatial_prompts:
            spatial = self.spatial(p, x)
            prompt_update, patch_update = spatial["prompts"], spatial["patches"]  # P^s', X'
            out["spatial_affinity"] = spatial["affinity"]
        else:
            patch_update = parts.attention(x, x)
        if self.channel_windows:
            channel = self.channel(p, x)
            out["channel_affinity"] = channel["affinity"]
            if self.update_prompts:
                prompt_update = prompt_update + channel["prompts"]  # Eq. 5

        out["patches"] = self._refine(patches, patch_update, kept[:2])
        if self.update_prompts:
            out["prompts"] = self._refine(prompts, prompt_update, kept[2:])
        return out

    def _refine(self, tokens, update, kept):
        """The residual, LayerNorm and MLP of an ordinary ViT block."""
        tokens = tokens + (kept[0] * update if kept else update)
        parts = parts_of(self.block)
        update = parts.mlp(parts.norm2(tokens))
        return tokens + (kept[1] * update if kept else update)

    def _kept(self, tokens):
        """For every image 0 if its branch is dropped, and else more than 1, (B, 1, 1)."""
        ones = ops.ones((ops.shape(tokens)[0], 1, 1), dtype=tokens.dtype)
        return self.drop_path(ones, training=True)

    def compute_output_spec(self, prompts, patches, training=False):
        batch, tasks, channels = prompts.shape

        def spec(*shape):
            return keras.KerasTensor((batch, *shape), dtype=self.compute_dtype)

        out = {"patches": spec(*patches.shape[1:])}
        if self.spatial_prompts:
            heads = parts_of(self.block).attention.num_heads
            out["spatial_affinity"] = spec(heads, tasks, tasks + patches.shape[1])
        if self.channel_windows:
            out["channel_affinity"] = spec(math.prod(self.channel_windows), tasks, channels)
        if self.update_prompts:
            out["prompts"] = spec(tasks, channels)
        return out

    def get_config(self):
        return {
            **super().get_config(),
            "block": serialize_block(self.block),
            "grid": self.grid,
            "channel_windows": self.channel_windows,
            "spatial_prompts": self.spatial_prompts,
            "variant": self.variant,
            "update_prompts": self.update_prompts,
            "stochastic_depth": self.stochastic_depth,
            "remat": self.remat,
        }

    @classmethod
    def from_config(cls, config):
        block = keras.saving.deserialize_keras_object(config["block"])
        return cls(**{**config, "block": block})
