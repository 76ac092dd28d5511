"""TaskPrompter's network on a Swin Transformer (A.6): prompts in every window of every stage."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_mtl.arguments import check_integers, check_number
from keras_mtl.backbones import SwinTransformer, feature_pyramid
from keras_mtl.backbones.keras_hub import embedding_layers, final_norm, swin_stages
from keras_mtl.computation.windows import pad_to_multiple
from keras_mtl.layers import (
    CrossTaskReweighting,
    LevelPromptDecoding,
    PromptedSwinBlock,
    PromptMerging,
    SpatialChannelPromptDecoding,
    TaskPrompts,
    TransposedUpsampling,
)
from keras_mtl.layers.convolutions import convolution
from keras_mtl.layers.task_prompter.reduced_channel_prompting import channel_plane
from keras_mtl.models.decoder_level import conv_norm_relu, maps_by_stride, summed_levels
from keras_mtl.models.task_prompter_options import PromptOptions
from keras_mtl.tasks import Task


def check_options(backbone: keras.Model | SwinTransformer, options: PromptOptions) -> PromptOptions:
    """The options with what `None` means on a Swin Transformer, after refusing what does not fit.

    Args:
        backbone: `keras_hub.models.SwinTransformerBackbone`, or what walks one.
        options: as given.

    Raises:
        ValueError: one sentence on what does not fit.
    """
    switches = {
        "spatial_prompts": True,
        "channel_prompts": True,
        "prompting_levels": 4,
        "task_specific_encoders": False,
    }
    for name, value in switches.items():
        if getattr(options, name) != value:
            raise ValueError(
                f"{name} is {getattr(options, name)}, which is an ablation of the paper on ViT; a "
                f"TaskPrompter on a Swin Transformer takes {name}={value} only."
            )
    reweighting = options.cross_task_reweighting
    if options.released and reweighting:
        raise ValueError(
            "cross_task_reweighting is on, but the released network on a Swin Transformer has "
            'none; turn it off, or use variant="paper".'
        )
    if not check_number("image_scale", options.image_scale):
        raise ValueError("image_scale is 0, expected a positive number, such as 0.75.")
    given = (1, 1) if options.channel_windows is None else options.channel_windows
    windows = check_integers("channel_windows", given, (1, 1))
    channel_dim = options.channel_dim or 256
    channel_plane(channel_dim, windows)
    return replace(
        options,
        channel_windows=windows,
        cross_task_reweighting=not options.released if reweighting is None else reweighting,
        remat=options.remat or feature_pyramid(backbone).remat,
        channel_dim=channel_dim,
    )


@dataclass(frozen=True)
class Level:
    """What the features of all tasks are decoded from at one stride.

    Args:
        block: int, after which block of the encoder, from 1.
        stride: the image's pixels that a patch stands for, a whole number or not.
        grid: `(H, W)`.
        patches: tensor `(B, N, C)`.
        spatial: spatial affinity `(B, heads, T, N)`.
        channel: channel affinity `(B, windows, T, C)`.
        among: affinity among the prompts `(B, heads, T, T)`.
    """

    block: int
    stride: float
    grid: tuple[int, ...]
    patches: Any
    spatial: Any
    channel: Any
    among: Any


def outputs(
    backbone: keras.Model | SwinTransformer,
    tasks: Sequence[Task],
    images: Any,
    options: PromptOptions,
) -> dict[str, Any]:
    """Each task's raw output.

    Args:
        backbone: `keras_hub.models.SwinTransformerBackbone`, or what walks one.
        tasks: list of the model's tasks.
        images: tensor `(B, height, width, 3)`, normalised.
        options: checked.

    Raises:
        ValueError: if the channel windows do not divide a grid.
    """
    pyramid = feature_pyramid(backbone)
    levels = _levels(pyramid.backbone, len(tasks), images, options)
    rows, columns = options.channel_windows
    for (height, width), stride in ((level.grid, level.stride) for level in levels):
        if height % rows or width % columns:
            raise ValueError(
                f"{rows} x {columns} channel windows do not divide the {height} x {width} patches "
                f"at stride {stride:g}; use channel_windows=(1, 1), or an image whose sides they "
                "divide at every stride."
            )
    final_dim = options.final_dim or options.decode_dim or levels[0].patches.shape[-1]
    decode = _released_outputs if options.released else _paper_outputs
    return decode(levels, tasks, final_dim, options)


def _levels(backbone, num_tasks: int, images, how: PromptOptions) -> list[Level]:
    """The encoder: prompts and patches through all stages."""
    released, scale, patch = how.released, how.image_scale, backbone.patch_size
    if scale != 1:
        size = (round(scale * length) for length in images.shape[1:3])
        images = keras.layers.Resizing(*size, interpolation="bilinear", name="scaled_image")(images)
    patches = pad_to_multiple(images, patch)
    grid = tuple(length // patch for length in patches.shape[1:3])
    for layer in embedding_layers(backbone):
        patches = layer(patches)
    prompts = TaskPrompts(num_tasks, truncated=released, name="task_prompts")(patches)  # Eq. 1
    stages, depth = swin_stages(backbone), sum(backbone.depths)
    stride, number, levels = patch, 0, list[Level]()
    for s, stage in enumerate(stages, start=1):
        for b, block in enumerate(stage.blocks, start=1):
            number += 1
            out = PromptedSwinBlock(
                block,
                grid,
                how.channel_windows,
                how.channel_dim,
                shifted=b % 2 == 0,
                variant=how.variant,
                update_prompts=number < depth,  # nobody reads the prompts after the last block
                stochastic_depth=how.stochastic_depth * (number - 1) / max(depth - 1, 1),
                remat=how.remat,
                adapter_width=how.adapter_width,
                name=f"stage_{s}_block_{b}",
            )(prompts, patches)
            prompts, patches = out.get("prompts"), out["patches"]
        affinity, channel = out["spatial_affinity"], out["channel_affinity"]
        among, spatial = affinity[..., :num_tasks], affinity[..., num_tasks:]
        if stage.merging is None:
            patches = final_norm(backbone)(patches)
        if stage.merging is None or not released:
            levels.append(Level(number, stride / scale, grid, patches, spatial, channel, among))
        if stage.merging is not None:
            merge = PromptMerging(stage.merging, grid, name=f"prompt_merging_{s}")
            merged = merge(prompts, patches, *[spatial, channel] * released)
            prompts, patches = merged["prompts"], merged["patches"]
            grid, stride = merge.merged_grid, 2 * stride
            if released:  # which decodes what is merged
                affinities = merged["spatial_affinity"], merged["channel_affinity"], among
                levels.append(Level(number, stride / scale, grid, patches, *affinities))
    return levels


def _released_outputs(levels, tasks, final_dim: int, how: PromptOptions) -> dict[str, Any]:
    """Decoding and heads as published: maps of 2-D tasks at twice each level's size."""
    raw, strides = {}, [level.stride for level in levels]
    for t, task in enumerate(tasks):
        maps = [
            LevelPromptDecoding(
                level.grid,
                how.channel_windows,
                how.decode_dim,
                final_dim,
                upsampling=2 if task.output == "map" else 1,
                name=f"{task.name}_level_{number}",
            )(level.patches, level.spatial[:, :, t], level.channel[:, :, t])
            for number, level in enumerate(levels, start=1)
        ]
        if task.output != "map":
            raw[task.name] = task.predictor(name=f"{task.name}_prediction")(
                maps_by_stride(strides, maps)
            )
            continue
        x = summed_levels(maps, task.name)
        x = convolution(final_dim, 3, use_bias=True, name=f"{task.name}_fused")(x)
        x = TransposedUpsampling(name=f"{task.name}_head")(x)
        begin = keras.initializers.TruncatedNormal(stddev=0.02)
        raw[task.name] = task.predictor(name=f"{task.name}_prediction", kernel_initializer=begin)(x)
    return raw


def _paper_outputs(levels, tasks, final_dim: int, how: PromptOptions) -> dict[str, Any]:
    """Sec. 3.3 on the maps of every stage, and the heads that A.6 names."""
    decoded = []
    for level in levels:
        features = SpatialChannelPromptDecoding(
            len(tasks),
            level.grid,
            channel_windows=how.channel_windows,
            decode_dim=how.decode_dim,
            final_dim=final_dim,
            name=f"decoding_after_block_{level.block}",
        )(level.patches, level.spatial, level.channel)
        if how.cross_task_reweighting:
            features = CrossTaskReweighting(
                len(tasks), name=f"reweighting_after_block_{level.block}"
            )(features, level.among)
        decoded.append(features)
    raw, strides = {}, [level.stride for level in levels]
    for t, task in enumerate(tasks):
        maps = [features[:, t] for features in decoded]
        if task.output == "map":
            head = task.head(activation="relu", name=f"{task.name}_head")
            raw[task.name] = head(summed_levels(maps, task.name))
            continue
        maps = [
            conv_norm_relu(x, final_dim, 3, f"{task.name}_features_{number}")
            for number, x in enumerate(maps, start=1)
        ]
        raw[task.name] = task.head(name=f"{task.name}_head")(maps_by_stride(strides, maps))
    return raw
