"""Impartial learning by losses."""

import keras
from keras import ops

from keras_mtl.training.balancing.loss_weighting import LossWeighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class ImpartialLosses(LossWeighting):
    """Weighs each loss so that all are alike: sum over t of exp(s_t) L_t - s_t.

    s_t is trained along with the network, from 0 on. A task without any label in a batch, whose
    loss is 0, is left out of that batch's sum: else s_t would grow without bound.

    Example:

    >>> rule = keras_mtl.balancing.ImpartialLosses()
    >>> rule.prepare({"semseg": 1.0, "depth": 1.0})
    >>> _ = rule.log_scale.assign([0.0, np.log(2.0)])  # 1 + 2 x 3 - log 2
    >>> total = rule.total([keras.ops.ones(()), 3 * keras.ops.ones(())])
    >>> round(float(keras.ops.stop_gradient(total)), 4)
    6.3069

    Source: Liu et al., Towards Impartial Multi-task Learning, ICLR 2021 (IMTL-L), Eq. 5.
    """

    def build(self, tasks):
        self.log_scale = self.add_weight(
            shape=(tasks,), initializer="zeros", dtype="float32", name="log_scale"
        )

    def total(self, losses):
        losses = ops.stack(losses)
        weighed = self.task_factors() * losses - self.log_scale
        return ops.sum(ops.where(losses > 0, weighed, 0.0))

    def task_factors(self):
        return ops.exp(self.log_scale)
