"""Uncertainty weighting."""

import keras
from keras import ops

from keras_mtl.arguments import check_number
from keras_mtl.training.balancing.loss_weighting import LossWeighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class UncertaintyWeighting(LossWeighting):
    """Weighs each task by a learned uncertainty: sum over t of a exp(-s_t) L_t + b s_t.

    s_t, the logarithm of the task's variance, is trained along with the network, from 0 on. (The
    paper's factor 1/2 before the losses of regression only moves s_t.) A task without any label in
    a batch, whose loss is 0, is left out of that batch's sum: else s_t would fall without bound.

    Args:
        scale: float. The factor a of all losses; MTFormer's code has 10.
        penalty: float. The factor b of what an uncertainty costs; MTFormer's code has 1.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Raises:
        ValueError: if one is no number above 0.

    Example:

    >>> balancing = keras_mtl.balancing.UncertaintyWeighting()
    >>> balancing.prepare({"semseg": 1.0, "depth": 2.0})
    >>> total = balancing.total([keras.ops.ones(()), keras.ops.ones(())])
    >>> float(keras.ops.stop_gradient(total))
    2.0

    Source: Kendall, Gal and Cipolla, Multi-Task Learning Using Uncertainty to Weigh Losses for
    Scene Geometry and Semantics, CVPR 2018, Eq. 7 and 10.
    """

    def __init__(self, scale: float = 1.0, penalty: float = 0.5, **kwargs):
        super().__init__(**kwargs)
        for name, value in (("scale", scale), ("penalty", penalty)):
            if not check_number(name, value) > 0:
                raise ValueError(f"{name} is {value!r}, expected a number above 0.")
        self.scale, self.penalty = float(scale), float(penalty)

    def build(self, tasks):
        self.log_variance = self.add_weight(
            shape=(tasks,), initializer="zeros", dtype="float32", name="log_variance"
        )

    def total(self, losses):
        losses = ops.stack(losses)
        weighed = self.task_factors() * losses + self.penalty * self.log_variance
        return ops.sum(ops.where(losses > 0, weighed, 0.0))

    def task_factors(self):
        return self.scale * ops.exp(-self.log_variance)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale, "penalty": self.penalty}
