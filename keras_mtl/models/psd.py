"""PSD: pattern-structure diffusion, small graphs of each pixel within a task and between tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.arguments import check_integer
from keras_mtl.backbones import FeaturePyramid, feature_pyramid
from keras_mtl.images import ImageStatistics, normalized_images, statistics_of
from keras_mtl.layers.convolutions import batch_normalization, convolution
from keras_mtl.layers.psd.pattern_structure_diffusion import PatternStructureDiffusion
from keras_mtl.models.decoder_level import (
    conv_norm_relu,
    fused_features,
    predictions,
    task_features,
)
from keras_mtl.models.exchange import DECODER_RECIPE
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.models.registry import register_architecture
from keras_mtl.tasks import Task, check_tasks

PRESETS = {
    # TPANet's Table 1, whose cost these formulas were shaped to meet.
    f"psd_hrnet18_{dataset}": {
        "backbone": "hrnet18",
        "image_size": image_size,
        "tasks": tasks,
        "arguments": {"window": 5, "steps": 1},
    }
    for dataset, tasks, image_size in (
        ("nyud", "nyud", (425, 560)),
        ("pascal", "pascal_context", (512, 512)),
    )
}


@register_architecture
@keras.saving.register_keras_serializable(package="keras_mtl")
class PSD(MultiTaskModel):
    """Pattern-structure diffusion of the tasks' features, on any backbone.

    Each pixel of a task's features has a graph over its window; features are diffused by their own
    task's graphs, recursively, and by those of the other tasks that match
    (`keras_mtl.layers.PatternStructureDiffusion`). With F_t the features of a task:

    - V_t = ReLU(BN(3x3 convolution of F_t)), and an initial prediction, a 1x1 convolution of F_t,
      supervised in training;
    - out_t = ReLU(F_t + BN(1x1 convolution of [h_t; G_t])), of what both diffusions give of V_t;
    - the prediction, a 1x1 convolution of out_t.

    Args:
        backbone: whatever `keras_mtl.backbones.feature_pyramid` takes. Its image size is the
            model's.
        tasks: list of `keras_mtl.tasks.Task`, for instance `keras_mtl.tasks.nyud()`. Those whose
            output is no map are predicted from the backbone alone.
        width: int or None. Channels of a task's features; `None` means a quarter of the backbone's.
        window: int, odd. Side of the window, in points of the features.
        steps: int. Steps of the diffusion within a task.
        image_statistics: mean and standard deviation of red, green and blue, on the 0..255 scale,
            by which images are normalised; `None` means what the backbone's folder said
            (`keras_mtl.backbones.from_preset`), or else ImageNet's.
        **kwargs: `name` and the like, for `keras.Model`.

    Raises:
        ValueError: if an argument does not fit.

    Example:

    ```python
    backbone = keras_mtl.backbones.hrnet("18_small", (448, 576, 3))
    model = keras_mtl.PSD(backbone, keras_mtl.tasks.nyud())
    model.compile()
    model.fit(dataset)
    ```

    Reference: our reading of the abstract of Zhou et al., Pattern-Structure Diffusion for
        Multi-Task Learning, CVPR 2020, of which no code is public. Certain is that small graphs of
        a pixel's surroundings are diffused recursively within a task, and across tasks by how they
        match. Every formula, and the numbers of channels, are our choice, shaped to meet the cost
        that TPANet's Table 1 gives.
    """

    presets = PRESETS
    recipe = DECODER_RECIPE

    def __init__(
        self,
        backbone: keras.Model | FeaturePyramid,
        tasks: Sequence[Task],
        width: int | None = None,
        window: int = 5,
        steps: int = 1,
        image_statistics: ImageStatistics | None = None,
        **kwargs,
    ):
        tasks = check_tasks(tasks)
        if width is not None:
            width = check_integer("width", width, 1)
        statistics = statistics_of(backbone, image_statistics)
        diffuse = PatternStructureDiffusion(window, steps, name="pattern_structure_diffusion")

        # === Functional model ===
        pyramid = feature_pyramid(backbone)
        inputs = keras.Input(pyramid.image_shape, name="image")
        features = pyramid(normalized_images(inputs, statistics))
        own = task_features(fused_features(features), tasks, width)
        maps = [task for task in tasks if task.name in own]
        auxiliary = {}
        if maps:
            auxiliary["initial"] = predictions(maps, own, features, "initial_")
        raw = predictions(tasks, _exchange(diffuse, own), features)
        super().__init__(inputs, raw, tasks, auxiliary=auxiliary, **kwargs)

        # === Config ===
        self._config = {
            "backbone": keras.saving.serialize_keras_object(pyramid),
            "tasks": [keras.saving.serialize_keras_object(task) for task in tasks],
            "width": width,
            "window": diffuse.window,
            "steps": diffuse.steps,
            "image_statistics": statistics,
        }


def _exchange(diffuse, own: Mapping[str, Any]) -> dict[str, Any]:
    """out_t of each task."""
    if not own:  # no task has a map
        return {}
    embedded = [conv_norm_relu(x, x.shape[-1], 3, f"{name}_embedding") for name, x in own.items()]
    diffused = diffuse(ops.stack(embedded, axis=3))
    found = {}
    for t, (name, x) in enumerate(own.items()):
        fused = convolution(x.shape[-1], name=f"{name}_fusion_convolution")(diffused[:, :, :, t])
        fused = batch_normalization(name=f"{name}_fusion_norm")(fused)
        fused = keras.layers.Add(name=f"{name}_fusion_sum")([x, fused])
        found[name] = keras.layers.ReLU(name=f"{name}_fusion")(fused)
    return found
