"""The smooth Tchebycheff scalarization."""

import keras
from keras import ops

from keras_mtl.arguments import check_integer, check_number
from keras_mtl.training.balancing.loss_weighting import LossWeighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class SmoothTchebycheff(LossWeighting):
    """Minimizes, nearly, the largest of the losses: T mu log sum_t exp(log(L_t / n_t) / mu).

    n_t is the task's mean loss over the first epochs, in which the sum of the losses' logarithms is
    minimized. A task without any label in a batch, whose loss is 0, is left out.

    Args:
        mu: float above 0; toward 0 only the largest counts.
        warmup: int. How many epochs come first.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Raises:
        ValueError: if mu is not above 0 or the warmup no whole number from 1 on.

    Example:

    >>> rule = keras_mtl.balancing.SmoothTchebycheff(mu=1.0, warmup=1)
    >>> rule.prepare({"semseg": 1.0, "depth": 1.0})
    >>> rule.on_epoch_end([2.0, 4.0])
    >>> round(float(rule.total([1.0, 6.0])), 4)  # 2 log(1/2 + 6/4)
    1.3863

    Source: Lin et al., Smooth Tchebycheff Scalarization for Multi-Objective Optimization, ICML
    2024, Eq. 6.
    """

    def __init__(self, mu: float = 1.0, warmup: int = 4, **kwargs):
        super().__init__(**kwargs)
        if not check_number("mu", mu) > 0:
            raise ValueError(f"mu is {mu!r}, expected a number above 0.")
        self.mu, self.warmup = mu, check_integer("warmup", warmup, 1)

    def build(self, tasks):
        self.sums = self.add_state("sums", (tasks,))
        self.epochs = self.add_state("epochs", (tasks,))  # of the warmup, with a label of the task
        self.done = self.add_state("done", ())
        self.factors = self.add_state("factors", (tasks,), "ones")

    def total(self, losses):
        losses = ops.stack(losses)
        there = losses > 0
        logarithms = ops.log(ops.where(there, losses, 1.0) / self._usual())
        first = ops.sum(ops.where(there, logarithms, 0.0))
        smooth = ops.logsumexp(ops.where(there, logarithms / self.mu, -1e9))
        largest = len(losses) * self.mu * ops.where(ops.any(there), smooth, 0.0)
        return ops.where(self.done < self.warmup, first, largest)

    def after_step(self, losses):
        losses = ops.stack(losses)
        there = losses > 0
        safe = ops.where(there, losses, 1.0)
        share = ops.softmax(ops.where(there, ops.log(safe / self._usual()) / self.mu, -1e9))
        share = ops.where(self.done < self.warmup, 1.0, len(losses) * share)
        self.factors.assign(ops.where(there, share / safe, 0.0))  # the derivative by each loss

    def _usual(self):
        usual = self.sums / ops.maximum(self.epochs, 1.0)
        warming = (self.done < self.warmup) | (usual <= 0)
        return ops.where(warming, 1.0, usual)

    def on_epoch_end(self, losses):
        if float(ops.convert_to_numpy(self.done)) >= self.warmup:
            return
        losses = [fixed * each for fixed, each in zip(self.fixed.values(), losses, strict=True)]
        losses = ops.convert_to_tensor(losses, "float32")
        self.sums.assign(self.sums + losses)
        self.epochs.assign(self.epochs + ops.cast(losses > 0, "float32"))
        self.done.assign(self.done + 1)

    def task_factors(self):
        """Those of the last step's losses."""
        return self.factors

    def get_config(self):
        return {**super().get_config(), "mu": self.mu, "warmup": self.warmup}
