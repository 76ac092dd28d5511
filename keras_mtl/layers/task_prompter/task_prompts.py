"""Learnable task prompts (TaskPrompter, Sec. 3.1, Eq. 1)."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_mtl")
class BoundedNormal(keras.initializers.Initializer):
    """Normal distribution redrawn outside `[low, high]`.

    `keras.initializers.TruncatedNormal` cuts symmetrically at two standard
    deviations; the released TaskPrompter cuts N(1, 1) at -2 and 2 instead.

    Args:
        mean: float. Mean before the cut.
        stddev: float. Standard deviation before the cut.
        low: float. Smallest value.
        high: float. Largest value.
        seed: int or None.
    """

    def __init__(self, mean=1.0, stddev=1.0, low=-2.0, high=2.0, seed=None):
        self.mean = mean
        self.stddev = stddev
        self.low = low
        self.high = high
        self.seed = seed

    def __call__(self, shape, dtype=None):
        def cumulative(x: float) -> float:
            return 0.5 * (1 + math.erf((x - self.mean) / self.stddev / math.sqrt(2)))

        uniform = keras.random.uniform(
            shape, cumulative(self.low), cumulative(self.high), seed=self.seed
        )
        values = self.mean + self.stddev * math.sqrt(2) * ops.erfinv(2 * uniform - 1)
        return ops.cast(ops.clip(values, self.low, self.high), dtype or "float32")

    def get_config(self):
        return {
            "mean": self.mean,
            "stddev": self.stddev,
            "low": self.low,
            "high": self.high,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable(package="keras_mtl")
class TaskPrompts(keras.layers.Layer):
    """T learnable C-vectors, one a task, repeated for every image of the batch.

    They are the `p` of `Z_0 = [p^1; ...; p^T; x^1; ...; x^N]` (Eq. 1); the
    encoder blocks take prompts and patch tokens as two tensors and stack them
    where an equation does.

    Args:
        num_tasks: int. Number of tasks T.
        truncated: bool. Cut the initial N(1, 1) values at -2 and 2, as the
            released network does.

    Call arguments:
        patches: tensor `(B, N, C)`, patch tokens; only its B and C are used.

    Returns:
        Tensor `(B, T, C)`.

    Example:

    >>> prompts = keras_mtl.layers.TaskPrompts(num_tasks=4)
    >>> tuple(prompts(keras.ops.zeros((2, 24, 48))).shape)
    (2, 4, 48)

    Reference: Ye and Xu, TaskPrompter, ICLR 2023, Sec. 3.1, Eq. 1 and A.3.
    """

    def __init__(self, num_tasks: int, truncated: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.num_tasks = num_tasks
        self.truncated = truncated

    def build(self, patches_shape):
        self.prompts = self.add_weight(
            shape=(self.num_tasks, patches_shape[-1]),
            initializer=BoundedNormal()
            if self.truncated
            else keras.initializers.RandomNormal(mean=1.0, stddev=1.0),
            name="prompts",
        )

    def call(self, patches):
        prompts = ops.cast(self.prompts, self.compute_dtype)
        return ops.broadcast_to(prompts, (ops.shape(patches)[0], *self.prompts.shape))

    def compute_output_shape(self, patches_shape):
        return (patches_shape[0], self.num_tasks, patches_shape[-1])

    def get_config(self):
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "truncated": self.truncated,
        }
