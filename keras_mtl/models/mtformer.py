"""MTFormer: transformer branches of the tasks, whose attention maps act on each other's values."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_mtl.arguments import check_integer, check_number
from keras_mtl.backbones import FeaturePyramid, feature_pyramid
from keras_mtl.backbones.feature_pyramid import concatenate_features
from keras_mtl.images import ImageStatistics, normalized_images, statistics_of
from keras_mtl.layers import AlignedUpsampling, ContrastiveMemory, CrossTaskBlock, SwinBlock
from keras_mtl.layers.convolutions import convolution
from keras_mtl.losses import LabelledImagesMean
from keras_mtl.models.decoder_level import conv_norm_relu, predictions
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.models.registry import register_architecture
from keras_mtl.tasks import Task, check_tasks

# The published models, of two tasks and of three. The figures of the papers count a patch embedding
# of each of their transformers, too, which their code makes and never calls.
PRESETS = {
    f"mtformer_swin_small_{dataset}": {
        "backbone": "swin_small",
        "backbone_arguments": {"drop_path": 0.3},
        "image_size": image_size,
        "tasks": tasks,
        "arguments": arguments,
        "never_called": transformers * (256 * 256 * 4 * 4 + 256 + 2 * 256),
    }
    for dataset, tasks, image_size, transformers, arguments in (
        ("nyud", ("nyud", "semseg", "depth"), (480, 640), 3, {}),
        (
            "pascal",
            ("pascal_context", "semseg", "human_parts", "sal"),
            (512, 512),
            4,
            {"memory_size": 4998, "negatives": 2000},
        ),
    )
}

# NYUD-v2: 100 epochs of 795 images; on PASCAL-Context 2.5e-5. The published learning rate falls
# once an epoch, and the losses are weighed by UncertaintyWeighting(scale=10, penalty=1).
RECIPE = {
    **MultiTaskModel.recipe,
    "optimizer": {"class_name": "AdamW", "config": {}},
    "steps": 100 * 795 // 4,
    "learning_rate": 5e-5,
    "weight_decay": 1e-4,
    "global_clipnorm": None,
    "batch_size": 4,
}


@register_architecture
@keras.saving.register_keras_serializable(package="keras_mtl")
class MTFormer(MultiTaskModel):
    """Multi-task network of transformers with cross-task attention and a contrastive loss.

    1. The backbone's levels from stride 8 on are brought to the finest of them, concatenated and
       reduced to D channels by a 1x1 convolution.
    2. Two blocks of a Swin Transformer and a layer normalization that all tasks share; then, of
       each task's own, the same again: F_t.
    3. Two `keras_mtl.layers.CrossTaskBlock` of F_t and the other tasks' features, and a layer
       normalization. A single task has none.
    4. The heads. Of classes: 1x1 convolution, batch normalization, ReLU, 1x1 convolution, maps
       enlarged by two (`keras_mtl.layers.AlignedUpsampling`). Of what is measured, such as depth:
       1x1 convolution to D / 2, enlarged, 1x1 to `measured_width`, ReLU, 1x1, ReLU; the last bias
       begins at 1, so that no head begins dead. Of the others, such as saliency and normals: that
       of classes, not enlarged.

    In training each pair of tasks has a contrastive loss (`keras_mtl.layers.ContrastiveMemory`)
    between embeddings of their features: global average, dense, ReLU, dense. The log shows it as
    `depth/contrast`. Its memories are no part of inference; they are saved with the model.

    As published, losses are weighed by
    `keras_mtl.balancing.UncertaintyWeighting(scale=10, penalty=1)`, which `compile` takes.

    Args:
        backbone: whatever `keras_mtl.backbones.feature_pyramid` takes. Its image size is the
            model's.
        tasks: list of `keras_mtl.tasks.Task`; published are two, `nyud("semseg", "depth")`, and
            three, `pascal_context("semseg", "human_parts", "sal")`. Those whose output is no map
            are predicted from the backbone alone.
        width: int. Channels D.
        window: int. Positions along the side of a window.
        num_heads: int, which divides D.
        cross_scale: float or None. What the scores of cross-task attention are multiplied by;
            `None` means (D / heads)^-0.5, and of two tasks (2 D / heads)^-0.5, as published.
        contrast: float or None. Weight of the contrastive loss; `None` does without.
        memory_size: int. Rows of a memory; published are as many as there are training images.
        negatives: int. Rows drawn for each image.
        embedding_width: int.
        measured_width: int. Channels in the head of what is measured.
        image_statistics: mean and standard deviation of red, green and blue, on the 0..255 scale,
            by which images are normalised; `None` means what the backbone's folder said
            (`keras_mtl.backbones.from_preset`), or else ImageNet's.
        **kwargs: `name` and the like, for `keras.Model`.

    Raises:
        ValueError: if an argument does not fit.

    Example:

    ```python
    backbone = keras_mtl.backbones.swin_transformer("small", (480, 640, 3), drop_path=0.3)
    model = keras_mtl.MTFormer(backbone, keras_mtl.tasks.nyud("semseg", "depth"))
    model.compile(loss_weights=keras_mtl.balancing.UncertaintyWeighting(scale=10, penalty=1))
    model.fit(dataset)
    ```

    Reference: Xu et al., MTFormer: Multi-Task Learning via Transformer and Cross-Task Reasoning,
        ECCV 2022, as its published code has it. More tasks than three, normals and boundaries are
        ours. The paper's contrast has other images of the batch and no memory.
    """

    presets = PRESETS
    recipe = RECIPE

    def __init__(
        self,
        backbone: keras.Model | FeaturePyramid,
        tasks: Sequence[Task],
        width: int = 256,
        window: int = 7,
        num_heads: int = 4,
        cross_scale: float | None = None,
        contrast: float | None = 0.01,
        memory_size: int = 795,
        negatives: int = 700,
        embedding_width: int = 128,
        measured_width: int = 32,
        image_statistics: ImageStatistics | None = None,
        **kwargs,
    ):
        tasks = check_tasks(tasks)
        width = check_integer("width", width, 1)
        embedding_width = check_integer("embedding_width", embedding_width, 1)
        measured_width = check_integer("measured_width", measured_width, 1)
        num_heads = check_integer("num_heads", num_heads, 1)
        if cross_scale is not None:
            cross_scale = check_number("cross_scale", cross_scale)
        if contrast is not None:
            contrast = check_number("contrast", contrast)
        statistics = statistics_of(backbone, image_statistics)
        maps = [task for task in tasks if task.output == "map"]
        scale = cross_scale
        if scale is None and len(maps) == 2:
            scale = (2 * width / num_heads) ** -0.5

        # === Functional model ===
        pyramid = feature_pyramid(backbone)
        inputs = keras.Input(pyramid.image_shape, name="image")
        features = pyramid(normalized_images(inputs, statistics))
        strides = [stride for stride in features if stride >= 8] or list(features)
        x = concatenate_features(features, strides, features[strides[0]].shape[1:3])
        x = convolution(width, use_bias=True, name="reduction")(x)
        how = {"num_heads": num_heads, "window": window}
        if maps:
            x = _two_blocks(SwinBlock, x, [], "shared_decoder", **how)
        own = {
            task.name: _two_blocks(SwinBlock, x, [], f"{task.name}_self", **how) for task in maps
        }
        crossed = dict(own)
        if len(maps) > 1:
            for name, each in own.items():
                others = [other for u, other in own.items() if u != name]
                crossed[name] = _two_blocks(
                    CrossTaskBlock, each, others, f"{name}_cross", scale=scale, **how
                )
        raw = {task.name: _head(task, crossed[task.name], measured_width) for task in maps}
        raw |= predictions([task for task in tasks if task.name not in raw], {}, features)
        auxiliary, weights = {}, dict[str, float]()
        if contrast is not None and len(maps) > 1:
            weights["contrast"] = contrast
            memory = {"size": memory_size, "negatives": negatives}
            auxiliary["contrast"] = _contrasts(crossed, embedding_width, memory)
        super().__init__(
            inputs,
            raw,
            tasks,
            auxiliary=auxiliary,
            auxiliary_weights=weights,
            auxiliary_losses=dict.fromkeys(auxiliary, LabelledImagesMean),
            **kwargs,
        )

        # === Config ===
        self._config = {
            "backbone": keras.saving.serialize_keras_object(pyramid),
            "tasks": [keras.saving.serialize_keras_object(task) for task in tasks],
            "width": width,
            "window": window,
            "num_heads": num_heads,
            "cross_scale": cross_scale,
            "contrast": contrast,
            "memory_size": memory_size,
            "negatives": negatives,
            "embedding_width": embedding_width,
            "measured_width": measured_width,
            "image_statistics": statistics,
        }


def _two_blocks(block, x, others: Sequence, name: str, **how):
    """A plain block, a shifted one, and a layer normalization."""
    for n, shifted in enumerate((False, True), start=1):
        layer = block(shifted=shifted, name=f"{name}_block_{n}", **how)
        x = layer([x, *others]) if others else layer(x)
    return keras.layers.LayerNormalization(epsilon=1e-5, name=name)(x)


def _head(task: Task, x, measured_width: int):
    """A task's raw map."""
    name, width = task.name, x.shape[-1]
    if task.measured_in is not None:
        x = convolution(max(width // 2, 1), use_bias=True, name=f"{name}_head_1")(x)
        x = AlignedUpsampling(name=f"{name}_upsampling")(x)
        x = convolution(measured_width, use_bias=True, name=f"{name}_head_2")(x)
        x = keras.layers.ReLU(name=f"{name}_head")(x)
        x = convolution(
            task.channels, use_bias=True, bias_initializer="ones", name=f"{name}_prediction"
        )(x)
        return keras.layers.ReLU(name=f"{name}_lowres")(x)
    x = task.predictor(name=f"{name}_prediction")(conv_norm_relu(x, width, 1, f"{name}_head"))
    classes = task.label_channels is None and task.label_values is None
    return AlignedUpsampling(name=f"{name}_lowres")(x) if classes else x


def _contrasts(features: Mapping[str, Any], width: int, memory: Mapping[str, int]) -> dict:
    """Each task's contrastive loss of each image, the sum over its pairs."""
    embeddings = {}
    for name, x in features.items():
        x = keras.layers.GlobalAveragePooling2D(name=f"{name}_pooled")(x)
        x = keras.layers.Dense(width, "relu", name=f"{name}_embedding_hidden")(x)
        embeddings[name] = keras.layers.Dense(width, name=f"{name}_embedding")(x)
    found: dict[str, list] = {name: [] for name in features}
    for pair in itertools.combinations(features, 2):
        contrast = ContrastiveMemory(**memory, dtype="float32", name="contrast_" + "_".join(pair))
        for name, each in zip(pair, contrast([embeddings[name] for name in pair]), strict=True):
            found[name].append(each)
    return {
        name: keras.layers.Add(name=f"{name}_contrast", dtype="float32")(each)
        if len(each) > 1
        else each[0]
        for name, each in found.items()
    }
