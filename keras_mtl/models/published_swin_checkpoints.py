"""The weights of TaskPrompter on a Swin Transformer by the names its authors published them under.

The layouts are PyTorch's, see `keras_mtl.backbones.weights.layouts`.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

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
from keras_mtl.backbones.swin_transformer import SWIN_SIZES
from keras_mtl.backbones.weights.assign import Entry
from keras_mtl.backbones.weights.layouts import batch_norm, convolution, dense, norm
from keras_mtl.layers import FCOS3DHead, PromptedSwinBlock, PromptMerging
from keras_mtl.models import published_detection_head
from keras_mtl.models.registry import BACKBONES
from keras_mtl.tasks import Task

DETECTION_HEAD = "heads.3ddet."  # what we call it; files may have it elsewhere


@dataclass(frozen=True)
class SwinArchitecture:
    """What tells one published network on a Swin Transformer from another.

    Args:
        name: str, for messages.
        tasks: names that the tasks were published under.
        depths: blocks of each stage.
        width: int, channels of the first stage.
        image_size: `(height, width)` in pixels.
        image_scale: float, what the network scales images by.
        patch_size: int, pixels.
    """

    name: str
    tasks: tuple[str, ...]
    depths: tuple[int, ...]
    width: int
    image_size: tuple[int, int]
    image_scale: float = 1.0
    patch_size: int = 4

    @classmethod
    def of_preset(
        cls, name: str, preset: Mapping, tasks: Sequence[str], image_size=None
    ) -> "SwinArchitecture":
        """The architecture that `TaskPrompter.from_preset` would build.

        Args:
            name: str.
            preset: that preset.
            tasks: names that the tasks were published under.
            image_size: instead of the preset's.
        """
        size = SWIN_SIZES[BACKBONES[preset["backbone"]][1]]
        size = size | preset.get("backbone_arguments", {})
        image_size = tuple(image_size or preset["image_size"])
        scale = preset["arguments"].get("image_scale", 1.0)
        return cls(name, tuple(tasks), tuple(size["depths"]), size["embed_dim"], image_size, scale)

    @property
    def patches(self) -> int:
        """Those of the first stage."""
        scaled = (round(self.image_scale * length) for length in self.image_size)
        return math.prod(math.ceil(length / self.patch_size) for length in scaled)

    def check(self, arrays: Mapping[str, np.ndarray], path) -> None:
        """Refuses the arrays of another network.

        Raises:
            ValueError: one sentence on what the file holds instead.
        """
        prompts, text = arrays.get("backbone.task_prompts"), "\n".join(arrays)
        tasks = list(dict.fromkeys(re.findall(r"^backbone\.fea_fuse\.0\.(\w+)\.", text, re.M)))
        blocks = set(re.findall(r"^backbone\.layers\.(\d+)\.blocks\.(\d+)\.", text, re.M))
        if prompts is None or prompts.ndim != 2 or not tasks or not blocks:
            raise ValueError(
                f"{path} holds no published TaskPrompter on a Swin Transformer: it has no "
                "backbone.task_prompts, backbone.layers and backbone.fea_fuse."
            )
        counts = Counter(int(stage) for stage, _ in blocks)
        depths = tuple(counts[stage] for stage in sorted(counts))
        if (depths, prompts.shape[1]) != (self.depths, self.width):
            raise ValueError(
                f"{path} holds a TaskPrompter of {depths} blocks, the first {prompts.shape[1]} "
                f"wide, but {self.name} has {self.depths} blocks, the first {self.width} wide; "
                "choose the configuration it was trained in."
            )
        if set(tasks) != set(self.tasks) or len(prompts) != len(tasks):
            raise ValueError(
                f"{path} predicts {', '.join(tasks)} with {len(prompts)} prompts, but {self.name} "
                f"predicts {', '.join(self.tasks)}; choose the configuration and the tasks it was "
                "trained for."
            )
        weight = arrays.get("backbone.layers.0.blocks.0.chan_kv.weight")
        if weight is not None and weight.shape[-1] != self.patches:
            raise ValueError(
                f"{path} was trained on images of {weight.shape[-1]} patches, but an image of "
                f"{self.image_size[0]}x{self.image_size[1]} has {self.patches}; the released "
                "network takes images of its training size only: its channel prompts have a weight "
                "for each patch."
            )


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
            yield from _merging(layer, f"backbone.layers.{stage - 1}.downsample", rows)
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
        elif isinstance(head := layers.get(f"{task.name}_prediction"), FCOS3DHead):
            yield from published_detection_head.published_entries(head, DETECTION_HEAD)


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


def _merging(layer: PromptMerging, name: str, rows: Sequence[int]) -> Iterator[Entry]:
    """What halves the grid and doubles the channels after a stage."""
    its_norm, reduction = merging_layers(layer.merging)
    yield from norm(its_norm, f"{name}.norm")
    yield from dense(reduction, f"{name}.reduction")
    yield from dense(layer.widen, f"{name}.task_prompts_up")
    yield from dense(layer.widen_affinity, f"{name}.process_chan_attn")
    # Its channels are heads by tasks, and ours may have the tasks in another order.
    maps, name = layer.halve_affinity.bias.shape[0], f"{name}.spa_attn_ds"
    order = [first + row for first in range(0, maps, len(rows)) for row in rows]
    for entry in convolution(layer.halve_affinity, name):
        yield replace(entry, convert=partial(_of_tasks, entry.convert, order))


def _of_tasks(convert: Callable, order: Sequence[int], values: np.ndarray) -> np.ndarray:
    """A kernel or bias with its channels, both in and out, in another order."""
    for axis in range(min(values.ndim, 2)):
        values = np.take(values, order, axis=axis)
    return convert(values)


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
