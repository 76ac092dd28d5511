"""A ViT block whose attention is spatial-channel task prompt learning (TaskPrompter, Fig. 2)."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_mtl.backbones.keras_hub import attend_to_one_another, dense_layers, parts_of
from keras_mtl.backbones.rotary_positions import rotary_table
from keras_mtl.computation.rematerialization import remat
from keras_mtl.layers.task_prompter.prompted_block import PromptedBlock
from keras_mtl.layers.task_prompter.spatial_channel_prompting import (
    ChannelTaskPromptLearning,
    SpatialTaskPromptLearning,
)


@keras.saving.register_keras_serializable(package="keras_mtl")
class PromptedEncoderBlock(PromptedBlock):
    """A block of a plain Transformer whose attention is Spatial-Channel Task Prompt Learning.

    LayerNorm, attention projections, MLP and layer scales are the given block's, one set for
    prompts and patches, so the block of a pretrained Transformer brings its weights along.

    Args:
        block: encoder block of a `keras_hub.models.ViTBackbone`, `DINOV2Backbone` or
            `DINOV3Backbone`.
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
        prefix_tokens: int R. Class and register tokens that come before the patches: prompts and
            patches attend to them, and no affinity is told of them.
        adapter_width: int or `None`. Units of an adapter beside the perceptron, see `TaskPrompter`.
        rotary_theta: float or `None`. Base of the rotary positions of a DINOv3, by which the
            queries and keys of patches, and of nothing else, are turned.

    Call arguments:
        prompts: tensor `(B, T, C)`.
        patches: tensor `(B, R + N, C)`.

    Returns:
        Dict with `"patches"` `(B, R + N, C)`; `"prompts"` `(B, T, C)` if
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
        grid: Sequence[int],
        channel_windows: Sequence[int] | None = None,
        *arguments,
        prefix_tokens: int = 0,
        rotary_theta: float | None = None,
        **kwargs,
    ):
        super().__init__(block, grid, channel_windows, *arguments, **kwargs)
        self.prefix_tokens = prefix_tokens
        self.rotary_theta = rotary_theta

    def build(self, prompts_shape, patches_shape):
        if not self.block.built:
            self.block.build(patches_shape)
        attention, channels = parts_of(self.block).attention, patches_shape[-1]
        self.rotary = None
        if self.rotary_theta is not None:
            self.rotary = rotary_table(
                self.grid, channels // attention.num_heads, self.rotary_theta
            )
        if self.spatial_prompts:
            self.spatial = SpatialTaskPromptLearning(
                attention,
                prefix_tokens=self.prefix_tokens,
                rotary=self.rotary,
                dtype=self.dtype_policy,
                name="spatial",
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
            batch, tokens, _ = patches_shape
            self.channel.build(prompts_shape, (batch, tokens - self.prefix_tokens, channels))
        super().build(prompts_shape, patches_shape)

    def learn(self, prompts, patches):
        parts, affinities = parts_of(self.block), {}
        p, x = parts.norm1(prompts), parts.norm1(patches)
        prompt_update = 0.0
        if self.spatial_prompts:
            spatial = self.spatial(p, x)
            prompt_update, patch_update = spatial["prompts"], spatial["patches"]  # P^s', X'
            affinities["spatial_affinity"] = spatial["affinity"]
        else:
            rotary = self.rotary and [ops.cast(each, x.dtype) for each in self.rotary]
            patch_update = attend_to_one_another(parts.attention, x, rotary)
        if self.channel_windows:
            channel = self.channel(p, x[:, self.prefix_tokens :])
            affinities["channel_affinity"] = channel["affinity"]
            if self.update_prompts:
                prompt_update = prompt_update + channel["prompts"]  # Eq. 5
        return prompt_update, patch_update, affinities

    def perceptron(self, tokens):
        """The MLP, whose GELU is computed again for the gradient: it is four times as wide."""
        mlp = parts_of(self.block).mlp
        layers = dense_layers(mlp)
        if not {"fc1", "up_proj"}.intersection(layers) or "gate_proj" in layers:
            return mlp(tokens)  # a gated one
        first, second = layers.values()
        kernel = ops.cast(first.kernel, tokens.dtype)
        if first.lora_enabled:  # the kernel as it is merged, but no gradient of all of it
            hidden = ops.matmul(tokens, ops.stop_gradient(kernel))
            a, b = (ops.cast(x, kernel.dtype) for x in (first.lora_kernel_a, first.lora_kernel_b))
            low = ops.matmul(ops.matmul(ops.stop_gradient(tokens), a), b)
            low = low * (first.lora_alpha / first.lora_rank)
            hidden = hidden + (low - ops.stop_gradient(low))
        else:
            hidden = ops.matmul(tokens, kernel)
        if first.use_bias:
            hidden = hidden + ops.cast(first.bias, tokens.dtype)
        return remat(lambda hidden: second(first.activation(hidden)))(hidden)

    def get_config(self):
        return {
            **super().get_config(),
            "prefix_tokens": self.prefix_tokens,
            "rotary_theta": self.rotary_theta,
        }
