"""The weights of the published head for boxes in space (FCOS3D's) by their names.

The layouts are PyTorch's, see `keras_mtl.backbones.weights.layouts`.
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from keras_mtl.backbones.weights.assign import Entry
from keras_mtl.backbones.weights.layouts import convolution, norm
from keras_mtl.layers import DeformableConvolution, FCOS3DHead

# The regression branches in the order of their published numbers, by our names.
_BRANCHES = ("offset", "depth", "size", "angles", "box")
_OTHERS = {"direction": "conv_dir_cls", "centerness": "conv_centerness"}

# What the names of the head's parts begin with.
_PARTS = "neck|cls_convs|reg_convs|conv_(?:cls|reg|dir_cls|centerness)(?:_prevs?|s)?|scales"


def placed(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """A file's arrays, those of the head under one prefix, wherever the file has them.

    Args:
        arrays: dict by name.
        prefix: str, such as `"heads.3ddet."`.

    Example:

    >>> list(placed({"model.neck.lateral_convs.0.conv.bias": 0, "norm.bias": 1}, "head."))
    ['head.neck.lateral_convs.0.conv.bias', 'norm.bias']
    """
    part = re.compile(rf"(?:.*\.)?((?:{_PARTS})\..*)")
    return {
        prefix + found[1] if (found := part.fullmatch(name)) else name: array
        for name, array in arrays.items()
    }


def published_entries(head: FCOS3DHead, prefix: str = "") -> Iterator[Entry]:
    """Which published weight every variable of a head gets, its pyramid's among them.

    Args:
        head: built.
        prefix: str that the names in the file begin with.

    Yields:
        `keras_mtl.backbones.weights.assign.Entry`.

    Source: https://github.com/prismformore/Multi-Task-Transformer (names of weights only).
    """
    for k, layer in enumerate(head.pyramid.lateral):
        yield from convolution(layer, f"{prefix}neck.lateral_convs.{k}.conv")
    for k, layer in enumerate((*head.pyramid.smooth, head.pyramid.coarser)):
        yield from convolution(layer, f"{prefix}neck.fpn_convs.{k}.conv")
    for name, tower in (("cls_convs", head.class_tower), ("reg_convs", head.box_tower)):
        for k, block in enumerate(tower):
            yield from _block(block, f"{prefix}{name}.{k}")
    for k, block in enumerate(head.class_blocks):
        yield from _block(block, f"{prefix}conv_cls_prev.{k}")
    yield from convolution(head.class_prediction, f"{prefix}conv_cls")
    for k, name in enumerate(_BRANCHES):
        yield from _block(head.box_blocks[name], f"{prefix}conv_reg_prevs.{k}.0")
        yield from convolution(head.box_predictions[name], f"{prefix}conv_regs.{k}")
    for name, theirs in _OTHERS.items():
        yield from _block(head.box_blocks[name], f"{prefix}{theirs}_prev.0")
        yield from convolution(head.box_predictions[name], f"{prefix}{theirs}")
    levels, groups = head.scales.shape
    names = [f"{prefix}scales.{k}.{g}.scale" for k in range(levels) for g in range(groups)]
    yield Entry(head.scales, tuple(names), lambda *values: _table(values, levels, groups))


def _table(values, levels: int, groups: int) -> np.ndarray:
    """Single numbers, level by level, as one array."""
    return np.stack([np.reshape(value, ()) for value in values]).reshape(levels, groups)


def _block(block, name: str) -> Iterator[Entry]:
    """A convolution, deformable or not, and a group normalization."""
    yield from convolution(block.convolution, f"{name}.conv")
    if isinstance(block.convolution, DeformableConvolution):
        yield from convolution(block.convolution.offsets, f"{name}.conv.conv_offset")
    yield from norm(block.norm, f"{name}.gn")
