"""Cross-stitch networks: every task's features are a learned mix of all tasks' features."""

import keras

from keras_mtl.layers.cross_stitch import CrossStitchUnit
from keras_mtl.models.exchange import ENCODER_RECIPE, ExchangingModel, exchange_presets
from keras_mtl.models.registry import register_architecture


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
        stages: numbers, from 1, of the stages of the backbones that have a unit at the encoder
            level; `None` means all, as in the paper's ports.
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

    presets = exchange_presets("cross_stitch")
    exchange = CrossStitchUnit
    exchange_name = "cross_stitch"
    encoder_recipe = {**ENCODER_RECIPE, "interaction_variables": "cross_stitch_.*"}
