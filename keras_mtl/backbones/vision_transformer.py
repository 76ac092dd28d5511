"""Plain Vision Transformers: sizes, other image sizes, and the tokens a model starts from."""

import logging
import math

import keras
import numpy as np
from keras import ops

from keras_mtl.arguments import check_integer, checked_shape, checked_sizes
from keras_mtl.backbones.keras_hub import (
    blocks_of,
    parts_of,
    patch_projection,
    position_embedding,
    projections_of,
)
from keras_mtl.backbones.kinds import class_of, kind_of
from keras_mtl.backbones.stemmed_vit import ConvolutionalStem, stem_of, stemmed_vit

# Dosovitskiy et al., ICLR 2021, Table 1; small and tiny: Touvron et al., ICML 2021, Table 1.
# Pico and nano are no published sizes, for small images and patches of 8 pixels: pico trains from
# scratch in minutes on a CPU, nano in hours.
VIT_SIZES = {
    "pico": {"num_layers": 4, "num_heads": 4, "hidden_dim": 128, "mlp_dim": 512},
    "nano": {"num_layers": 6, "num_heads": 3, "hidden_dim": 192, "mlp_dim": 768},
    "tiny": {"num_layers": 12, "num_heads": 3, "hidden_dim": 192, "mlp_dim": 768},
    "small": {"num_layers": 12, "num_heads": 6, "hidden_dim": 384, "mlp_dim": 1536},
    "base": {"num_layers": 12, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072},
    "large": {"num_layers": 24, "num_heads": 16, "hidden_dim": 1024, "mlp_dim": 4096},
}


def vision_transformer(
    size: str,
    image_shape: tuple[int, int, int],
    patch_size: int = 16,
    convolutional_stem: bool = False,
    **overrides,
) -> keras.Model:
    """A randomly initialised `keras_hub.models.ViTBackbone` without class token.

    Args:
        size: `"pico"`, `"nano"`, `"tiny"`, `"small"`, `"base"` or `"large"`.
        image_shape: `(height, width, 3)` in pixels, multiples of `patch_size`.
        patch_size: int, pixels.
        convolutional_stem: bool. Patches of features that some convolutions make of the image
            (`ConvolutionalStem`) in place of patches of pixels: a small network from random
            weights learns much faster so. `patch_size` is then a power of 2; overrides may be
            `stem_width` and `stem_blocks` too.
        **overrides: any argument of `keras_hub.models.ViTBackbone`, for instance
            `num_layers=6`.

    Raises:
        ValueError: if `size` is unknown, patches do not divide the image, or a size is no positive
            integer.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (64, 96, 3))
    >>> backbone.hidden_dim
    192
    """
    if size not in VIT_SIZES:
        raise ValueError(
            f"Unknown Vision Transformer size {size!r}; choose one of {list(VIT_SIZES)}."
        )
    image_shape, patch_size = checked_shape(image_shape), check_integer("patch_size", patch_size, 1)
    check_image_shape(image_shape, (patch_size, patch_size))
    config = {"use_class_token": False, **checked_sizes(overrides, VIT_SIZES[size])}
    if config["hidden_dim"] % config["num_heads"]:
        raise ValueError(
            f"hidden_dim is {config['hidden_dim']}, expected a multiple of num_heads, "
            f"{config['num_heads']}."
        )
    cls = stemmed_vit() if convolutional_stem else class_of("vit")
    backbone = cls(image_shape=image_shape, patch_size=patch_size, **config)
    for block in blocks_of(backbone):
        _initialize_projections(parts_of(block).attention, config["hidden_dim"])
    return backbone


def _initialize_projections(attention: keras.layers.MultiHeadAttention, channels: int):
    """Draws the projections as the C x C matrices they are (Dosovitskiy et al.: Glorot uniform).

    Keras reads the shape (C, heads, d) of a kernel as a convolution's and so draws queries, keys
    and values several times too small, which holds training from scratch up for long.
    """
    for projection in projections_of(attention):
        drawn = keras.initializers.GlorotUniform()((channels, channels))
        projection.kernel.assign(ops.reshape(drawn, projection.kernel.shape))


def check_image_shape(image_shape, patch_size: tuple[int, int]) -> None:
    """Refuses an image shape that patches of `(height, width)` pixels do not divide."""
    if len(image_shape) != 3:
        raise ValueError(f"image_shape is {image_shape}; expected (height, width, 3) in pixels.")
    for axis, length, patch in zip(("height", "width"), image_shape[:2], patch_size, strict=True):
        if length % patch or length < 1:
            below = max(length // patch, 1) * patch
            raise ValueError(
                f"Image {axis} {length} is not a multiple of the patch size {patch}; "
                f"use for example {below} or {below + patch}."
            )


def at_image_shape(backbone: keras.Model, image_shape: tuple[int, int, int]) -> keras.Model:
    """The same ViT, weights included, for another image size.

    The grid part of the position embedding is resized bicubically once, here.

    Args:
        backbone: `keras_hub.models.ViTBackbone`.
        image_shape: `(height, width, 3)` in pixels, multiples of the patch size.

    Returns:
        A new `ViTBackbone`; the given one is left as it is.

    Raises:
        ValueError: if it is another backbone, or patches do not divide the image.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (64, 64, 3))
    >>> keras_mtl.backbones.at_image_shape(backbone, (64, 96, 3)).image_shape
    (64, 96, 3)
    """
    old_grid = grid_of(backbone)
    check_image_shape(image_shape, backbone.patch_size)
    config = {**backbone.get_config(), "image_shape": tuple(image_shape)}
    resized = type(backbone).from_config(config)
    new_grid = grid_of(resized)
    table = position_embedding(backbone).embeddings
    for old, new in zip(backbone.weights, resized.weights, strict=True):
        value = ops.convert_to_numpy(old)
        if old is table:
            value = position_table(value, new_grid, backbone.use_class_token, old_grid)
        new.assign(value)
    return resized


def position_table(
    table: np.ndarray,
    grid: tuple[int, int],
    class_token: bool,
    table_grid: tuple[int, int] | None = None,
) -> np.ndarray:
    """A position embedding for another grid of patches, with or without a class token's entry.

    Args:
        table: array `(..., N, C)` or `(..., 1 + N, C)` for N patches, the class token's entry
            first.
        grid: `(rows, columns)` of patches wanted.
        class_token: bool. Whether an entry for the class token is wanted; zeros where `table` has
            none, since then nothing was added to its class token.
        table_grid: `(rows, columns)` of `table`. `None` means a square where the number of
            entries allows one, as in all published weights, and else `grid`.

    Returns:
        Array `(rows * columns, C)`, one entry more with a class token.

    Raises:
        ValueError: if the number of entries fits no grid.
    """
    table = table.reshape(-1, table.shape[-1])
    if table_grid is None:
        sides = [math.isqrt(len(table) - extra) for extra in (0, 1)]
        squares = [(n, n) for extra, n in enumerate(sides) if n * n == len(table) - extra]
        table_grid = squares[0] if squares else grid
    extra = len(table) - table_grid[0] * table_grid[1]
    if extra not in (0, 1):
        raise ValueError(
            f"A position embedding of {len(table)} entries fits no grid of "
            f"{table_grid[0]}x{table_grid[1]} patches; say of which grid it is."
        )
    first, patches = table[:extra], table[extra:]
    if tuple(table_grid) != tuple(grid):
        logging.getLogger(__name__).info(
            "Position embeddings resized from %dx%d to %dx%d patches.", *table_grid, *grid
        )
        patches = resize_bicubic(patches.reshape(*table_grid, -1), grid)
        patches = patches.reshape(-1, table.shape[-1])
    if class_token and not extra:
        first = np.zeros((1, table.shape[-1]), table.dtype)
    return np.concatenate([first, patches]) if class_token else patches


def dinov2_positions(backbone, table, grid, table_grid=None) -> np.ndarray:
    """`position_table` for a `DINOV2Backbone`, which may ask for smoothing."""
    if not backbone.antialias_in_interpolation:
        return position_table(table, grid, True, table_grid)
    table = table.reshape(-1, table.shape[-1])
    table_grid = tuple(table_grid or [math.isqrt(len(table) - 1)] * 2)
    if table_grid == tuple(grid):
        return table
    # With antialiasing, and only then, the backends and PyTorch agree.
    patches = table[1:].reshape(1, *table_grid, -1)
    patches = ops.image.resize(patches, grid, interpolation="bicubic", antialias=True)
    patches = ops.convert_to_numpy(patches).reshape(-1, table.shape[-1])
    return np.concatenate([table[:1], patches])


def grid_of(backbone: keras.Model) -> tuple[int, int]:
    """Patches of a ViT along `(height, width)`.

    Args:
        backbone: `keras_hub.models.ViTBackbone`.

    Raises:
        ValueError: if it is another backbone.
    """
    if kind_of(backbone) != "vit":
        raise ValueError(
            f"The backbone is a {type(backbone).__name__}; expected a keras_hub ViTBackbone, as "
            "keras_mtl.backbones.vision_transformer gives."
        )
    (height, width, _), (patch_h, patch_w) = backbone.image_shape, backbone.patch_size
    return height // patch_h, width // patch_w


def resize_bicubic(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes `(h, w, C)` to `(*size, C)`: bicubic, a = -0.75, half-pixel centres.

    This is what the field's PyTorch code does to position embeddings; the backends'
    own bicubic kernels differ from it and from each other.
    """
    for axis, length in enumerate(size):
        grid = np.moveaxis(grid, axis, 0)
        old = len(grid)
        source = (np.arange(length) + 0.5) * old / length - 0.5
        first = np.floor(source).astype(int)
        total = np.zeros((length, *grid.shape[1:]))
        for tap in range(-1, 3):
            distance = np.abs(source - (first + tap))
            near = (1.25 * distance - 2.25) * distance**2 + 1
            far = -0.75 * (((distance - 5) * distance + 8) * distance - 4)
            weight = np.where(distance <= 1, near, far)
            total = total + weight[:, None, None] * grid[np.clip(first + tap, 0, old - 1)]
        grid = np.moveaxis(total, 0, axis)
    return grid.astype("float32")


@keras.saving.register_keras_serializable(package="keras_mtl")
class PatchTokens(keras.layers.Layer):
    """Patch projection plus position embedding of a ViT, without its class token.

    Holds the backbone's own projection and position table; the table's class-token
    entry, if there is one, is never read.

    Args:
        projection: `keras.layers.Conv2D`, the backbone's patch projection.
        position_embedding: `keras.layers.Embedding`, the backbone's.
        stem: `ConvolutionalStem`, the backbone's, or `None`: what projects and is projected are
            then patches of the image.

    Call arguments:
        images: tensor `(B, height, width, 3)`, normalised.

    Returns:
        Tensor `(B, N, C)`, row by row from the top left.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (32, 48, 3))
    >>> tokens = keras_mtl.backbones.PatchTokens.of(backbone)
    >>> tuple(tokens(keras.ops.ones((1, 32, 48, 3))).shape)
    (1, 6, 192)
    """

    def __init__(
        self,
        projection: keras.layers.Conv2D,
        position_embedding: keras.layers.Embedding,
        stem: ConvolutionalStem | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.stem = stem
        self.projection = projection
        self.position_embedding = position_embedding

    @classmethod
    def of(cls, backbone: keras.Model, **kwargs) -> "PatchTokens":
        """The `PatchTokens` of a `keras_hub.models.ViTBackbone`."""
        parts = patch_projection(backbone), position_embedding(backbone), stem_of(backbone)
        return cls(*parts, **kwargs)

    def build(self, images_shape):
        if self.stem is not None:
            if not self.stem.built:
                self.stem.build(images_shape)
            images_shape = self.stem.compute_output_shape(images_shape)
        if not self.projection.built:
            self.projection.build(images_shape)
        if not self.position_embedding.built:
            self.position_embedding.build()

    def call(self, images, training=False):
        x = images if self.stem is None else self.stem(images, training=training)
        x = self.projection(x)
        _, h, w, channels = x.shape
        x = ops.reshape(x, (-1, h * w, channels))
        return x + ops.cast(self.position_embedding.embeddings[-h * w :], x.dtype)

    def compute_output_shape(self, images_shape):
        if self.stem is not None:
            images_shape = self.stem.compute_output_shape(images_shape)
        batch, h, w, channels = self.projection.compute_output_shape(images_shape)
        return (batch, h * w, channels)

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "projection": serialize(self.projection),
            "position_embedding": serialize(self.position_embedding),
            "stem": self.stem and serialize(self.stem),
        }

    @classmethod
    def from_config(cls, config):
        deserialize = keras.saving.deserialize_keras_object
        names = ("projection", "position_embedding", "stem")
        parts = {key: deserialize(config[key]) for key in names if config.get(key)}
        return cls(**{**config, **parts})
