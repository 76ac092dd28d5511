"""MTAN: one backbone, and for each task a mask of its features, stage by stage."""

from collections.abc import Sequence

import keras

from keras_mtl.arguments import check_integer
from keras_mtl.backbones import FeaturePyramid, feature_pyramid, stages
from keras_mtl.images import ImageStatistics, normalized_images, statistics_of
from keras_mtl.layers.mtan import AttentionMask, SharedRefinement
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.models.registry import register_architecture
from keras_mtl.tasks import Task, check_tasks

PRESETS = {
    f"mtan_hrnet18_{dataset}": {
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


@register_architecture
@keras.saving.register_keras_serializable(package="keras_mtl")
class MTAN(MultiTaskModel):
    """Multi-task attention network on the stages of one shared backbone.

    With u_i^b what enters the last block of stage i, and u_i^t what leaves it, every task has

        m_1 = A(u_1^b),  m_i = A([u_i^b; g_(i-1)]),  a_i = m_i * u_i^t,  g_i = D_i(R_i(a_i)),

    and its head sees the last a_i. A is `keras_mtl.layers.AttentionMask`, one for each task and
    stage; R_i a bottleneck to the next stage's channels, which the tasks share, and D_i max pooling
    where the next stage is coarser (`keras_mtl.layers.SharedRefinement`). A task whose output is
    no map has the a_i of all strides.

    This is the paper's network as it was ported to ResNet. The paper's SegNet has 3x3 convolutions
    between the stages, too, and attends in its decoder. There is no published port to HRNet:
    here u_i is the coarsest branch of stage i, so that strides are 4, 8, 16 and 32 as a ResNet's;
    what the last stage gives its finer branches nobody reads, so that those weights get no
    gradient, of which Keras warns with PyTorch and TensorFlow.
    A plain ViT's four groups of blocks all have one stride, and nothing is pooled. The dynamic
    weight average of the paper is `keras_mtl.balancing.DynamicWeightAverage`.

    Args:
        backbone: whatever `keras_mtl.backbones.stages` takes with `last_blocks`: an HRNet, a Swin
            Transformer, a ViT without class token, or a ResNet with two blocks or more in every
            stage. Its image size is the model's.
        tasks: list of `keras_mtl.tasks.Task`, for instance `keras_mtl.tasks.nyud()`.
        head_width: int or None. Channels inside a head; `None` means a quarter of the last
            stage's.
        image_statistics: mean and standard deviation of red, green and blue, on the 0..255 scale,
            by which images are normalised; `None` means what the backbone's folder said
            (`keras_mtl.backbones.from_preset`), or else ImageNet's.
        **kwargs: `name` and the like, for `keras.Model`.

    Raises:
        ValueError: if the backbone does not run stage by stage, a stage has one block only, or
            `head_width` is no positive integer.

    Example:

    ```python
    backbone = keras_mtl.backbones.hrnet("18_small", (448, 576, 3))
    model = keras_mtl.MTAN(backbone, keras_mtl.tasks.nyud())
    model.compile()
    model.fit(dataset)
    ```

    Reference: Liu et al., End-to-End Multi-Task Learning with Attention, CVPR 2019.
    """

    presets = PRESETS
    # Of the port to ResNet-50, for NYUD-v2 (795 images, 100 epochs).
    recipe = {
        **MultiTaskModel.recipe,
        "steps": 100 * 795 // 8,
        "learning_rate": 1e-4,
        "weight_decay": 1e-4,
        "global_clipnorm": None,
        "batch_size": 8,
    }

    def __init__(
        self,
        backbone: keras.Model | FeaturePyramid,
        tasks: Sequence[Task],
        head_width: int | None = None,
        image_statistics: ImageStatistics | None = None,
        **kwargs,
    ):
        tasks = check_tasks(tasks)
        if head_width is not None:
            head_width = check_integer("head_width", head_width, 1)
        statistics = statistics_of(backbone, image_statistics)
        pyramid = feature_pyramid(backbone)
        parts = stages(pyramid, last_blocks=True)
        halves = list(zip(parts[::2], parts[1::2], strict=True))

        inputs = keras.Input(pyramid.image_shape, name="image")
        features = normalized_images(inputs, statistics)
        passed_on: dict = {}  # g of each task
        attended: dict = {task.name: {} for task in tasks}  # a by stride
        for number, (before, last) in enumerate(halves, start=1):
            stride, channels = list(last.channels.items())[-1]
            if before.channels.get(stride) != channels:
                raise ValueError(
                    f"Stage {number} of this backbone has one block only, and nothing of its size "
                    "enters it; use a backbone with two blocks or more in every stage."
                )
            entering = before(features)
            features = last(entering)
            for task in tasks:
                z = entering[-1]
                if number > 1:
                    z = keras.layers.concatenate([z, passed_on[task.name]])
                mask = AttentionMask(channels, name=f"{task.name}_mask_{number}")(z)
                attended[task.name][stride] = keras.layers.Multiply(
                    name=f"{task.name}_attended_{number}"
                )([mask, features[-1]])
            if number < len(halves):
                own = [attended[task.name][stride] for task in tasks]
                coarser, width = list(halves[number][1].channels.items())[-1]
                refine = SharedRefinement(width, coarser // stride, name=f"refine_{number}")
                passed_on = dict(zip(attended, refine(own), strict=True))
        raw = {
            task.name: task.head(
                width=head_width or max(channels // 4, 1),
                activation="relu",
                name=f"{task.name}_head",
            )(attended[task.name][stride] if task.output == "map" else attended[task.name])
            for task in tasks
        }
        super().__init__(inputs, raw, tasks, **kwargs)

        # === Config ===
        self._config = {
            "backbone": keras.saving.serialize_keras_object(pyramid),
            "tasks": [keras.saving.serialize_keras_object(task) for task in tasks],
            "head_width": head_width,
            "image_statistics": statistics,
        }
