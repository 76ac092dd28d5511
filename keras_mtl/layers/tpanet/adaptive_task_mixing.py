"""TPANet's adaptive task mixing: tasks interact across positions and across channels."""

import keras
from keras import ops

from keras_mtl.computation.rematerialization import remat
from keras_mtl.layers.mlp import MLP


@keras.saving.register_keras_serializable(package="keras_mtl")
class AdaptiveTaskMixing(keras.layers.Layer):
    """A perceptron over all S positions, then one over the channels of all tasks together.

    The spatial perceptron has a weight for every position, so the layer works at the feature
    size it was built for, and at no other.

    Args:
        spatial_width: int or None. Hidden units of the spatial perceptron; `None` means
            0.0005 S, and at least 4.

    Call arguments:
        features: tensor `(B, h, w, T, D)`.

    Returns:
        Tensor `(B, h, w, T, D)`.

    Raises:
        ValueError: if features of another size than the first ones arrive.

    Example:

    >>> mix = keras_mtl.layers.AdaptiveTaskMixing()
    >>> tuple(mix(keras.ops.ones((1, 6, 8, 4, 16))).shape)
    (1, 6, 8, 4, 16)

    Reference: Task Prior Attention Network, Sec. 3.3.
    """

    def __init__(self, spatial_width: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.spatial_width = spatial_width

    def build(self, features_shape):
        _, h, w, num_tasks, dim = features_shape
        self.size = (h, w)
        positions, channels = h * w, num_tasks * dim
        policy = self.dtype_policy
        # One normalization for Eq. 5 and Eq. 6, as in the published network.
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name="norm")
        self.spatial_mlp = MLP(
            self.spatial_width or max(4, int(0.0005 * positions)), dtype=policy, name="spatial_mlp"
        )
        self.channel_mlp = MLP(channels, dtype=policy, name="channel_mlp")
        self.norm.build((None, positions, channels))
        self.spatial_mlp.build((None, channels, positions))
        self.channel_mlp.build((None, positions, channels))

    def call(self, features, training=False):
        _, h, w, num_tasks, dim = features.shape
        if (h, w) != self.size:
            raise ValueError(
                f"Features of {h}x{w} arrived, but AdaptiveTaskMixing has spatial weights for "
                f"{self.size[0]}x{self.size[1]}; give the model images of the size it was built "
                "for, or use its predict_maps, which resizes."
            )
        x = ops.reshape(features, (-1, h * w, num_tasks * dim))
        for mix in (self._across_positions, self._across_channels):
            # Of all this only the input is kept for the gradient: these are the largest maps.
            x = x + (remat(mix) if training else mix)(x)
        return ops.reshape(x, (-1, h, w, num_tasks, dim))  # Eq. 7

    def _across_positions(self, x):
        positions_last = ops.transpose(self.norm(x), (0, 2, 1))
        return ops.transpose(self.spatial_mlp(positions_last), (0, 2, 1))  # Eq. 5

    def _across_channels(self, x):
        return self.channel_mlp(self.norm(x))  # Eq. 6

    def compute_output_shape(self, features_shape):
        return features_shape

    def get_config(self):
        return {**super().get_config(), "spatial_width": self.spatial_width}
