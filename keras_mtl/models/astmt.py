"""ASTMT: one network that runs one task at a time, and is told which."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.arguments import check_integer, check_number
from keras_mtl.backbones import FeaturePyramid, SEResNet
from keras_mtl.backbones.task_conditioning import TaskConditioned
from keras_mtl.computation.sublayers import every_layer
from keras_mtl.images import ImageStatistics, normalized_images, statistics_of
from keras_mtl.layers import AdaptedConvolution, GradientDiscriminator
from keras_mtl.layers.astmt.gradient_discriminator import bilinear_matrix
from keras_mtl.losses.adversarial import GradientAdversarialLoss
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.models.outputs import TrainingGraph
from keras_mtl.models.registry import register_architecture
from keras_mtl.tasks import Task, check_tasks
from keras_mtl.training.task_by_task import train_task_by_task

# Dilations of the three 3x3 convolutions, by the stride of the encoder's last stage.
RATES = {16: (6, 12, 18), 8: (12, 24, 36)}

PRESETS = {
    f"astmt_resnet{size}_{dataset}": {
        "backbone": f"se_resnet{size}",
        "image_size": (512, 512),
        "tasks": tasks,
        "arguments": {"discriminator_kernel": kernel},
        "counted_in_training": True,
    }
    for size, dataset, tasks, kernel in (
        ("26", "pascal", "pascal_context", 1),
        ("50", "pascal", "pascal_context", 1),
        ("101", "pascal", "pascal_context", 1),
        ("50", "nyud", "nyud", 3),
    )
}

# PASCAL-Context: 60 epochs of 4,998 images; NYUD-v2 has 200 of 795. The published learning rate
# falls once an epoch, with momentum from zero; that of tasks' own parts is T times, and that of the
# discriminator 10 times as high.
RECIPE = {
    **MultiTaskModel.recipe,
    "optimizer": {"class_name": "SGD", "config": {"momentum": 0.9}},
    "steps": 60 * 4998 // 8,
    "learning_rate": 1e-3,
    "weight_decay": 1e-4,
    "global_clipnorm": None,
    "batch_size": 8,
}


@register_architecture
@keras.saving.register_keras_serializable(package="keras_mtl")
class ASTMT(MultiTaskModel):
    """Attentive single-tasking of multiple tasks.

    For each task in turn, with parts of its own in nearly every layer
    (`keras_mtl.backbones.SEResNet`, `keras_mtl.layers.AdaptedConvolution`):

    1. The encoder's features at stride 4 and at its last stride.
    2. Of the last ones: a 1x1 convolution, three 3x3 ones of different dilations, and one of their
       mean; concatenated and reduced by a 1x1 convolution to w channels, enlarged to stride 4.
    3. With those of stride 4, reduced to 48 w / 256 channels: two 3x3 convolutions to w channels.
    4. The task's 1x1 convolution.

    All tasks together need as many passes of the network. A training step makes one after the
    other, with an update of the weights after each that touches only what the pass used; a task
    without any label in the batch has no update.

    In training a discriminator (`keras_mtl.layers.GradientDiscriminator`) is to tell the task from
    the gradient of its loss with respect to the features of step 3, and the network is trained so
    that it cannot: by (1 - v) L + v L_D, v being `discriminator` and L the task's weighed loss.
    This needs second gradients, which all three backends have.

    Args:
        backbone: `keras_mtl.backbones.SEResNet`, not built yet. Its image size is the model's.
        tasks: list of `keras_mtl.tasks.Task` whose outputs are maps.
        width: int. Channels w.
        discriminator: float or None. Share v of the discriminator's loss; `None` does without.
        discriminator_kernel: int. Side of its kernels; published are 1 (PASCAL-Context) and 3
            (NYUD-v2).
        all_pixels: names of tasks of whose labels also those pixels count in the discriminator's
            loss that have none. The published code has it so for `("normals", "depth")`, by a slip:
            their losses overwrite labels before the mask is made.
        image_statistics: mean and standard deviation of red, green and blue, on the 0..255 scale,
            by which images are normalised; `None` means ImageNet's.
        **kwargs: `name` and the like, for `keras.Model`.

    Raises:
        ValueError: if an argument does not fit, or the output of a task is no map.

    Example:

    ```python
    backbone = keras_mtl.backbones.se_resnet("50", (512, 512, 3))
    model = keras_mtl.ASTMT(backbone, keras_mtl.tasks.pascal_context())
    model.compile()
    model.fit(dataset, epochs=60)
    ```

    Reference: Maninis, Radosavovic and Kokkinos, Attentive Single-Tasking of Multiple Tasks,
        CVPR 2019, as its published code has it.
    """

    presets = PRESETS
    recipe = RECIPE

    def __init__(
        self,
        backbone: FeaturePyramid,
        tasks: Sequence[Task],
        width: int = 64,
        discriminator: float | None = 0.01,
        discriminator_kernel: int = 1,
        all_pixels: Sequence[str] = (),
        image_statistics: ImageStatistics | None = None,
        **kwargs,
    ):
        tasks = check_tasks(tasks)
        if not isinstance(backbone, SEResNet):
            raise ValueError(
                f"ASTMT found a {type(backbone).__name__} and needs a backbone that is told the "
                "task; give it keras_mtl.backbones.se_resnet('50', image_shape)."
            )
        for task in tasks:
            if task.output != "map":
                raise ValueError(
                    f"ASTMT predicts maps, which the output of {task.name!r} is not; leave it out."
                )
        width = check_integer("width", width, 1)
        if discriminator is not None:
            discriminator = check_number("discriminator", discriminator, below=1)
        names = [task.name for task in tasks]
        listed = all_pixels if isinstance(all_pixels, (list, tuple)) else [all_pixels]
        unknown = [str(name) for name in listed if name not in names]
        if unknown:
            raise ValueError(
                f"all_pixels has {', '.join(unknown)}; the tasks are {', '.join(names)}."
            )
        statistics = statistics_of(backbone, image_statistics)
        backbone.condition_on(len(tasks))

        # === Functional model ===
        inputs = keras.Input(backbone.image_shape, name="image")
        images = normalized_images(inputs, statistics)
        decoder = _Decoder(width, backbone.output_stride, len(tasks))
        features = {
            task.name: decoder(backbone(images, task=k), k, task.name)
            for k, task in enumerate(tasks)
        }
        predictors = {task.name: task.predictor(name=f"{task.name}_prediction") for task in tasks}
        raw = {name: predictors[name](x) for name, x in features.items()}
        auxiliary, weights, losses = {}, dict[str, float](), dict[str, Callable]()
        if discriminator is not None:
            tell = GradientDiscriminator(len(tasks), discriminator_kernel, name="discriminator")
            auxiliary["discriminator"] = {name: tell(x) for name, x in features.items()}
            weights["discriminator"] = discriminator / (1 - discriminator)
            size = backbone.image_shape[:2]

            def adversarial(task: Task):
                return GradientAdversarialLoss(
                    task,
                    lambda x: _enlarged(predictors[task.name](x), size),
                    tell.scores,
                    names.index(task.name),
                    task.name in all_pixels,
                )

            losses["discriminator"] = adversarial
        super().__init__(
            inputs,
            raw,
            tasks,
            auxiliary=auxiliary,
            auxiliary_weights=weights,
            auxiliary_losses=losses,
            **kwargs,
        )
        self._passes = {name: self._pass_of(name) for name in names}
        self._share = 1.0 if discriminator is None else 1 - discriminator

        # === Config ===
        self._config = {
            "backbone": keras.saving.serialize_keras_object(backbone),
            "tasks": [keras.saving.serialize_keras_object(task) for task in tasks],
            "width": width,
            "discriminator": discriminator,
            "discriminator_kernel": discriminator_kernel,
            "all_pixels": list(all_pixels),
            "image_statistics": statistics,
        }

    # === Training, task by task ===

    def _pass_of(self, name: str) -> TrainingGraph:
        found = {name: self.all_outputs[name]}
        found |= {o: self.all_outputs[o] for o, each in self.auxiliary.items() if each.task == name}
        return TrainingGraph(self.input, found)

    def run_pass(self, task: str, images: Any) -> dict[str, Any]:
        """The outputs of one task in training, by name.

        Args:
            task: its name.
            images: tensor `(B, H, W, 3)`, RGB in 0..255.
        """
        return self._passes[task].model(images, training=True)

    def pass_variables(self, task: str) -> list[keras.Variable]:
        """The trainable variables that one task's pass uses.

        Args:
            task: its name.
        """
        names = [each.name for each in self.tasks]
        others = [k for k, name in enumerate(names) if name != task]
        layers = [each for each in every_layer(self) if isinstance(each, TaskConditioned)]
        found = [v for layer in layers for k in others for v in layer.own_variables(k)]
        for k in others:
            found += self.get_layer(f"{names[k]}_prediction").variables
        unused = {id(each) for each in found}
        return [each for each in self.trainable_variables if id(each) not in unused]

    @property
    def updates_a_step(self) -> int:
        """How often a step of training applies the optimizer: once for each task."""
        return len(self.tasks)

    def compile(self, *args, **kwargs):
        super().compile(*args, **kwargs)
        if getattr(self.optimizer, "gradient_accumulation_steps", None):
            raise ValueError(
                "gradient_accumulation_steps is "
                f"{self.optimizer.gradient_accumulation_steps}, and ASTMT updates its weights once "
                "for each task of a batch; leave it out."
            )
        if self.optimizer is not None and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)  # a first update has some only

    def train_step(self, *arguments):
        return train_task_by_task(self, *arguments)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        return self._share * loss if training else loss

    def fit(self, x=None, y=None, **kwargs):
        given = kwargs.get("callbacks") or []
        given = given if isinstance(given, list) else [given]
        return super().fit(x, y, **{**kwargs, "callbacks": [RaiseReversal(), *given]})


class RaiseReversal(keras.callbacks.Callback):
    """Sets how strongly gradients are reversed: 2 / (1 + exp(-10 (epoch + 1) / epochs)) - 1."""

    def on_epoch_begin(self, epoch, logs=None):
        for layer in every_layer(self.model):
            if isinstance(layer, GradientDiscriminator):
                done = (epoch + 1) / self.params["epochs"]
                layer.alpha.assign(2 / (1 + math.exp(-10 * done)) - 1)


class _Decoder:
    """The decoder's layers, which all tasks share."""

    def __init__(self, width: int, stride: int, num_tasks: int):
        def unit(filters: int, name: str, size: int = 1, **how):
            return AdaptedConvolution(filters, size, num_tasks=num_tasks, name=name, **how)

        self.low = unit(max(48 * width // 256, 1), "low_level", reduction=4)
        self.branches = [
            unit(width, "branch_1"),
            *(
                unit(width, f"branch_{n}", 3, dilation=rate)
                for n, rate in enumerate(RATES[stride], start=2)
            ),
        ]
        self.pooled = unit(width, "pooled_branch", adapter=False)
        self.joined = unit(width, "joined_branches")
        self.fused = [unit(width, f"fusion_{n}", 3) for n in (1, 2)]

    def __call__(self, features, task: int, name: str):
        """A task's features at stride 4."""
        levels = list(features.values())
        first, last = levels[0], levels[-1]
        size = last.shape[1:3]
        branches = [branch(last, task=task) for branch in self.branches]
        mean = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(last)
        mean = self.pooled(mean, task=task)
        branches.append(keras.layers.UpSampling2D(size, name=f"{name}_spread")(mean))
        joined = keras.layers.Concatenate(name=f"{name}_branches")(branches)
        joined = self.joined(joined, task=task)
        enlarged = keras.layers.Resizing(
            *first.shape[1:3], interpolation="bilinear", name=f"{name}_enlarged"
        )(joined)
        x = keras.layers.Concatenate(name=f"{name}_levels")([enlarged, self.low(first, task=task)])
        for fuse in self.fused:
            x = fuse(x, task=task)
        return x


def _enlarged(x, size: tuple[int, int]):
    """Bilinear resizing that can be differentiated twice."""
    rows, columns = (
        ops.convert_to_tensor(bilinear_matrix(length, larger), x.dtype)
        for length, larger in zip(x.shape[1:3], size, strict=True)
    )
    return ops.cast(ops.einsum("yi,bijc,xj->byxc", rows, x, columns), "float32")
