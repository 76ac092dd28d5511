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
