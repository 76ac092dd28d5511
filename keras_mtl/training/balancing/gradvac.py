"""Gradient vaccine."""

import keras
from keras import ops

from keras_mtl.arguments import check_number
from keras_mtl.training.balancing.gradient_weighting import GradientWeighting, present
from keras_mtl.training.balancing.pcgrad import random_order


@keras.saving.register_keras_serializable(package="keras_mtl")
class GradVac(GradientWeighting):
    """Turns each task's gradient toward the others until they are as alike as they usually are.

    For each pair, the cosine phi that is aimed at is the moving average of those seen, from 0 on.
    A gradient whose cosine c with another falls short of it is added to: of the other's, times
    |g_i| (phi sqrt(1 - c^2) - c sqrt(1 - phi^2)) / (|g_j| sqrt(1 - phi^2)).

    Args:
        rate: float in 0..1, of the moving average.
        seed: int or `None`, of the order in which the others are gone through.
        **kwargs: `of`, `name` and the like; see `GradientWeighting`.

    Raises:
        ValueError: if the rate is outside.

    Example:

    >>> rule = keras_mtl.balancing.GradVac()
    >>> rule.prepare({"semseg": 1.0, "depth": 1.0})
    >>> gramian = keras.ops.array([[1.0, -1.0], [-1.0, 4.0]])  # the first step aims at 0
    >>> np.array(rule.weigh(gramian, keras.ops.ones(2)), "float64").round(3).tolist()  # as PCGrad's
    [2.0, 1.25]

    Source: Wang et al., Gradient Vaccine: Investigating and Improving Multi-task Optimization in
    Massively Multilingual Models, ICLR 2021, Eq. 4 and 5, Algorithm 1.
    """

    def __init__(self, rate: float = 0.01, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= check_number("rate", rate) <= 1:
            raise ValueError(f"rate is {rate!r}, expected a number in 0..1.")
        self.rate, self.seed = rate, seed
        self.draws = keras.random.SeedGenerator(seed)

    def build(self, tasks):
        super().build(tasks)
        self.usual = self.add_state("usual", (tasks, tasks))

    def weigh(self, gramian, losses):
        turned, usual = self.turned(gramian, random_order(gramian.shape[0], self.draws))
        self.usual.assign(usual)
        return ops.sum(turned, 0)

    def turned(self, gramian, order):
        """What each task's gradient becomes, as weights of all, and what is aimed at afterwards.

        Args:
            gramian: tensor `(tasks, tasks)`.
            order: int tensor `(tasks, tasks)`, in each row the others in their order.
        """
        left, usual = ops.eye(gramian.shape[0]), ops.convert_to_tensor(self.usual)
        there = present(gramian)
        squares = ops.where(there, ops.diagonal(gramian), 1.0)
        for k in range(gramian.shape[0]):
            other = ops.one_hot(order[:, k], gramian.shape[0])
            both = there & (ops.sum(other * ops.cast(there, "float32"), -1) > 0)
            both = both & (ops.sum(other * ops.eye(gramian.shape[0]), -1) == 0)  # not itself
            products = ops.matmul(left, gramian)
            length = ops.sqrt(ops.maximum(ops.sum(products * left, -1), 1e-30))
            others = ops.sqrt(ops.sum(other * squares, -1))
            cosine = ops.clip(ops.sum(products * other, -1) / (length * others), -1.0, 1.0)
            aim = ops.sum(usual * other, -1)
            sine, aimed = ops.sqrt(1 - cosine**2), ops.sqrt(ops.maximum(1 - aim**2, 1e-12))
            added = length * (aim * sine - cosine * aimed) / (others * aimed)  # Eq. 4
            added = ops.where(both & (cosine < aim), added, 0.0)
            left = left + added[:, None] * other
            moved = ops.where(both, self.rate * (cosine - aim), 0.0)  # Eq. 5
            usual = usual + moved[:, None] * other
        return left, usual

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
