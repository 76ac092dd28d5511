"""Gradient normalization."""

import keras
from keras import ops

from keras_mtl.arguments import check_number
from keras_mtl.training.balancing.gradient_weighting import GradientWeighting, present


@keras.saving.register_keras_serializable(package="keras_mtl")
class GradNorm(GradientWeighting):
    """Learns weights by which tasks that lag behind pull harder.

    The weighted gradient of task t should be as long as the mean of all times r_t^alpha, with r_t
    the task's loss over its first, relative to the mean of these. Each step descends on the sum of
    the differences' absolute values, and the weights are scaled to sum to the number of tasks.

    Args:
        alpha: float, from 0, equally long gradients, on.
        rate: float. Learning rate of the weights.
        **kwargs: `of`, `name` and the like; see `GradientWeighting`.

    Raises:
        ValueError: if one is negative.

    Example:

    >>> rule = keras_mtl.balancing.GradNorm(rate=0.1)
    >>> rule.prepare({"semseg": 1.0, "depth": 1.0})
    >>> gramian = keras.ops.array([[1.0, 0.0], [0.0, 9.0]])
    >>> np.array(rule.weigh(gramian, keras.ops.ones(2))).tolist()  # what counts in this step
    [1.0, 1.0]
    >>> np.array(rule.factors, "float64").round(3).tolist()  # and in the next
    [1.105, 0.895]

    Source: Chen et al., GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
    Multitask Networks, ICML 2018, Eq. 1 and 2, Algorithm 1.
    """

    def __init__(self, alpha: float = 1.5, rate: float = 0.025, **kwargs):
        super().__init__(**kwargs)
        for name, value in (("alpha", alpha), ("rate", rate)):
            if not check_number(name, value) >= 0:
                raise ValueError(f"{name} is {value!r}, expected a number from 0 on.")
        self.alpha, self.rate = alpha, rate

    def build(self, tasks):
        super().build(tasks)
        self.factors = self.add_state("factors", (tasks,), "ones")
        self.first_losses = self.add_state("first_losses", (tasks,))  # 0: not seen yet

    def weigh(self, gramian, losses):
        there, factors = present(gramian), ops.copy(self.factors)  # which changes below
        first = ops.convert_to_tensor(self.first_losses)
        first = ops.where((first == 0) & there, losses, first)
        count = ops.maximum(ops.sum(ops.cast(there, "float32")), 1.0)

        def mean(values):
            return ops.sum(ops.where(there, values, 0.0)) / count

        lengths = ops.sqrt(ops.maximum(ops.diagonal(gramian), 0.0))
        left = losses / ops.where(first > 0, first, 1.0)
        behind = left / ops.maximum(mean(left), 1e-12)
        aim = mean(factors * lengths) * behind**self.alpha  # a constant to the descent: Eq. 2
        slope = ops.sign(factors * lengths - aim) * lengths
        # The lengths have the losses' scale, and the weights have not.
        slope = slope / ops.maximum(mean(lengths), 1e-12)
        stepped = ops.maximum(factors - self.rate * slope, 1e-3)
        stepped = ops.where(there, stepped, factors)
        tasks = losses.shape[0]
        self.factors.assign(stepped * tasks / ops.sum(stepped))
        self.first_losses.assign(first)
        return factors

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "rate": self.rate}
