"""One task's features of one level of a hierarchical backbone, as published on Swin (A.6)."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_mtl.layers.convolutions import batch_normalization, convolution
from keras_mtl.layers.task_prompter.prompt_decoding import (
    channel_task_prompting,
    spatial_task_prompting,
)


@keras.saving.register_keras_serializable(package="keras_mtl")
class LevelPromptDecoding(keras.layers.Layer):
    """Decodes one level's patch tokens into one task's feature map.

    F^s = A^s * X + X, head by head (Eq. 6), and F^c = A^c * X + X, window by window (Eq. 7); each
    enlarged bilinearly by `upsampling` and mapped to `decode_dim` channels by a 1x1 convolution;
    side by side through a 1x1 convolution, a 3x3 convolution, batch normalization, GELU and a 3x3
    convolution (Eq. 8). The addition of X and the outer convolutions are the published network's.

    Args:
        grid: `(H, W)`, patches along height and width, which the channel windows divide.
        channel_windows: windows along height and width of the channel affinity.
        decode_dim: int or None. Channels of each prompted feature; `None` keeps C.
        final_dim: int or None. Channels F of the result; `None` means `decode_dim`.
        upsampling: int. Bilinear enlargement of the prompted features.

    Call arguments:
        patches: tensor `(B, N, C)`.
        spatial_affinity: tensor `(B, heads, N)`, the task's.
        channel_affinity: tensor `(B, windows, C)`, the task's.

    Returns:
        Tensor `(B, upsampling * H, upsampling * W, F)`.

    Example:

    >>> layer = keras_mtl.layers.LevelPromptDecoding((4, 6), decode_dim=5, upsampling=2)
    >>> ones = keras.ops.ones
    >>> tuple(layer(ones((1, 24, 8)), ones((1, 2, 24)), ones((1, 1, 8))).shape)
    (1, 8, 12, 5)

    Reference: Ye and Xu, TaskPrompter, ICLR 2023, A.6 and Eq. 6-8, as the published code has it.
    """

    spatial_prompts = True  # as those of ViT may not have

    def __init__(
        self,
        grid: Sequence[int],
        channel_windows: Sequence[int] = (1, 1),
        decode_dim: int | None = None,
        final_dim: int | None = None,
        upsampling: int = 1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.grid = tuple(grid)
        self.channel_windows = tuple(channel_windows)
        self.decode_dim = decode_dim
        self.final_dim = final_dim
        self.upsampling = upsampling

    def build(self, patches_shape, spatial_affinity_shape, channel_affinity_shape):
        channels, dtype = patches_shape[-1], self.dtype_policy
        decode_dim = self.decode_dim or channels
        final_dim = self.final_dim or decode_dim
        size = tuple(self.upsampling * length for length in self.grid)
        self.enlarge = keras.layers.UpSampling2D(
            self.upsampling, interpolation="bilinear", dtype=dtype
        )
        self.reduce = [
            convolution(decode_dim, use_bias=True, dtype=dtype, name=f"reduce_{kind}")
            for kind in ("spatial", "channel")
        ]
        for layer in self.reduce:
            layer.build((None, *size, channels))
        self.fuse = keras.Sequential(
            [
                convolution(final_dim, use_bias=True, dtype=dtype),
                convolution(final_dim, 3, use_bias=True, dtype=dtype),
                batch_normalization(dtype=dtype),
                keras.layers.Activation(keras.activations.gelu, dtype=dtype),
                convolution(final_dim, 3, use_bias=True, dtype=dtype),
            ],
            name="fuse",
        )
        self.fuse.build((None, *size, 2 * decode_dim))

    def call(self, patches, spatial_affinity, channel_affinity, training=False):
        # In a batch of unknown size TensorFlow no longer knows how many windows gave.
        height, width = self.grid
        patches = ops.reshape(patches, (-1, height * width, patches.shape[-1]))
        prompted = [  # A * X + X = (A + 1) * X
            spatial_task_prompting(patches, spatial_affinity + 1),  # Eq. 6: F^s_t
            channel_task_prompting(  # Eq. 7: F^c_t
                patches, channel_affinity + 1, self.grid, self.channel_windows
            ),
        ]
        maps = [
            reduce(self.enlarge(ops.reshape(x, (-1, *self.grid, x.shape[-1]))))
            for reduce, x in zip(self.reduce, prompted, strict=True)
        ]
        return self.fuse(ops.concatenate(maps, axis=-1), training=training)  # Eq. 8: F_t

    def compute_output_shape(self, patches_shape, spatial_affinity_shape, channel_affinity_shape):
        size = (self.upsampling * length for length in self.grid)
        return (patches_shape[0], *size, self.final_dim or self.decode_dim or patches_shape[-1])

    def get_config(self):
        return {
            **super().get_config(),
            "grid": self.grid,
            "channel_windows": self.channel_windows,
            "decode_dim": self.decode_dim,
            "final_dim": self.final_dim,
            "upsampling": self.upsampling,
        }
