"""Direction-oriented multi-objective learning."""

import keras
from keras import ops

from keras_mtl.arguments import check_integer, check_number
from keras_mtl.training.balancing.gradient_weighting import GradientWeighting, present
from keras_mtl.training.balancing.small_problems import (
    equal_weights,
    onto_simplex,
    repeat,
    scale_of,
)


@keras.saving.register_keras_serializable(package="keras_mtl")
class SDMGrad(GradientWeighting):
    """Follows the shortest weighted mean of the gradients, held near their plain mean.

    w takes some steps of projected descent on |sum_t w_t g_t + strength g_0|^2 / 2 in every step of
    training, from where it was; the direction is (sum_t w_t g_t + strength g_0) / (1 + strength).
    The gradients of one batch serve for both factors. (The paper draws independent batches, so
    that the estimate has no bias: three times the cost.)

    Args:
        strength: float, from 0, `MGDA`, on; the paper's lambda.
        rate: float. Of the descent, for gradients of mean squared length 1.
        steps: int.
        **kwargs: `of`, `name` and the like; see `GradientWeighting`.

    Raises:
        ValueError: if one is out of range.

    Example:

    >>> rule = keras_mtl.balancing.SDMGrad(strength=1.0, steps=100)
    >>> rule.prepare({"semseg": 1.0, "depth": 1.0})
    >>> gramian = keras.ops.array([[1.0, 0.0], [0.0, 4.0]])
    >>> np.array(rule.weigh(gramian, keras.ops.ones(2)), "float64").round(3).tolist()
    [0.75, 0.25]

    Source: Xiao, Ban and Ji, Direction-oriented Multi-objective Learning: Simple and Provable
    Stochastic Algorithms, NeurIPS 2023, Eq. 7 and Algorithm 1.
    """

    def __init__(self, strength: float = 0.3, rate: float = 0.3, steps: int = 20, **kwargs):
        super().__init__(**kwargs)
        for name, value in (("strength", strength), ("rate", rate)):
            if not check_number(name, value) >= 0:
                raise ValueError(f"{name} is {value!r}, expected a number from 0 on.")
        self.strength, self.rate = strength, rate
        self.steps = check_integer("steps", steps, 1)

    def build(self, tasks):
        super().build(tasks)
        self.kept = self.add_state("kept", (tasks,), keras.initializers.Constant(1 / tasks))

    def weigh(self, gramian, losses):
        gramian, equal = gramian / scale_of(gramian), equal_weights(gramian)
        there = present(gramian)

        def descend(_, weights):
            slope = ops.matmul(gramian, weights + self.strength * equal)
            return onto_simplex(weights - self.rate * slope, there)

        start = onto_simplex(ops.convert_to_tensor(self.kept), there)
        weights = repeat(descend, self.steps, start)
        self.kept.assign(weights)
        return (weights + self.strength * equal) / (1 + self.strength)

    def get_config(self):
        own = {"strength": self.strength, "rate": self.rate, "steps": self.steps}
        return {**super().get_config(), **own}
