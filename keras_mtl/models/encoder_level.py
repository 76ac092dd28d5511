"""Encoder level: a backbone for each task, side by side, that exchange features between stages."""

from collections.abc import Callable, Sequence
from typing import Any

from keras_mtl.backbones import FeaturePyramid, copy_backbone, stages
from keras_mtl.models.decoder_level import fused_features
from keras_mtl.tasks import Task

# From a stage's number, the name of a place there and each task's map, to what they go on with.
Exchange = Callable[[int, str, list], list]


def backbone_name(task: str) -> str:
    """What the names of the layers of a task's own backbone begin with."""
    return f"{task}_backbone"


def run_side_by_side(
    pyramid: FeaturePyramid, tasks: Sequence[Task], images, exchange: Exchange
) -> list[dict[int, Any]]:
    """The features of one backbone for each task, after an exchange behind every stage.

    The first task has the backbone itself, the others copies of it, with the same weights at first.
    What is exchanged goes on to the next stage, and becomes the pyramid's level.

    Args:
        pyramid: of the first task; one that runs stage by stage.
        tasks: list of the model's tasks.
        images: tensor `(B, H, W, 3)`, normalised.
        exchange: function of a stage's number, from 1, of the place's name, such as `"stage_1"`, or
            `"stage_3_stride_8"` where a stage has several maps, and of a list of T tensors
            `(B, h, w, C)`, to such a list.

    Returns:
        A dict `{stride: tensor}` for each task, of the pyramid's levels.

    Raises:
        ValueError: if the backbone runs only as a whole.
    """
    names = [backbone_name(task.name) for task in tasks]
    copies = [pyramid, *(copy_backbone(pyramid, name) for name in names[1:])]
    encoders = [stages(each, name=name) for name, each in zip(names, copies, strict=True)]
    states: list = [images] * len(tasks)
    levels: list[dict[int, Any]] = [{} for _ in tasks]
    for number, parts in enumerate(zip(*encoders, strict=True), start=1):
        states = [part(state) for part, state in zip(parts, states, strict=True)]
        strides = list(parts[0].channels)
        mixed = []
        for stride, maps in zip(strides, zip(*states, strict=True), strict=True):
            place = f"stage_{number}" + (f"_stride_{stride}" if len(strides) > 1 else "")
            mixed.append(exchange(number, place, list(maps)))
        states = [list(maps) for maps in zip(*mixed, strict=True)]
        for level, part, state in zip(levels, parts, states, strict=True):
            level |= part.maps(state)
    return [{stride: level[stride] for stride in pyramid.channels} for level in levels]


def heads_of_encoders(
    tasks: Sequence[Task], features: Sequence[dict[int, Any]], width: int | None
) -> dict[str, Any]:
    """A head behind each task's own backbone, as the single-task baseline has it.

    Args:
        tasks: list of the model's tasks.
        features: dict `{stride: tensor}` of each.
        width: int or None. Channels inside a head; `None` means a quarter of the features'.

    Returns:
        Dict by task name of raw outputs.
    """
    raw = {}
    for task, levels in zip(tasks, features, strict=True):
        x = fused_features(levels, f"{task.name}_")
        head = task.head(
            width=width or max(x.shape[-1] // 4, 1), activation="relu", name=f"{task.name}_head"
        )
        raw[task.name] = head(x if task.output == "map" else levels)
    return raw
