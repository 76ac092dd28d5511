"""Swin Transformer: four stages of shifted-window attention, right at any image size."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_mtl.arguments import check_integers, checked_shape, checked_sizes
from keras_mtl.backbones.feature_pyramid import FeaturePyramid, deserialize_backbone
from keras_mtl.backbones.keras_hub import (
    attend,
    attention_mask_accepted,
    embedding_layers,
    final_norm,
    merge_patches,
    parts_of,
    stochastic_depth,
    swin_stages,
    window_length,
)
from keras_mtl.backbones.kinds import class_of, kind_of
from keras_mtl.backbones.vision_transformer import resize_bicubic
from keras_mtl.computation.as_written import roll_by_cutting
from keras_mtl.computation.rematerialization import remat
from keras_mtl.computation.windows import (
    join_windows,
    pad_to_multiple,
    shift_mask,
    split_into_windows,
)

# Liu et al., ICCV 2021, Sec. 3.3; windows of 7 x 7 patches of 4 x 4 pixels in all of them.
SWIN_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"embed_dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)},
    "small": {"embed_dim": 96, "depths": (2, 2, 18, 2), "num_heads": (3, 6, 12, 24)},
    "base": {"embed_dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)},
    "large": {"embed_dim": 192, "depths": (2, 2, 18, 2), "num_heads": (6, 12, 24, 48)},
}


def swin_transformer(
    size: str, image_shape: tuple[int, int, int], remat: bool = False, **overrides
) -> "SwinTransformer":
    """A randomly initialised `SwinTransformer` of a published size.

    Args:
        size: `"tiny"`, `"small"`, `"base"` or `"large"`.
        image_shape: `(height, width, 3)` in pixels, any size.
        remat: see `SwinTransformer`.
        **overrides: any argument of `keras_hub.models.SwinTransformerBackbone` but its
            `image_shape`, for instance `drop_path=0.2`.

    Raises:
        ValueError: if `size` is unknown or `image_shape` leaves a size open.

    Example:

    >>> backbone = keras_mtl.backbones.swin_transformer("tiny", (448, 576, 3))
    >>> backbone.channels
    {4: 96, 8: 192, 16: 384, 32: 768}
    """
    if size not in SWIN_SIZES:
        raise ValueError(
            f"Unknown Swin Transformer size {size!r}; choose one of {list(SWIN_SIZES)}."
        )
    image_shape, own = checked_shape(image_shape), SWIN_SIZES[size]
    for name in ("depths", "num_heads"):
        if name in overrides:
            overrides[name] = check_integers(name, overrides[name], own[name], exactly=False)
    config = checked_sizes(overrides, {"window_size": 7, "patch_size": 4, **own})
    with attention_mask_accepted():
        backbone = class_of("swin")(image_shape=shape_on_the_grid(config), **config)
    return SwinTransformer(backbone, image_shape, remat)


def shape_on_the_grid(config: dict) -> tuple[int, int, int]:
    """The smallest image shape at which windows divide the grid of every stage.

    keras-hub's own forward pass, which it takes to build a backbone, is right there.

    Args:
        config: dict with a `SwinTransformerBackbone`'s `patch_size`, `window_size` and `depths`.
    """
    side = config["patch_size"] * config["window_size"] * 2 ** (len(config["depths"]) - 1)
    return (side, side, 3)


def relative_position_table(table: np.ndarray, window: int) -> np.ndarray:
    """A table of relative positions for windows of another size, resized bicubically.

    Args:
        table: array `((2 w - 1)**2, heads)` for windows of w x w patches.
        window: int, the patches wanted along a window.

    Returns:
        Array `((2 * window - 1)**2, heads)`.

    Raises:
        ValueError: if `table` is of no square window.
    """
    old, new = math.isqrt(len(table)), 2 * window - 1
    if old == new:
        return table
    logging.getLogger(__name__).info(
        "Relative positions resized from windows of %d to windows of %d patches.",
        (old + 1) // 2,
        window,
    )
    return resize_bicubic(table.reshape(old, old, -1), (new, new)).reshape(new * new, -1)


@keras.saving.register_keras_serializable(package="keras_mtl")
class SwinTransformer(FeaturePyramid):
    """The stages of a keras-hub Swin Transformer, each before its patch merging and normalised.

    The layers are the backbone's own, walked at another image size; the published dense
    prediction networks do the same. What windows or patches do not divide is padded with zeros at
    the right and at the bottom: the image before the patches, tokens after the normalisation of
    each block and before they are shifted, odd grids before they are merged. Tokens of padding
    are attended to as any other. Windows are not shifted where the grid is no longer than one of
    them in height or width.

    Each output has a LayerNorm: the last is the backbone's final one, the others are new.

    Args:
        backbone: `keras_hub.models.SwinTransformerBackbone`, for instance from a preset; of any
            image size. Its weights are the layer's.
        image_shape: `(height, width, 3)` in pixels, any size; `None` means the backbone's own.
        remat: bool. For the gradient, keep only the inputs of every block's attention and
            perceptron and compute what is inside a second time: less memory, more time.
        **kwargs: `name` and the like, for `keras.layers.Layer`. `dtype` is the backbone's unless
            given.

    Attributes:
        backbone: as given.
        channels: dict `{4: C, 8: 2C, 16: 4C, 32: 8C}`; other patch sizes and numbers of stages
            have other strides.

    Call arguments:
        images: tensor `(B, height, width, 3)`, normalised by ImageNet's mean and standard
            deviation.

    Returns:
        Dict `{stride: tensor (B, ceil(height / stride), ceil(width / stride), channels[stride])}`.

    Raises:
        ValueError: if `backbone` is no channels-last Swin Transformer, or `image_shape` leaves a
            size open, or `remat` meets a backbone with dropout (it may have stochastic depth).

    Example:

    >>> import keras_hub
    >>> backbone = keras_hub.models.SwinTransformerBackbone(
    ...     image_shape=(224, 224, 3),
    ...     embed_dim=8,
    ...     depths=(1, 1, 2, 1),
    ...     num_heads=(1, 1, 2, 2),
    ...     window_size=7,
    ... )
    >>> pyramid = keras_mtl.backbones.SwinTransformer(backbone, (90, 125, 3))
    >>> features = pyramid(keras.ops.ones((1, 90, 125, 3)))
    >>> {stride: tuple(x.shape) for stride, x in features.items()}
    {4: (1, 23, 32, 8), 8: (1, 12, 16, 16), 16: (1, 6, 8, 32), 32: (1, 3, 4, 64)}

    Reference: Liu et al., Swin Transformer: Hierarchical Vision Transformer using Shifted
    Windows, ICCV 2021.
    """

    as_written = False  # see as_written.py

    def __init__(
        self,
        backbone,
        image_shape: tuple[int, int, int] | None = None,
        remat: bool = False,
        **kwargs,
    ):
        if kind_of(backbone) != "swin":
            raise ValueError(
                f"SwinTransformer found a {type(backbone).__name__} and needs a "
                "keras_hub.models.SwinTransformerBackbone; give one, or a size to "
                "keras_mtl.backbones.swin_transformer."
            )
        if backbone.data_format != "channels_last":
            raise ValueError(
                f"SwinTransformer found a backbone with data_format={backbone.data_format!r} and "
                'needs images with channels last; build it with data_format="channels_last".'
            )
        image_shape = tuple(backbone.image_shape if image_shape is None else image_shape)
        channels = backbone.image_shape[-1]
        if len(image_shape) != 3 or not all(image_shape) or image_shape[-1] != channels:
            raise ValueError(
                f"SwinTransformer found the image shape {image_shape} and needs a known height and "
                f"width and {channels} channels; give for example {(448, 576, channels)}."
            )
        if remat and (backbone.dropout_rate or backbone.attention_dropout):
            raise ValueError(
                "SwinTransformer found remat=True and a backbone with dropout, which would drop "
                "other numbers the second time; leave remat out, or build the backbone without."
            )
        kwargs.setdefault("dtype", backbone.dtype_policy)
        super().__init__(image_shape, **kwargs)
        self.backbone = backbone
        self.remat = remat
        self.channels = {
            backbone.patch_size * 2**i: backbone.embed_dim * 2**i
            for i in range(len(backbone.depths))
        }
        self.norms = [
            keras.layers.LayerNormalization(
                epsilon=1e-5, name=f"norm_stride_{stride}", dtype=self.dtype_policy
            )
            for stride in list(self.channels)[:-1]
        ]
        # Padding and masks are those of one image size.
        self.input_spec = keras.layers.InputSpec(shape=(None, *self.image_shape))

    def build(self, images_shape):
        for norm, width in zip(self.norms, list(self.channels.values())[:-1], strict=True):
            norm.build((None, None, width))  # as keras-hub's own, see `on_tokens`
        self.grids = [
            WindowGrid.of(self.image_shape, stride, self.backbone.window_size)
            for stride in self.channels
        ]

    def call(self, images, training=False):
        x = embed_patches(embedding_layers(self.backbone), images, self.backbone.patch_size)
        features = {}
        norms = [*self.norms, final_norm(self.backbone)]
        for stride, stage, grid, norm in zip(
            self.channels, swin_stages(self.backbone), self.grids, norms, strict=True
        ):
            x = run_blocks(stage.blocks, x, grid, self.remat and training, self.roll)
            features[stride] = ops.cast(on_tokens(norm, x), self.compute_dtype)
            if stage.merging is not None:
                x = merge(stage.merging, x)
        return self.without_gradient_if_frozen(features)

    @property
    def roll(self) -> Callable:
        """The function that shifts maps."""
        return roll_by_cutting if self.as_written else ops.roll

    def pretrained_layers(self):
        return [self.backbone]  # not the norms of the finer maps

    def get_config(self):
        backbone = keras.saving.serialize_keras_object(self.backbone)
        return {**super().get_config(), "backbone": backbone, "remat": self.remat}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "backbone": deserialize_backbone(config["backbone"])})


# === The forward pass at any image size, stage by stage ===


@dataclass(frozen=True)
class WindowGrid:
    """Windows on one stage's map, and how every other block shifts them.

    keras-hub's blocks have the shift for the image size that they were made for.

    Args:
        window: int, patches along each side of a window.
        shift: int, patches.
        mask: array `(windows, window**2, window**2)` that is added to shifted scores; `None`
            without a shift.
    """

    window: int
    shift: int
    mask: np.ndarray | None

    @classmethod
    def of(cls, image_shape: tuple[int, int, int], stride: int, window: int) -> "WindowGrid":
        """The grid of an image's map at a stride, both in pixels."""
        height, width, _ = image_shape
        grid = (math.ceil(height / stride), math.ceil(width / stride))
        shift = window // 2 if min(grid) > window else 0
        return cls(window, shift, shift_mask(grid, window, shift) if shift else None)


def embed_patches(layers: Sequence[keras.layers.Layer], images, patch: int):
    """Images to the map `(B, h, w, C)` of their patches, by a backbone's `embedding_layers`."""
    x = pad_to_multiple(images, patch)
    _, height, width, _ = x.shape
    for layer in layers:
        x = layer(x)
    return ops.reshape(x, (-1, height // patch, width // patch, x.shape[-1]))


def on_tokens(layer: Callable, x):
    """A map `(B, h, w, C)` as a layer makes it that was built on tokens `(B, h * w, C)`.

    A LayerNorm keeps the number of the axis it was built for, so it is right on that rank only.
    """
    _, height, width, channels = x.shape
    return ops.reshape(layer(ops.reshape(x, (-1, height * width, channels))), (-1, *x.shape[1:]))


def merge(merging: keras.layers.Layer, x):
    """A map to half its size and twice its width, by the layer that ends a keras-hub stage."""
    _, height, width, channels = x.shape
    x = ops.reshape(x, (-1, height * width, channels))
    x = merge_patches(merging, x, (height, width))
    return ops.reshape(x, (-1, math.ceil(height / 2), math.ceil(width / 2), 2 * channels))


def run_blocks(
    blocks: Sequence[keras.layers.Layer],
    x,
    grid: WindowGrid,
    recompute: bool,
    roll: Callable,
    first: int = 0,
):
    """One stage's blocks on its map `(B, h, w, C)`.

    Args:
        blocks: of keras-hub's stage; every other one is shifted.
        x: tensor `(B, h, w, C)`.
        grid: the map's.
        recompute: bool. Whether the branches are computed a second time for the gradient.
        roll: function that shifts maps, `keras.ops.roll` or another form of it.
        first: int, how many blocks of the stage come before these.
    """
    mask = grid.mask if grid.mask is None else ops.convert_to_tensor(grid.mask, dtype=x.dtype)
    for n, block in enumerate(blocks, start=first):
        how = (grid.shift, mask, roll) if n % 2 else (0, None, None)
        for branch in (partial(_attention_branch, block, *how), partial(_mlp_branch, block)):
            compute = remat(branch) if recompute else branch
            x = x + stochastic_depth(block)(compute(x))
    return x


def _attention_branch(block, shift, mask, roll, x):
    parts = parts_of(block)
    return _window_attention(parts.attention, on_tokens(parts.norm1, x), shift, mask, roll)


def _mlp_branch(block, x):
    parts = parts_of(block)
    return on_tokens(lambda tokens: parts.mlp(parts.norm2(tokens)), x)


def _window_attention(attention, x, shift: int, mask, roll):
    """keras-hub's attention within windows on maps `(B, h, w, C)`, padded first, then shifted."""
    window = window_length(attention)
    _, height, width, _ = x.shape
    x = pad_to_multiple(x, window)
    padded = x.shape[1:3]
    if shift:
        x = roll(x, (-shift, -shift), axis=(1, 2))
    x = attend(attention, split_into_windows(x, window), mask)
    x = join_windows(x, window, padded)
    if shift:
        x = roll(x, (shift, shift), axis=(1, 2))
    return x[:, :height, :width]
