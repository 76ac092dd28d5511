"""TPANet's task prior extractor: from shared features to one feature map for each task."""

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
        self.extractors = [self._conv_norm(f"task_{t}") for t in range(self.num_tasks)]
        self.prior = self._conv_norm("prior")
        for branch in [*self.extractors, self.prior]:
            branch.build(features_shape)

    def _conv_norm(self, name):
        return keras.Sequential(
            [
                keras.layers.Conv2D(self.dim, 1, groups=self.groups, dtype=self.dtype_policy),
                keras.layers.BatchNormalization(
                    epsilon=1e-5, momentum=0.9, dtype=self.dtype_policy
                ),
            ],
            name=name,
        )

    def call(self, features, training=False):
        own = [extract(features, training=training) for extract in self.extractors]  # Eq. 1
        prior = self.prior(features, training=training)  # Eq. 2
        return ops.stack([each + prior for each in own], axis=3)  # Eq. 3

    def compute_output_shape(self, features_shape):
        return (*features_shape[:3], self.num_tasks, self.dim)

    def get_config(self):
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "dim": self.dim,
            "groups": self.groups,
        }
