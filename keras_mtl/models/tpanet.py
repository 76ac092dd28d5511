"""TPANet: task prior attention network for multi-task learning of dense prediction.

Every task's features are extracted with a shared prior (Sec. 3.2), mixed across tasks (Sec. 3.3)
and queried by their own prior (Sec. 3.4), on a pyramid of a Swin, an HRNet or another backbone.
"""

import math
from collections.abc import Sequence

import keras

from keras_mtl.arguments import check_integer, check_number, check_switch
from keras_mtl.backbones import FeaturePyramid, feature_pyramid
from keras_mtl.backbones.feature_pyramid import concatenate_features
from keras_mtl.images import ImageStatistics, normalized_images, statistics_of
from keras_mtl.layers import (
    AdaptiveTaskMixing,
    CrossAttention,
    ResidualMLP,
    TaskPriorExtractor,
)
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.models.outputs import fed_to_head
from keras_mtl.models.registry import register_architecture
from keras_mtl.tasks import Task, check_tasks

STRIDES = (4, 8, 16, 32)

# Tables 1, 2 and 5. The HRNet and the Swin rows have different widths.
_HRNET = {"dim": 108, "groups": 2}  # and heads a quarter of the features wide, the default
_SWIN = {"dim": 256, "groups": 8, "head_width": 64}
_LESS_MEMORY = {"remat": True}  # the trunk is a small part of the work, but not of the memory
PRESETS = {
    f"tpanet_{backbone}_{dataset}": {
        "backbone": backbone,
        "backbone_arguments": how,
        "image_size": image_size,
        "tasks": tasks,
        "arguments": arguments,
    }
    for backbone, how, arguments in (
        ("hrnet18", {}, _HRNET),
        ("swin_tiny", _LESS_MEMORY, _SWIN),
        ("swin_small", _LESS_MEMORY, _SWIN),
        ("swin_base", _LESS_MEMORY, _SWIN),
        ("swin_large", _LESS_MEMORY, _SWIN),
    )
    for dataset, tasks, image_size in (
        ("nyud", "nyud", (425, 560)),
        ("pascal", "pascal_context", (512, 512)),
    )
}


@register_architecture
@keras.saving.register_keras_serializable(package="keras_mtl")
class TPANet(MultiTaskModel):
    """Task Prior Attention Network on a backbone's feature pyramid.

    Args:
        backbone: whatever `keras_mtl.backbones.feature_pyramid` takes, for instance
            `keras_mtl.backbones.swin_transformer("tiny", (448, 576, 3))`. Its image size is the
            model's.
        tasks: list of `keras_mtl.tasks.Task`, for instance `keras_mtl.tasks.nyud()`.
        dim: int. Channels D of a task's features.
        groups: int. Groups of the task prior extractor's convolutions.
        head_width: int or None. Channels inside a task's head; `None` means a quarter of the
            concatenated features'.
        num_heads: int. Heads of the cross attention.
        key_value_pooling: int. Average pooling of the cross attention's keys and values; 1 is
            the paper, 4 makes attention 16 times cheaper.
        task_prior: bool. Extract task features with a shared prior (Eq. 1-3). Without it, and
            without the modules that build on it, the model is the multi-task baseline.
        task_mixing: bool. Mix the tasks' features (Eq. 4-7).
        cross_attention: bool. Query the features by the task prior (Eq. 8-12).
        scales: int, 1 to 4. Feature maps used, from the coarsest (Table 3b).
        dropout: float. Drop rate in the perceptron after the cross attention (Table 4).
        stochastic_depth: float. Chance to leave that perceptron out for an image in training.
        image_statistics: mean and standard deviation of red, green and blue, on the 0..255 scale,
            by which images are normalised; `None` means what the backbone's folder said
            (`keras_mtl.backbones.from_preset`), or else ImageNet's.
        **kwargs: `name` and the like, for `keras.Model`.

    Raises:
        ValueError: if an argument does not fit the others.

    Example:

    ```python
    backbone = keras_mtl.backbones.swin_transformer("tiny", (448, 576, 3))
    model = keras_mtl.TPANet(backbone, keras_mtl.tasks.nyud(), dim=256, groups=8, head_width=64)
    model.compile()
    model.fit(dataset)
    maps = model.predict_maps(photograph)
    ```

    Reference: Task Prior Attention Network for Multi-Task Learning of Dense Prediction.
    """

    presets = PRESETS
    recipe = {**MultiTaskModel.recipe, "batch_size": 8}

    def __init__(
        self,
        backbone: keras.Model | FeaturePyramid,
        tasks: Sequence[Task],
        dim: int = 256,
        groups: int = 1,
        head_width: int | None = None,
        num_heads: int = 2,
        key_value_pooling: int = 1,
        task_prior: bool = True,
        task_mixing: bool = True,
        cross_attention: bool = True,
        scales: int = 4,
        dropout: float = 0.0,
        stochastic_depth: float = 0.1,
        image_statistics: ImageStatistics | None = None,
        **kwargs,
    ):
        tasks = check_tasks(tasks)
        scales = check_integer("scales", scales, 1, len(STRIDES))
        dim, groups = check_integer("dim", dim, 1), check_integer("groups", groups, 1)
        if head_width is not None:
            head_width = check_integer("head_width", head_width, 1)
        num_heads = check_integer("num_heads", num_heads, 1)
        key_value_pooling = check_integer("key_value_pooling", key_value_pooling, 1)
        dropout = check_number("dropout", dropout, below=1)
        stochastic_depth = check_number("stochastic_depth", stochastic_depth, below=1)
        task_prior = check_switch("task_prior", task_prior)
        task_mixing = check_switch("task_mixing", task_mixing)
        cross_attention = check_switch("cross_attention", cross_attention)
        statistics = statistics_of(backbone, image_statistics)
        if (task_mixing or cross_attention) and not task_prior:
            raise ValueError(
                "task_prior is off, but task_mixing and cross_attention work on what it extracts; "
                "turn it on, or both of them off."
            )
        strides = STRIDES[-scales:]

        # === Layers ===
        pyramid = feature_pyramid(backbone, strides=strides)
        height, width, _ = pyramid.image_shape
        size = math.ceil(height / 4), math.ceil(width / 4)
        channels = sum(pyramid.channels[stride] for stride in strides)
        residual_mlp = ResidualMLP(
            dropout=dropout, stochastic_depth=stochastic_depth, name="residual_mlp"
        )
        heads = [
            task.head(
                width=head_width or max(channels // 4, 1),
                activation="relu",
                name=f"{task.name}_head",
            )
            for task in tasks
        ]

        # === Functional model ===
        inputs = keras.Input(pyramid.image_shape, name="image")
        x = concatenate_features(pyramid(normalized_images(inputs, statistics)), strides, size)
        features = [x] * len(tasks)
        if task_prior:
            extracted = TaskPriorExtractor(len(tasks), dim, groups, name="task_prior_extractor")(x)
            priors = [extracted[:, :, :, t] for t in range(len(tasks))]
            features = priors
        if task_mixing:
            mixed = AdaptiveTaskMixing(name="adaptive_task_mixing")(extracted)
            features = [mixed[:, :, :, t] for t in range(len(tasks))]
        if cross_attention:
            features = [
                CrossAttention(num_heads, key_value_pooling, name=f"{task.name}_cross_attention")(
                    own, prior
                )
                for task, own, prior in zip(tasks, features, priors, strict=True)
            ]
            features = [residual_mlp(own) for own in features]  # one for all tasks
        raw = {
            task.name: head(fed_to_head(task, own, STRIDES[0]))
            for task, head, own in zip(tasks, heads, features, strict=True)
        }
        super().__init__(inputs, raw, tasks, **kwargs)

        # === Config ===
        self._config = {
            "backbone": keras.saving.serialize_keras_object(pyramid),
            "tasks": [keras.saving.serialize_keras_object(task) for task in tasks],
            "dim": dim,
            "groups": groups,
            "head_width": head_width,
            "num_heads": num_heads,
            "key_value_pooling": key_value_pooling,
            "task_prior": task_prior,
            "task_mixing": task_mixing,
            "cross_attention": cross_attention,
            "scales": scales,
            "dropout": dropout,
            "stochastic_depth": stochastic_depth,
            "image_statistics": statistics,
        }
