"""FCOS3D's head: boxes in space, predicted at the points of a pyramid's levels."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_mtl.arguments import check_integer, check_integers
from keras_mtl.boxes3d.points import BESIDES, LENGTHS, points_of
from keras_mtl.layers.deformable_convolution import DeformableConvolution
from keras_mtl.layers.fcos3d.level_pyramid import LevelPyramid

# What comes from the second tower, each by a branch of its own.
GROUPS = ("offset", "depth", "size", "angles", "box", "direction", "centerness")
SCALED = ("offset", "depth", "size", "box")
PRIOR = -math.log(99.0)  # logit of 0.01, of which everything is a thing at first


@keras.saving.register_keras_serializable(package="keras_mtl")
class FCOS3DHead(keras.layers.Layer):
    """Boxes in space from the levels of a backbone: a pyramid, and a head that its levels share.

    Two towers of 3x3 convolutions with group normalization and ReLU, the last ones deformable;
    from one the classes, from the other offset, depth, size, angles and box in the image, which
    way the angles point, and the centerness, each by a branch. Scalars of each level multiply
    offset, depth, size and box; then depth = exp, size = exp + 1e-6, box = ReLU.

    Args:
        classes: int. Number of classes.
        width: int. Channels of pyramid, towers and branches.
        class_branch: sequence of int. Channels of the branch that classes come from.
        groups: int. Of the normalizations, a divisor of all these.
        convolutions: int. In a tower.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Call arguments:
        features: dict `{stride: tensor (B, H, W, C)}`, or a list of such tensors where several maps
            have one stride, the coarser one, or the later one, last. Strides are pixels of the
            image, whole or not.

    Returns:
        float32 tensor `(B, P, classes + 25)` for the P points of all levels, one more than there
        are maps: see `keras_mtl.boxes3d.points.RawBoxes`. Where a point lies is part of it.

    Example:

    >>> head = keras_mtl.layers.FCOS3DHead(classes=6, width=8, class_branch=(8, 4), groups=2)
    >>> features = {8: keras.ops.ones((1, 4, 6, 3)), 16: keras.ops.ones((1, 2, 3, 5))}
    >>> tuple(head(features).shape)  # 24, 6 and 2 points
    (1, 32, 31)

    Reference: Wang et al., FCOS3D, ICCV Workshops 2021, Sec. 3.1. The box in the image, the second
    width of the class branch and what is deformable are TaskPrompter's for Cityscapes-3D.
    """

    def __init__(
        self,
        classes: int,
        width: int = 256,
        class_branch: Sequence[int] = (256, 128),
        groups: int = 32,
        convolutions: int = 3,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.classes = check_integer("classes", classes, 1)
        self.width = check_integer("width", width, 1)
        self.class_branch = check_integers("class_branch", class_branch, (256, 128), exactly=False)
        self.groups = check_integer("groups", groups, 1)
        self.convolutions = check_integer("convolutions", convolutions, 1)
        uneven = [each for each in (width, *self.class_branch) if each % groups]
        if uneven:
            raise ValueError(
                f"groups is {groups}, which does not divide {uneven[0]} channels; expected a "
                f"divisor of width and class_branch, such as {math.gcd(width, *self.class_branch)}."
            )

    def build(self, features_shape):
        shapes = _finest_first(features_shape)
        self.pyramid = LevelPyramid(self.width, dtype=self.dtype_policy, name="pyramid")
        self.pyramid.build([shape for _, shape in shapes])
        self.class_tower = self._tower("class")
        self.box_tower = self._tower("box")
        self.class_blocks = self._blocks("classes", self.class_branch)
        self.class_prediction = self._prediction("classes", self.class_branch[-1], self.classes)
        self.box_blocks = {name: self._blocks(name, [self.width])[0] for name in GROUPS}
        self.box_predictions = {
            name: self._prediction(name, self.width, LENGTHS[name]) for name in GROUPS
        }
        self.scales = self.add_weight(
            shape=(len(shapes) + 1, len(SCALED)), initializer="ones", name="scales"
        )

    def _tower(self, name):
        blocks = [_Block(self.width, self.groups, dtype=self.dtype_policy, name=f"{name}_tower_{k}")
                  for k in range(self.convolutions - 1)]  # fmt: skip
        blocks.append(
            _Block(
                self.width,
                self.groups,
                deformable=True,
                dtype=self.dtype_policy,
                name=f"{name}_tower_{self.convolutions - 1}",
            )
        )
        for block in blocks:
            block.build((None, None, None, self.width))
        return blocks

    def _blocks(self, name, widths):
        blocks, before = [], self.width
        for k, width in enumerate(widths):
            block = _Block(width, self.groups, dtype=self.dtype_policy, name=f"{name}_branch_{k}")
            block.build((None, None, None, before))
            blocks.append(block)
            before = width
        return blocks

    def _prediction(self, name, before, channels):
        likely = name in ("classes", "direction")
        layer = keras.layers.Conv2D(
            channels,
            1,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            bias_initializer=keras.initializers.Constant(PRIOR) if likely else "zeros",
            dtype=self.dtype_policy,
            name=f"{name}_prediction",
        )
        layer.build((None, None, None, before))
        return layer

    def call(self, features):
        levels = _finest_first(features)
        strides = [stride for stride, _ in levels]
        strides = [*strides, 2 * strides[-1]]
        maps = self.pyramid([x for _, x in levels])
        raw = [self._level(x, k) for k, x in enumerate(maps)]
        raw = ops.concatenate([ops.reshape(x, (-1, _area(x), x.shape[-1])) for x in raw], axis=1)
        # float16 could not say where a point lies.
        where = points_of([x.shape[1:3] for x in maps], strides)
        where = ops.broadcast_to(ops.convert_to_tensor(where), (ops.shape(raw)[0], *where.shape))
        return ops.concatenate([raw, where], axis=-1)

    def _level(self, x, level):
        """All numbers but the points' own of one level, float32 `(B, H, W, classes + 20)`."""
        classes, boxes = x, x
        for block in (*self.class_tower, *self.class_blocks):
            classes = block(classes)
        for block in self.box_tower:
            boxes = block(boxes)
        found = {
            name: ops.cast(self.box_predictions[name](block(boxes)), "float32")
            for name, block in self.box_blocks.items()
        }
        scales = ops.cast(self.scales, "float32")
        for k, name in enumerate(SCALED):
            found[name] = found[name] * scales[level, k]
        found["depth"] = ops.exp(found["depth"])
        found["size"] = ops.exp(found["size"]) + 1e-6
        found["box"] = ops.relu(found["box"])
        classes = ops.cast(self.class_prediction(classes), "float32")
        return ops.concatenate([classes, *found.values()], axis=-1)

    def compute_output_spec(self, features):
        shapes = [x.shape for _, x in _finest_first(features)]
        points = sum(shape[1] * shape[2] for shape in shapes)
        points += math.prod(-(-length // 2) for length in shapes[-1][1:3])
        return keras.KerasTensor((shapes[0][0], points, self.classes + BESIDES), "float32")

    def get_config(self):
        return {
            **super().get_config(),
            "classes": self.classes,
            "width": self.width,
            "class_branch": self.class_branch,
            "groups": self.groups,
            "convolutions": self.convolutions,
        }


class _Block(keras.layers.Layer):
    """A 3x3 convolution, deformable or not, group normalization and ReLU."""

    def __init__(self, width, groups, deformable=False, **kwargs):
        super().__init__(**kwargs)
        arguments = {"dtype": self.dtype_policy, "name": "convolution"}
        self.convolution = (
            DeformableConvolution(width, **arguments)
            if deformable
            else keras.layers.Conv2D(
                width,
                3,
                padding="same",
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
                **arguments,
            )
        )
        self.norm = keras.layers.GroupNormalization(
            groups, epsilon=1e-5, dtype=self.dtype_policy, name="norm"
        )

    def build(self, x_shape):
        self.convolution.build(x_shape)
        self.norm.build((*x_shape[:3], self.convolution.filters))

    def call(self, x):
        return ops.relu(self.norm(self.convolution(x)))


def _finest_first(features: Mapping) -> list[tuple[float, Any]]:
    """Strides with their maps, or those maps' shapes, each map by itself."""
    found = []
    for stride in sorted(features, key=float):
        each = features[stride]
        several = isinstance(each, list) and not isinstance(each[0], int | type(None))
        found += [(float(stride), one) for one in (each if several else [each])]
    return found


def _area(x) -> int:
    return int(np.prod(x.shape[1:3]))
