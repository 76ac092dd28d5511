"""Projecting conflicting gradients."""

import keras
from keras import ops

from keras_mtl.training.balancing.gradient_weighting import GradientWeighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class PCGrad(GradientWeighting):
    """Takes out of each task's gradient what opposes another's.

    For each task, the others are gone through in random order: where what is left of its gradient
    has a negative product with theirs, its part along theirs is subtracted. What is left of all is
    summed.

    Args:
        seed: int or `None`, of the order.
        **kwargs: `of`, `name` and the like; see `GradientWeighting`.

    Example:

    >>> rule = keras_mtl.balancing.PCGrad()
    >>> rule.prepare({"semseg": 1.0, "depth": 1.0})
    >>> gramian = keras.ops.array([[1.0, -1.0], [-1.0, 4.0]])  # they oppose each other
    >>> np.array(rule.weigh(gramian, keras.ops.ones(2))).tolist()  # 1 less -1/1, 1 less -1/4
    [2.0, 1.25]

    Source: Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020, Algorithm 1.
    """

    def __init__(self, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.draws = keras.random.SeedGenerator(seed)

    def weigh(self, gramian, losses):
        return ops.sum(self.projected(gramian, random_order(gramian.shape[0], self.draws)), 0)

    def projected(self, gramian, order):
        """What each task's gradient becomes, as weights of all: tensor `(tasks, tasks)`.

        Args:
            gramian: tensor `(tasks, tasks)`.
            order: int tensor `(tasks, tasks)`, in each row the others in their order.
        """
        left = ops.eye(gramian.shape[0])
        squares = ops.diagonal(gramian)
        for k in range(gramian.shape[0]):
            other = ops.one_hot(order[:, k], gramian.shape[0])
            other = other * (1 - ops.eye(gramian.shape[0]))  # not itself
            product = ops.sum(ops.matmul(left, gramian) * other, -1)
            square = ops.sum(other * squares, -1)
            opposed = (product < 0) & (square > 0)
            share = ops.where(opposed, product / ops.where(square > 0, square, 1.0), 0.0)
            left = left - share[:, None] * other
        return left

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


def random_order(tasks: int, draws: keras.random.SeedGenerator):
    """Rows of all tasks' numbers, each in an order of its own.

    Args:
        tasks: int.
        draws: what they are drawn from.
    """
    return ops.argsort(keras.random.uniform((tasks, tasks), seed=draws), axis=-1)
