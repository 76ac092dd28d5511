"""HRNet: four branches at strides 4, 8, 16 and 32 side by side, fused again and again."""

import keras
from keras import ops

from keras_mtl.arguments import check_integer, check_integers, checked_shape
from keras_mtl.backbones.feature_pyramid import FeaturePyramid

# The authors' published code: HRNet-W18-small-v2 and HRNet-W48.
HRNET_SIZES = {
    "18_small": {"width": 18, "bottlenecks": 2, "modules": (1, 3, 2), "blocks": 2},
    "48": {"width": 48, "bottlenecks": 4, "modules": (1, 4, 3), "blocks": 4},
}


def hrnet(size: str, image_shape: tuple[int, int, int], **overrides) -> "HRNet":
    """A randomly initialised `HRNet` of a published size.

    Args:
        size: `"18_small"` or `"48"`.
        image_shape: `(height, width, 3)` in pixels, any size.
        **overrides: any argument of `HRNet`, for instance `blocks=1`.

    Raises:
        ValueError: if `size` is unknown.

    Example:

    >>> backbone = keras_mtl.backbones.hrnet("18_small", (425, 560, 3))
    >>> backbone.channels
    {4: 18, 8: 36, 16: 72, 32: 144}
    """
    if size not in HRNET_SIZES:
        raise ValueError(f"Unknown HRNet size {size!r}; choose one of {list(HRNET_SIZES)}.")
    return HRNet(image_shape, **{**HRNET_SIZES[size], **overrides})


@keras.saving.register_keras_serializable(package="keras_mtl")
class HRNet(FeaturePyramid):
    """High-resolution network; every branch of its last module is an output.

    Two strided convolutions and some bottlenecks lead to stride 4. Each of the three stages
    after them adds a branch at half the resolution and twice the width of the last one, and
    consists of modules: basic blocks on every branch, then a fusion of all with all.

    Args:
        image_shape: `(height, width, 3)` in pixels, any size.
        width: int. Channels c of the branch at stride 4; the others have 2c, 4c and 8c.
        bottlenecks: int. Bottlenecks before the first stage with several branches.
        modules: three ints. Modules in the stages with two, three and four branches.
        blocks: int. Basic blocks on each branch of a module.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Attributes:
        channels: dict `{4: c, 8: 2c, 16: 4c, 32: 8c}`.

    Call arguments:
        images: tensor `(B, height, width, 3)`, normalised by ImageNet's mean and standard
            deviation.

    Returns:
        Dict `{stride: tensor (B, ceil(height / stride), ceil(width / stride), channels[stride])}`.

    Raises:
        ValueError: if `image_shape` leaves a size open, or `modules` is not three numbers.

    Example:

    >>> backbone = HRNet((33, 50, 3), width=4, bottlenecks=1, modules=(1, 1, 1), blocks=1)
    >>> features = backbone(keras.ops.ones((1, 33, 50, 3)))
    >>> {stride: tuple(x.shape) for stride, x in features.items()}
    {4: (1, 9, 13, 4), 8: (1, 5, 7, 8), 16: (1, 3, 4, 16), 32: (1, 2, 2, 32)}

    Reference: Sun et al., Deep High-Resolution Representation Learning for Human Pose
    Estimation, CVPR 2019; Wang et al., Deep High-Resolution Representation Learning for Visual
    Recognition, TPAMI 2020.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        width: int = 18,
        bottlenecks: int = 2,
        modules: tuple[int, int, int] = (1, 3, 2),
        blocks: int = 2,
        **kwargs,
    ):
        super().__init__(checked_shape(image_shape), **kwargs)
        self.width = width = check_integer("width", width, 1)
        self.bottlenecks = check_integer("bottlenecks", bottlenecks, 1)
        # PyTorch's modules have a method `modules`.
        self.stage_modules = check_integers("modules", modules, (1, 3, 2))
        self.blocks = check_integer("blocks", blocks, 1)
        self.channels = {4 * 2**i: width * 2**i for i in range(4)}
        # The graph below is made for one image size and would resize others wrongly.
        self.input_spec = keras.layers.InputSpec(shape=(None, *self.image_shape))

    def build(self, images_shape):
        images = keras.Input(self.image_shape, dtype=self.compute_dtype)
        x = self._conv_norm(images, 64, "stem1", strides=2, relu=True)
        x = self._conv_norm(x, 64, "stem2", strides=2, relu=True)
        branches, before = [x], [x]
        for n in range(1, self.bottlenecks + 1):
            before, branches = branches, [self._bottleneck(branches[0], 64, f"stage1_block{n}")]
        # What enters the last bottleneck or module of each stage, and what leaves it.
        self.stage_tensors = [(before, branches)]
        for stage, modules in enumerate(self.stage_modules, start=2):
            branches = self._transition(branches, f"stage{stage}_transition")
            for n in range(1, modules + 1):
                before, branches = branches, self._module(branches, f"stage{stage}_module{n}")
            self.stage_tensors.append((before, branches))
        self.body = keras.Model(images, branches, name="body")

    def _conv_norm(self, x, filters, name, kernel_size=3, strides=1, relu=False):
        if strides > 1:
            # "same" would pad odd and even sizes differently; the published network does not.
            x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad", dtype=self.dtype_policy)(x)
        x = keras.layers.Conv2D(
            filters,
            kernel_size,
            strides=strides,
            padding="same" if strides == 1 else "valid",
            use_bias=False,
            kernel_initializer="he_normal",
            name=name,
            dtype=self.dtype_policy,
        )(x)
        x = keras.layers.BatchNormalization(
            epsilon=1e-5, momentum=0.9, name=f"{name}_norm", dtype=self.dtype_policy
        )(x)
        return ops.relu(x) if relu else x

    def _bottleneck(self, x, planes, name):
        shortcut = x
        if x.shape[-1] != 4 * planes:
            shortcut = self._conv_norm(x, 4 * planes, f"{name}_projection", kernel_size=1)
        x = self._conv_norm(x, planes, f"{name}_conv1", kernel_size=1, relu=True)
        x = self._conv_norm(x, planes, f"{name}_conv2", relu=True)
        x = self._conv_norm(x, 4 * planes, f"{name}_conv3", kernel_size=1)
        return ops.relu(x + shortcut)

    def _basic_block(self, x, name):
        shortcut, filters = x, x.shape[-1]
        x = self._conv_norm(x, filters, f"{name}_conv1", relu=True)
        x = self._conv_norm(x, filters, f"{name}_conv2")
        return ops.relu(x + shortcut)

    def _transition(self, branches, name):
        """One branch more, and every branch at its own width."""
        widths = [self.width * 2**i for i in range(len(branches) + 1)]
        kept = [
            x if x.shape[-1] == width else self._conv_norm(x, width, f"{name}_branch{i}", relu=True)
            for i, (x, width) in enumerate(zip(branches, widths[:-1], strict=True), start=1)
        ]
        # From the coarsest branch as it came: 256 channels at the first transition.
        new = f"{name}_branch{len(widths)}"
        return [*kept, self._conv_norm(branches[-1], widths[-1], new, strides=2, relu=True)]

    def _module(self, branches, name):
        """Basic blocks on every branch, then the sum of all branches for every branch."""
        branches = list(branches)
        for i in range(len(branches)):
            for n in range(1, self.blocks + 1):
                branches[i] = self._basic_block(branches[i], f"{name}_branch{i + 1}_block{n}")
        fused = []
        for i in range(len(branches)):
            parts = [
                self._resample(branches, j, i, f"{name}_fuse{j + 1}to{i + 1}")
                for j in range(len(branches))
            ]
            fused.append(ops.relu(sum(parts[1:], start=parts[0])))
        return fused

    def _resample(self, branches, source, target, name):
        """One branch at the resolution and width of another."""
        x = branches[source]
        _, height, width, filters = branches[target].shape
        if source > target:
            x = self._conv_norm(x, filters, name, kernel_size=1)
            # Not by a factor: odd sizes are no multiples of the coarser ones.
            return ops.image.resize(x, (height, width), interpolation="bilinear")
        for n in range(1, target - source + 1):
            last = n == target - source
            x = self._conv_norm(
                x, filters if last else x.shape[-1], f"{name}_{n}", strides=2, relu=not last
            )
        return x

    def call(self, images, training=False):
        maps = self.without_gradient_if_frozen(self.body(images, training=training))
        return dict(zip(self.channels, maps, strict=True))

    def get_config(self):
        return {
            **super().get_config(),
            "width": self.width,
            "bottlenecks": self.bottlenecks,
            "modules": list(self.stage_modules),
            "blocks": self.blocks,
        }
