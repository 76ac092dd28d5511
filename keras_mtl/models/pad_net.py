"""PAD-Net: initial predictions of many tasks, and a distillation of what they know of each other.

Every task is predicted once from what all share, and again from its own features and the others'
gated messages; both predictions are supervised.
"""

import math
from collections.abc import Sequence

import keras

from keras_mtl.arguments import check_integer, check_switch
from keras_mtl.backbones import FeaturePyramid, PatchMap, feature_pyramid
from keras_mtl.backbones.stages import patch_maps
from keras_mtl.images import ImageStatistics, normalized_images, statistics_of
from keras_mtl.layers import MultiModalDistillation
from keras_mtl.layers.convolutions import convolution
from keras_mtl.models.decoder_level import (
    conv_norm_relu,
    fused_features,
    predictions,
    task_features,
)
from keras_mtl.models.initial_predictions import RECIPE, predict_finally, predict_initially
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.models.registry import register_architecture
from keras_mtl.tasks import Task, check_tasks

PRESETS = {
    # TPANet's Tables 1 and 2: 5.02 M parameters, 25.18 G on NYUD-v2. Only the light form has these.
    **{
        f"pad_net_hrnet18_{dataset}": {
            "backbone": "hrnet18",
            "image_size": image_size,
            "tasks": tasks,
            "arguments": {"light": True, "gate": "target"},
        }
        for dataset, tasks, image_size in (
            ("nyud", "nyud", (425, 560)),
            ("pascal", "pascal_context", (512, 512)),
        )
    },
    # TaskPrompter's Table 4: 330 M parameters, 773 G.
    "pad_net_vit_large_pascal": {
        "backbone": "vit_large",
        "image_size": (512, 512),
        "tasks": "pascal_context",
        "arguments": {},
        "counted_in_training": True,
    },
}


@register_architecture
@keras.saving.register_keras_serializable(package="keras_mtl")
class PADNet(MultiTaskModel):
    """Prediction-and-distillation network.

    1. From the shared features x a task's own, F_t = Bottleneck(Bottleneck(x)), and its initial
       prediction, a 1x1 convolution of them.
    2. The distillation, `keras_mtl.layers.MultiModalDistillation`.
    3. The final prediction, a 1x1 convolution of Bottleneck(Bottleneck(F'_t)).

    x is the backbone's levels brought to the finest one and concatenated, after a 1x1 convolution
    of the same width, batch normalization and ReLU; of a plain Vision Transformer the sum of 1x1
    convolutions of its tokens after each quarter of its blocks (those of a DINOv2 or DINOv3, or of
    one with a class token, after the last block only), enlarged to stride 4.

    The paper has deconvolutions in its decoders and several modules for the distillation; this is
    the published code's form, with bottlenecks, and with `gate="target"` the paper's module C.

    Args:
        backbone: whatever `keras_mtl.backbones.feature_pyramid` takes. Its image size is the
            model's.
        tasks: list of the tasks to predict, the paper's main ones, for instance
            `keras_mtl.tasks.nyud("semseg", "depth")`.
        auxiliary_tasks: list of further tasks, which are predicted initially only, and that in
            training only: their features help the others, and training takes their labels.
        gate: `"source"` (the published code) or `"target"` (the paper's module C).
        width: int or None. Channels D of a task's features, a multiple of 4 unless `light`; `None`
            means 256, or if `light` a quarter of the shared ones'.
        light: bool. The form that TPANet's table compares with, as far as its figures tell: a
            task's features are one 3x3 convolution, batch normalization and ReLU of x, which is
            the concatenation as it is; no bottlenecks, no initial predictions.
        image_statistics: mean and standard deviation of red, green and blue, on the 0..255 scale,
            by which images are normalised; `None` means what the backbone's folder said
            (`keras_mtl.backbones.from_preset`), or else ImageNet's.
        **kwargs: `name` and the like, for `keras.Model`.

    Raises:
        ValueError: if an argument does not fit the others.

    Example:

    ```python
    backbone = keras_mtl.backbones.hrnet("18_small", (448, 576, 3))
    main, others = keras_mtl.tasks.nyud("semseg", "depth"), keras_mtl.tasks.nyud("normals", "edge")
    model = keras_mtl.PADNet(backbone, main, auxiliary_tasks=others)
    model.compile()
    model.fit(dataset)  # with labels of all four
    ```

    Reference: Xu et al., PAD-Net: Multi-Tasks Guided Prediction-and-Distillation Network for
    Simultaneous Depth Estimation and Scene Parsing, CVPR 2018.
    """

    presets = PRESETS
    recipe = RECIPE

    def __init__(
        self,
        backbone: keras.Model | FeaturePyramid,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task] = (),
        gate: str = "source",
        width: int | None = None,
        light: bool = False,
        image_statistics: ImageStatistics | None = None,
        **kwargs,
    ):
        tasks = check_tasks(tasks)
        supervised = check_tasks(tasks, auxiliary_tasks)
        light = check_switch("light", light)
        if light and len(supervised) > len(tasks):
            raise ValueError(
                "light leaves the initial predictions out, the only ones that auxiliary_tasks "
                "have; leave one of the two out."
            )
        if width is not None:
            width = check_integer("width", width, 1)
        statistics = statistics_of(backbone, image_statistics)
        pyramid = feature_pyramid(backbone)

        # === Functional model ===
        inputs = keras.Input(pyramid.image_shape, name="image")
        images, wide = normalized_images(inputs, statistics), width or 256
        auxiliary = None
        if light:
            features = pyramid(images)
            own = task_features(fused_features(features), tasks, width)
        else:
            x, features = _shared_features(pyramid, images, wide)
            own, initial = predict_initially(x, supervised, wide)
            auxiliary = {"initial": initial}
        names = list(own)
        to = [names.index(task.name) for task in tasks if task.name in own]
        distillation = MultiModalDistillation(gate, to, name="distillation")
        distilled = distillation(list(own.values()))
        distilled = {names[t]: each for t, each in zip(to, distilled, strict=True)}
        predict = predictions if light else predict_finally
        super().__init__(
            inputs,
            predict(tasks, distilled, features),
            tasks,
            auxiliary=auxiliary,
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
            "gate": gate,
            "width": width,
            "light": light,
            "image_statistics": statistics,
        }


def _shared_features(pyramid: FeaturePyramid, images, width: int):
    """The features x that all tasks share, and the backbone's by stride."""
    if not isinstance(pyramid, PatchMap):
        features = pyramid(images)
        x = fused_features(features)
        return conv_norm_relu(x, x.shape[-1], 1, "fused_features", use_bias=True), features
    maps = patch_maps(pyramid, images)
    projected = [
        convolution(width, use_bias=True, name=f"projection_{n}")(x)
        for n, x in enumerate(maps, start=1)
    ]
    x = keras.layers.add(projected) if len(projected) > 1 else projected[0]
    size = [math.ceil(length / 4) for length in pyramid.image_shape[:2]]
    x = keras.layers.Resizing(*size, interpolation="bilinear", name="stride_4")(x)
    return x, dict(zip(pyramid.channels, maps[-1:], strict=True))
