"""The geometric mean of the losses."""

import keras
from keras import ops

from keras_mtl.training.balancing.loss_weighting import LossWeighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class GeometricMean(LossWeighting):
    """Minimizes the geometric mean of the losses, to which each counts by its share.

    A task without any label in a batch, whose loss is 0, is left out.

    Example:

    >>> rule = keras_mtl.balancing.GeometricMean()
    >>> rule.prepare({"semseg": 1.0, "depth": 1.0})
    >>> round(float(rule.total([2.0, 8.0])), 4)
    4.0

    Source: Chennupati et al., MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss
    Strategy for Multi-Task Learning, CVPR Workshops 2019, Eq. 3.
    """

    def build(self, tasks):
        self.factors = self.add_state("factors", (tasks,), "ones")

    def total(self, losses):
        return _mean(ops.stack(losses))

    def after_step(self, losses):
        losses = ops.stack(losses)
        there, count = _counted(losses)
        # The derivative by each loss.
        self.factors.assign(ops.where(there, _mean(losses) / (count * _or_one(losses)), 0.0))

    def task_factors(self):
        """Those of the last step's losses."""
        return self.factors


def _counted(losses):
    there = losses > 0
    return there, ops.maximum(ops.sum(ops.cast(there, losses.dtype)), 1.0)


def _or_one(losses):
    return ops.where(losses > 0, losses, 1.0)


def _mean(losses):
    there, count = _counted(losses)
    mean = ops.exp(ops.sum(ops.log(_or_one(losses))) / count)
    return ops.where(ops.any(there), mean, 0.0)
