"""The checkpoints that TaskPrompter's authors published, weight by weight.

The names are theirs. Their layouts are PyTorch's: channels first, dense kernels transposed, and
query, key and value of an attention stacked in one.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from keras_mtl.backbones.keras_hub import dense_layers, parts_of
from keras_mtl.backbones.vision_transformer import VIT_SIZES
from keras_mtl.backbones.weights.assign import Entry, assign
from keras_mtl.backbones.weights.layouts import (
    batch_norm,
    convolution,
    dense,
    fused_projections,
    norm,
)
from keras_mtl.models import published_detection_head, published_swin_checkpoints
from keras_mtl.models.registry import BACKBONES, PRESETS, preset_tasks
from keras_mtl.tasks import Task

# Counters of training steps in batch normalizations, and what follows from the sizes of windows;
# Keras has no such thing.
_UNUSED = (r".*\.num_batches_tracked", r".*\.relative_position_index", r".*\.attn_mask")

# The rows of the published prompts: whichever of these tasks a network has, in this order.
_PROMPTS = ("semseg", "depth", "human_parts", "sal", "normals", "edge", "3ddet")

# The names that tasks were published under, where they are others.
_PUBLISHED_NAMES = {"detection3d": "3ddet", "disparity": "depth"}


def configurations() -> list[str]:
    """The presets of the released variant on the backbones that the authors have it on.

    Example:

    >>> configurations()[0]
    'taskprompter_vit_large_pascal'
    """
    theirs = ("vision_transformer", "swin_transformer")
    return [
        name
        for name, preset in PRESETS.items()
        if preset["model"] == "TaskPrompter" and preset["arguments"].get("variant") == "released"
        if BACKBONES.get(preset["backbone"], ("",))[0] in theirs
    ]


def preset_of(configuration: str) -> str:
    """The preset that a configuration's name means.

    Args:
        configuration: one of `configurations()`, or its words in another order and without the
            first: `"nyud_vit_large"`.

    Raises:
        ValueError: if no preset of the released variant has this name.

    Example:

    >>> preset_of("nyud_vit_large")
    'taskprompter_vit_large_nyud'
    """

    def words(name):
        return set(name.lower().split("_")) - {"taskprompter"}

    for name in configurations():
        if words(name) == words(str(configuration)):
            return name
    raise ValueError(
        f"Unknown configuration {configuration!r}; choose one of {', '.join(configurations())}."
    )


def published_tasks(name: str) -> list[Task]:
    """The tasks that the published checkpoints of a preset have learned, all of them.

    Args:
        name: a preset, see `preset_of`.

    Example:

    >>> [task.name for task in published_tasks("taskprompter_swin_base_cityscapes3d")]
    ['semseg', 'disparity', 'detection3d']
    """
    listed = PRESETS[name].get("published_tasks")
    return listed() if listed else preset_tasks(name)


# === What a file must be ===


@dataclass(frozen=True)
class Architecture:
    """What tells one published network from another.

    Args:
        name: str, for messages.
        tasks: names of the tasks.
        blocks: int, encoder blocks.
        width: int, channels C of the tokens.
        image_size: `(height, width)` in pixels.
        patch_size: `(height, width)` in pixels.
    """

    name: str
    tasks: tuple[str, ...]
    blocks: int
    width: int
    image_size: tuple[int, int]
    patch_size: tuple[int, int] = (16, 16)

    @classmethod
    def of_preset(cls, name, tasks: Sequence[Task], image_size=None) -> "Architecture":
        """The architecture that `TaskPrompter.from_preset` would build."""
        preset = PRESETS[name]
        size = VIT_SIZES[BACKBONES[preset["backbone"]][1]]
        names = tuple(task.name for task in tasks)
        image_size = tuple(image_size or preset["image_size"])
        return cls(name, names, size["num_layers"], size["hidden_dim"], image_size)

    def check(self, arrays: Mapping[str, np.ndarray], path) -> None:
        """Refuses the arrays of another network.

        Raises:
            ValueError: one sentence on what the file holds instead.
        """
        prompts = arrays.get("backbone.task_prompts")
        heads = dict.fromkeys(re.findall(r"^heads\.(\w+)\.", "\n".join(arrays), re.MULTILINE))
        blocks = {name.split(".")[2] for name in arrays if name.startswith("backbone.blocks.")}
        if prompts is None or prompts.ndim != 2 or not heads or not blocks:
            plain = any(re.search(r"blocks\.0\.attn|layer\.0\.attention", name) for name in arrays)
            raise ValueError(
                f"{path} holds no published TaskPrompter on a plain ViT: it has no "
                "backbone.task_prompts, backbone.blocks and heads"
                + (", only a Vision Transformer's weights." if plain else ".")
            )
        if (len(blocks), prompts.shape[1]) != (self.blocks, self.width):
            raise ValueError(
                f"{path} holds a TaskPrompter of {len(blocks)} blocks {prompts.shape[1]} wide, but "
                f"{self.name} has {self.blocks} blocks {self.width} wide; choose the configuration "
                "it was trained in."
            )
        if set(heads) != set(self.tasks) or len(prompts) != len(heads):
            raise ValueError(
                f"{path} predicts {', '.join(heads)} with {len(prompts)} prompts, but {self.name} "
                f"predicts {', '.join(self.tasks)}; choose the configuration and the tasks it was "
                "trained for."
            )
        patches = np.prod(self.image_size) // np.prod(self.patch_size)
        trained = arrays.get("backbone.blocks.0.attn.token_trans.bias", np.zeros(patches)).size
        if trained != patches:
            raise ValueError(
                f"{path} was trained on images of {trained} patches, but an image of "
                f"{self.image_size[0]}x{self.image_size[1]} has {patches}; the released network "
                "takes images of its training size only: its prompts have a weight for each patch."
            )


def architecture_of(
    name: str, tasks: Sequence[Task], image_size: tuple[int, int] | None = None
) -> Architecture | published_swin_checkpoints.SwinArchitecture:
    """What a file must be to hold the weights of a preset.

    Args:
        name: a preset, see `preset_of`.
        tasks: list of the tasks it was trained for.
        image_size: `(height, width)` in pixels it was trained on, if not the preset's.
    """
    preset = PRESETS[name]
    if BACKBONES[preset["backbone"]][0] != "swin_transformer":
        return Architecture.of_preset(name, tasks, image_size)
    names = [_published_name(task) for task in tasks]
    swin = published_swin_checkpoints.SwinArchitecture
    return swin.of_preset(name, preset, names, image_size)


def assign_published(
    model: keras.Model, arrays: Mapping[str, np.ndarray], path, order: Sequence[str] = _PROMPTS
) -> None:
    """Gives published arrays, all of them, to all variables of a model.

    Args:
        order: published names of tasks, as the rows of the prompts are; others come last.

    Raises:
        ValueError: if names or shapes are not the model's; it is then unchanged.
    """
    assign(
        published_entries(model, order),
        published_detection_head.placed(arrays, published_swin_checkpoints.DETECTION_HEAD),
        f"{path} does not hold this network's weights: ",
        ignore=_UNUSED,
        variables=[v for v in model.weights if not v.path.startswith("image_normalization/")],
    )


# === Which weight is which ===


def published_entries(model: keras.Model, order: Sequence[str] = _PROMPTS) -> Iterator[Entry]:
    """Which published weight every variable of a `TaskPrompter(variant="released")` gets.

    Args:
        model: `TaskPrompter` of the released variant, on ViT or Swin.
        order: published names of tasks, as the rows of the prompts are.

    Yields:
        `keras_mtl.backbones.weights.assign.Entry`, one for every variable that a file can fill.

    Source: https://github.com/prismformore/Multi-Task-Transformer (names of weights only).
    """
    names = [_published_name(task) for task in model.tasks]
    ordered = sorted(names, key=lambda name: (*order, name).index(name))
    rows = [ordered.index(name) for name in names]
    tokens = _layer(model, "patch_tokens")
    if tokens is None:
        yield from published_swin_checkpoints.published_entries(model, _published_name, rows)
        return
    yield from convolution(tokens.projection, "backbone.patch_embed.proj")
    positions = tokens.position_embedding.embeddings
    yield Entry(positions, "backbone.pos_embed", lambda table: np.squeeze(table, 0))
    prompts = model.get_layer("task_prompts").prompts
    yield Entry(prompts, "backbone.task_prompts", lambda table: np.take(table, rows, axis=0))
    levels = []  # after which blocks features are decoded
    i = 0
    while layer := _layer(model, f"prompted_block_{i + 1}"):
        yield from _block(layer, f"backbone.blocks.{i}")
        i += 1
        if _layer(model, f"decoding_after_block_{i}"):
            levels.append(i)
    yield from norm(model.get_layer("ln"), "backbone.norm")
    for level, block in enumerate(levels):
        decoding = model.get_layer(f"decoding_after_block_{block}")
        reweighting = _layer(model, f"reweighting_after_block_{block}")
        for t, task in enumerate(model.tasks):
            place = f"{level}.{task.name}"
            spatial, channel = decoding.reduce[t]
            yield from convolution(spatial, f"backbone.fea_decode_spa.{place}.0")
            yield from convolution(channel, f"backbone.fea_decode_chan.{place}.0")
            reduce, mix, its_norm, _, out = decoding.fuse[t].layers
            yield from convolution(reduce, f"backbone.fea_fuse.{place}.0")
            yield from convolution(mix, f"backbone.fea_fuse.{place}.1")
            yield from batch_norm(its_norm, f"backbone.fea_fuse.{place}.2")
            yield from convolution(out, f"backbone.fea_fuse.{place}.4")
            if reweighting:
                hidden, weight = reweighting.over_heads[t].layers
                yield from dense(hidden, f"backbone.ctr_attn_conv.{place}.0")
                yield from dense(weight, f"backbone.ctr_attn_conv.{place}.2")
    for task in model.tasks:
        _, mix, its_norm, _, out = model.get_layer(f"{task.name}_head").body.layers
        yield from convolution(mix, f"heads.{task.name}.mt_proj.0")
        yield from batch_norm(its_norm, f"heads.{task.name}.mt_proj.1")
        yield from convolution(out, f"heads.{task.name}.linear_pred")


def _block(layer, name):
    """An encoder block, with the two linear maps that the prompts add to it."""
    parts = parts_of(layer.block)
    yield from norm(parts.norm1, f"{name}.norm1")
    yield from norm(parts.norm2, f"{name}.norm2")
    yield from fused_projections(parts.attention, f"{name}.attn.qkv", f"{name}.attn.proj")
    yield from dense(layer.channel.to_patches, f"{name}.attn.token_trans")
    yield from dense(layer.channel.to_channels, f"{name}.attn.token_trans1")
    for part, linear in dense_layers(parts.mlp).items():
        yield from dense(linear, f"{name}.mlp.{part}")


def _published_name(task: Task) -> str:
    return _PUBLISHED_NAMES.get(task.name, task.name)


def _layer(model, name):
    return next((layer for layer in model.layers if layer.name == name), None)
