"""TaskPrompter: spatial-channel multi-task prompting for dense scene understanding.

Ye and Xu, ICLR 2023. Learnable task prompts travel with the patch tokens through every
block of a ViT (Sec. 3.1-3.2) and then query them to decode every task (Sec. 3.3). The network on a
Swin Transformer (A.6) is in task_prompter_swin.py.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import keras

from keras_mtl.backbones import PatchTokens, SwinTransformer
from keras_mtl.backbones.keras_hub import patch_layers
from keras_mtl.backbones.kinds import kind_of
from keras_mtl.backbones.trunk import PrefixedTokens, is_plain
from keras_mtl.backbones.weights.files import read_weights
from keras_mtl.images import ImageStatistics, normalized_images, statistics_of
from keras_mtl.layers import PromptMerging
from keras_mtl.layers.task_prompter.prompted_block import PromptedBlock
from keras_mtl.models import published_checkpoints, task_prompter_swin, task_prompter_vit
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.models.registry import register_architecture
from keras_mtl.models.task_prompter_options import PromptOptions, check_encoder
from keras_mtl.models.task_prompter_presets import PRESETS
from keras_mtl.tasks import Task, check_tasks


@register_architecture
@keras.saving.register_keras_serializable(package="keras_mtl")
class TaskPrompter(MultiTaskModel):
    """TaskPrompter on a plain Transformer (ViT, DINOv2, DINOv3), or on a Swin Transformer (A.6).

    On ViT, and on Swin in the released variant, some weights have an entry for each patch: they
    fit one image size only, that of the backbone. On Swin in the paper's variant none has.

    On Swin every window has a copy of the prompts, their updates are averaged, and the features of
    four levels are summed. `"released"` is the network behind Table 4: channel prompts of
    `channel_dim` numbers, decoding of merged patches at strides 8, 16, 32 and 32, a head with a
    transposed convolution, no cross-task reweighting. `"paper"` is A.6 with Sec. 3.3: where the
    text leaves it open, channel prompts attend to `channel_dim` areas of the image instead of all
    its patches, levels are decoded before they are merged, at strides 4 to 32, affinities among the
    prompts are averaged over the windows, and a head is a 3x3 convolution, batch normalization,
    ReLU and a linear layer. A task whose output is no map gets the maps of the levels as they are.

    Args:
        backbone: `keras_hub.models.ViTBackbone`, `DINOV2Backbone`, `DINOV3Backbone` or
            `SwinTransformerBackbone`, or `keras_mtl.backbones.SwinTransformer`; its blocks become
            the model's, weights included. Its image size is the model's. Stochastic depth of its
            own is left aside. Class and register tokens of a DINO go through all blocks, and
            patches and prompts attend to them; only patches have its rotary positions, and its
            last LayerNorm normalises the patches of every level.
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
            grid, on Swin that of every level. `None` means (4, 4) on ViT and (1, 1) on Swin.
        channel_dim: int or None. On Swin, numbers of a channel prompt, a square such as 256, which
            `None` means.
        image_scale: float. On Swin, what the network scales images by before anything else;
            published is 0.75 for 1024x2048. Outputs have the images' size all the same.
        cross_task_reweighting: bool or None. Mix the task features by the prompts' affinity; `None`
            means so, but on Swin in the released variant, which cannot.
        prompting_levels: int, 1 to 4. Levels of hierarchical prompting, spread evenly
            over the blocks; the last block is always one.
        task_specific_encoders: bool. An encoder of its own for each task, each with one
            prompt (A.8).
        decode_dim: int or None. Channels of the decoded features; `None` keeps C.
        final_dim: int or None. Channels of a task's feature map; `None` means
            `decode_dim`, and on Swin without one the channels of the finest level.
        stochastic_depth: float. Drop rate of the last block; rises linearly from 0.
        remat: bool. For the gradient, keep only every block's inputs and outputs and compute
            the rest of it again: less memory in training, more time.
        adapter_width: int or None. Units of an adapter in every block, beside its perceptron, with
            two linear maps and a ReLU between; it adds nothing at first. With `freeze_backbone`
            a large backbone then adapts by few weights (Chen et al., AdaptFormer, NeurIPS 2022).
        image_statistics: mean and standard deviation of red, green and blue, on the 0..255 scale,
            by which images are normalised; `None` means what the backbone's folder said
            (`keras_mtl.backbones.from_preset`), or else ImageNet's.
        **kwargs: `name` and the like, for `keras.Model`.

    Raises:
        ValueError: if an argument does not fit the others. The switches `spatial_prompts`,
            `channel_prompts`, `prompting_levels` and `task_specific_encoders` are the ablations of
            the paper, which are on ViT only.

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
    swin_recipe = {**recipe, "batch_size": 2, "weight_decay": None}  # A.6

    def __init__(
        self,
        backbone: keras.Model,
        tasks: Sequence[Task],
        variant: str = "paper",
        spatial_prompts: bool = True,
        channel_prompts: bool = True,
        channel_windows: tuple[int, int] | None = None,
        cross_task_reweighting: bool | None = None,
        prompting_levels: int = 4,
        task_specific_encoders: bool = False,
        decode_dim: int | None = None,
        final_dim: int | None = None,
        stochastic_depth: float = 0.15,
        remat: bool = False,
        image_statistics: ImageStatistics | None = None,
        channel_dim: int | None = None,
        image_scale: float = 1.0,
        adapter_width: int | None = None,
        **kwargs,
    ):
        tasks = check_tasks(tasks)
        network = _network_on(backbone)
        given = PromptOptions(
            variant=variant,
            spatial_prompts=spatial_prompts,
            channel_prompts=channel_prompts,
            channel_windows=channel_windows,
            cross_task_reweighting=cross_task_reweighting,
            prompting_levels=prompting_levels,
            task_specific_encoders=task_specific_encoders,
            decode_dim=decode_dim,
            final_dim=final_dim,
            stochastic_depth=stochastic_depth,
            remat=remat,
            channel_dim=channel_dim,
            image_scale=image_scale,
            adapter_width=adapter_width,
        )
        options = network.check_options(backbone, given.checked())
        statistics = statistics_of(backbone, image_statistics)

        # === Functional model ===
        inputs = keras.Input(backbone.image_shape, name="image")
        images = normalized_images(inputs, statistics)
        raw = network.outputs(backbone, tasks, images, options)
        super().__init__(inputs, raw, tasks, **kwargs)
        if network is task_prompter_swin:
            self.recipe = self.swin_recipe

        # === Config ===
        self._config = {
            "backbone": keras.saving.serialize_keras_object(backbone),
            "tasks": [keras.saving.serialize_keras_object(task) for task in tasks],
            **asdict(options),
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
            tasks: list of the tasks it was trained for, if they are not those that the preset's
                checkpoints have learned: the dataset's, of Cityscapes-3D with disparity in place
                of depth and the published angles.
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
        tasks = check_tasks(tasks or published_checkpoints.published_tasks(name))
        expected = published_checkpoints.architecture_of(name, tasks, image_size)
        arrays = read_weights(path)
        expected.check(arrays, path)
        model = cls.from_preset(name, tasks, image_size)
        published_checkpoints.assign_published(model, arrays, path)
        return model

    @property
    def backbone_layers(self) -> list[keras.layers.Layer]:
        """The layers that are the backbone's own; prompts and their maps are not among them."""
        layers = []
        for layer in self.layers:
            if isinstance(layer, PromptedBlock):
                layers.append(layer.block)
            elif isinstance(layer, PromptMerging):
                layers.append(layer.merging)
            elif isinstance(layer, (PatchTokens, PrefixedTokens, keras.layers.LayerNormalization)):
                layers.append(layer)
            elif patch_layers(layer):
                layers.append(layer)
        return layers


def _network_on(backbone):
    """The module that builds the network on a backbone of this kind."""
    swin = isinstance(backbone, SwinTransformer) or kind_of(backbone) == "swin"
    if not swin and not is_plain(backbone):
        raise ValueError(
            f"TaskPrompter needs a plain Transformer (ViT, DINOv2, DINOv3) or a Swin Transformer, "
            f"but got {type(backbone).__name__}; build one with vision_transformer, dinov2, dinov3 "
            "or swin_transformer of keras_mtl.backbones."
        )
    check_encoder(backbone.backbone if isinstance(backbone, SwinTransformer) else backbone)
    return task_prompter_swin if swin else task_prompter_vit
