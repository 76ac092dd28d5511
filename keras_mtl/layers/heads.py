"""Prediction heads: from a task's feature map to its raw map."""

import keras


@keras.saving.register_keras_serializable(package="keras_mtl")
class PredictionHead(keras.layers.Layer):
    """3x3 convolution, batch normalization, activation, 1x1 convolution.

    Args:
        channels: int. Raw output channels of the task.
        width: int or None. Channels between the convolutions; `None` keeps the
            feature map's.
        upsampling: int. Bilinear upsampling (half-pixel centres) before the head.
        activation: str. `"gelu"` (exact; TaskPrompter) or any Keras activation.

    Call arguments:
        features: tensor `(B, H, W, F)`.

    Returns:
        Tensor `(B, upsampling * H, upsampling * W, channels)`.

    Example:

    >>> head = keras_mtl.layers.PredictionHead(channels=40, upsampling=4)
    >>> tuple(head(keras.ops.ones((1, 4, 6, 16))).shape)
    (1, 16, 24, 40)

    Reference: Ye and Xu, TaskPrompter, ICLR 2023, Sec. 3.3.
    """

    def __init__(
        self,
        channels: int,
        width: int | None = None,
        upsampling: int = 1,
        activation: str = "gelu",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.channels = channels
        self.width = width
        self.upsampling = upsampling
        self.activation = activation

    def build(self, features_shape):
        self.body = keras.Sequential(
            [
                keras.layers.UpSampling2D(
                    self.upsampling, interpolation="bilinear", dtype=self.dtype_policy
                ),
                keras.layers.Conv2D(
                    self.width or features_shape[-1], 3, padding="same", dtype=self.dtype_policy
                ),
                keras.layers.BatchNormalization(
                    epsilon=1e-5, momentum=0.9, dtype=self.dtype_policy
                ),
                keras.layers.Activation(
                    keras.activations.get(self.activation), dtype=self.dtype_policy
                ),
                keras.layers.Conv2D(self.channels, 1, dtype=self.dtype_policy),
            ],
            name="body",
        )
        self.body.build(features_shape)

    def call(self, features, training=False):
        return self.body(features, training=training)

    def compute_output_shape(self, features_shape):
        batch, height, width, _ = features_shape
        return (batch, height * self.upsampling, width * self.upsampling, self.channels)

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.channels,
            "width": self.width,
            "upsampling": self.upsampling,
            "activation": self.activation,
        }
