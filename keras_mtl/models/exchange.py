"""Networks whose tasks exchange features by one layer: in the decoder, or between backbones."""

from collections.abc import Sequence

import keras

from keras_mtl.arguments import check_integer, check_integers, check_number
from keras_mtl.backbones import FeaturePyramid, feature_pyramid
from keras_mtl.images import ImageStatistics, normalized_images, statistics_of
from keras_mtl.models.decoder_level import fused_features, predictions, task_features
from keras_mtl.models.encoder_level import (
    Exchange,
    backbone_name,
    heads_of_encoders,
    run_side_by_side,
)
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.tasks import Task, check_tasks

LEVELS = ("decoder", "encoder")

# Of the public code base whose HRNet-18 baseline has the size of TPANet's Table 1.
DECODER_RECIPE = {
    **MultiTaskModel.recipe,
    "optimizer": {"class_name": "SGD", "config": {"momentum": 0.9}},
    "learning_rate": 1e-2,
    "weight_decay": 5e-4,
    "global_clipnorm": None,
    "batch_size": 8,
}
# Of the code base with the ports to ResNet, for NYUD-v2 (795 images, 50 epochs). For PASCAL-Context
# it has a learning rate of 5e-3, batches of 12, and 20 epochs.
ENCODER_RECIPE = {
    **DECODER_RECIPE,
    "steps": 50 * 795 // 8,
    "learning_rate": 1e-3,
    "weight_decay": 1e-4,
    "interaction_lr_multiplier": 100,
}


def exchange_presets(name: str) -> dict:
    """A network's presets on HRNet-18, both at the decoder level."""
    return {
        # TPANet's Table 1, whose size only the decoder level has.
        f"{name}_hrnet18_nyud": {
            "backbone": "hrnet18",
            "image_size": (425, 560),
            "tasks": "nyud",
            "arguments": {},
        },
        # The published start for five tasks.
        f"{name}_hrnet18_pascal": {
            "backbone": "hrnet18",
            "image_size": (512, 512),
            "tasks": "pascal_context",
            "arguments": {"alpha": 0.8},
        },
    }


class ExchangingModel(MultiTaskModel):
    """What networks whose tasks exchange features have in common.

    A subclass has `exchange`, a class of layers that are made with `alpha`, `beta` and a name,
    `exchange_name`, which their names begin with, and the recipe of its encoder level; its
    docstring says what the arguments mean.
    """

    recipe = DECODER_RECIPE
    encoder_recipe: dict
    exchange: type[keras.layers.Layer]
    exchange_name: str

    def __init__(
        self,
        backbone: keras.Model | FeaturePyramid,
        tasks: Sequence[Task],
        level: str = "decoder",
        width: int | None = None,
        alpha: float = 0.9,
        beta: float | None = None,
        stages: Sequence[int] | None = None,
        image_statistics: ImageStatistics | None = None,
        **kwargs,
    ):
        tasks = check_tasks(tasks)
        width = None if width is None else check_integer("width", width, 1)
        alpha = check_number("alpha", alpha)
        beta = None if beta is None else check_number("beta", beta)
        if stages is not None:
            stages = check_integers("stages", stages, (1, 2, 3, 4), exactly=False)
            if level != "encoder":
                raise ValueError(f"stages is {stages}, but only level='encoder' has layers there.")
        statistics = statistics_of(backbone, image_statistics)
        pyramid = feature_pyramid(backbone)
        known = set()

        def exchange(stage, place, maps):
            known.add(stage)
            if stages is not None and stage not in stages:
                return maps
            return self.exchange(alpha, beta, name=f"{self.exchange_name}_{place}")(maps)

        inputs, raw = exchanging_network(pyramid, tasks, level, width, statistics, exchange)
        if not known.issuperset(stages or ()):
            raise ValueError(
                f"stages is {stages}, but this backbone has {len(known)} stages; expected numbers "
                "from 1 on."
            )
        super().__init__(inputs, raw, tasks, **kwargs)
        if level == "encoder":
            self.recipe = self.encoder_recipe

        # === Config ===
        self._config = {
            "backbone": keras.saving.serialize_keras_object(pyramid),
            "tasks": [keras.saving.serialize_keras_object(task) for task in tasks],
            "level": level,
            "width": width,
            "alpha": alpha,
            "beta": beta,
            "stages": None if stages is None else list(stages),
            "image_statistics": statistics,
        }

    def start_from(self, singles: Sequence[MultiTaskModel]) -> None:
        """Takes over trained single-task models: the published start at the encoder level.

        Args:
            singles: a `keras_mtl.MultiTaskBaseline` for each task, with this task alone, a backbone
                like this model's and heads as wide.

        Raises:
            ValueError: if the model has one backbone only, or a task's model is missing or another.

        Example:

        >>> backbone = keras_mtl.backbones.hrnet("18_small", (32, 48, 3))
        >>> tasks = keras_mtl.tasks.nyud("depth", "edge")
        >>> singles = [
        ...     keras_mtl.MultiTaskBaseline(keras_mtl.backbones.copy_backbone(backbone), [task])
        ...     for task in tasks
        ... ]
        >>> model = keras_mtl.CrossStitch(backbone, tasks, level="encoder")
        >>> model.start_from(singles)
        """
        names = [task.name for task in self.tasks]
        layers = {layer.name: layer for layer in self.layers}
        first = backbone_name(names[0]) + "_stage_1"
        if first not in layers:
            raise ValueError(
                f"This {type(self).__name__} has one backbone for all tasks, and no single-task "
                "models to start from; build it with level='encoder'."
            )
        known = {single.tasks[0].name: single for single in singles if len(single.tasks) == 1}
        if sorted(known) != sorted(names) or len(known) != len(singles):
            raise ValueError(
                f"singles are of {', '.join(known) or 'no single task'}; expected a model of one "
                f"task for each of {', '.join(names)}."
            )
        pairs = []
        for name in names:
            ours = layers[backbone_name(name) + "_stage_1"].whole(), layers[f"{name}_head"]
            theirs = {
                type(layer) if isinstance(layer, FeaturePyramid) else layer.name: layer
                for layer in known[name].layers
            }
            for own in ours:
                found = theirs.get(type(own) if isinstance(own, FeaturePyramid) else own.name)
                shapes = [tuple(weight.shape) for weight in found.weights] if found else None
                if shapes != [tuple(weight.shape) for weight in own.weights]:
                    raise ValueError(
                        f"The single-task model of {name!r} has another backbone or head than this "
                        "model; expected a MultiTaskBaseline with a like backbone and head_width."
                    )
                pairs.append((own, found))
        for own, found in pairs:  # after all that may be refused
            own.set_weights(found.get_weights())


def exchanging_network(
    pyramid: FeaturePyramid,
    tasks: Sequence[Task],
    level: str,
    width: int | None,
    statistics: ImageStatistics | None,
    exchange: Exchange,
):
    """From images to raw outputs, with an exchange between the tasks' features.

    Args:
        pyramid: the backbone.
        tasks: list of the model's tasks.
        level: `"decoder"`: one backbone, and an exchange of the tasks' features at its finest
            stride; or `"encoder"`: a backbone for each task, and an exchange after every stage.
        width: int or None. Channels of a task's features, or inside its head.
        statistics: by which images are normalised.
        exchange: function of a stage's number, of a place's name, and of the list of the tasks'
            tensors there, to such a list; at the decoder level of 0 and `"decoder"`.

    Returns:
        The symbolic images, and a dict by task name of raw outputs.

    Raises:
        ValueError: if there is no such level, or the backbone runs only as a whole.
    """
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}, expected one of {', '.join(map(repr, LEVELS))}.")
    inputs = keras.Input(pyramid.image_shape, name="image")
    images = normalized_images(inputs, statistics)
    if level == "encoder":
        features = run_side_by_side(pyramid, tasks, images, exchange)
        return inputs, heads_of_encoders(tasks, features, width)
    features = pyramid(images)
    own = task_features(fused_features(features), tasks, width)
    if own:
        own = dict(zip(own, exchange(0, "decoder", list(own.values())), strict=True))
    return inputs, predictions(tasks, own, features)
