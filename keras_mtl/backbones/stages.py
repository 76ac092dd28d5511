"""Backbones that run stage by stage, so that something can be done between two stages.

Networks with one backbone per task exchange features there, others attend to them. What goes from
stage to stage is always a list of maps, finest first: one map, or the branches of an HRNet.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from keras_mtl.backbones.adapters import PatchMap, feature_pyramid
from keras_mtl.backbones.cuts import Computation, cuts, runs_as_a_whole
from keras_mtl.backbones.feature_pyramid import FeaturePyramid, deserialize_backbone


@dataclass(frozen=True)
class Stage:
    """One stage of a backbone; `stages` makes them.

    Args:
        layer: maps the features of the stage before, a list, to this one's. The first stage's
            takes images.
        channels: dict `{stride: channels}` of the features, in their order.
        norm: what comes between these features and the backbone's pyramid: a layer from this
            stage's list to a list of maps, or `None` where they are the pyramid's as they are.
        levels: dict `{stride: channels}` of the maps that `maps` answers.
    """

    layer: keras.layers.Layer
    channels: dict[int, int]
    norm: keras.layers.Layer | None
    levels: dict[int, int]

    def __call__(self, features, training: bool | None = None) -> list:
        """The features of this stage, a list of tensors `(B, h, w, channels[stride])`.

        Args:
            features: the list of the stage before, or for the first stage images
                `(B, height, width, 3)`.
            training: bool or `None`, as for a Keras layer.
        """
        return self.layer(features, **_said(training))

    def maps(self, features: Sequence, training: bool | None = None) -> dict:
        """What the backbone's pyramid has for a list of this stage's features.

        Args:
            features: list of tensors, as the stage answers them.
            training: bool or `None`, as for a Keras layer.

        Returns:
            Dict `{stride: tensor (B, h, w, levels[stride])}`.
        """
        if self.norm is not None:
            features = self.norm(features, **_said(training))
        return dict(zip(self.levels, features, strict=True))


def _said(training: bool | None) -> dict:
    """Keras 3.16 keeps a `None` in a functional model, which then never trains."""
    return {} if training is None else {"training": training}


def stages(
    backbone: keras.Model | FeaturePyramid,
    image_shape: tuple[int, int, int] | None = None,
    name: str | None = None,
    last_blocks: bool = False,
) -> list[Stage]:
    """The stages of a backbone, which have the backbone's own weights.

    One after the other they are the backbone: here `pyramid` becomes what
    `feature_pyramid(backbone)(images)` answers.

    ```python
    features, pyramid = images, {}
    for stage in keras_mtl.backbones.stages(backbone):
        features = stage(features)  # what a network exchanges, it exchanges here
        pyramid |= stage.maps(features)
    ```

    A Swin Transformer, ResNet or other
    backbone of several levels has a stage for each stride; an `HRNet` has four, of one to four
    branches; the blocks of a plain Vision Transformer, which all have one stride, are divided
    into four.

    Args:
        backbone: whatever `keras_mtl.backbones.feature_pyramid` takes, but a DINOv2 or DINOv3,
            and a ViT only without class token.
        image_shape: `(height, width, 3)` in pixels; `None` means the backbone's own.
        name: str that the names of the layers begin with; `None` means the pyramid's name. The
            backbones of one model need different ones.
        last_blocks: bool. Every stage in two: its last block, and all that comes before it. Of
            the other backbones of several levels than ResNet these are not known.

    Returns:
        List of `Stage`.

    Raises:
        ValueError: if the backbone gives no features, or runs only as a whole.

    Example:

    >>> backbone = keras_mtl.backbones.hrnet("18_small", (64, 96, 3))
    >>> [stage.channels for stage in keras_mtl.backbones.stages(backbone)]
    [{4: 256}, {4: 18, 8: 36}, {4: 18, 8: 36, 16: 72}, {4: 18, 8: 36, 16: 72, 32: 144}]
    """
    pyramid = _built(feature_pyramid(backbone, image_shape))
    made = []
    for n, cut in enumerate(cuts(pyramid, last_blocks)):
        layers = [
            BackbonePart(
                make(),
                _Origin(pyramid, last_blocks, n, kind == "norm"),
                name=f"{name or pyramid.name}_{kind}_{n + 1}",
            )
            if make
            else None
            for kind, make in (("stage", cut.run), ("norm", cut.norm))
        ]
        made.append(Stage(layers[0], cut.channels, layers[1], cut.levels or cut.channels))
    return made


def patch_maps(pyramid: PatchMap, images) -> list:
    """A plain Vision Transformer's map after each quarter of its blocks, the last one normalised.

    Args:
        pyramid: `PatchMap`. One with chosen blocks, as `feature_pyramid` makes of a DINO, gives
            theirs, and a ViT with a class token its last map alone.
        images: tensor `(B, height, width, 3)`.

    Returns:
        List of tensors `(B, h, w, C)`, the last block's at the end.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (32, 48, 3), num_layers=4)
    >>> pyramid = keras_mtl.backbones.feature_pyramid(backbone)
    >>> [each.shape for each in patch_maps(pyramid, keras.Input((32, 48, 3)))][2:]
    [(None, 2, 3, 192), (None, 2, 3, 192)]
    """
    if runs_as_a_whole(pyramid):
        (patches,) = pyramid(images).values()
        return pyramid.each_block(patches)
    maps, features = [], images
    for stage in stages(pyramid):
        features = stage(features)
        maps += stage.maps(features).values()
    return maps


_COPIES = itertools.count(1)


def copy_backbone(backbone: keras.Model | FeaturePyramid, name: str | None = None):
    """A second backbone that starts from the same weights.

    Args:
        backbone: of `keras_hub.models`, or a `FeaturePyramid`.
        name: str that the paths of its variables begin with; by default one of its own. Under
            PyTorch a model has one parameter of each path.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (32, 32, 3), num_layers=1)
    >>> copy = keras_mtl.backbones.copy_backbone(backbone)
    >>> bool((copy.get_weights()[0] == backbone.get_weights()[0]).all())
    True
    """
    if isinstance(backbone, FeaturePyramid):
        _built(backbone)
    with keras.name_scope(name or f"copy_{next(_COPIES)}"):
        copy = deserialize_backbone(keras.saving.serialize_keras_object(backbone))
        if isinstance(backbone, FeaturePyramid):
            _built(copy)
    for ours, theirs in zip(copy.weights, backbone.weights, strict=True):
        ours.assign(np.array(ops.convert_to_numpy(theirs)))  # JAX may keep the very array
    return copy


def _built(pyramid: FeaturePyramid) -> FeaturePyramid:
    if not pyramid.built:
        pyramid.build((None, *pyramid.image_shape))
    return pyramid


# === A part of a backbone as a layer ===


@dataclass(frozen=True)
class _Origin:
    """What a part was cut out of, and which part it is."""

    pyramid: FeaturePyramid
    last_blocks: bool
    stage: int
    norm: bool


@keras.saving.register_keras_serializable(package="keras_mtl")
class BackbonePart(keras.layers.Layer):
    """A stage of a backbone, or what normalises a stage's features; `stages` makes them.

    A saved one has the configuration of the whole backbone, and the weights of its own layers.

    Args:
        computation: layers of the backbone, and what they compute.
        origin: what they were cut out of.
        **kwargs: `name` and the like, for `keras.layers.Layer`.
    """

    def __init__(self, computation: Computation, origin: _Origin, **kwargs):
        # Between two parts nothing is cast that is not cast within the backbone.
        autocast = origin.stage == 0 and not origin.norm
        super().__init__(dtype=origin.pyramid.dtype_policy, autocast=autocast, **kwargs)
        self.parts = list(computation.layers)
        self._computation = computation
        self._origin = origin

    def build(self, features_shape):
        pass  # the backbone came built

    def call(self, features, training=None):
        return self._computation.call(features, training)

    def compute_output_spec(self, features, training=None):
        batch = keras.tree.flatten(features)[0].shape[0]
        return [
            keras.KerasTensor((batch, *x.shape[1:]), x.dtype) for x in self._computation.outputs
        ]

    def whole(self) -> FeaturePyramid:
        """What this part was cut out of; no attribute, for Keras would save it with each part."""
        return self._origin.pyramid

    @property
    def as_written(self) -> bool:
        """See as_written.py; of the whole backbone."""
        return getattr(self._origin.pyramid, "as_written", False)

    @as_written.setter
    def as_written(self, value: bool):
        self._origin.pyramid.as_written = value

    def pretrained_layers(self) -> list[keras.layers.Layer]:
        """As for a `FeaturePyramid`: what published files hold of this part."""
        whole = {
            id(weight)
            for layer in self._origin.pyramid.pretrained_layers()
            for weight in layer.weights
        }
        return [part for part in self.parts if {id(weight) for weight in part.weights} <= whole]

    def get_config(self):
        return {
            "name": self.name,
            "trainable": self.trainable,
            "backbone": keras.saving.serialize_keras_object(self._origin.pyramid),
            "last_blocks": self._origin.last_blocks,
            "stage": self._origin.stage,
            "norm": self._origin.norm,
        }

    @classmethod
    def from_config(cls, config):
        with keras.name_scope(config["name"]):  # as other parts, and copies, have the same paths
            pyramid = _built(deserialize_backbone(config["backbone"]))
        origin = _Origin(pyramid, *(config[key] for key in ("last_blocks", "stage", "norm")))
        cut = cuts(pyramid, origin.last_blocks)[origin.stage]
        part = cls((cut.norm if origin.norm else cut.run)(), origin, name=config["name"])
        part.trainable = config["trainable"]
        return part
