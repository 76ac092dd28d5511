"""A Swin Transformer's block with spatial-channel task prompt learning (TaskPrompter, A.6)."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_mtl.backbones.keras_hub import parts_of
from keras_mtl.backbones.swin_layers import build_block
from keras_mtl.layers.task_prompter.prompted_block import PromptedBlock
from keras_mtl.layers.task_prompter.reduced_channel_prompting import (
    ReducedChannelTaskPromptLearning,
    channel_plane,
)
from keras_mtl.layers.task_prompter.spatial_channel_prompting import ChannelTaskPromptLearning
from keras_mtl.layers.task_prompter.window_prompting import WindowTaskPromptLearning


def mean_over_areas(length: int, count: int) -> np.ndarray:
    """A matrix that averages `length` places over `count` areas, which overlap where they must.

    Area i reaches from place floor(i * length / count) to ceil((i + 1) * length / count).

    Example:

    >>> mean_over_areas(3, 2).tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]
    """
    areas, places = np.arange(count)[:, None], np.arange(length)
    covered = (places >= areas * length // count) & (places < -(-(areas + 1) * length // count))
    return (covered / covered.sum(axis=1, keepdims=True)).astype("float32")


@keras.saving.register_keras_serializable(package="keras_mtl")
class PromptedSwinBlock(PromptedBlock):
    """A Swin Transformer's block whose attention is Spatial-Channel Task Prompt Learning.

    Spatial prompts are learned in windows (`keras_mtl.layers.WindowTaskPromptLearning`). Channel
    prompts have D numbers instead of one for each patch:

    - `variant="paper"`: `keras_mtl.layers.ChannelTaskPromptLearning`, as on ViT, of the normalised
      patch tokens averaged over a square of D areas. (To the letter W_q of Eq. 4 would be as wide
      as the grid has patches, 73,728 in the first published stage.) No weight depends on the
      grid.
    - `variant="released"`: `keras_mtl.layers.ReducedChannelTaskPromptLearning` of the patches
      after the attention in windows. It has a weight for each patch of the grid.

    Args:
        block: of a `keras_hub.models.SwinTransformerBackbone`.
        grid: `(H, W)`, patches along height and width.
        channel_windows: windows of the channel attention along height and width.
        channel_dim: int D, a square whose side the windows divide.
        shifted: bool. Whether windows are shifted, as those of every other block.
        variant: `"paper"` or `"released"`.
        update_prompts, stochastic_depth, remat: as for `keras_mtl.layers.PromptedEncoderBlock`.

    Call arguments:
        prompts: tensor `(B, T, C)`.
        patches: tensor `(B, N, C)`.

    Returns:
        Dict with `"patches"` `(B, N, C)`, `"prompts"` `(B, T, C)` if `update_prompts`,
        `"spatial_affinity"` `(B, heads, T, T + N)`, and `"channel_affinity"` `(B, windows, T, C)`.

    Raises:
        ValueError: if `channel_dim` is no square, or windows do not divide its side.

    Example:

    >>> backbone = keras_mtl.backbones.swin_transformer("tiny", (32, 48, 3)).backbone
    >>> block = keras_mtl.backbones.keras_hub.swin_stages(backbone)[0].blocks[0]
    >>> layer = keras_mtl.layers.PromptedSwinBlock(block, (8, 12), channel_dim=16)
    >>> out = layer(keras.ops.ones((1, 4, 96)), keras.ops.ones((1, 96, 96)))
    >>> tuple(out["spatial_affinity"].shape), tuple(out["channel_affinity"].shape)
    ((1, 3, 4, 100), (1, 1, 4, 96))

    Reference: Ye and Xu, TaskPrompter, ICLR 2023, A.6.
    """

    def __init__(
        self,
        block: keras.layers.Layer,
        grid: Sequence[int],
        channel_windows: Sequence[int] = (1, 1),
        channel_dim: int = 256,
        shifted: bool = False,
        variant: str = "paper",
        **kwargs,
    ):
        super().__init__(block, grid, channel_windows, variant=variant, **kwargs)
        self.plane = channel_plane(channel_dim, tuple(channel_windows))
        self.channel_dim = channel_dim
        self.shifted = shifted

    def build(self, prompts_shape, patches_shape):
        build_block(self.block, patches_shape[-1])
        self.spatial = WindowTaskPromptLearning(
            parts_of(self.block).attention,
            self.grid,
            self.shifted,
            dtype=self.dtype_policy,
            name="spatial",
        )
        self.spatial.build(prompts_shape, patches_shape)
        how = {"update_prompts": self.update_prompts, "dtype": self.dtype_policy, "name": "channel"}
        if self.variant == "released":
            self.channel = ReducedChannelTaskPromptLearning(
                self.channel_dim, self.channel_windows, **how
            )
            self.channel.build(prompts_shape, patches_shape)
        else:
            self.channel = ChannelTaskPromptLearning(self.plane, self.channel_windows, **how)
            self.channel.build(prompts_shape, (None, self.channel_dim, patches_shape[-1]))
        super().build(prompts_shape, patches_shape)

    def learn(self, prompts, patches):
        parts = parts_of(self.block)
        p, x = parts.norm1(prompts), parts.norm1(patches)
        spatial = self.spatial(p, x)  # Eq. 3, in windows
        if self.variant == "released":
            channel = self.channel(prompts, spatial["patches"])
        else:
            channel = self.channel(p, self._pooled(x))  # Eq. 2, 4
        affinities = {
            "spatial_affinity": spatial["affinity"],
            "channel_affinity": channel["affinity"],
        }
        update = spatial["prompts"]
        if self.update_prompts:
            update = update + channel["prompts"]  # Eq. 5
        return update, spatial["patches"], affinities

    def _pooled(self, x):
        """Patch tokens `(B, N, C)` averaged over D areas, `(B, D, C)`."""
        rows, columns = (
            ops.convert_to_tensor(mean_over_areas(length, count), x.dtype)
            for length, count in zip(self.grid, self.plane, strict=True)
        )
        x = ops.reshape(x, (-1, *self.grid, x.shape[-1]))
        x = ops.einsum("rh,bhwc,sw->brsc", rows, x, columns)
        return ops.reshape(x, (-1, self.channel_dim, x.shape[-1]))

    def get_config(self):
        config = super().get_config()
        config.pop("spatial_prompts")  # always
        return {**config, "channel_dim": self.channel_dim, "shifted": self.shifted}
