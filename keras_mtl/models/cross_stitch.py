"""Cross-stitch networks: every task's features are a learned mix of all tasks' features."""

from collections.abc import Sequence

import keras

from keras_mtl.arguments import check_integer, check_number
from keras_mtl.backbones import FeaturePyramid, feature_pyramid
from keras_mtl.images import ImageStatistics, statistics_of
from keras_mtl.layers.cross_stitch import CrossStitchUnit
from keras_mtl.models.exchange import ENCODER_RECIPE, ExchangingModel, exchanging_network
from keras_mtl.models.registry import register_architecture
from keras_mtl.tasks import Task, check_tasks

PRESETS = {
    # TPANet's Table 1, whose size only the decoder level has.
    "cross_stitch_hrnet18_nyud": {
        "backbone": "hrnet18",
        "image_size": (425, 560),
        "tasks": "nyud",
        "arguments": {},
    },
    # The published start for five tasks.
    "cross_stitch_hrnet18_pascal": {
        "backbone": "hrnet18",
        "image_size": (512, 512),
        "tasks": "pascal_context",
        "arguments": {"alpha": 0.8},
    },
}


@register_architecture
@keras.saving.register_keras_serializable(package="keras_mtl")
class CrossStitch(ExchangingModel):
    """Cross-stitch units between the tasks' features, in the decoder or between backbones.

    At the decoder level the tasks share one backbone, and one unit mixes their features at its
    finest stride: the rows of the papers' tables. Tasks whose output is no map take no part, their
    heads see the backbone's levels. At the encoder level every task has a backbone and a head of
    its own, as a single-task baseline, and a unit mixes the features after each stage, the last one
    included: the networks of the paper. It starts from trained single-task models
    (`start_from`); the cost is that of all of them.

    The paper has its units after pooling and fully connected layers of AlexNet; stages, and one
    share per channel, are what its ports to ResNet have. In the published port the units' hundred
    times higher learning rate is lost, since its schedule gives one rate to all; here
    `keras_mtl.training.recipe_optimizer` keeps it (`recipe["interaction_lr_multiplier"]`).

    Args:
        backbone: whatever `keras_mtl.backbones.feature_pyramid` takes; at the encoder level
            `keras_mtl.backbones.stages` must take it, too. Its image size is the model's.
        tasks: list of `keras_mtl.tasks.Task`, for instance `keras_mtl.tasks.nyud()`.
        level: `"decoder"` or `"encoder"`.
        width: int or None. Channels of a task's features, or inside its head at the encoder level;
            `None` means a quarter of the backbone's, concatenated.
        alpha: float. Share of a task's own features at the beginning; 0.9 for NYUD-v2, 0.8 for
            PASCAL-Context.
        beta: float or None. Share of each other task's; `None` divides among them what is left
            of 1, as the papers' 0.1 for two tasks and 0.05 for five.
        image_statistics: mean and standard deviation of red, green and blue, on the 0..255 scale,
            by which images are normalised; `None` means what the backbone's folder said
            (`keras_mtl.backbones.from_preset`), or else ImageNet's.
        **kwargs: `name` and the like, for `keras.Model`.

    Raises:
        ValueError: if an argument is not right, or the backbone does not run stage by stage.

    Example:

    ```python
    backbone = keras_mtl.backbones.hrnet("18_small", (448, 576, 3))
    model = keras_mtl.CrossStitch(backbone, keras_mtl.tasks.nyud(), level="encoder")
    model.start_from(single_task_models)
    model.compile()  # by its recipe: SGD, the units' learning rate 100 times higher
    model.fit(dataset)
    ```

    Reference: Misra et al., Cross-stitch Networks for Multi-task Learning, CVPR 2016.
    """

    presets = PRESETS
    encoder_recipe = {**ENCODER_RECIPE, "interaction_variables": "cross_stitch_.*"}

    def __init__(
        self,
        backbone: keras.Model | FeaturePyramid,
        tasks: Sequence[Task],
        level: str = "decoder",
        width: int | None = None,
        alpha: float = 0.9,
        beta: float | None = None,
        image_statistics: ImageStatistics | None = None,
        **kwargs,
    ):
        tasks = check_tasks(tasks)
        width = None if width is None else check_integer("width", width, 1)
        alpha = check_number("alpha", alpha)
        beta = None if beta is None else check_number("beta", beta)
        statistics = statistics_of(backbone, image_statistics)
        pyramid = feature_pyramid(backbone)

        def exchange(stage, place, maps):
            return CrossStitchUnit(alpha, beta, name=f"cross_stitch_{place}")(maps)

        inputs, raw = exchanging_network(pyramid, tasks, level, width, statistics, exchange)
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
            "image_statistics": statistics,
        }
