"""SE-ResNet of ASTMT: residual blocks that are adapted to a task."""

import keras
from keras import ops

from keras_mtl.arguments import check_integer, check_integers, checked_shape
from keras_mtl.backbones.feature_pyramid import FeaturePyramid
from keras_mtl.backbones.task_conditioning import (
    TaskConditioned,
    adapter_of,
    gate_of,
    normalization,
    small_convolution,
)

# Blocks of the four stages.
SE_RESNET_SIZES = {"26": (2, 2, 2, 2), "50": (3, 4, 6, 3), "101": (3, 4, 23, 3)}
# Strides and dilations of the stages, by the stride of the last one.
STAGES = {16: ((1, 2, 2, 1), (1, 1, 1, 2)), 8: ((1, 2, 1, 1), (1, 1, 2, 4))}


def se_resnet(size: str, image_shape: tuple[int, int, int], **overrides) -> "SEResNet":
    """A randomly initialised `SEResNet` of a published size.

    Args:
        size: `"26"`, `"50"` or `"101"`.
        image_shape: `(height, width, 3)` in pixels, any size.
        **overrides: any argument of `SEResNet`, for instance `output_stride=8`.

    Raises:
        ValueError: if `size` is unknown.

    Example:

    >>> keras_mtl.backbones.se_resnet("26", (512, 512, 3)).channels
    {4: 256, 8: 512, 16: 2048}
    """
    if size not in SE_RESNET_SIZES:
        raise ValueError(f"Unknown SE-ResNet size {size!r}; choose one of {list(SE_RESNET_SIZES)}.")
    return SEResNet(image_shape, **{"blocks": SE_RESNET_SIZES[size], **overrides})


@keras.saving.register_keras_serializable(package="keras_mtl")
class SEResNet(FeaturePyramid):
    """Residual network with squeeze and excitation, some of whose parts are each task's own.

    A 7x7 convolution, batch normalization, ReLU and a maximum lead to stride 4; four stages of
    bottlenecks follow, the last of them dilated. All normalizations but the first, all gates, and
    1x1 convolutions beside the 3x3 ones (adapters) are the task's. With one task it is a backbone
    like any other.

    Args:
        image_shape: `(height, width, 3)` in pixels, any size.
        blocks: four ints. Bottlenecks of the stages.
        planes: four ints. Channels inside the stages' bottlenecks, whose answers have 4 times as
            many.
        stem: int. Channels of the first convolution.
        output_stride: 16 or 8. Stride of the last stage.
        num_tasks: int; see `condition_on`.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Attributes:
        channels: dict by stride; of stages of the same stride the last counts.

    Call arguments:
        images: tensor `(B, height, width, 3)`, normalised.
        task: int, the number of the task.

    Returns:
        Dict `{stride: tensor (B, ceil(height / stride), ceil(width / stride), channels[stride])}`.

    Raises:
        ValueError: if a size is none, or the output stride is another.

    Example:

    >>> backbone = SEResNet((33, 50, 3), (1, 1, 1, 1), (2, 2, 3, 4), stem=4)
    >>> features = backbone(keras.ops.ones((1, 33, 50, 3)))
    >>> {stride: tuple(x.shape) for stride, x in features.items()}
    {4: (1, 9, 13, 8), 8: (1, 5, 7, 8), 16: (1, 3, 4, 16)}

    Reference: Hu, Shen and Sun, Squeeze-and-Excitation Networks, CVPR 2018; Maninis, Radosavovic
        and Kokkinos, Attentive Single-Tasking of Multiple Tasks, CVPR 2019.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        blocks: tuple[int, ...] = (3, 4, 6, 3),
        planes: tuple[int, ...] = (64, 128, 256, 512),
        stem: int = 64,
        output_stride: int = 16,
        num_tasks: int = 1,
        **kwargs,
    ):
        super().__init__(checked_shape(image_shape), **kwargs)
        self.blocks = check_integers("blocks", blocks, (3, 4, 6, 3))
        self.planes = check_integers("planes", planes, (64, 128, 256, 512))
        self.stem = check_integer("stem", stem, 1)
        if output_stride not in STAGES:
            raise ValueError(f"output_stride is {output_stride!r}, expected 16 or 8.")
        self.output_stride = output_stride
        self.num_tasks = check_integer("num_tasks", num_tasks, 1)
        stride, self.channels = 4, {}
        for step, width in zip(STAGES[output_stride][0], self.planes, strict=True):
            stride *= step
            self.channels[stride] = 4 * width

    def condition_on(self, num_tasks: int) -> None:
        """Gives each of so many tasks parts of its own; before the backbone is built.

        Args:
            num_tasks: int.

        Raises:
            ValueError: if it is built for another number.
        """
        if self.built and num_tasks != self.num_tasks:
            raise ValueError(
                f"This SEResNet was built for {self.num_tasks} tasks and is asked to serve "
                f"{num_tasks}; build another one."
            )
        self.num_tasks = num_tasks

    def build(self, images_shape):
        policy = self.dtype_policy
        self.stem_convolution = small_convolution(
            self.stem, 7, 2, padding="valid", name="stem_convolution", dtype=policy
        )
        self.stem_convolution.build(images_shape)
        self.stem_norm = normalization(name="stem_norm", dtype=policy)
        self.stem_norm.build((*images_shape[:-1], self.stem))
        self.maximum = keras.layers.MaxPooling2D(3, 2, name="maximum", dtype=policy)
        self.stages, width = [], self.stem
        steps, dilations = STAGES[self.output_stride]
        for n, (count, planes) in enumerate(zip(self.blocks, self.planes, strict=True)):
            stage = []
            for b in range(count):
                block = AdaptedBottleneck(
                    planes,
                    steps[n] if b == 0 else 1,
                    dilations[n],
                    project=b == 0,
                    num_tasks=self.num_tasks,
                    name=f"stage_{n + 1}_block_{b + 1}",
                    dtype=policy,
                )
                block.build((*images_shape[:-1], width))
                width = 4 * planes
                stage.append(block)
            self.stages.append(stage)

    def stem_of(self, images, training=False):
        """The map at stride 4 before the first stage.

        Args:
            images: tensor `(B, height, width, 3)`.
            training: bool.
        """
        x = ops.pad(images, ((0, 0), (3, 3), (3, 3), (0, 0)))
        x = ops.relu(self.stem_norm(self.stem_convolution(x), training=training))
        return self.maximum(ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))  # none is below 0

    def call(self, images, task=0, training=False):
        x, stride, features = self.stem_of(images, training), 4, {}
        for stage, step in zip(self.stages, STAGES[self.output_stride][0], strict=True):
            for block in stage:
                x = block(x, task=task, training=training)
            stride *= step
            features[stride] = x
        return features

    def compute_output_spec(self, images, task=0, training=None):
        return super().compute_output_spec(images, training)

    def get_config(self):
        return {
            **super().get_config(),
            "blocks": list(self.blocks),
            "planes": list(self.planes),
            "stem": self.stem,
            "output_stride": self.output_stride,
            "num_tasks": self.num_tasks,
        }


class AdaptedBottleneck(TaskConditioned):
    """1x1, 3x3 and 1x1 convolutions with a shortcut, adapted to a task.

    With y the answer of the first convolution: ReLU(shortcut + SE_t(BN_t(W_3 ReLU(BN_t(W_2 * y +
    A_t y))))), the first convolution normalised and rectified alike; it carries the stride.

    Args:
        planes: int. Channels of the first two convolutions; the answer has 4 times as many.
        strides: int.
        dilation: int.
        project: bool. Whether a 1x1 convolution, normalised for the task, is on the shortcut.
        num_tasks: int.
    """

    def __init__(
        self, planes: int, strides: int, dilation: int, project: bool, num_tasks: int, **kwargs
    ):
        super().__init__(num_tasks, **kwargs)
        self.planes, self.strides = planes, strides
        self.dilation, self.project = dilation, project

    def build(self, x_shape):
        width = 4 * self.planes
        inside, out = (*x_shape[:-1], self.planes), (*x_shape[:-1], width)

        def convolution(number, shape, *how):
            layer = small_convolution(*how, name=f"convolution_{number}", dtype=self.dtype_policy)
            layer.build(shape)
            return layer

        self.convolution_1 = convolution(1, x_shape, self.planes, 1, self.strides)
        self.convolution_2 = convolution(2, inside, self.planes, 3, 1, self.dilation)
        self.convolution_3 = convolution(3, inside, width, 1)
        self.add_own("adapters", adapter_of(self.planes), inside)
        self.add_own("norms_1", normalization, inside)
        self.add_own("norms_2", normalization, inside)
        self.add_own("norms_3", normalization, out)
        self.add_own("gates", gate_of(16), out)
        if self.project:
            self.projection = convolution("projection", x_shape, width, 1, self.strides)
            self.add_own("projection_norms", normalization, out)

    def call(self, x, task=0, training=False):
        shortcut = x
        if self.project:
            shortcut = self.projection_norms[task](self.projection(x), training=training)
        x = ops.relu(self.norms_1[task](self.convolution_1(x), training=training))
        x = self.convolution_2(x) + self.adapters[task](x)
        x = ops.relu(self.norms_2[task](x, training=training))
        x = self.norms_3[task](self.convolution_3(x), training=training)
        return ops.relu(self.gates[task](x) + shortcut)
