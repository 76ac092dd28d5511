"""Dense spatial-channel task prompt decoding (TaskPrompter, Sec. 3.3, Eq. 6-8)."""

import keras
from keras import ops

from keras_mtl.layers.heads import pointwise_convolution
from keras_mtl.layers.task_prompter.spatial_channel_prompting import check_variant


def spatial_task_prompting(patches, affinity):
    """Weighs the patches by one task's spatial affinity, head by head (Eq. 6).

    Args:
        patches: tensor `(B, N, C)`.
        affinity: tensor `(B, heads, N)`.

    Returns:
        Tensor `(B, N, C)`.
    """
    num_patches, channels = patches.shape[1:]
    heads = affinity.shape[1]
    x = ops.reshape(patches, (-1, num_patches, heads, channels // heads))
    weights = ops.expand_dims(ops.transpose(affinity, (0, 2, 1)), -1)
    return ops.reshape(weights * x, (-1, num_patches, channels))


def channel_task_prompting(patches, affinity, grid, windows):
    """Weighs the channels by one task's channel affinity, window by window (Eq. 7).

    Args:
        patches: tensor `(B, N, C)`.
        affinity: tensor `(B, windows, C)`.
        grid: `(H, W)`, patches along height and width.
        windows: windows along height and width.

    Returns:
        Tensor `(B, N, C)`.
    """
    (h, w), (nh, nw), channels = grid, windows, patches.shape[-1]
    x = ops.reshape(patches, (-1, nh, h // nh, nw, w // nw, channels))
    weights = ops.reshape(affinity, (-1, nh, 1, nw, 1, channels))
    return ops.reshape(weights * x, (-1, h * w, channels))


@keras.saving.register_keras_serializable(package="keras_mtl")
class SpatialChannelPromptDecoding(keras.layers.Layer):
    """Decodes one level's patch tokens into a feature map for every task.

    `variant="paper"` is Eq. 6-8: the two prompted features, optionally reduced to
    `decode_dim` channels by 1x1 convolutions, concatenated, 3x3 convolution, batch
    normalization, GELU. `variant="released"` adds the patch tokens to each prompted
    feature, always reduces, and puts a 1x1 convolution before the 3x3 convolution
    and one after the GELU.

    Args:
        num_tasks: int. Number of tasks T.
        grid: `(H, W)`, patches along height and width.
        channel_windows: windows along height and width of the channel affinity, or
            `None` if there are no channel task prompts.
        spatial_prompts: bool. Whether there is a spatial affinity.
        variant: `"paper"` or `"released"`.
        decode_dim: int or None. Channels of each prompted feature; `None` keeps C.
        final_dim: int or None. Channels F of the result; `None` means `decode_dim`.

    Call arguments:
        patches: tensor `(B, N, C)`.
        spatial_affinity: tensor `(B, heads, T, N)`, or `None`.
        channel_affinity: tensor `(B, windows, T, C)`, or `None`.

    Returns:
        Tensor `(B, T, H, W, F)`.

    Example:

    >>> layer = keras_mtl.layers.SpatialChannelPromptDecoding(
    ...     num_tasks=3, grid=(4, 6), channel_windows=(2, 2), final_dim=16
    ... )
    >>> ones = keras.ops.ones
    >>> tuple(layer(ones((1, 24, 8)), ones((1, 2, 3, 24)), ones((1, 4, 3, 8))).shape)
    (1, 3, 4, 6, 16)

    Reference: Ye and Xu, TaskPrompter, ICLR 2023, Sec. 3.3, Eq. 6-8.
    """

    def __init__(
        self,
        num_tasks: int,
        grid: tuple[int, int],
        channel_windows: tuple[int, int] | None = None,
        spatial_prompts: bool = True,
        variant: str = "paper",
        decode_dim: int | None = None,
        final_dim: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_tasks = num_tasks
        self.grid = tuple(grid)
        self.channel_windows = tuple(channel_windows) if channel_windows else None
        self.spatial_prompts = spatial_prompts
        check_variant(variant)
        self.variant = variant
        for dim, value in (("decode_dim", decode_dim), ("final_dim", final_dim)):
            if value is not None and value < 1:
                raise ValueError(f"{dim} is {value}; expected 1 or more, or None for the default.")
        self.decode_dim = decode_dim
        self.final_dim = final_dim

    def build(self, patches_shape, spatial_affinity_shape=None, channel_affinity_shape=None):
        channels = patches_shape[-1]
        decode_dim = self.decode_dim or channels
        final_dim = self.final_dim or decode_dim
        released = self.variant == "released"

        def conv(filters, kernel_size=1, name=None):
            return keras.layers.Conv2D(
                filters, kernel_size, padding="same", dtype=self.dtype_policy, name=name
            )

        def fusion():
            conv_bn_gelu = [
                conv(final_dim, 3),
                keras.layers.BatchNormalization(
                    epsilon=1e-5, momentum=0.9, dtype=self.dtype_policy
                ),
                keras.layers.Activation(keras.activations.gelu, dtype=self.dtype_policy),
            ]
            if released:
                return keras.Sequential([conv(final_dim), *conv_bn_gelu, conv(final_dim)])
            return keras.Sequential(conv_bn_gelu)

        self.reduce = []  # for every task, a convolution for every kind of prompt
        self.fuse = []
        kinds = int(self.spatial_prompts) + int(self.channel_windows is not None)
        for _ in range(self.num_tasks):
            reduce = [conv(decode_dim) for _ in range(kinds if released or self.decode_dim else 0)]
            for layer in reduce:
                layer.build((None, *self.grid, channels))
            fuse = fusion()
            fuse.build((None, *self.grid, kinds * decode_dim))
            self.reduce.append(reduce)
            self.fuse.append(fuse)

    def call(self, patches, spatial_affinity=None, channel_affinity=None, training=False):
        residual = 1 if self.variant == "released" else 0  # A * X + X = (A + 1) * X
        features = []
        for task in range(self.num_tasks):
            prompted = []
            if self.spatial_prompts:
                affinity = spatial_affinity[:, :, task] + residual
                prompted.append(spatial_task_prompting(patches, affinity))  # Eq. 6: F^s_t
            if self.channel_windows:
                affinity = channel_affinity[:, :, task] + residual
                prompted.append(  # Eq. 7: F^c_t
                    channel_task_prompting(patches, affinity, self.grid, self.channel_windows)
                )
            if self.reduce[task]:
                convolutions = zip(self.reduce[task], prompted, strict=True)
                prompted = [pointwise_convolution(conv, x) for conv, x in convolutions]
            stacked = ops.concatenate(prompted, axis=-1)
            features.append(self._fused(self.fuse[task].layers, stacked, training))  # Eq. 8: F_t
        return ops.stack(features, axis=1)

    def _fused(self, layers, x, training):
        """The layers of `fuse` one after another, (B, N, ...) to (B, H, W, F)."""
        if self.variant == "released":
            first, *layers, last = layers
            x = pointwise_convolution(first, x)
        x = ops.reshape(x, (-1, *self.grid, x.shape[-1]))
        conv, norm, activation = layers
        x = activation(norm(conv(x), training=training))
        return pointwise_convolution(last, x) if self.variant == "released" else x

    def compute_output_shape(
        self, patches_shape, spatial_affinity_shape=None, channel_affinity_shape=None
    ):
        final_dim = self.final_dim or self.decode_dim or patches_shape[-1]
        return (patches_shape[0], self.num_tasks, *self.grid, final_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "grid": self.grid,
            "channel_windows": self.channel_windows,
            "spatial_prompts": self.spatial_prompts,
            "variant": self.variant,
            "decode_dim": self.decode_dim,
            "final_dim": self.final_dim,
        }


@keras.saving.register_keras_serializable(package="keras_mtl")
class CrossTaskReweighting(keras.layers.Layer):
    """Mixes the task features by the prompts' affinity to each other: F <- A F.

    A 2-layer MLP over the heads turns the raw affinities among the T prompts into
    the Cross Task Affinity A.

    Args:
        num_tasks: int. Number of tasks T.
        variant: `"paper"` (one MLP) or `"released"` (one MLP for each task's row).

    Call arguments:
        features: tensor `(B, T, H, W, F)`.
        affinity: tensor `(B, heads, T, T)`.

    Returns:
        Tensor `(B, T, H, W, F)`.

    Example:

    >>> layer = keras_mtl.layers.CrossTaskReweighting(num_tasks=3)
    >>> ones = keras.ops.ones
    >>> tuple(layer(ones((1, 3, 4, 6, 16)), ones((1, 2, 3, 3))).shape)
    (1, 3, 4, 6, 16)

    Reference: Ye and Xu, TaskPrompter, ICLR 2023, Sec. 3.3, "Cross-task Reweighting".
    """

    def __init__(self, num_tasks: int, variant: str = "paper", **kwargs):
        super().__init__(**kwargs)
        self.num_tasks = num_tasks
        check_variant(variant)
        self.variant = variant

    def build(self, features_shape, affinity_shape):
        heads = affinity_shape[1]
        self.over_heads = [
            keras.Sequential(
                [
                    keras.layers.Dense(
                        heads, activation=keras.activations.gelu, dtype=self.dtype_policy
                    ),
                    keras.layers.Dense(1, dtype=self.dtype_policy),
                ]
            )
            for _ in range(self.num_tasks if self.variant == "released" else 1)
        ]
        for mlp in self.over_heads:
            mlp.build((None, None, None, heads))

    def call(self, features, affinity):
        rows = ops.transpose(affinity, (0, 2, 3, 1))  # (B, T, T, heads)
        if self.variant == "released":
            weights = [mlp(rows[:, t : t + 1]) for t, mlp in enumerate(self.over_heads)]
            weights = ops.concatenate(weights, axis=1)
        else:
            weights = self.over_heads[0](rows)
        weights = ops.squeeze(weights, axis=-1)  # A^{p->p}, (B, T, T)
        batch, tasks, *rest = features.shape
        flat = ops.reshape(features, (-1, tasks, rest[0] * rest[1] * rest[2]))
        return ops.reshape(ops.matmul(weights, flat), (-1, tasks, *rest))  # F <- A F

    def compute_output_shape(self, features_shape, affinity_shape):
        return features_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "variant": self.variant,
        }
