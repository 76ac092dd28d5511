"""The search for ATRC's genotype: all types of context at once, and weights that decide."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_mtl.backbones import FeaturePyramid, feature_pyramid
from keras_mtl.images import ImageStatistics, normalized_images, statistics_of
from keras_mtl.layers.atrc.architecture_weights import ArchitectureWeights
from keras_mtl.layers.atrc.context_pooling import check_window
from keras_mtl.layers.atrc.mixed_context import MixedContext
from keras_mtl.models.atrc import RECIPE
from keras_mtl.models.decoder_level import predictions, task_features
from keras_mtl.models.genotypes import CONTEXTS, Genotype
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.models.registry import register_architecture
from keras_mtl.models.relational_context import (
    class_regions,
    loss_of_classes,
    refined,
    shared_features,
)
from keras_mtl.tasks import Task, check_tasks


@register_architecture
@keras.saving.register_keras_serializable(package="keras_mtl")
class ATRCSearch(MultiTaskModel):
    """The network that finds a genotype for `keras_mtl.ATRC` while it is trained.

    It is ATRC, but each pair of tasks has all types of context, mixed by weights that are learned
    with the rest (`keras_mtl.layers.atrc`), all tasks' classes are predicted, and nothing is
    dropped. With `compile()` the weights of the
    architecture are trained by Adam at a constant 5e-4, all others by SGD, on the same batches, and
    the gradients of each are clipped at a norm of 10.

    Args:
        backbone: whatever `keras_mtl.backbones.feature_pyramid` takes. Its image size is the
            model's.
        tasks: list of the tasks to predict, for instance `keras_mtl.tasks.nyud()`. At least one
            output is a map.
        steps: int. Training steps that the search takes.
        window: int, odd. Side of the window of local context.
        temperature: the first and the last tau of the Gumbel noise; it falls linearly.
        entropy_weight: the first and the last weight in the loss of the entropy of the
            architecture's weights: first it is to be large, then small.
        gap: float. A pair of tasks, the two largest shares of whose types are so far apart, has the
            larger one's type for good.
        image_statistics: mean and standard deviation of red, green and blue, on the 0..255 scale,
            by which images are normalised; `None` means what the backbone's folder said
            (`keras_mtl.backbones.from_preset`), or else ImageNet's.
        **kwargs: `name` and the like, for `keras.Model`.

    Raises:
        ValueError: if no task's output is a map, or the kind of one has no classes.

    Example:

    >>> tasks = keras_mtl.tasks.nyud("depth", "edge")
    >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (32, 32, 3), num_layers=1)
    >>> search = keras_mtl.ATRCSearch(backbone, tasks, steps=1000)
    >>> search.compile()
    >>> # search.fit(dataset)
    >>> search.genotype["edge"]
    {'depth': 'none', 'edge': 'none'}
    >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (32, 32, 3), num_layers=1)
    >>> model = keras_mtl.ATRC(backbone, tasks, genotype=search.genotype)

    Reference: Brueggemann et al., Exploring Relational Context for Multi-Task Dense Prediction,
    ICCV 2021, and its published code.
    """

    presets = {
        f"atrc_search_hrnet18_{dataset}": {
            "backbone": "hrnet18",
            "image_size": image_size,
            "tasks": tasks,
            "arguments": {},
        }
        for dataset, tasks, image_size in (
            ("nyud", "nyud", (425, 560)),
            ("pascal", "pascal_context", (512, 512)),
        )
    }
    recipe = {
        **RECIPE,
        "global_clipnorm": 10.0,
        "interaction_variables": "architecture_weights/architecture",
        "interaction_recipe": {
            "optimizer": {"class_name": "Adam", "config": {}},
            "learning_rate": 5e-4,
            "power": 0,  # it stays the same
            "weight_decay": None,
        },
    }

    def __init__(
        self,
        backbone: keras.Model | FeaturePyramid,
        tasks: Sequence[Task],
        steps: int = 40_000,
        window: int = 9,
        temperature: Sequence[float] = (1.0, 0.05),
        entropy_weight: Sequence[float] = (-0.02, 0.06),
        gap: float = 0.3,
        image_statistics: ImageStatistics | None = None,
        **kwargs,
    ):
        tasks = check_tasks(tasks)
        maps = [task for task in tasks if task.output == "map"]
        if not maps:
            raise ValueError(
                f"No task of {', '.join(task.name for task in tasks)} has a map as output, and "
                "context is searched for between maps; add one, such as keras_mtl.tasks.nyud()."
            )
        window = check_window(window)
        statistics = statistics_of(backbone, image_statistics)
        pyramid = feature_pyramid(backbone)
        architecture = ArchitectureWeights(
            len(maps), steps, temperature, entropy_weight, gap, name="architecture_weights"
        )

        # === Functional model ===
        inputs = keras.Input(pyramid.image_shape, name="image")
        images = normalized_images(inputs, statistics)
        x, features = shared_features(pyramid, images)
        own = task_features(x, maps)
        regions, logits = class_regions(x, images, maps, pyramid.image_shape[:2], None)
        weights, contexts = architecture(x), {}
        for t, target in enumerate(own):
            contexts[target] = [
                MixedContext(target == source, window, name=f"context_{target}_from_{source}")(
                    own[target], own[source], regions[target], regions[source], weights[t, s]
                )
                for s, source in enumerate(own)
            ]
        super().__init__(
            inputs,
            predictions(tasks, refined(own, contexts, dropout=0.0), features),
            tasks,
            auxiliary={"classes": logits},
            auxiliary_losses={"classes": loss_of_classes},
            **kwargs,
        )

        # === Config ===
        self._config = {
            "backbone": keras.saving.serialize_keras_object(pyramid),
            "tasks": [keras.saving.serialize_keras_object(task) for task in tasks],
            "steps": architecture.steps,
            "window": window,
            "temperature": architecture.temperature,
            "entropy_weight": architecture.entropy_weight,
            "gap": architecture.gap,
            "image_statistics": statistics,
        }

    @property
    def genotype(self) -> Genotype:
        """What has been found so far, as `keras_mtl.ATRC` takes it: `{target: {source: type}}`."""
        names = [task.name for task in self.tasks if task.output == "map"]
        found = ops.convert_to_numpy(self.get_layer("architecture_weights").found())
        types = np.argmax(found, axis=-1)
        return {
            target: {source: CONTEXTS[types[t, s]] for s, source in enumerate(names)}
            for t, target in enumerate(names)
        }
