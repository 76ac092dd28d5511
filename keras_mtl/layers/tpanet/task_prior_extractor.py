"""TPANet's task prior extractor: from shared features to one feature map for each task."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_mtl")
class TaskPriorExtractor(keras.layers.Layer):
    """Task-specific features plus a prior that all tasks share.

    Each task has a 1x1 convolution of its own (Eq. 1); one more makes the task prior (Eq. 2),
    which is added to every task's features (Eq. 3). Batch normalization follows each.

    Args:
        num_tasks: int. T.
        dim: int. Channels D of a task's features.
        groups: int. Groups of the convolutions; they must divide both C and D.

    Call arguments:
        features: tensor `(B, h, w, C)`.

    Returns:
        Tensor `(B, h, w, T, D)`.

    Raises:
        ValueError: if the groups do not divide the channels.

    Example:

    >>> extract = keras_mtl.layers.TaskPriorExtractor(num_tasks=4, dim=16, groups=2)
    >>> tuple(extract(keras.ops.ones((1, 6, 8, 30))).shape)
    (1, 6, 8, 4, 16)

    Reference: Task Prior Attention Network, Sec. 3.2.
    """

    def __init__(self, num_tasks: int, dim: int, groups: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.num_tasks = num_tasks
        self.dim = dim
        self.groups = groups

    def build(self, features_shape):
        for what, channels in (("feature channels", features_shape[-1]), ("dim", self.dim)):
            if channels % self.groups:
                raise ValueError(
                    f"groups is {self.groups}, which does not divide the {channels} {what}; use a "
                    "number that divides both the features' channels and dim."
                )
        inputs, outputs = features_shape[-1] // self.groups, self.dim // self.groups
        branches = self.num_tasks + 1  # the last one is the prior's
        limit = math.sqrt(6 / (inputs + self.dim))  # Glorot's, for each convolution by itself
        self.kernel = self.add_weight(
            shape=(self.groups, inputs, branches, outputs),
            initializer=keras.initializers.RandomUniform(-limit, limit),
            name="kernel",
        )
        self.bias = self.add_weight(
            shape=(branches, self.groups, outputs), initializer="zeros", name="bias"
        )
        self.norm = keras.layers.BatchNormalization(
            epsilon=1e-5, momentum=0.9, dtype=self.dtype_policy, name="norm"
        )
        self.norm.build((*features_shape[:-1], branches * self.dim))

    def call(self, features, training=False):
        _, h, w, channels = features.shape
        # All 1x1 convolutions in one product: the backends' grouped ones are slow, or need XLA.
        x = ops.reshape(features, (-1, h, w, self.groups, channels // self.groups))
        x = ops.einsum("bhwgc,gctd->bhwtgd", x, self.kernel) + self.bias
        x = ops.reshape(x, (-1, h, w, (self.num_tasks + 1) * self.dim))
        x = self.norm(x, training=training)  # Eq. 1, and last Eq. 2
        x = ops.reshape(x, (-1, h, w, self.num_tasks + 1, self.dim))
        return x[:, :, :, :-1] + x[:, :, :, -1:]  # Eq. 3

    def compute_output_shape(self, features_shape):
        return (*features_shape[:3], self.num_tasks, self.dim)

    def get_config(self):
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "dim": self.dim,
            "groups": self.groups,
        }
