"""The logarithms of the losses."""

import keras
from keras import ops

from keras_mtl.training.balancing.loss_weighting import LossWeighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class LogLosses(LossWeighting):
    """Minimizes the sum of the losses' logarithms, for which no loss's scale matters.

    A task without any label in a batch, whose loss is 0, is left out. `ImpartialLosses` has the
    same minimum, with weights that are learned.

    Example:

    >>> rule = keras_mtl.balancing.LogLosses()
    >>> round(float(rule.total([2.0, 0.5])), 4)
    0.0

    Source: Lin et al., Dual-Balancing for Multi-Task Learning, 2023, Eq. 2.
    """

    def build(self, tasks):
        self.factors = self.add_state("factors", (tasks,), "ones")

    def total(self, losses):
        losses = ops.stack(losses)
        return ops.sum(ops.log(ops.where(losses > 0, losses, 1.0)))

    def after_step(self, losses):
        losses = ops.stack(losses)
        there = losses > 0
        self.factors.assign(ops.where(there, 1 / ops.where(there, losses, 1.0), 0.0))

    def task_factors(self):
        """Those of the last step's losses."""
        return self.factors
