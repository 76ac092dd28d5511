"""TaskPrompter: spatial-channel multi-task prompting for dense scene understanding.

Ye and Xu, ICLR 2023. Learnable task prompts travel with the patch tokens through every
block of a ViT (Sec. 3.1-3.2) and then query them to decode every task (Sec. 3.3).
"""

from collections.abc import Sequence
from pathlib import Path

import keras

from keras_mtl.arguments import check_integer, check_integers, check_number
from keras_mtl.backbones.keras_hub import blocks_of, final_norm, kind_of
from keras_mtl.backbones.stages import copy_backbone
from keras_mtl.backbones.vision_transformer import PatchTokens, grid_of
from keras_mtl.backbones.weights.files import read_weights
from keras_mtl.images import ImageStatistics, normalized_images, statistics_of
from keras_mtl.layers import (
    CrossTaskReweighting,
    PromptedEncoderBlock,
    SpatialChannelPromptDecoding,
    TaskPrompts,
)
from keras_mtl.layers.task_prompter.spatial_channel_prompting import check_variant
from keras_mtl.models import published_checkpoints
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.models.outputs import fed_to_head
from keras_mtl.models.registry import register_architecture
from keras_mtl.models.task_prompter_presets import PRESETS
from keras_mtl.tasks import Task, check_tasks


@register_architecture
@keras.saving.register_keras_serializable(package="keras_mtl")
class TaskPrompter(MultiTaskModel):
    """TaskPrompter on a plain Vision Transformer.

    Args:
        backbone: `keras_hub.models.ViTBackbone`; its blocks become the model's, weights
            included. Its image size is the model's.
        tasks: list of `keras_mtl.tasks.Task`, for instance `keras_mtl.tasks.nyud()`.
        variant: `"paper"`, the equations as written, or `"released"`, the network behind
            the published figures and checkpoints.
        spatial_prompts: bool. Prompts take part in the self-attention (Eq. 3) and decode
            spatially (Eq. 6). Without them there is no affinity among the prompts, and
            so no cross-task reweighting either.
        channel_prompts: bool. Prompts attend to channels (Eq. 4) and decode by channel
            (Eq. 7).
        channel_windows: windows of the channel attention along height and width (their
            product is the paper's number of channel heads); they must divide the patch
            grid.
        cross_task_reweighting: bool. Mix the task features by the prompts' affinity.
        prompting_levels: int, 1 to 4. Levels of hierarchical prompting, spread evenly
            over the blocks; the last block is always one.
        task_specific_encoders: bool. An encoder of its own for each task, each with one
            prompt (A.8).
        decode_dim: int or None. Channels of the decoded features; `None` keeps C.
        final_dim: int or None. Channels of a task's feature map; `None` means
            `decode_dim`.
        stochastic_depth: float. Drop rate of the last block; rises linearly from 0.
        remat: bool. For the gradient, keep only every block's inputs and outputs and compute
            the rest of it again: less memory in training, more time.
        image_statistics: mean and standard deviation of red, green and blue, on the 0..255 scale,
            by which images are normalised; `None` means what the backbone's folder said
            (`keras_mtl.backbones.from_preset`), or else ImageNet's.
        **kwargs: `name` and the like, for `keras.Model`.

    Raises:
        ValueError: if an argument does not fit the others.

    Example:

    ```python
    backbone = keras_mtl.backbones.vision_transformer("small", (448, 576, 3))
    model = keras_mtl.TaskPrompter(backbone, keras_mtl.tasks.nyud(), decode_dim=128)
    model.compile()
    model.fit(dataset)
    maps = model.predict_maps(photograph)
    ```

    Reference: Ye and Xu, TaskPrompter, ICLR 2023.
    """

    presets = PRESETS
    recipe = {**MultiTaskModel.recipe, "batch_size": 4}  # A.3

    def __init__(
        self,
        backbone: keras.Model,
        tasks: Sequence[Task],
        variant: str = "paper",
        spatial_prompts: bool = True,
        channel_prompts: bool = True,
        channel_windows: tuple[int, int] = (4, 4),
        cross_task_reweighting: bool = True,
        prompting_levels: int = 4,
        task_specific_encoders: bool = False,
        decode_dim: int | None = None,
        final_dim: int | None = None,
        stochastic_depth: float = 0.15,
        remat: bool = False,
        image_statistics: ImageStatistics | None = None,
        **kwargs,
    ):
        tasks = check_tasks(tasks)
        _check_arguments(backbone, variant, spatial_prompts, channel_prompts)
        grid = grid_of(backbone)
        statistics = statistics_of(backbone, image_statistics)
        windows = _checked_windows(backbone, grid, channel_windows) if channel_prompts else None
        depth = backbone.num_layers
        prompting_levels = check_integer("prompting_levels", prompting_levels, 1, min(4, depth))
        decode_dim, final_dim = (
            None if width is None else check_integer(name, width, 1)
            for name, width in (("decode_dim", decode_dim), ("final_dim", final_dim))
        )
        stochastic_depth = check_number("stochastic_depth", stochastic_depth, below=1)
        # After which blocks features are decoded: for 4 levels depth/4, depth/2, 3*depth/4, depth.
        levels = [depth * k // prompting_levels for k in range(1, prompting_levels + 1)]
        released = variant == "released"

        def prompted_features(encoder, group: list[Task], prefix: str):
            """Task features (B, h, w, F) of the tasks whose prompts share one encoder."""
            # === Layers ===
            patch_tokens = PatchTokens.of(encoder, name=f"{prefix}patch_tokens")
            task_prompts = TaskPrompts(len(group), truncated=released, name=f"{prefix}task_prompts")
            blocks = [
                PromptedEncoderBlock(
                    block,
                    grid,
                    channel_windows=windows,
                    spatial_prompts=spatial_prompts,
                    variant=variant,
                    # Nothing reads the prompts after the last block; the released network
                    # carries the weights of their update all the same.
                    update_prompts=released or i < depth - 1,
                    stochastic_depth=stochastic_depth * i / max(depth - 1, 1),
                    remat=remat,
                    name=f"{prefix}prompted_block_{i + 1}",
                )
                for i, block in enumerate(blocks_of(encoder))
            ]
            last_norm = final_norm(encoder)

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
                features = SpatialChannelPromptDecoding(
                    len(group),
                    grid,
                    channel_windows=windows,
                    spatial_prompts=spatial_prompts,
                    variant=variant,
                    decode_dim=decode_dim,
                    final_dim=final_dim,
                    name=f"{prefix}decoding_after_block_{i}",
                )(
                    last_norm(patches) if i == depth else patches,
                    affinity[..., len(group) :] if spatial_prompts else None,
                    out.get("channel_affinity"),
                )
                if cross_task_reweighting and spatial_prompts and not task_specific_encoders:
                    features = CrossTaskReweighting(
                        len(group), variant=variant, name=f"{prefix}reweighting_after_block_{i}"
                    )(features, affinity[..., : len(group)])
                decoded.append(features)
            summed = keras.layers.add(decoded) if len(decoded) > 1 else decoded[0]
            return {task.name: summed[:, t] for t, task in enumerate(group)}

        inputs = keras.Input(backbone.image_shape, name="image")
        images = normalized_images(inputs, statistics)
        features = {}
        if task_specific_encoders:
            for t, task in enumerate(tasks):
                encoder = backbone if t == 0 else _copy(backbone, task.name)
                features |= prompted_features(encoder, [task], prefix=f"{task.name}_")
        else:
            features = prompted_features(backbone, tasks, prefix="")
        heads = {task.name: task.head(upsampling=4, name=f"{task.name}_head") for task in tasks}
        stride = backbone.patch_size[0]
        raw = {
            task.name: heads[task.name](fed_to_head(task, features[task.name], stride))
            for task in tasks
        }
        super().__init__(inputs, raw, tasks, **kwargs)

        # === Config ===
        self._config = {
            "backbone": keras.saving.serialize_keras_object(backbone),
            "tasks": [keras.saving.serialize_keras_object(task) for task in tasks],
            "variant": variant,
            "spatial_prompts": spatial_prompts,
            "channel_prompts": channel_prompts,
            "channel_windows": windows and list(windows),
            "cross_task_reweighting": cross_task_reweighting,
            "prompting_levels": prompting_levels,
            "task_specific_encoders": task_specific_encoders,
            "decode_dim": decode_dim,
            "final_dim": final_dim,
            "stochastic_depth": stochastic_depth,
            "remat": remat,
            "image_statistics": statistics,
        }

    @classmethod
    def from_published(
        cls,
        path: str | Path,
        configuration: str,
        tasks: Sequence[Task] | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> "TaskPrompter":
        """Builds the released variant with the weights of a checkpoint its authors published.

        The file is read without running code that may be in it. Every weight of the file finds
        its place and every weight of the model is in the file, or nothing is built.

        Args:
            path: PyTorch file as published (`checkpoint.pth.tar`), or its weights as
                `.safetensors` or `.npz`.
            configuration: the preset that was trained, `"taskprompter_vit_large_nyud"`, or
                `"nyud_vit_large"` for short.
            tasks: list of the tasks it was trained for, if they are not the dataset's.
            image_size: `(height, width)` in pixels it was trained on, if not the preset's.

        Raises:
            ValueError: if the configuration is unknown, or the file is missing, broken, or of
                another network.
            ImportError: if a library that reads the file is not installed.

        Example:

        ```python
        model = keras_mtl.TaskPrompter.from_published("checkpoint.pth.tar", "nyud_vit_large")
        model.save("taskprompter_nyud.keras")
        ```

        Source: https://github.com/prismformore/Multi-Task-Transformer.
        """
        name = published_checkpoints.preset_of(configuration)
        tasks = check_tasks(tasks or cls.preset_tasks(name))
        expected = published_checkpoints.Architecture.of_preset(name, tasks, image_size)
        arrays = read_weights(path)
        expected.check(arrays, path)
        model = cls.from_preset(name, tasks, image_size)
        published_checkpoints.assign_published(model, arrays, path)
        return model

    @property
    def backbone_layers(self) -> list[keras.layers.Layer]:
        """The layers that are the ViT's own; prompts and their maps are not among them."""
        layers = []
        for layer in self.layers:
            if isinstance(layer, PromptedEncoderBlock):
                layers.append(layer.block)
            elif isinstance(layer, (PatchTokens, keras.layers.LayerNormalization)):
                layers.append(layer)
        return layers


def _copy(backbone: keras.Model, name: str) -> keras.Model:
    """A second encoder that starts from the same weights."""
    copy = copy_backbone(backbone)
    norm = final_norm(copy)
    norm.name = f"{norm.name}_{name}"  # it becomes a layer of the model, beside the first one's
    return copy


def _check_arguments(backbone, variant, spatial_prompts, channel_prompts):
    if kind_of(backbone) != "vit":
        raise ValueError(
            f"TaskPrompter needs a keras_hub ViTBackbone, but got {type(backbone).__name__}; build "
            "one with keras_mtl.backbones.vision_transformer."
        )
    if backbone.data_format != "channels_last":
        raise ValueError(
            f"The backbone's data_format is {backbone.data_format!r}; build it with "
            "data_format='channels_last'."
        )
    if backbone.dropout_rate or backbone.attention_dropout:
        raise ValueError(
            f"The backbone has dropout_rate={backbone.dropout_rate} and attention_dropout="
            f"{backbone.attention_dropout}; TaskPrompter regularises by stochastic_depth, so build "
            "it with both at 0."
        )
    check_variant(variant)
    if not spatial_prompts and not channel_prompts:
        raise ValueError(
            "spatial_prompts and channel_prompts are both off, which leaves nothing of "
            "TaskPrompter; turn one of them on."
        )


def _checked_windows(backbone, grid, windows) -> tuple[int, int]:
    rows, columns = windows = check_integers("channel_windows", windows, (4, 4))
    for axis, patches, count, patch in zip(
        ("height", "width"), grid, windows, backbone.patch_size, strict=True
    ):
        if patches % count:
            below = max(patches // count, 1) * count * patch
            raise ValueError(
                f"{count} channel windows do not divide the {patches} patches along the image "
                f"{axis} of {patches * patch}; use an image {axis} of {below} or "
                f"{below + count * patch}, or other channel_windows."
            )
    return rows, columns
