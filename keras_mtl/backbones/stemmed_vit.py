"""A Vision Transformer whose patches are features of a few convolutions, not pixels."""

import functools
from typing import Any

import keras
from keras import ops

from keras_mtl.arguments import check_integer
from keras_mtl.backbones.keras_hub import encode_patches
from keras_mtl.backbones.kinds import class_of


@keras.saving.register_keras_serializable(package="keras_mtl")
class ConvolutionalStem(keras.layers.Layer):
    """Convolutions of stride 2, and residual blocks at strides 4 and more.

    A small Vision Transformer that starts from random weights learns in a fraction of the steps
    behind it. Every halving of the image doubles the channels.

    Args:
        stride: int, pixels from one feature to the next; a power of 2.
        width: int. Channels at half the image's size.
        blocks: int. Residual blocks at each size below that.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Call arguments:
        images: tensor `(B, height, width, 3)`; `stride` divides its sides.

    Returns:
        Tensor `(B, height / stride, width / stride, channels)`; `channels` is an attribute.

    Raises:
        ValueError: if `stride` is no power of 2.

    Example:

    >>> stem = ConvolutionalStem(stride=8, width=4)
    >>> tuple(stem(keras.ops.ones((1, 32, 48, 3))).shape)
    (1, 4, 6, 16)

    Reference: Xiao et al., Early Convolutions Help Transformers See Better, NeurIPS 2021.
    """

    def __init__(self, stride: int, width: int = 32, blocks: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.stride = check_integer("stride", stride, 2)
        self.width = check_integer("width", width, 1)
        self.blocks = check_integer("blocks", blocks, 0)
        if stride & (stride - 1):
            raise ValueError(
                f"A convolutional stem halves the image again and again, and {stride} is no power "
                "of 2; take patches of 4, 8 or 16 pixels."
            )
        self.channels = width * stride // 2

    def build(self, images_shape):
        images = keras.Input(images_shape[1:], dtype=self.compute_dtype)
        x = self._halved(images, self.width, "half")
        stride = 2
        while stride < self.stride:
            stride *= 2
            x = self._halved(x, self.width * stride // 2, f"stride{stride}")
            for n in range(1, self.blocks + 1):
                name = f"stride{stride}_block{n}"
                branch = ops.relu(self._convolved(x, x.shape[-1], f"{name}_conv1"))
                x = ops.relu(x + self._convolved(branch, x.shape[-1], f"{name}_conv2"))
        self.body = keras.Model(images, x, name="body")

    def _halved(self, x, filters, name):
        return ops.relu(self._convolved(x, filters, name, strides=2))

    def _convolved(self, x, filters, name, strides=1):
        policy = self.dtype_policy
        x = keras.layers.Conv2D(
            filters,
            3,
            strides,
            "same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=name,
            dtype=policy,
        )(x)
        return keras.layers.BatchNormalization(
            epsilon=1e-5, momentum=0.9, name=f"{name}_norm", dtype=policy
        )(x)

    def call(self, images, training=False):
        return self.body(images, training=training)

    def compute_output_shape(self, images_shape):
        batch, height, width, _ = images_shape
        return (batch, height // self.stride, width // self.stride, self.channels)

    def get_config(self):
        own = {"stride": self.stride, "width": self.width, "blocks": self.blocks}
        return {**super().get_config(), **own}


def stem_of(backbone: keras.Model) -> ConvolutionalStem | None:
    """What stands before a Vision Transformer's patches, if anything does.

    Args:
        backbone: a functional model.
    """
    return next((x for x in backbone.layers if isinstance(x, ConvolutionalStem)), None)


@functools.cache
def stemmed_vit() -> type:
    """The class, a `keras_hub.models.ViTBackbone` in all but its patches.

    It is made when it is first asked for, since keras-hub imports TensorFlow where it is
    installed. Its arguments are a ViT's, `stem_width` and `stem_blocks`: see `ConvolutionalStem`.

    Example:

    >>> sizes = {"num_layers": 1, "num_heads": 1, "hidden_dim": 8, "mlp_dim": 8}
    >>> backbone = stemmed_vit()((32, 48, 3), patch_size=8, stem_width=4, **sizes)
    >>> tuple(backbone(keras.ops.ones((1, 32, 48, 3))).shape)
    (1, 24, 8)
    """
    vit: Any = class_of("vit")

    @keras.saving.register_keras_serializable(package="keras_mtl")
    class StemmedViTBackbone(vit):
        def __init__(
            self,
            image_shape,
            patch_size,
            num_layers,
            num_heads,
            hidden_dim,
            mlp_dim,
            stem_width=32,
            stem_blocks=2,
            use_class_token=False,
            dtype=None,
            name=None,
            trainable=True,
            **kwargs,
        ):
            stride = patch_size if isinstance(patch_size, int) else patch_size[0]
            stem = ConvolutionalStem(
                stride, stem_width, stem_blocks, dtype=dtype, name="convolutional_stem"
            )
            images = keras.Input(tuple(image_shape), name="images")
            features = stem(images)
            # To the Transformer, patches are single pixels of the stem's map.
            inner = vit(
                image_shape=tuple(features.shape[1:]),
                patch_size=1,
                num_layers=num_layers,
                num_heads=num_heads,
                hidden_dim=hidden_dim,
                mlp_dim=mlp_dim,
                use_class_token=use_class_token,
                dtype=dtype,
                **kwargs,
            )
            tokens = encode_patches(inner, features)
            # Past the ViT's own constructor, which would make another network.
            super(vit, self).__init__(
                inputs=images, outputs=tokens, dtype=dtype, name=name, trainable=trainable
            )
            for argument, value in inner.get_config().items():
                if argument not in ("name", "trainable", "dtype"):
                    setattr(self, argument, value)
            self.image_shape, self.patch_size = tuple(image_shape), (stride, stride)
            self.data_format = inner.data_format  # which is in no config
            self.stem_width, self.stem_blocks = stem_width, stem_blocks

        def get_config(self):
            own = {"stem_width": self.stem_width, "stem_blocks": self.stem_blocks}
            return {**super().get_config(), **own}

    return StemmedViTBackbone
