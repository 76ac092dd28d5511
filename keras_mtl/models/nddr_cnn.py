"""NDDR-CNN: the tasks' features are concatenated, and reduced for each task by its own layer."""

import keras

from keras_mtl.layers.nddr import NDDR
from keras_mtl.models.exchange import ENCODER_RECIPE, ExchangingModel, exchange_presets
from keras_mtl.models.registry import register_architecture


@register_architecture
@keras.saving.register_keras_serializable(package="keras_mtl")
class NDDRCNN(ExchangingModel):
    """NDDR layers between the tasks' features, in the decoder or between backbones.

    Both levels are those of `keras_mtl.CrossStitch`: one layer behind one shared backbone, as in
    the papers' tables, or a backbone for each task with a layer after the stages, as in the paper.
    There it starts from trained single-task models (`start_from`).

    The port to ResNet that this follows has a layer after the stem, too, which is part of the first
    stage here. It lacks the paper's shortcuts from every layer to the last, and the paper's L2
    penalty of the layers' weights alone, and so does this. In it the layers' hundred times higher
    learning rate is lost, as for cross-stitch networks; here it is kept.

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
        stages: numbers, from 1, of the stages of the backbones that have a layer at the encoder
            level; `None` means all.
        image_statistics: mean and standard deviation of red, green and blue, on the 0..255 scale,
            by which images are normalised; `None` means what the backbone's folder said
            (`keras_mtl.backbones.from_preset`), or else ImageNet's.
        **kwargs: `name` and the like, for `keras.Model`.

    Raises:
        ValueError: if an argument is not right, or the backbone does not run stage by stage.

    Example:

    ```python
    backbone = keras_mtl.backbones.hrnet("18_small", (448, 576, 3))
    model = keras_mtl.NDDRCNN(backbone, keras_mtl.tasks.nyud())
    model.compile()
    model.fit(dataset)
    ```

    Reference: Gao et al., NDDR-CNN: Layerwise Feature Fusing in Multi-Task CNNs by Neural
        Discriminative Dimensionality Reduction, CVPR 2019.
    """

    presets = exchange_presets("nddr_cnn")
    exchange = NDDR
    exchange_name = "nddr"
    encoder_recipe = {**ENCODER_RECIPE, "interaction_variables": "nddr_.*"}
