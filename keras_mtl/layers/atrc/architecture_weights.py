"""What a search for context learns: how much each type weighs for each pair of tasks."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_mtl.arguments import check_integer, check_number, check_numbers
from keras_mtl.layers.atrc.context_pooling import POOLED

TYPES = 1 + len(POOLED)  # the first one is none


def gumbel_noise(shape: Sequence[int], seed) -> "keras.KerasTensor":
    """Numbers of the standard Gumbel distribution.

    Args:
        shape: of the tensor.
        seed: `keras.random.SeedGenerator`.
    """
    uniform = keras.random.uniform(shape, 1e-7, 1.0, seed=seed)
    return -ops.log(-ops.log(uniform))


@keras.saving.register_keras_serializable(package="keras_mtl")
class ArchitectureWeights(keras.layers.Layer):
    """The weights w with which types of context are mixed, in training drawn at random.

    Each pair of a target and a source has numbers a, 0 at the beginning, one for each type:

    - in training w = softmax((a + g) / tau) with Gumbel noise g; tau falls from 1 to 0.05, linearly
      over `steps`;
    - a pair whose two largest entries of softmax(a) are `gap` apart has the larger one's type from
      then on, for good;
    - in inference w is 1 for the type with the largest a and 0 for the others.

    It adds the mean over the pairs of the entropy of softmax(a) to the loss, with a weight that
    changes from -0.02, so that nothing is decided early, to +0.06.

    Args:
        tasks: int, T.
        steps: int. Training steps that the schedules take.
        temperature: the first and the last tau.
        entropy_weight: the first and the last weight of the entropy.
        gap: float.
        seed: int or None. Of the noise.

    Call arguments:
        anything: tensor, which is not looked at: a layer of a functional model has an input.

    Returns:
        Tensor w `(T, T, 5)`, float32: of each target and source, the types in the order none,
        global, local, t-label, s-label; of a task with itself the last one is 0.

    Example:

    >>> weights = ArchitectureWeights(tasks=2, steps=100)
    >>> np.array(weights(keras.ops.ones((1, 1)))[0, 1]).tolist()  # nothing is learned yet
    [1.0, 0.0, 0.0, 0.0, 0.0]

    Reference: Brueggemann et al., Exploring Relational Context for Multi-Task Dense Prediction,
    ICCV 2021, and its published code; Jang et al., Categorical Reparameterization with
    Gumbel-Softmax, ICLR 2017.
    """

    def __init__(
        self,
        tasks: int,
        steps: int = 40_000,
        temperature: Sequence[float] = (1.0, 0.05),
        entropy_weight: Sequence[float] = (-0.02, 0.06),
        gap: float = 0.3,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.tasks = check_integer("tasks", tasks, 1)
        self.steps = check_integer("steps", steps, 1)
        self.temperature = check_numbers("temperature", temperature, (1.0, 0.05))
        self.entropy_weight = check_numbers("entropy_weight", entropy_weight, (-0.02, 0.06))
        self.gap = check_number("gap", gap)
        self.seed, self.seed_generator = seed, keras.random.SeedGenerator(seed)

    def build(self, shape):
        shape = (self.tasks, self.tasks, TYPES)
        # All of TensorFlow's replicas count the same.
        constant = {
            "initializer": "zeros",
            "trainable": False,
            "autocast": False,
            "aggregation": "only_first_replica",
        }
        self.architecture = self.add_weight(
            shape=shape, initializer="zeros", autocast=False, name="architecture"
        )
        self.frozen = self.add_weight(shape=shape, name="frozen", **constant)
        # Counted as BatchNormalization counts: by a number that the step itself changes.
        self.step = self.add_weight(shape=(), name="step", **constant)

    def call(self, anything, training=None):
        if not training:
            return self.found()
        done = ops.minimum(self.step / self.steps, 1.0)
        shares = self.shares()
        # Decided by what earlier steps have learned, as the weights of this one are.
        largest = ops.sort(ops.stop_gradient(shares), axis=-1)
        apart = largest[..., -1:] - largest[..., -2:-1] >= self.gap
        before = ops.convert_to_tensor(self.frozen)
        open_ = ops.sum(before, axis=-1, keepdims=True) == 0
        frozen = ops.where(open_ & apart, self._largest(), before)
        open_ = open_ & ~apart
        self.frozen.assign(frozen)
        self.step.assign(self.step + 1)

        weight = _between(self.entropy_weight, done)
        self.add_loss(weight * self.entropy(ops.where(open_, shares, ops.stop_gradient(shares))))
        noise = gumbel_noise(self.architecture.shape, self.seed_generator)
        drawn = self._softmax((self.architecture + noise) / _between(self.temperature, done))
        return ops.where(open_, drawn, frozen)

    def shares(self):
        """softmax(a), tensor `(T, T, 5)`."""
        return self._softmax(ops.convert_to_tensor(self.architecture))

    def entropy(self, shares):
        """The mean over the pairs of -sum_i p_i ln p_i.

        Args:
            shares: tensor `(T, T, 5)`.
        """
        logarithms = ops.log(ops.where(shares > 0, shares, 1.0))
        return -ops.mean(ops.sum(shares * logarithms, axis=-1))

    def found(self):
        """w in inference: 1 for the type that was chosen, or would be now."""
        frozen = ops.convert_to_tensor(self.frozen)
        return ops.where(ops.sum(frozen, axis=-1, keepdims=True) == 0, self._largest(), frozen)

    def _largest(self):
        known = ops.where(self._possible(), ops.convert_to_tensor(self.architecture), -np.inf)
        return ops.one_hot(ops.argmax(known, axis=-1), TYPES, dtype="float32")

    def _softmax(self, numbers):
        return ops.softmax(ops.where(self._possible(), numbers, -1e9), axis=-1)

    def _possible(self):
        """Whether a pair has a type: a task's own classes are those of both."""
        own = np.eye(self.tasks, dtype=bool)[..., None]
        return ops.convert_to_tensor(~(own & (np.arange(TYPES) == TYPES - 1)))

    def compute_output_spec(self, anything, training=None):
        return keras.KerasTensor((self.tasks, self.tasks, TYPES), "float32")

    def get_config(self):
        return {
            **super().get_config(),
            "tasks": self.tasks,
            "steps": self.steps,
            "temperature": self.temperature,
            "entropy_weight": self.entropy_weight,
            "gap": self.gap,
            "seed": self.seed,
        }


def _between(ends: Sequence[float], done):
    return ends[0] + (ends[1] - ends[0]) * done
