"""The weights of TaskPrompter on a Swin Transformer by the names its authors published them under.

The layouts are PyTorch's, see `keras_mtl.backbones.weights.layouts`.
"""

from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np

from keras_mtl.backbones.keras_hub import (
    dense_layers,
    fused_projections,
    merging_layers,
    parts_of,
    patch_layers,
    relative_positions,
    window_length,
)
from keras_mtl.backbones.weights.assign import Entry
from keras_mtl.backbones.weights.layouts import batch_norm, convolution, dense, norm
from keras_mtl.layers import PromptedSwinBlock, PromptMerging
from keras_mtl.tasks import Task


def published_entries(
    model: keras.Model, published: Callable[[Task], str], rows: Sequence[int]
) -> Iterator[Entry]:
    """Which published weight every variable of a released TaskPrompter on Swin gets.

    Args:
        model: `TaskPrompter`.
        published: function from a task to the name that it was published under.
        rows: of the published prompts, those of the model's tasks, in their order.

    Yields:
        `keras_mtl.backbones.weights.assign.Entry`, one for every variable that a file can fill.

    Source: https://github.com/prismformore/Multi-Task-Transformer (names of weights only).
    """
    layers = {layer.name: layer for layer in model.layers}
    projection, its_norm = patch_layers(layers["patch_embedding"])
    yield from convolution(projection, "backbone.patch_embed.proj")
    yield from norm(its_norm, "backbone.patch_embed.norm")
    prompts = layers["task_prompts"].prompts
    yield Entry(prompts, "backbone.task_prompts", lambda table: np.take(table, rows, axis=0))
    for name, layer in layers.items():
        if isinstance(layer, PromptedSwinBlock):  # "stage_1_block_2"
            _, stage, _, block = name.split("_")
            place = f"backbone.layers.{int(stage) - 1}.blocks.{int(block) - 1}"
            yield from _block(layer, place)
        elif isinstance(layer, PromptMerging):  # "prompt_merging_1"
            stage = int(name.removeprefix("prompt_merging_"))
            yield from _merging(layer, f"backbone.layers.{stage - 1}.downsample")
    yield from norm(layers["norm"], "backbone.norm")
    for task in model.tasks:
        name = published(task)
        level = 0
        while decoding := layers.get(f"{task.name}_level_{level + 1}"):
            yield from _decoding(decoding, f"{level}.{name}")
            level += 1
        if task.output == "map":
            fused = layers[f"{task.name}_fused"]
            yield from convolution(fused, f"backbone.multi_scale_fuse.{name}")
            upsampling, last = layers[f"{task.name}_head"], layers[f"{task.name}_prediction"]
            first, norm_1, _, second, norm_2, _ = upsampling.body.layers
            yield from convolution(first, f"heads.{name}.mt_proj.0")
            yield from batch_norm(norm_1, f"heads.{name}.mt_proj.1")
            yield from convolution(second, f"heads.{name}.mt_proj.3")
            yield from batch_norm(norm_2, f"heads.{name}.mt_proj.4")
            yield from dense(last, f"heads.{name}.linear_pred")


def _block(layer: PromptedSwinBlock, name: str) -> Iterator[Entry]:
    """A block of the backbone, with the linear maps of the channel prompts."""
    parts, channel = parts_of(layer.block), layer.channel
    yield from norm(parts.norm1, f"{name}.norm1")
    yield from norm(parts.norm2, f"{name}.norm2")
    project, project_out = fused_projections(parts.attention)
    yield from dense(project, f"{name}.attn.qkv")
    yield from dense(project_out, f"{name}.attn.proj")
    table = relative_positions(parts.attention)
    windows = layer.spatial.window, window_length(parts.attention)
    yield Entry(
        table,
        f"{name}.attn.relative_position_bias_table",
        lambda values: _in_the_middle(values, *windows),
    )
    for part, linear in dense_layers(parts.mlp).items():
        yield from dense(linear, f"{name}.mlp.{part}")
    yield from dense(channel.reduce, f"{name}.token_trans")
    yield from dense(channel.query, f"{name}.chan_q")
    yield from dense(channel.key_value, f"{name}.chan_kv")
    if channel.update_prompts:
        yield from dense(channel.project, f"{name}.chan_proj")
        yield from dense(channel.to_channels, f"{name}.token_trans1")


def _in_the_middle(values: np.ndarray, window: int, full: int) -> np.ndarray:
    """A table of relative positions, of windows cut to the grid, in that of whole windows."""
    side, cut = 2 * window - 1, full - window
    table = values.reshape(side, side, -1)
    table = np.pad(table, ((cut, cut), (cut, cut), (0, 0)))
    return table.reshape((2 * full - 1) ** 2, -1)


def _merging(layer: PromptMerging, name: str) -> Iterator[Entry]:
    """What halves the grid and doubles the channels after a stage."""
    its_norm, reduction = merging_layers(layer.merging)
    yield from norm(its_norm, f"{name}.norm")
    yield from dense(reduction, f"{name}.reduction")
    yield from dense(layer.widen, f"{name}.task_prompts_up")
    yield from dense(layer.widen_affinity, f"{name}.process_chan_attn")
    yield from convolution(layer.halve_affinity, f"{name}.spa_attn_ds")


def _decoding(layer, place: str) -> Iterator[Entry]:
    """One task's features of one level."""
    spatial, channel = layer.reduce
    yield from convolution(spatial, f"backbone.fea_decode_spa.{place}.0")
    yield from convolution(channel, f"backbone.fea_decode_chan.{place}.0")
    reduce, mix, its_norm, _, out = layer.fuse.layers
    yield from convolution(reduce, f"backbone.fea_fuse.{place}.0")
    yield from convolution(mix, f"backbone.fea_fuse.{place}.1")
    yield from batch_norm(its_norm, f"backbone.fea_fuse.{place}.2")
    yield from convolution(out, f"backbone.fea_fuse.{place}.4")
