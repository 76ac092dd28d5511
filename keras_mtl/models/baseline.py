"""The reference point of both papers: a shared backbone and one small head for each task."""

from collections.abc import Sequence

import keras

from keras_mtl.arguments import check_integer, check_number
from keras_mtl.backbones import FeaturePyramid, SwinTransformer, feature_pyramid
from keras_mtl.backbones.merged_swin import MergedSwin
from keras_mtl.images import ImageStatistics, normalized_images, statistics_of
from keras_mtl.models.decoder_level import fused_features, outputs_of_levels
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.models.registry import register_architecture
from keras_mtl.tasks import Task, check_tasks

PRESETS = {
    # TaskPrompter's baseline, Table 1. The paper does not give its head's width: the ViT's.
    "multitask_baseline_vit_base_pascal": {
        "backbone": "vit_base",
        "backbone_arguments": {"use_class_token": True},  # as the published position tables
        "image_size": (512, 512),
        "tasks": "pascal_context",
        "arguments": {"head_width": 768},
    },
    # TPANet's, Tables 1, 2 and 5. The HRNet and the Swin rows have different widths.
    **{
        f"multitask_baseline_{backbone}_{dataset}": {
            "backbone": backbone,
            "image_size": image_size,
            "tasks": tasks,
            "arguments": arguments,
        }
        for backbone, arguments in (
            ("hrnet18", {}),  # heads a quarter of the features wide, the default
            ("swin_tiny", {"head_width": 96}),
            ("swin_small", {"head_width": 96}),
            ("swin_base", {"head_width": 96}),
            ("swin_large", {"head_width": 96}),
        )
        for dataset, tasks, image_size in (
            ("nyud", "nyud", (425, 560)),
            ("pascal", "pascal_context", (512, 512)),
        )
    },
    # TaskPrompter's, Table 4, which gives nothing but its scores: plain Swin on images scaled as
    # for TaskPrompter, whose levels and whose widths of features it has.
    "multitask_baseline_swin_base_cityscapes3d": {
        "backbone": "swin_base",
        "backbone_arguments": {"window_size": 12},
        "image_size": (1024, 2048),
        "tasks": "cityscapes_3d",
        "arguments": {"levels": "merged", "image_scale": 0.75, "head_width": 450},
    },
}


@register_architecture
@keras.saving.register_keras_serializable(package="keras_mtl")
class MultiTaskBaseline(MultiTaskModel):
    """The backbone's features, brought to their finest size, and a head for each task.

    A head is a 3x3 convolution, batch normalization, ReLU and a 1x1 convolution. With one task
    in the list this is the single-task baseline.

    With `levels="merged"` it is the one beside TaskPrompter on a Swin Transformer: each task has a
    3x3 convolution, batch normalization and ReLU on each level, the maps behind every patch merging
    and behind the last stage; their sum, and a 1x1 convolution. A task whose output is no map gets
    the levels as they are. The paper says nothing but what this network scores: it is our reading.

    Args:
        backbone: whatever `keras_mtl.backbones.feature_pyramid` takes: with Swin or HRNet this is
            TPANet's baseline, with a plain ViT (one map, at its patches' stride) TaskPrompter's.
            Its image size is the model's.
        tasks: list of `keras_mtl.tasks.Task`, for instance `keras_mtl.tasks.nyud()`.
        head_width: int or None. Channels inside a head; `None` means a quarter of the features'.
        upsampling: int. Bilinear enlargement of the features before the heads; 4 is what
            TaskPrompter's heads do.
        levels: `"fused"`, or `"merged"` on a Swin Transformer, where `head_width` are the channels
            of a task's features, and `None` means those of the finest level.
        image_scale: float. With merged levels, what the network scales images by before anything
            else; Cityscapes-3D's has 0.75. Outputs have the images' size all the same.
        image_statistics: mean and standard deviation of red, green and blue, on the 0..255 scale,
            by which images are normalised; `None` means what the backbone's folder said
            (`keras_mtl.backbones.from_preset`), or else ImageNet's.
        **kwargs: `name` and the like, for `keras.Model`.

    Raises:
        ValueError: if the backbone gives no feature maps or is part of another model, or a number
            is no positive integer, or `levels` or `image_scale` does not fit.

    Example:

    ```python
    backbone = keras_mtl.backbones.hrnet("18_small", (448, 576, 3))
    model = keras_mtl.MultiTaskBaseline(backbone, keras_mtl.tasks.nyud("depth"))
    model.compile()
    model.fit(dataset)
    ```

    References: Task Prior Attention Network, Sec. 4.1; Ye and Xu, TaskPrompter, ICLR 2023,
        Table 1.
    """

    presets = PRESETS
    recipe = {**MultiTaskModel.recipe, "batch_size": 8}

    def __init__(
        self,
        backbone: keras.Model | FeaturePyramid,
        tasks: Sequence[Task],
        head_width: int | None = None,
        upsampling: int = 1,
        image_statistics: ImageStatistics | None = None,
        levels: str = "fused",
        image_scale: float = 1.0,
        **kwargs,
    ):
        tasks = check_tasks(tasks)
        upsampling = check_integer("upsampling", upsampling, 1)
        if head_width is not None:
            head_width = check_integer("head_width", head_width, 1)
        statistics = statistics_of(backbone, image_statistics)
        pyramid = feature_pyramid(backbone)

        _check_levels(pyramid, levels, image_scale, upsampling)
        inputs = keras.Input(pyramid.image_shape, name="image")
        images = normalized_images(inputs, statistics)
        if levels == "merged":
            raw = _from_merged_levels(pyramid, images, tasks, head_width, image_scale)
        else:
            features = pyramid(images)
            x = fused_features(features)
            raw = {
                task.name: task.head(
                    width=head_width or max(x.shape[-1] // 4, 1),
                    upsampling=upsampling,
                    activation="relu",
                    name=f"{task.name}_head",
                )(x if task.output == "map" else features)
                for task in tasks
            }
        super().__init__(inputs, raw, tasks, **kwargs)

        # === Config ===
        self._config = {
            "backbone": keras.saving.serialize_keras_object(pyramid),
            "tasks": [keras.saving.serialize_keras_object(task) for task in tasks],
            "head_width": head_width,
            "upsampling": upsampling,
            "image_statistics": statistics,
            "levels": levels,
            "image_scale": image_scale,
        }


def _check_levels(pyramid, levels: str, image_scale: float, upsampling: int) -> None:
    if levels not in ("fused", "merged"):
        raise ValueError(f'levels is {levels!r}; expected "fused" or "merged".')
    if levels == "merged":
        if not isinstance(pyramid, SwinTransformer):
            raise ValueError(
                f'levels="merged" needs a Swin Transformer, whose stages merge their patches, and '
                f"the backbone is a {type(pyramid).__name__}; leave it out."
            )
        if upsampling != 1:
            raise ValueError(f'upsampling is {upsampling}, but levels="merged" has none; give 1.')
        check_number("image_scale", image_scale)
        if min(round(image_scale * length) for length in pyramid.image_shape[:2]) < 1:
            raise ValueError(f"image_scale is {image_scale}, which leaves nothing of the images.")
    elif image_scale != 1:
        raise ValueError(f'image_scale is {image_scale}; it is for levels="merged", leave it out.')


def _from_merged_levels(pyramid, images, tasks, width, image_scale):
    height, width_of_image, channels = pyramid.image_shape
    size = round(image_scale * height), round(image_scale * width_of_image)
    if image_scale != 1:
        images = keras.layers.Resizing(*size, interpolation="bilinear", name="scaled_image")(images)
    merged = MergedSwin(pyramid, (*size, channels), name="merged_levels")
    maps = merged(images)
    strides = [stride / image_scale for stride in merged.strides]
    return outputs_of_levels(strides, maps, tasks, width or maps[0].shape[-1])
