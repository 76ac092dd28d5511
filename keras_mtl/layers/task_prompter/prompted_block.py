"""What the blocks of TaskPrompter's encoders have in common, whatever attends in them."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.backbones.keras_hub import layer_scales, parts_of, serialize_block
from keras_mtl.computation.rematerialization import remat
from keras_mtl.layers.task_prompter.spatial_channel_prompting import check_variant


class PromptedBlock(keras.layers.Layer):
    """A Transformer block of a backbone, its attention by task prompt learning (Sec. 3.2, Fig. 2).

    LayerNorms, attention projections and perceptron are the given block's, one set for prompts and
    patches, so the block of a pretrained backbone brings its weights along. Subclasses make in
    `build` what their `learn` needs.

    Args:
        block: of a keras-hub backbone.
        grid: `(H, W)`, patches along height and width.
        channel_windows: windows along height and width of the channel attention, or `None` without
            channel task prompts.
        spatial_prompts: bool. Whether the prompts take part in the self-attention.
        variant: `"paper"` or `"released"`.
        update_prompts: bool. Whether updated prompts are returned.
        stochastic_depth: float. Probability of dropping a residual branch in training, drawn for
            each image, apart for prompts and patches.
        remat: bool. Keep only inputs and outputs of the block for the gradient and compute the
            rest again: less memory, more time.
        adapter_width: int or `None`. Units of an adapter beside the perceptron: two linear maps
            with a ReLU between, whose answer is 0 at first and counts a tenth (Chen et al.,
            AdaptFormer, NeurIPS 2022, Eq. 4-6).
    """

    def __init__(
        self,
        block: keras.layers.Layer,
        grid: Sequence[int],
        channel_windows: Sequence[int] | None = None,
        spatial_prompts: bool = True,
        variant: str = "paper",
        update_prompts: bool = True,
        stochastic_depth: float = 0.0,
        remat: bool = False,
        adapter_width: int | None = None,
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
        self.adapter_width = adapter_width

    def build(self, prompts_shape, patches_shape):
        self.drop_path = keras.layers.Dropout(
            self.stochastic_depth, noise_shape=(None, 1, 1), dtype=self.dtype_policy
        )
        self.adapter = None
        if self.adapter_width:
            dense, dtype = keras.layers.Dense, self.dtype_policy
            self.adapter = keras.Sequential(
                [
                    dense(self.adapter_width, "relu", dtype=dtype, name="down"),
                    dense(patches_shape[-1], kernel_initializer="zeros", dtype=dtype, name="up"),
                ],
                name="adapter",
            )
            self.adapter.build(patches_shape)

    def learn(self, prompts, patches) -> tuple[Any, Any, dict]:
        """Updates of prompts and patches before the residual, and what decoding reads.

        Args:
            prompts: tensor `(B, T, C)`.
            patches: tensor `(B, N, C)`.

        Returns:
            The update of the prompts `(B, T, C)` (unused without `update_prompts`), that of the
            patches `(B, N, C)`, and a dict of affinities.
        """
        raise NotImplementedError

    def call(self, prompts, patches, training=False):
        # Drawn here: what is computed a second time must not be drawn a second time.
        kept = []
        if training and self.stochastic_depth:
            branches = [patches, patches, *[prompts, prompts] * self.update_prompts]
            kept = [self._kept(tokens) for tokens in branches]
        if self.remat and training:
            return remat(self._compute)(prompts, patches, *kept)
        perceptron = self.perceptron if training else None
        return self._compute(prompts, patches, *kept, perceptron=perceptron)

    def _compute(self, prompts, patches, *kept, perceptron=None):
        prompt_update, patch_update, affinities = self.learn(prompts, patches)
        perceptron = perceptron or parts_of(self.block).mlp
        out = {**affinities, "patches": self._refine(patches, patch_update, kept[:2], perceptron)}
        if self.update_prompts:
            out["prompts"] = self._refine(prompts, prompt_update, kept[2:], perceptron)
        return out

    def _refine(self, tokens, update, kept, perceptron):
        """The residual, LayerNorm and MLP of an ordinary Transformer block."""
        update = self._layer_scaled(update, 0)
        tokens = tokens + (kept[0] * update if kept else update)
        normalized = parts_of(self.block).norm2(tokens)
        update = self._layer_scaled(perceptron(normalized), 1)
        if self.adapter is not None:
            update = update + 0.1 * self.adapter(normalized)
        return tokens + (kept[1] * update if kept else update)

    def _layer_scaled(self, update, branch: int):
        """What a branch adds, times its layer scale in a DINO."""
        scales = layer_scales(self.block)
        return ops.cast(scales[branch], self.compute_dtype) * update if scales else update

    def perceptron(self, tokens):
        """The block's perceptron in training; a subclass may keep less of it for the gradient."""
        return parts_of(self.block).mlp(tokens)

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
            out["spatial_affinity"] = spec(heads, tasks, tasks + math.prod(self.grid))
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
            "adapter_width": self.adapter_width,
        }

    @classmethod
    def from_config(cls, config):
        block = keras.saving.deserialize_keras_object(config["block"])
        return cls(**{**config, "block": block})
