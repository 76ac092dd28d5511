"""MQTransformer: tasks exchange what a few learned queries of each have gathered."""

from collections.abc import Sequence

import keras

from keras_mtl.arguments import check_integer, check_number, check_switch
from keras_mtl.backbones import FeaturePyramid, PatchMap, feature_pyramid
from keras_mtl.images import ImageStatistics, normalized_images, statistics_of
from keras_mtl.layers import MultiQueryTransformer
from keras_mtl.models.decoder_level import conv_norm_relu, fused_features, predictions
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.models.registry import register_architecture
from keras_mtl.tasks import Task, check_tasks

STRIDES = (4, 8, 16, 32)

PRESETS = {
    # TPANet's Table 1 has 35.35 M and 106.02 G of Swin-T, 56.67 M and 126.37 G of Swin-S, which the
    # released network has not.
    f"mq_transformer_{backbone}_{dataset}": {
        "backbone": backbone,
        "image_size": image_size,
        "tasks": tasks,
        "arguments": {"unused_weights": True},
        "as_published": {"attention_axis": "batch"},
    }
    for backbone in ("swin_tiny", "swin_small")
    for dataset, tasks, image_size in (
        ("nyud", "nyud", (425, 560)),
        ("pascal", "pascal_context", (512, 512)),
    )
}

# Of the released code, of NYUD-v2 on Swin-L.
RECIPE = {
    **MultiTaskModel.recipe,
    "optimizer": {"class_name": "SGD", "config": {"momentum": 0.9}},
    "learning_rate": 1e-3,
    "weight_decay": 5e-4,
    "global_clipnorm": None,
    "batch_size": 8,
    "steps": 40_000,
}


@register_architecture
@keras.saving.register_keras_serializable(package="keras_mtl")
class MQTransformer(MultiTaskModel):
    """Multi-query transformer.

    1. A task's features, a linear map of the backbone's at each position: its levels brought to the
       finest one and concatenated, as for `keras_mtl.MultiTaskBaseline`.
    2. Learned queries of each task gather from its features, attend to those of the other tasks,
       and are written back (`keras_mtl.layers.MultiQueryTransformer`).
    3. A 3x3 convolution with batch normalization and ReLU and a 1x1 convolution predict each task.

    The published code attends over the batch where it means to attend over the positions of an
    image; see `attention_axis`.

    Args:
        backbone: whatever `keras_mtl.backbones.feature_pyramid` takes; for a plain Vision
            Transformer strides 4, 8, 16 and 32 come from a `SimpleFeaturePyramid`. Its image size
            is the model's.
        tasks: list of the tasks to predict, for instance `keras_mtl.tasks.nyud()`. Those whose
            output is no map are predicted from the backbone alone.
        width: int, a multiple of `num_heads`. Channels d of a task's features.
        num_queries: int. Queries of each task.
        num_heads: int. Heads of every attention.
        head_width: int. Channels of the 3x3 convolution.
        attention_axis: what a task's positions attend over, `"positions"` of their image, in memory
            that grows with their number and not with its square, or `"batch"` (the published code),
            where an image's outputs depend on the others of its batch.
        dropout: float. Drop rate of the attention between tasks.
        stochastic_depth: float. Chance of an image to go without an update, in training, where
            queries gather and are written back.
        cross_task_stochastic_depth: float. The same between tasks.
        unused_weights: bool. Whether to have what the released code has and does not use, too,
            1.3 M weights of the published width: outputs are the same, a step takes longer.
        image_statistics: mean and standard deviation of red, green and blue, on the 0..255 scale,
            by which images are normalised; `None` means what the backbone's folder said
            (`keras_mtl.backbones.from_preset`), or else ImageNet's.
        **kwargs: `name` and the like, for `keras.Model`.

    Raises:
        ValueError: if an argument does not fit.

    Example:

    ```python
    backbone = keras_mtl.backbones.swin_transformer("tiny", (448, 576, 3))
    model = keras_mtl.MQTransformer(backbone, keras_mtl.tasks.nyud())
    model.compile()
    model.fit(dataset)
    ```

    Reference: Xu et al., Multi-Task Learning with Multi-Query Transformer for Dense Prediction,
    IEEE TCSVT 2023, in the form of the released code.
    """

    presets = PRESETS
    recipe = RECIPE

    def __init__(
        self,
        backbone: keras.Model | FeaturePyramid,
        tasks: Sequence[Task],
        width: int = 256,
        num_queries: int = 64,
        num_heads: int = 4,
        head_width: int = 64,
        attention_axis: str = "positions",
        dropout: float = 0.1,
        stochastic_depth: float = 0.1,
        cross_task_stochastic_depth: float = 0.5,
        unused_weights: bool = False,
        image_statistics: ImageStatistics | None = None,
        **kwargs,
    ):
        tasks = check_tasks(tasks)
        width = check_integer("width", width, 1)
        num_queries = check_integer("num_queries", num_queries, 1)
        num_heads = check_integer("num_heads", num_heads, 1)
        head_width = check_integer("head_width", head_width, 1)
        dropout, stochastic_depth, cross_task_stochastic_depth = (
            check_number(name, rate, below=1)
            for name, rate in (
                ("dropout", dropout),
                ("stochastic_depth", stochastic_depth),
                ("cross_task_stochastic_depth", cross_task_stochastic_depth),
            )
        )
        unused_weights = check_switch("unused_weights", unused_weights)
        statistics = statistics_of(backbone, image_statistics)
        pyramid = feature_pyramid(backbone)
        if isinstance(pyramid, PatchMap):
            pyramid = feature_pyramid(pyramid, strides=STRIDES)
        exchange = MultiQueryTransformer(
            num_queries,
            num_heads,
            attention_axis,
            dropout,
            stochastic_depth,
            cross_task_stochastic_depth,
            unused_weights,
            name="multi_query_transformer",
        )

        # === Functional model ===
        inputs = keras.Input(pyramid.image_shape, name="image")
        features = pyramid(normalized_images(inputs, statistics))
        x = fused_features(features)
        own = {
            task.name: keras.layers.Dense(width, name=f"{task.name}_features")(x)
            for task in tasks
            if task.output == "map"
        }
        if own:
            own = dict(zip(own, exchange(list(own.values())), strict=True))
        refined = {
            name: conv_norm_relu(each, head_width, 3, f"{name}_head") for name, each in own.items()
        }
        super().__init__(inputs, predictions(tasks, refined, features), tasks, **kwargs)

        # === Config ===
        self._config = {
            "backbone": keras.saving.serialize_keras_object(pyramid),
            "tasks": [keras.saving.serialize_keras_object(task) for task in tasks],
            "width": width,
            "num_queries": num_queries,
            "num_heads": num_heads,
            "head_width": head_width,
            "attention_axis": attention_axis,
            "dropout": dropout,
            "stochastic_depth": stochastic_depth,
            "cross_task_stochastic_depth": cross_task_stochastic_depth,
            "unused_weights": bool(unused_weights),
            "image_statistics": statistics,
        }
