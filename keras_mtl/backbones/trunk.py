"""A plain Transformer as a trunk: tokens of an image, and blocks that run one after the other."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
from keras import ops

from keras_mtl.backbones.keras_hub import (
    blocks_of,
    embedding_layers,
    final_norm,
    keep_positions,
    token_embedding,
)
from keras_mtl.backbones.kinds import class_of, kind_of
from keras_mtl.backbones.stemmed_vit import stem_of
from keras_mtl.backbones.vision_transformer import PatchTokens

PLAIN = ("vit", "dinov2", "dinov3")  # Transformers whose tokens all have one size


class Trunk(NamedTuple):
    """What a network needs to run a plain Transformer itself.

    Attributes:
        blocks: its blocks, the first one first.
        norm: what its authors normalise the tokens by that others read, after any block.
        grid: `(H, W)`, patches along height and width.
        patch_size: `(height, width)` of a patch in pixels.
        prefix_tokens: int. Class and register tokens that come before the patches.
        rotary_theta: float, base of the rotary positions; `None` where there are none.
    """

    blocks: list[keras.layers.Layer]
    norm: keras.layers.LayerNormalization
    grid: tuple[int, int]
    patch_size: tuple[int, int]
    prefix_tokens: int
    rotary_theta: float | None


def evenly_spaced(depth: int, count: int = 4) -> tuple[int, ...]:
    """The blocks after which so many levels are read, the last block among them; counted from 1.

    Example:

    >>> evenly_spaced(12), evenly_spaced(2)
    ((3, 6, 9, 12), (1, 2))
    """
    count = min(count, depth)
    return tuple(depth * k // count for k in range(1, count + 1))


def tokens_after(backbone: keras.Model, layers: Sequence[int]) -> keras.Model:
    """A model from a trunk's images to its tokens after some blocks.

    A DINO's last LayerNorm normalises those of every block, as its authors' code does where it
    gives several levels; a ViT's those of the last block, as in networks on several levels of it.

    Args:
        backbone: as for `trunk_of`.
        layers: numbers of blocks, from 1.
    """
    trunk = trunk_of(backbone)
    if kind_of(backbone) != "vit":
        found = [backbone.pyramid_outputs[f"stage{n}"] for n in layers]
        if not backbone.apply_layernorm:
            found = [trunk.norm(each) for each in found]
        return keras.Model(backbone.inputs, found)
    x, after, stem = backbone.input, [], stem_of(backbone)
    for layer in [*([stem] if stem else []), *embedding_layers(backbone)]:
        x = layer(x)
    for block in trunk.blocks:
        x = block(x)
        after.append(x)
    after[-1] = trunk.norm(x)
    return keras.Model(backbone.inputs, [after[n - 1] for n in layers])


def is_plain(backbone) -> bool:
    """Whether something is a backbone that `trunk_of` takes."""
    return kind_of(backbone) in PLAIN


def trunk_of(backbone: keras.Model) -> Trunk:
    """The parts of a plain Transformer. The class token of a ViT is left out.

    Args:
        backbone: `keras_hub.models.ViTBackbone`, `DINOV2Backbone` or `DINOV3Backbone`.

    Raises:
        ValueError: if it is another backbone.

    Example:

    >>> backbone = keras_mtl.backbones.dinov3("small", (32, 48, 3), num_layers=2)
    >>> trunk = trunk_of(backbone)
    >>> trunk.grid, trunk.prefix_tokens, len(trunk.blocks)
    ((2, 3), 5, 2)
    """
    if not is_plain(backbone):
        known = ", ".join(class_of(kind).__name__ for kind in PLAIN)
        raise ValueError(
            f"The backbone is a {type(backbone).__name__}; expected a plain Transformer: a "
            f"keras_hub {known}, as keras_mtl.backbones.vision_transformer, dinov2 and dinov3 give."
        )
    patch = backbone.patch_size
    sides = (patch, patch) if isinstance(patch, int) else tuple(patch)
    height, width, _ = backbone.image_shape
    first = 0
    if kind_of(backbone) != "vit":
        first = 1 + backbone.num_register_tokens
    return Trunk(
        blocks=blocks_of(backbone),
        norm=final_norm(backbone),
        grid=(height // sides[0], width // sides[1]),
        patch_size=sides,
        prefix_tokens=first,
        rotary_theta=backbone.rope_theta if kind_of(backbone) == "dinov3" else None,
    )


def tokens_of(backbone: keras.Model, name: str) -> keras.layers.Layer:
    """A layer that makes images the tokens that enter a trunk's first block.

    Args:
        backbone: as for `trunk_of`.
        name: str, the layer's.
    """
    if kind_of(backbone) == "vit":
        return PatchTokens.of(backbone, name=name)
    trunk = trunk_of(backbone)
    return PrefixedTokens(token_embedding(backbone), trunk.grid, trunk.prefix_tokens, name=name)


@keras.saving.register_keras_serializable(package="keras_mtl")
class PrefixedTokens(keras.layers.Layer):
    """A DINO's tokens: class token, registers, and the patches with their positions, if any.

    Args:
        embedding: the backbone's own layer.
        grid: `(H, W)`, patches along height and width.
        prefix_tokens: int R, tokens before the patches.

    Call arguments:
        images: tensor `(B, height, width, 3)`, normalised.

    Returns:
        Tensor `(B, R + N, C)`, the patches row by row from the top left.

    Example:

    >>> backbone = keras_mtl.backbones.dinov3("small", (32, 48, 3), num_layers=1)
    >>> tokens = tokens_of(backbone, "tokens")
    >>> tuple(tokens(keras.ops.ones((1, 32, 48, 3))).shape)
    (1, 11, 384)
    """

    def __init__(
        self, embedding: keras.layers.Layer, grid: Sequence[int], prefix_tokens: int, **kwargs
    ):
        super().__init__(**kwargs)
        self.embedding = embedding
        self.grid = tuple(grid)
        self.prefix_tokens = prefix_tokens

    def build(self, images_shape):
        if not self.embedding.built:
            self.embedding.build(images_shape)

    def call(self, images):
        # keras-hub counts the tokens of a square, whatever the image is.
        return ops.reshape(self.embedding(images), (-1, *self._token_shape()))

    def _token_shape(self) -> tuple[int, int]:
        rows, columns = self.grid
        return self.prefix_tokens + rows * columns, self.embedding.hidden_dim

    def compute_output_spec(self, images):
        return keras.KerasTensor((images.shape[0], *self._token_shape()), self.compute_dtype)

    def save_own_variables(self, store):
        keep_positions([self.embedding])
        super().save_own_variables(store)

    def get_config(self):
        return {
            **super().get_config(),
            "embedding": keras.saving.serialize_keras_object(self.embedding),
            "grid": self.grid,
            "prefix_tokens": self.prefix_tokens,
        }

    @classmethod
    def from_config(cls, config):
        embedding = keras.saving.deserialize_keras_object(config["embedding"])
        return cls(**{**config, "embedding": embedding})
