"""Tables with an entry for each place: resized to the backbone's own places when they are read."""

from collections.abc import Iterator

import keras

from keras_mtl.backbones import keras_hub
from keras_mtl.backbones.swin_transformer import relative_position_table
from keras_mtl.backbones.vision_transformer import grid_of, position_table
from keras_mtl.backbones.weights.assign import Entry
from keras_mtl.backbones.weights.layouts import convolution

Grid = tuple[int, int] | None


def vit_positions(
    vit: keras.Model, table_grid: Grid, token: str, positions: str
) -> Iterator[Entry]:
    """The class token of a ViT, where it has one, and its positions.

    Args:
        vit: `keras_hub.models.ViTBackbone`.
        table_grid: as for `load_weights`.
        token: name of the class token.
        positions: name of the table.
    """
    grid, tokens = grid_of(vit), keras_hub.prefix_tokens(vit)
    for variable in tokens.values():
        yield Entry(variable, token)
    yield Entry(
        keras_hub.position_embedding(vit).embeddings,
        positions,
        lambda table: position_table(table, grid, bool(tokens), table_grid),
    )


def vit_start(
    vit: keras.Model, table_grid: Grid, projection: str, token: str, positions: str
) -> Iterator[Entry]:
    """What a ViT has before its blocks: its patch projection too."""
    yield from convolution(keras_hub.patch_projection(vit), projection)
    yield from vit_positions(vit, table_grid, token, positions)


def relative_positions(swin: keras.Model, attention: keras.layers.Layer, name: str) -> Entry:
    """The table of one attention of a Swin Transformer."""
    window = swin.window_size
    return Entry(
        keras_hub.relative_positions(attention),
        name,
        lambda table: relative_position_table(table, window),
    )
