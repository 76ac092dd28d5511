"""MTI-Net: tasks are predicted and exchange messages at four scales, from the coarsest on."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_mtl.backbones import FeaturePyramid, feature_pyramid
from keras_mtl.images import ImageStatistics, normalized_images, statistics_of
from keras_mtl.layers import BasicBlock, FeaturePropagation, MultiModalDistillation
from keras_mtl.models.decoder_level import conv_norm_relu, predictions
from keras_mtl.models.initial_predictions import RECIPE
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.models.registry import register_architecture
from keras_mtl.tasks import Task, check_tasks, pascal_context

STRIDES = (4, 8, 16, 32)

PRESETS = {
    # TPANet's Table 1 has 12.56 M parameters and 19.14 G, which no published form has.
    "mti_net_hrnet18_nyud": {
        "backbone": "hrnet18",
        "image_size": (425, 560),
        "tasks": "nyud",
        "arguments": {"mask_grouping": "adjacent"},
        "counted_in_training": True,
    },
    "mti_net_hrnet18_pascal": {
        "backbone": "hrnet18",
        "image_size": (512, 512),
        "tasks": "pascal_context",
        "arguments": {"mask_grouping": "adjacent"},
        "counted_in_training": True,
    },
    # TaskPrompter's Table 4 has 128 M and 161 G: the published form, but of three tasks.
    "mti_net_hrnet48_pascal": {
        "backbone": "hrnet48",
        "image_size": (512, 512),
        "tasks": lambda: pascal_context("semseg", "human_parts", "sal"),
        "arguments": {"mask_grouping": "adjacent"},
        "counted_in_training": True,
    },
}


@register_architecture
@keras.saving.register_keras_serializable(package="keras_mtl")
class MTINet(MultiTaskModel):
    """Multi-scale task interaction network.

    At the scales i = 3, 2, 1, 0 (strides 32, 16, 8, 4), with features x_i of c_i channels and BB a
    `keras_mtl.layers.BasicBlock`:

    1. A task's own features, F_3,t = BB(BB(x_3)), and for i < 3 F_i,t = BB(BB([x_i; up(G_i+1,t)])).
    2. Its initial prediction at this scale, a 1x1 convolution of F_i,t.
    3. For i > 0, what it passes on to the next finer scale, G_i,t: that of
       `keras_mtl.layers.FeaturePropagation`.
    4. Its distilled features, by `keras_mtl.layers.MultiModalDistillation`.

    In the end the distilled features of all scales, at the finest one and concatenated, go through
    a 1x1 convolution of the same width, batch normalization, ReLU, and a 1x1 convolution.

    The published code enlarges by the factor 2, which fits where the sides of an image are
    multiples of 32; here maps become as large as the finer scale's, whatever the image. Its masks
    are grouped otherwise than the paper says: see `mask_grouping`.

    Args:
        backbone: whatever `keras_mtl.backbones.feature_pyramid` takes that gives strides 4, 8, 16
            and 32, with 16 channels or more at the last three; for a plain Vision Transformer, of
            which nothing is published, they come from a `SimpleFeaturePyramid`. Its image size is
            the model's.
        tasks: list of the tasks to predict, for instance `keras_mtl.tasks.nyud()`.
        auxiliary_tasks: list of further tasks, which are predicted initially only, and that in
            training only: their features help the others, and training takes their labels. They
            come after `tasks`, as in the published configurations; with `mask_grouping="adjacent"`
            another order would be another network.
        mask_grouping: what the softmax of a mask runs over, `"task"` (the paper) or `"adjacent"`
            (the published code).
        image_statistics: mean and standard deviation of red, green and blue, on the 0..255 scale,
            by which images are normalised; `None` means what the backbone's folder said
            (`keras_mtl.backbones.from_preset`), or else ImageNet's.
        **kwargs: `name` and the like, for `keras.Model`.

    Raises:
        ValueError: if an argument or the backbone does not fit.

    Example:

    ```python
    backbone = keras_mtl.backbones.hrnet("18_small", (448, 576, 3))
    model = keras_mtl.MTINet(backbone, keras_mtl.tasks.nyud())
    model.compile()
    model.fit(dataset)
    ```

    Reference: Vandenhende et al., MTI-Net: Multi-Scale Task Interaction Networks for Multi-Task
    Learning, ECCV 2020.
    """

    presets = PRESETS
    recipe = RECIPE

    def __init__(
        self,
        backbone: keras.Model | FeaturePyramid,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task] = (),
        mask_grouping: str = "task",
        image_statistics: ImageStatistics | None = None,
        **kwargs,
    ):
        tasks = check_tasks(tasks)
        supervised = check_tasks(tasks, auxiliary_tasks)
        statistics = statistics_of(backbone, image_statistics)
        pyramid = feature_pyramid(backbone, strides=STRIDES)
        maps = [task for task in supervised if task.output == "map"]
        to = [t for t, task in enumerate(maps) if task in tasks]

        # === Functional model ===
        inputs = keras.Input(pyramid.image_shape, name="image")
        features = pyramid(normalized_images(inputs, statistics))
        propagated: dict[str, Any] = {}
        initial, distilled = {}, {}
        for stride in reversed(STRIDES):
            x = features[stride]
            own = {
                task.name: _refine(x, propagated.get(task.name), f"{task.name}_stride_{stride}")
                for task in maps
            }
            scale = f"initial_stride_{stride}"
            initial[scale] = predictions(maps, own, {}, f"{scale}_")
            given = list(own.values())
            if stride > STRIDES[0]:
                propagate = FeaturePropagation(mask_grouping, name=f"propagation_stride_{stride}")
                propagated = dict(zip(own, propagate(given), strict=True))
            distil = MultiModalDistillation(receivers=to, name=f"distillation_stride_{stride}")
            distilled[stride] = distil(given)
        size = features[STRIDES[0]].shape[1:3]
        fused = {
            maps[t].name: _fuse([distilled[stride][n] for stride in STRIDES], size, maps[t].name)
            for n, t in enumerate(to)
        }
        super().__init__(
            inputs,
            predictions(tasks, fused, features),
            tasks,
            auxiliary=initial,
            auxiliary_tasks=supervised[len(tasks) :],
            **kwargs,
        )

        # === Config ===
        self._config = {
            "backbone": keras.saving.serialize_keras_object(pyramid),
            "tasks": [keras.saving.serialize_keras_object(task) for task in tasks],
            "auxiliary_tasks": [
                keras.saving.serialize_keras_object(task) for task in self.auxiliary_tasks
            ],
            "mask_grouping": mask_grouping,
            "image_statistics": statistics,
        }


def _refine(x, coarser, name: str):
    """A task's features F at one scale, from the backbone's and what the coarser one passes on."""
    width = x.shape[-1]
    if coarser is not None:
        larger = _resize(coarser, x.shape[1:3], f"{name}_propagated")
        x = keras.layers.concatenate([x, larger], name=f"{name}_concatenated")
    for n in (1, 2):
        x = BasicBlock(width, name=f"{name}_block_{n}")(x)
    return x


def _fuse(scales: list, size: tuple[int, int], name: str):
    """A task's distilled features of all scales, as the last step of its head takes them."""
    larger = [
        x if x.shape[1:3] == size else _resize(x, size, f"{name}_distilled_{n}")
        for n, x in enumerate(scales, start=1)
    ]
    x = keras.layers.concatenate(larger, name=f"{name}_scales")
    return conv_norm_relu(x, x.shape[-1], 1, f"{name}_head", use_bias=True)


def _resize(x, size: tuple[int, int], name: str):
    return keras.layers.Resizing(*size, interpolation="bilinear", name=name)(x)
