"""NDDR-CNN: the tasks' features are concatenated, and reduced for each task by its own layer."""

from collections.abc import Sequence

import keras

from keras_mtl.arguments import check_integer, check_integers, check_number
from keras_mtl.backbones import FeaturePyramid, feature_pyramid
from keras_mtl.images import ImageStatistics, statistics_of
from keras_mtl.layers.nddr import NDDR
from keras_mtl.models.exchange import ENCODER_RECIPE, ExchangingModel, exchanging_network
from keras_mtl.models.registry import register_architecture
from keras_mtl.tasks import Task, check_tasks

PRESETS = {
    # TPANet's Table 1, whose size only the decoder level has.
    "nddr_cnn_hrnet18_nyud": {
        "backbone": "hrnet18",
        "image_size": (425, 560),
        "tasks": "nyud",
        "arguments": {},
    },
    # The published start for five tasks.
    "nddr_cnn_hrnet18_pascal": {
        "backbone": "hrnet18",
        "image_size": (512, 512),
        "tasks": "pascal_context",
        "arguments": {"alpha": 0.8},
    },
}


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

    presets = PRESETS
    encoder_recipe = {**ENCODER_RECIPE, "interaction_variables": "nddr_.*"}

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
            return NDDR(alpha, beta, name=f"nddr_{place}")(maps)

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
