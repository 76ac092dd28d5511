"""Where each kind of backbone is cut into stages, and what each piece computes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, singledispatch
from itertools import pairwise
from typing import Any

import keras
from keras import ops

from keras_mtl.backbones.adapters import PatchMap, PyramidOutputs, SimpleFeaturePyramid
from keras_mtl.backbones.feature_pyramid import FeaturePyramid
from keras_mtl.backbones.hrnet import HRNet
from keras_mtl.backbones.keras_hub import (
    blocks_of,
    embedding_layers,
    final_norm,
    has_vit_layers,
    last_block_input,
    prefix_tokens,
    swin_stages,
)
from keras_mtl.backbones.stemmed_vit import stem_of
from keras_mtl.backbones.swin_transformer import (
    SwinTransformer,
    embed_patches,
    merge,
    on_tokens,
    run_blocks,
)


@dataclass(frozen=True)
class Computation:
    """Some layers of a backbone and what they compute together.

    Args:
        layers: the layers, built.
        call: function of the features and of whether this is training; the answer is a list.
        outputs: list of `keras.KerasTensor` `(None, h, w, C)`.
    """

    layers: Sequence[keras.layers.Layer]
    call: Callable[..., list]
    outputs: list[keras.KerasTensor]


@dataclass(frozen=True)
class Cut:
    """One stage, cut out of a backbone.

    Args:
        run: function without arguments that makes the `Computation`: slices of a functional model
            take time to make.
        channels: dict `{stride: channels}` of the features.
        norm: as `run`, from these features to the pyramid's; `None` where nothing is between.
        levels: dict `{stride: channels}` of the pyramid's maps, `None` where they are `channels`.
    """

    run: Callable[[], Computation]
    channels: dict[int, int]
    norm: Callable[[], Computation] | None = None
    levels: dict[int, int] | None = None


@singledispatch
def cuts(pyramid: FeaturePyramid, last_blocks: bool) -> list[Cut]:
    """The stages of a pyramid that is built, in two each with `last_blocks`: see `stages`.

    Raises:
        ValueError: if the pyramid runs only as a whole.
    """
    raise ValueError(
        f"{type(pyramid).__name__} runs only as a whole; of the backbones that run stage by stage "
        "use a Swin Transformer, an HRNet, a ViT or one with pyramid_outputs, such as ResNet."
    )


def _halves(blocks: list, last_blocks: bool) -> list[tuple[int, list]]:
    """A stage's blocks in one part or two, each with the number of its first block."""
    if not last_blocks:
        return [(0, blocks)]
    return [(0, blocks[:-1]), (len(blocks) - 1, blocks[-1:])]


@cuts.register
def _(pyramid: SwinTransformer, last_blocks: bool) -> list[Cut]:
    swin = pyramid.backbone
    found, before = [], embedding_layers(swin)
    dtype = before[0].compute_dtype
    norms = [*pyramid.norms, final_norm(swin)]
    for level, stage, grid, norm in zip(
        pyramid.channels.items(), swin_stages(swin), pyramid.grids, norms, strict=True
    ):
        for first, blocks in _halves(stage.blocks, last_blocks):

            def run(x, training, blocks=blocks, first=first, grid=grid, before=before):
                if len(before) > 1:
                    x = embed_patches(before, x, swin.patch_size)
                else:
                    x = merge(before[0], x[0]) if before else x[0]
                recompute = pyramid.remat and training
                return [run_blocks(blocks, x, grid, recompute, pyramid.roll, first)]

            outputs = _maps(pyramid, dict([level]), dtype)
            made = partial(Computation, [*before, *blocks], run, outputs)
            found.append(Cut(made, dict([level])))
            before = []
        found[-1] = replace(found[-1], norm=partial(_normalized, pyramid, norm, dict([level])))
        before = [stage.merging]
    return found


def runs_as_a_whole(pyramid: PatchMap) -> bool:
    """Whether tokens that stand for no patch go through all of a Vision Transformer's blocks.

    One whose blocks are chosen runs so, too.
    """
    return not has_vit_layers(pyramid.tokens) or bool(prefix_tokens(pyramid.tokens))


@cuts.register
def _(pyramid: PatchMap, last_blocks: bool) -> list[Cut]:
    vit = pyramid.tokens
    if runs_as_a_whole(pyramid):
        raise ValueError(
            "This Vision Transformer has tokens that stand for no patch and go through all blocks, "
            "so it runs only as a whole; use a keras_hub ViTBackbone with use_class_token=False."
        )
    (level,) = pyramid.channels.items()
    stem = stem_of(vit)
    before = [*([stem] if stem else []), *embedding_layers(vit)]
    found, blocks = [], blocks_of(vit)
    dtype = before[0].compute_dtype
    depth, count = len(blocks), min(4, len(blocks))
    ends = [depth * k // count for k in range(count + 1)]
    for start, end in pairwise(ends):
        for _, group in _halves(blocks[start:end], last_blocks):

            def run(x, training, group=group, before=before):
                if before:
                    for layer in before:
                        x = layer(x)
                else:
                    x = ops.reshape(x[0], (-1, math.prod(pyramid.grid), level[1]))
                for block in group:
                    x = block(x)
                return [ops.reshape(x, (-1, *pyramid.grid, level[1]))]

            outputs = _maps(pyramid, dict([level]), dtype)
            made = partial(Computation, [*before, *group], run, outputs)
            found.append(Cut(made, dict([level])))
            before = []
    found[-1] = replace(
        found[-1], norm=partial(_normalized, pyramid, final_norm(vit), dict([level]))
    )
    return found


@cuts.register
def _(pyramid: SimpleFeaturePyramid, last_blocks: bool) -> list[Cut]:
    *others, last = cuts(pyramid.patch_map, last_blocks)

    def norm():
        last_norm = last.norm()

        def run(features, training):
            (patches,) = last_norm.call(features, training)
            return list(pyramid.levels(patches).values())

        outputs = _maps(pyramid, pyramid.channels, pyramid.compute_dtype)
        return Computation([*last_norm.layers, *pyramid.branches.values()], run, outputs)

    return [*others, replace(last, norm=norm, levels=pyramid.channels)]


def _maps(pyramid, channels: dict[int, int], dtype: str) -> list[keras.KerasTensor]:
    """What the maps of an image are, symbolically."""
    sizes = [
        [math.ceil(length / stride) for length in pyramid.image_shape[:2]] for stride in channels
    ]
    return [
        keras.KerasTensor((None, *size, width), dtype)
        for size, width in zip(sizes, channels.values(), strict=True)
    ]


def _normalized(pyramid, norm, channels) -> Computation:
    """A LayerNorm of one map, in the pyramid's precision."""
    dtype = pyramid.compute_dtype

    def run(x, training):
        return [ops.cast(on_tokens(norm, x[0]), dtype)]

    return Computation([norm], run, _maps(pyramid, channels, dtype))


# Functional models are cut at the tensors between their stages.


@cuts.register
def _(pyramid: HRNet, last_blocks: bool) -> list[Cut]:
    images = pyramid.body.input
    found, before = [], images
    for entering, leaving in pyramid.stage_tensors:
        for tensors in (entering, leaving) if last_blocks else (leaving,):
            channels = {4 * 2**i: x.shape[-1] for i, x in enumerate(tensors)}
            found.append(Cut(partial(_slice, pyramid, images, before, tensors), channels))
            before = tensors
    return found


@cuts.register
def _(pyramid: PyramidOutputs, last_blocks: bool) -> list[Cut]:
    levels, images = pyramid.levels, pyramid.levels.input
    found, before, before_stride = [], images, None
    for n, stride in enumerate(pyramid.channels):
        ends: list[tuple[Any, Any]] = [(levels.output[str(stride)], stride)]
        if last_blocks:
            entering = last_block_input(levels, n)
            if entering is None:
                raise ValueError(
                    "The last blocks of this backbone's stages are not known; leave last_blocks "
                    "out, or use a ResNet, a Swin Transformer, an HRNet or a ViT."
                )
            # A stage of one block begins where the stage before it ends.
            none = n > 0 and entering is before[0]
            ends.insert(0, (entering, before_stride if none else stride))
        for tensor, before_stride in ends:
            channels = {before_stride: tensor.shape[-1]}
            found.append(Cut(partial(_slice, pyramid, images, before, [tensor]), channels))
            before = [tensor]
    return found


def _slice(pyramid, images, before, tensors: list) -> Computation:
    """The part of a pyramid's functional model between some of its tensors."""
    given = before if isinstance(before, list) else [before]
    # A branch may go through a transition as it is.
    kept = {i: j for i, x in enumerate(tensors) for j, y in enumerate(given) if x is y}
    new = [x for i, x in enumerate(tensors) if i not in kept]
    body = keras.Model(before, new) if new else None

    def run(features, training):
        made = iter(keras.tree.flatten(body(features, training=training)) if new else [])
        return [features[kept[i]] if i in kept else next(made) for i in range(len(tensors))]

    # The model may take images of any size; the pyramid does not.
    whole = keras.Model(images, tensors)
    shapes = whole.compute_output_shape((None, *pyramid.image_shape))
    outputs = [keras.KerasTensor(shape, x.dtype) for shape, x in zip(shapes, tensors, strict=True)]
    return Computation([body] if new else [], run, outputs)
