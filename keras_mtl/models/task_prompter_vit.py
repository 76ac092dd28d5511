"""TaskPrompter's network on a plain Vision Transformer (Sec. 3), a ViT or a DINO."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras

from keras_mtl.arguments import check_integer, check_integers
from keras_mtl.backbones.keras_hub import final_norm
from keras_mtl.backbones.stages import copy_backbone
from keras_mtl.backbones.trunk import tokens_of, trunk_of
from keras_mtl.layers import (
    CrossTaskReweighting,
    PromptedEncoderBlock,
    SpatialChannelPromptDecoding,
    TaskPrompts,
)
from keras_mtl.models.outputs import fed_to_head
from keras_mtl.models.task_prompter_options import PromptOptions
from keras_mtl.tasks import Task


def check_options(backbone: keras.Model, options: PromptOptions) -> PromptOptions:
    """The options with what `None` means on ViT, after refusing what does not fit.

    Args:
        backbone: whatever `keras_mtl.backbones.trunk.trunk_of` takes.
        options: as given.

    Raises:
        ValueError: one sentence on what does not fit.
    """
    if options.channel_dim is not None or options.image_scale != 1:
        raise ValueError(
            f"channel_dim={options.channel_dim} and image_scale={options.image_scale:g} are of a "
            "TaskPrompter on a Swin Transformer; on ViT leave them out."
        )
    windows = None
    if options.channel_prompts:
        given = (4, 4) if options.channel_windows is None else options.channel_windows
        windows = _checked_windows(backbone, given)
    reweighting = options.cross_task_reweighting
    most = min(4, backbone.num_layers)
    return replace(
        options,
        channel_windows=windows,
        cross_task_reweighting=True if reweighting is None else reweighting,
        prompting_levels=check_integer("prompting_levels", options.prompting_levels, 1, most),
    )


def outputs(
    backbone: keras.Model, tasks: Sequence[Task], images: Any, options: PromptOptions
) -> dict[str, Any]:
    """Each task's raw output.

    Args:
        backbone: whatever `keras_mtl.backbones.trunk.trunk_of` takes.
        tasks: list of the model's tasks.
        images: tensor `(B, height, width, 3)`, normalised.
        options: checked.
    """
    features = {}
    if options.task_specific_encoders:
        for t, task in enumerate(tasks):
            encoder = backbone if t == 0 else _copy(backbone, task.name)
            features |= _prompted_features(encoder, [task], f"{task.name}_", images, options)
    else:
        features = _prompted_features(backbone, tasks, "", images, options)
    heads = {task.name: task.head(upsampling=4, name=f"{task.name}_head") for task in tasks}
    stride = trunk_of(backbone).patch_size[0]
    return {
        task.name: heads[task.name](fed_to_head(task, features[task.name], stride))
        for task in tasks
    }


def _prompted_features(encoder, group: Sequence[Task], prefix: str, images, options):
    """Task features (B, h, w, F) of the tasks whose prompts share one encoder."""
    trunk, windows = trunk_of(encoder), options.channel_windows
    grid, depth, first = trunk.grid, len(trunk.blocks), trunk.prefix_tokens
    shared = {
        "channel_windows": windows,
        "spatial_prompts": options.spatial_prompts,
        "variant": options.variant,
    }
    # After which blocks features are decoded: for 4 levels depth/4, depth/2, 3*depth/4, depth.
    count = options.prompting_levels
    levels = [depth * k // count for k in range(1, count + 1)]
    reweighting = options.cross_task_reweighting and options.spatial_prompts
    reweighting = reweighting and not options.task_specific_encoders

    # === Layers ===
    patch_tokens = tokens_of(encoder, f"{prefix}patch_tokens")
    task_prompts = TaskPrompts(len(group), truncated=options.released, name=f"{prefix}task_prompts")
    blocks = [
        PromptedEncoderBlock(
            block,
            grid,
            **shared,
            # Nothing reads the prompts after the last block; the released network
            # carries the weights of their update all the same.
            update_prompts=options.released or i < depth - 1,
            stochastic_depth=options.stochastic_depth * i / max(depth - 1, 1),
            remat=options.remat,
            adapter_width=options.adapter_width,
            prefix_tokens=first,
            rotary_theta=trunk.rotary_theta,
            name=f"{prefix}prompted_block_{i + 1}",
        )
        for i, block in enumerate(trunk.blocks)
    ]

    # === Functional model ===
    patches = patch_tokens(images)
    prompts = task_prompts(patches)  # Eq. 1, as two tensors
    decoded = []
    for i, block in enumerate(blocks, start=1):
        out = block(prompts, patches)
        prompts, patches = out.get("prompts"), out["patches"]
        if i not in levels:
            continue
        affinity = out.get("spatial_affinity")
        # A DINO's authors normalise whatever is read of it; the paper's ViT is at the end only.
        read = trunk.norm(patches) if i == depth or first else patches
        features = SpatialChannelPromptDecoding(
            len(group),
            grid,
            **shared,
            decode_dim=options.decode_dim,
            final_dim=options.final_dim,
            name=f"{prefix}decoding_after_block_{i}",
        )(
            read[:, first:] if first else read,
            affinity[..., len(group) :] if options.spatial_prompts else None,
            out.get("channel_affinity"),
        )
        if reweighting:
            features = CrossTaskReweighting(
                len(group), variant=options.variant, name=f"{prefix}reweighting_after_block_{i}"
            )(features, affinity[..., : len(group)])
        decoded.append(features)
    summed = keras.layers.add(decoded) if len(decoded) > 1 else decoded[0]
    return {task.name: summed[:, t] for t, task in enumerate(group)}


def _copy(backbone: keras.Model, name: str) -> keras.Model:
    """A second encoder that starts from the same weights."""
    copy = copy_backbone(backbone)
    norm = final_norm(copy)
    norm.name = f"{norm.name}_{name}"  # it becomes a layer of the model, beside the first one's
    return copy


def _checked_windows(backbone, windows) -> tuple[int, int]:
    rows, columns = windows = check_integers("channel_windows", windows, (4, 4))
    trunk = trunk_of(backbone)
    for axis, patches, count, patch in zip(
        ("height", "width"), trunk.grid, windows, trunk.patch_size, strict=True
    ):
        if patches % count:
            below = max(patches // count, 1) * count * patch
            raise ValueError(
                f"{count} channel windows do not divide the {patches} patches along the image "
                f"{axis} of {patches * patch}; use an image {axis} of {below} or "
                f"{below + count * patch}, or other channel_windows."
            )
    return rows, columns
