"""The toy backbones of the golden files, which run stage by stage."""

import functools

import keras

from keras_mtl.backbones import FeaturePyramid
from keras_mtl.backbones.cuts import Computation, Cut, cuts
from tests.golden_files import parts_of


@keras.saving.register_keras_serializable(package="tests.golden")
class ToyStages(FeaturePyramid):
    """Stages of a 3x3 convolution without bias, batch normalization and ReLU; the last is the map.

    Args:
        image_shape: `(height, width, 3)`.
        widths: list of int. Channels of each stage.
        strides: list of int, 1 or 2, of each.
    """

    def __init__(self, image_shape, widths, strides, **kwargs):
        super().__init__(image_shape, **kwargs)
        self.widths, self.strides = list(widths), list(strides)
        self.bodies, self.stage_channels = [], []
        size, before, stride = list(image_shape[:2]), 3, 1
        for width, step in zip(widths, strides, strict=True):
            x = inputs = keras.Input((*size, before))
            x = keras.layers.ZeroPadding2D(1)(x)
            x = keras.layers.Conv2D(width, 3, step, use_bias=False)(x)
            x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
            self.bodies.append(keras.Model(inputs, keras.layers.ReLU()(x)))
            size, before, stride = x.shape[1:3], width, stride * step
            self.stage_channels.append({stride: width})
        self.channels = self.stage_channels[-1]

    def build(self, images_shape):
        pass

    def call(self, images, training=False):
        for body in self.bodies:
            images = body(images, training=training)
        return {next(iter(self.channels)): images}

    def get_config(self):
        return {**super().get_config(), "widths": self.widths, "strides": self.strides}

    def parts(self, prefix, stages):
        """Its weights by published names."""
        found = {}
        for stage, body in zip(stages, self.bodies, strict=True):
            found |= parts_of(f"{prefix}.{stage}.0", body.layers[2])
            found |= parts_of(f"{prefix}.{stage}.1", body.layers[3])
        return found


@cuts.register
def _(pyramid: ToyStages, last_blocks: bool) -> list[Cut]:
    return [
        Cut(functools.partial(computation_of, body), channels)
        for body, channels in zip(pyramid.bodies, pyramid.stage_channels, strict=True)
    ]


def computation_of(body):
    """A functional model of one map, from images or from a list of one map."""
    output = keras.KerasTensor((None, *body.output.shape[1:]), body.output.dtype)

    def run(x, training):
        return [body(x[0] if isinstance(x, list) else x, training=training)]

    return Computation([body], run, [output])


def strides_of(golden, maps):
    """Of each stage, from the heights of its maps.

    Args:
        golden: `Golden`.
        maps: key of a map of each stage.
    """
    heights = [golden.meta["image"][0], *(golden[key].shape[2] for key in maps)]
    return [round(before / after) for before, after in zip(heights[:-1], heights[1:], strict=True)]


# === A toy ResNet of bottlenecks ===


@keras.saving.register_keras_serializable(package="tests.golden")
class ToyResNet(FeaturePyramid):
    """A 7x7 convolution, max pooling, and stages of bottlenecks; the last stage is the map.

    Args:
        image_shape: `(height, width, 3)`.
        stem: int. Channels of the first convolution.
        planes: list of int. Inner channels of each stage's bottlenecks, which widen 4 times.
        blocks: list of int. Bottlenecks of each stage.
        strides: list of int. Of each stage's first bottleneck.
    """

    def __init__(self, image_shape, stem, planes, blocks, strides, **kwargs):
        super().__init__(image_shape, **kwargs)
        self.sizes = {"stem": stem, "planes": planes, "blocks": blocks, "strides": strides}
        x = inputs = keras.Input(image_shape)
        x = normalized_convolution(x, stem, 7, 2, "conv1", "bn1")
        x = keras.layers.ZeroPadding2D(1)(keras.layers.ReLU()(x))  # which the maximum is above
        x = keras.layers.MaxPooling2D(3, 2)(x)
        self.halves, self.half_channels, at = [], [], 4
        for stage, (width, count, stride) in enumerate(
            zip(planes, blocks, strides, strict=True), 1
        ):
            at *= stride
            for block in range(count):
                if block == count - 1:
                    self.halves.append(keras.Model(inputs, x))
                    x = inputs = keras.Input(x.shape[1:])
                name = f"layer{stage}_{block}_"
                x = toy_bottleneck(x, width, stride if block == 0 else 1, name)
            self.halves.append(keras.Model(inputs, x))
            self.half_channels += [{at: self.halves[-2].output.shape[-1]}, {at: 4 * width}]
            x = inputs = keras.Input(x.shape[1:])
        self.channels = self.half_channels[-1]

    def build(self, images_shape):
        pass

    def call(self, images, training=False):
        for half in self.halves:
            images = half(images, training=training)
        return {next(iter(self.channels)): images}

    def get_config(self):
        return {**super().get_config(), **self.sizes}

    def parts(self):
        found = {}
        for half in self.halves:
            for layer in half.layers:
                if layer.weights:
                    found |= parts_of("backbone." + layer.name.replace("_", "."), layer)
        return found


def normalized_convolution(x, filters, size, stride, name, norm):
    x = keras.layers.ZeroPadding2D(size // 2)(x)
    x = keras.layers.Conv2D(filters, size, stride, use_bias=False, name=name)(x)
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=norm)(x)


def toy_bottleneck(x, planes, stride, name):
    shortcut = x
    if x.shape[-1] != 4 * planes or stride > 1:
        names = f"{name}downsample_0", f"{name}downsample_1"
        shortcut = normalized_convolution(x, 4 * planes, 1, stride, *names)
    for n, (filters, size, step) in enumerate(
        ((planes, 1, 1), (planes, 3, stride), (4 * planes, 1, 1)), start=1
    ):
        x = normalized_convolution(x, filters, size, step, f"{name}conv{n}", f"{name}bn{n}")
        x = keras.layers.ReLU()(x if n < 3 else keras.layers.add([x, shortcut]))
    return x


@cuts.register
def _(pyramid: ToyResNet, last_blocks: bool) -> list[Cut]:
    assert last_blocks
    return [
        Cut(functools.partial(computation_of, half), channels)
        for half, channels in zip(pyramid.halves, pyramid.half_channels, strict=True)
    ]
