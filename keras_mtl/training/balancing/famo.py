"""Fast adaptive multitask optimization."""

import keras
from keras import ops

from keras_mtl.arguments import check_number
from keras_mtl.training.balancing.loss_weighting import LossWeighting

_FIRST, _SECOND = 0.9, 0.999  # Adam's


@keras.saving.register_keras_serializable(package="keras_mtl")
class FAMO(LossWeighting):
    """Makes all losses fall by the same share, without any task's own gradient.

    A step descends on c sum_t z_t log L_t with z = softmax(xi) and c = 1 / sum_t (z_t / L_t), a
    constant to it: the weights c z_t / L_t sum to 1. Afterwards the same batch's losses are
    computed again, which costs one more forward pass, and xi descends by how much each logarithm
    fell: with Adam, as in the published code. (The plain descent of Algorithm 1 would need another
    rate for every problem.) A task without any label in a batch, whose loss is 0, is left out.

    Args:
        rate: float, of xi; the paper's beta.
        decay: float, by which xi is drawn to 0; the paper's gamma.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Raises:
        ValueError: if one is negative.

    Example:

    >>> rule = keras_mtl.balancing.FAMO(rate=0.1)
    >>> rule.prepare({"semseg": 1.0, "depth": 1.0})
    >>> rule.after_step([2.0, 4.0])
    >>> rule.after_update([1.0, 3.9])  # depth fell less, and counts more from now on
    >>> np.array(keras.ops.softmax(rule.logits), "float64").round(3).tolist()
    [0.45, 0.55]

    Source: Liu et al., FAMO: Fast Adaptive Multitask Optimization, NeurIPS 2023, Algorithm 1.
    """

    measures_again = True

    def __init__(self, rate: float = 0.025, decay: float = 0.01, **kwargs):
        super().__init__(**kwargs)
        self.rate, self.decay = check_number("rate", rate), check_number("decay", decay)

    def build(self, tasks):
        self.logits = self.add_state("logits", (tasks,))
        self.first = self.add_state("first", (tasks,))
        self.second = self.add_state("second", (tasks,))
        self.updates = self.add_state("updates", ())
        self.last_losses = self.add_state("last_losses", (tasks,), "ones")

    def total(self, losses):
        losses = ops.stack(losses)
        there = losses > 0
        weights = self._weights(ops.stop_gradient(losses))
        logarithms = ops.log(ops.where(there, losses, 1.0))
        return ops.sum(ops.stop_gradient(weights * losses) * logarithms)

    def _weights(self, losses):
        """The derivatives of the total by the losses."""
        there = losses > 0
        share = ops.where(there, ops.softmax(self.logits) / ops.where(there, losses, 1.0), 0.0)
        total = ops.sum(share)
        return share / ops.where(total > 0, total, 1.0)

    def after_step(self, losses):
        self.last_losses.assign(ops.stack(losses))

    def after_update(self, losses):
        before, after = ops.convert_to_tensor(self.last_losses), ops.stack(losses)
        there = (before > 0) & (after > 0) & ops.isfinite(before) & ops.isfinite(after)
        fell = ops.log(ops.where(there, before, 1.0)) - ops.log(ops.where(there, after, 1.0))
        logits, kept, squares = (
            ops.convert_to_tensor(each) for each in (self.logits, self.first, self.second)
        )
        share = ops.where(there, ops.softmax(logits), 0.0)
        share = share / ops.maximum(ops.sum(share), 1e-12)
        slope = share * (fell - ops.sum(share * fell)) + self.decay * logits
        updates = self.updates + 1
        first = _FIRST * kept + (1 - _FIRST) * slope
        second = _SECOND * squares + (1 - _SECOND) * slope**2
        length = ops.sqrt(second / (1 - _SECOND**updates)) + 1e-8
        step = first / (1 - _FIRST**updates) / length
        self.logits.assign(ops.where(there, logits - self.rate * step, logits))
        self.first.assign(ops.where(there, first, kept))
        self.second.assign(ops.where(there, second, squares))
        self.updates.assign(updates)

    def task_factors(self):
        """Those of the last step's losses."""
        return self._weights(ops.convert_to_tensor(self.last_losses))

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "decay": self.decay}
