"""The one contract between backbones and pyramid models: images in, `{stride: features}` out."""

import math
from collections.abc import Mapping, Sequence

import keras
from keras import ops

from keras_mtl.backbones.dino import rectangular_dinov2
from keras_mtl.backbones.keras_hub import attention_mask_accepted
from keras_mtl.backbones.stemmed_vit import stemmed_vit


class FeaturePyramid(keras.layers.Layer):
    """A backbone as a layer: images to a dict `{stride: features}`.

    Subclasses set `channels` and implement `build` and `call`.

    Args:
        image_shape: `(height, width, 3)` in pixels.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Attributes:
        image_shape: tuple, as given.
        channels: dict `{stride: number of channels}`, finest stride first.

    Call arguments:
        images: tensor `(B, height, width, 3)`, normalised by ImageNet's mean and standard
            deviation.

    Returns:
        Dict `{stride: tensor (B, ceil(height / stride), ceil(width / stride), channels[stride])}`.

    Example:

    >>> class Shrunk(keras_mtl.backbones.FeaturePyramid):
    ...     channels = {4: 3}
    ...
    ...     def build(self, images_shape):
    ...         self.pool = keras.layers.AveragePooling2D(4)
    ...
    ...     def call(self, images, training=False):
    ...         return {4: self.pool(images)}
    >>> model = keras_mtl.MultiTaskBaseline(Shrunk((32, 48, 3)), keras_mtl.tasks.nyud("depth"))
    >>> model.image_size
    (32, 48)
    """

    channels: dict[int, int]

    def __init__(self, image_shape: tuple[int, int, int], **kwargs):
        super().__init__(**kwargs)
        self.image_shape: tuple[int, int, int] = tuple(image_shape)

    def compute_output_spec(self, images, training=None):
        height, width, _ = self.image_shape
        return {
            stride: keras.KerasTensor(
                (images.shape[0], math.ceil(height / stride), math.ceil(width / stride), channels),
                self.compute_dtype,
            )
            for stride, channels in self.channels.items()
        }

    def without_gradient_if_frozen(self, features):
        """Features as they are, but where nothing in the pyramid is trained without a gradient.

        Then nothing within the pyramid is kept for the gradient on any backend.

        Args:
            features: tensor, or a list or dict of such.
        """
        if self.trainable_weights:
            return features
        return keras.tree.map_structure(ops.stop_gradient, features)

    def pretrained_layers(self) -> list[keras.layers.Layer]:
        """The layers whose weights published files hold; a subclass with others overrides it."""
        return [self]

    def get_config(self):
        return {**super().get_config(), "image_shape": list(self.image_shape)}


def concatenate_features(
    features: Mapping, strides: Sequence[int], size: tuple[int, int], name: str = ""
):
    """The maps at `strides`, resized bilinearly to `size` and concatenated, finest first.

    Args:
        features: dict `{stride: tensor (B, h, w, c)}`.
        strides: the ones to take.
        size: `(height, width)`.
        name: str that the layers' names begin with, where a model does it more than once.

    Returns:
        Tensor `(B, height, width, C)`, C the sum of their channels.

    Reference: Task Prior Attention Network, Sec. 3.1.
    """
    resized = [
        keras.layers.Resizing(
            *size, interpolation="bilinear", name=f"{name}resize_stride_{stride}"
        )(features[stride])
        for stride in strides
    ]
    return keras.layers.Concatenate(name=f"{name}concatenated_features")(resized)


def like_keras_hubs() -> list[type]:
    """The classes of this package that are one of keras-hub's in all but a part."""
    return [stemmed_vit(), rectangular_dinov2()]


def deserialize_backbone(config: dict) -> keras.Model:
    """A backbone, randomly initialised, from `serialize_keras_object`'s answer."""
    like_keras_hubs()  # which registers them, and keras-hub its own, before one is looked up
    with attention_mask_accepted():
        return keras.saving.deserialize_keras_object(config)
