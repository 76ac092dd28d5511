"""Uncertainty weighting."""

import keras
from keras import ops

from keras_mtl.training.balancing.loss_weighting import LossWeighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class UncertaintyWeighting(LossWeighting):
    """Weighs each task by a learned uncertainty: sum over t of exp(-s_t) L_t + s_t / 2.

    s_t, the logarithm of the task's variance, is trained along with the network, from 0 on. (The
    paper's factor 1/2 before the losses of regression only moves s_t.) A task without any label in
    a batch, whose loss is 0, is left out of that batch's sum: else s_t would fall without bound.

    Example:

    >>> balancing = keras_mtl.balancing.UncertaintyWeighting()
    >>> balancing.prepare({"semseg": 1.0, "depth": 2.0})
    >>> total = balancing.total([keras.ops.ones(()), keras.ops.ones(())])
    >>> float(keras.ops.stop_gradient(total))
    2.0

    Source: Kendall, Gal and Cipolla, Multi-Task Learning Using Uncertainty to Weigh Losses for
    Scene Geometry and Semantics, CVPR 2018, Eq. 7 and 10.
    """

    def build(self, tasks):
        self.log_variance = self.add_weight(
            shape=(tasks,), initializer="zeros", dtype="float32", name="log_variance"
        )

    def total(self, losses):
        losses = ops.stack(losses)
        weighed = self.task_factors() * losses + self.log_variance / 2
        return ops.sum(ops.where(losses > 0, weighed, 0.0))

    def task_factors(self):
        return ops.exp(-self.log_variance)
