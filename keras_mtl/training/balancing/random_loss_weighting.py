"""Random loss weighting."""

import keras
from keras import ops

from keras_mtl.training.balancing.loss_weighting import LossWeighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class RandomLossWeighting(LossWeighting):
    """Weighs the tasks at random, anew in every step: T softmax of normal numbers.

    Args:
        seed: int or `None`.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Example:

    >>> rule = keras_mtl.balancing.RandomLossWeighting(seed=0)
    >>> rule.prepare({"semseg": 1.0, "depth": 1.0})
    >>> round(sum(rule.weights_by_task().values()), 4)
    2.0

    Source: Lin et al., Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task
    Learning, TMLR 2022, Algorithm 1.
    """

    def __init__(self, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.draws = keras.random.SeedGenerator(seed)

    def build(self, tasks):
        self.factors = self.add_state("factors", (tasks,), "ones")
        self.factors.assign(self._drawn(tasks))

    def _drawn(self, tasks):
        normal = keras.random.normal((tasks,), dtype="float32", seed=self.draws)
        return tasks * ops.softmax(normal)

    def total(self, losses):
        return ops.sum(self.factors * ops.stack(losses))

    def after_step(self, losses):
        self.factors.assign(self._drawn(len(losses)))

    def task_factors(self):
        return self.factors

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}
