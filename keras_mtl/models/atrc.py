"""ATRC: each task takes from each other one the type of context that a search has found best."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_mtl.arguments import check_number, check_numbers
from keras_mtl.backbones import FeaturePyramid, feature_pyramid
from keras_mtl.images import ImageStatistics, normalized_images, statistics_of
from keras_mtl.layers.atrc.context_pooling import ContextPooling, check_window
from keras_mtl.models.decoder_level import predictions, task_features
from keras_mtl.models.exchange import DECODER_RECIPE
from keras_mtl.models.genotypes import checked_genotype
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.models.registry import register_architecture
from keras_mtl.models.relational_context import (
    class_regions,
    loss_of_classes,
    refined,
    shared_features,
)
from keras_mtl.tasks import Task, check_tasks

PRESETS = {
    # TPANet's Table 1: 5.06 M parameters, 25.76 G on NYUD-v2.
    **{
        f"atrc_hrnet18_{dataset}": {
            "backbone": "hrnet18",
            "image_size": image_size,
            "tasks": tasks,
            "arguments": {"genotype": f"{dataset}_hrnet18"},
        }
        for dataset, tasks, image_size in (
            ("nyud", "nyud", (425, 560)),
            ("pascal", "pascal_context", (512, 512)),
        )
    },
    "atrc_hrnet48_nyud": {
        "backbone": "hrnet48",
        "image_size": (425, 560),
        "tasks": "nyud",
        "arguments": {"genotype": "nyud_hrnet48"},
    },
    # TaskPrompter's Table 4: 340 M parameters, 871 G. No such network is published.
    "atrc_vit_large_pascal": {
        "backbone": "vit_large",
        "image_size": (512, 512),
        "tasks": "pascal_context",
        "arguments": {"genotype": "pascal_hrnet18"},
    },
}

# Of the published code for NYUD-v2; for PASCAL-Context it has a learning rate of 5e-3.
RECIPE = {**DECODER_RECIPE, "steps": 40_000}


@register_architecture
@keras.saving.register_keras_serializable(package="keras_mtl")
class ATRC(MultiTaskModel):
    """Adaptive task-relational context: features refined by context pooled from every task's.

    From the backbone's levels, at the finest one and concatenated to C channels:

    1. a task's features F_t: 3x3 convolution to D = C // 4, batch normalization, ReLU;
    2. where some pair attends to a task's classes, an auxiliary prediction of them: 1x1 convolution
       to C, batch normalization, ReLU, 1x1 convolution. It takes the shared features as they are,
       so that the backbone learns nothing by it, and in training it is supervised as
       `"depth/classes"` (`keras_mtl.tasks.Task.discretization`);
    3. the context of each pair, `keras_mtl.layers.ContextPooling`, of the type that the genotype
       has for it;
    4. all context of a task together: 1x1 convolution to D, batch normalization; beside F_t: 1x1
       convolution to D, batch normalization, ReLU, dropout of whole channels;
    5. the final prediction, a 1x1 convolution.

    Of a plain Vision Transformer, for which nothing is published, the shared features are its
    tokens after each quarter of its blocks, by 1x1 convolutions to 5/16 of their channels each (320
    of 1024), enlarged to stride 4.

    Args:
        backbone: whatever `keras_mtl.backbones.feature_pyramid` takes. Its image size is the
            model's.
        tasks: list of the tasks to predict, for instance `keras_mtl.tasks.nyud()`. Those whose
            output is no map are predicted from the backbone alone.
        genotype: which context a task takes from which. One of `"global"`, `"local"`, `"t-label"`,
            `"s-label"`: of that type from all; the name of a published one, `"nyud_hrnet18"`,
            `"nyud_hrnet48"` or `"pascal_hrnet18"`, of some of its tasks or all; a row for each
            target task of a type for each source task, also as `"none"` or by the published codes 0
            (none) to 4 in the order above; or a dict `{target: {source: type}}`, such as
            `keras_mtl.ATRCSearch` finds.
        window: int, odd. Side of the window of local context.
        dropout: float, 0 to below 1. Share of the channels that training leaves out.
        padding: float or None. Value of a normalised image that marks pixels which are none; see
            `keras_mtl.layers.ClassRegions`.
        image_statistics: mean and standard deviation of red, green and blue, on the 0..255 scale,
            by which images are normalised; `None` means what the backbone's folder said
            (`keras_mtl.backbones.from_preset`), or else ImageNet's.
        **kwargs: `name` and the like, for `keras.Model`.

    Attributes:
        genotype: the dict `{target: {source: type}}`.

    Raises:
        ValueError: if the genotype is none of these tasks, or classes are asked for of a task whose
            kind has none.

    Example:

    ```python
    backbone = keras_mtl.backbones.hrnet("18_small", (448, 576, 3))
    model = keras_mtl.ATRC(backbone, keras_mtl.tasks.nyud(), genotype="nyud_hrnet18")
    model.compile()
    model.fit(dataset)
    ```

    Reference: Brueggemann et al., Exploring Relational Context for Multi-Task Dense Prediction,
    ICCV 2021, and its published code.
    """

    presets = PRESETS
    recipe = RECIPE

    def __init__(
        self,
        backbone: keras.Model | FeaturePyramid,
        tasks: Sequence[Task],
        genotype: str | Sequence | Mapping = "t-label",
        window: int = 9,
        dropout: float = 0.05,
        padding: float | None = None,
        image_statistics: ImageStatistics | None = None,
        **kwargs,
    ):
        tasks = check_tasks(tasks)
        maps = [task for task in tasks if task.output == "map"]
        found = checked_genotype(genotype, [task.name for task in maps])
        window = check_window(window)
        dropout = check_number("dropout", dropout, below=1)
        if padding is not None:
            (padding,) = check_numbers("padding", [padding], (0.0,))
        statistics = statistics_of(backbone, image_statistics)
        pyramid = feature_pyramid(backbone)

        # === Functional model ===
        inputs = keras.Input(pyramid.image_shape, name="image")
        images = normalized_images(inputs, statistics)
        x, features = shared_features(pyramid, images)
        own = task_features(x, maps)
        read = classes_read(found)
        with_classes = [task for task in maps if task.name in read]
        regions, logits = class_regions(x, images, with_classes, pyramid.image_shape[:2], padding)
        contexts: dict[str, list] = {}
        for target, row in found.items():
            contexts[target] = []
            for source, context in row.items():
                if context != "none":
                    pool = ContextPooling(context, window, name=f"context_{target}_from_{source}")
                    given = [own[target], own[source]]
                    if of := classes_of(context, target, source):
                        given.append(regions[of])
                    contexts[target].append(pool(*given))
        auxiliary: dict[str, Mapping[str, Any]] = {"classes": logits} if logits else {}
        super().__init__(
            inputs,
            predictions(tasks, refined(own, contexts, dropout), features),
            tasks,
            auxiliary=auxiliary,
            auxiliary_losses={"classes": loss_of_classes} if logits else None,
            **kwargs,
        )
        self.genotype = found

        # === Config ===
        self._config = {
            "backbone": keras.saving.serialize_keras_object(pyramid),
            "tasks": [keras.saving.serialize_keras_object(task) for task in tasks],
            "genotype": found,
            "window": window,
            "dropout": dropout,
            "padding": padding,
            "image_statistics": statistics,
        }


def classes_of(context: str, target: str, source: str) -> str | None:
    """Whose classes a context attends to, if any's.

    Args:
        context: its type.
        target, source: names of tasks.

    Example:

    >>> classes_of("s-label", "depth", "edge"), classes_of("local", "depth", "edge")
    ('edge', None)
    """
    return {"t-label": target, "s-label": source}.get(context)


def classes_read(genotype: Mapping[str, Mapping[str, str]]) -> set[str]:
    """The tasks whose classes some pair attends to.

    Args:
        genotype: dict `{target: {source: type}}`.

    Example:

    >>> sorted(classes_read({"depth": {"depth": "none", "edge": "s-label"}}))
    ['edge']
    """
    pairs = (
        classes_of(context, target, source)
        for target, row in genotype.items()
        for source, context in row.items()
    )
    return {name for name in pairs if name is not None}
