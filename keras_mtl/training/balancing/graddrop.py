"""Gradient sign dropout."""

import keras
from keras import ops

from keras_mtl.arguments import check_number
from keras_mtl.training.balancing.gradient_weighting import GradientWeighting, gramian_of


@keras.saving.register_keras_serializable(package="keras_mtl")
class GradDrop(GradientWeighting):
    """Lets pass, at each place, only the tasks' gradients of one sign, drawn at random.

    The chance of the positive ones is (1 + sum_t g_t / sum_t |g_t|) / 2. Elementwise, and not
    weighted: `last_weights` are ones.

    Args:
        leak: float in 0..1, the share of a gradient that passes in any case.
        seed: int or `None`.
        **kwargs: `of`, `name` and the like; see `GradientWeighting`.

    Raises:
        ValueError: if the leak is outside.

    Example:

    >>> rule = keras_mtl.balancing.GradDrop()
    >>> rule.prepare({"semseg": 1.0, "depth": 1.0})
    >>> gradients = [[keras.ops.array([3.0, -2.0]), keras.ops.array([1.0, -1.0])]]
    >>> np.array(rule.combine(gradients, keras.ops.ones(2))[0]).tolist()  # they agree on the signs
    [4.0, -3.0]

    Source: Chen et al., Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign
    Dropout, NeurIPS 2020, Eq. 1 and Algorithm 1.
    """

    def __init__(self, leak: float = 0.0, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= check_number("leak", leak) <= 1:
            raise ValueError(f"leak is {leak!r}, expected a number in 0..1.")
        self.leak, self.seed = leak, seed
        self.draws = keras.random.SeedGenerator(seed)

    def combine(self, gradients, losses, scale=1.0):
        gramian = gramian_of(gradients) / scale**2
        self.remember(gramian, ops.ones_like(losses))
        return [self._of_one_sign(each) for each in gradients]

    def _of_one_sign(self, gradients):
        known = [each for each in gradients if each is not None]
        if not known:
            return None
        stacked = ops.stack(known)
        size = ops.sum(ops.abs(stacked), 0)
        purity = (1 + ops.sum(stacked, 0) / ops.where(size > 0, size, 1.0)) / 2  # Eq. 1
        drawn = keras.random.uniform(ops.shape(purity), dtype="float32", seed=self.draws)
        positive = ops.cast(purity, "float32") > drawn
        passes = ops.where(positive, stacked > 0, stacked < 0)
        return ops.sum(ops.where(passes, stacked, self.leak * stacked), 0)

    def get_config(self):
        return {**super().get_config(), "leak": self.leak, "seed": self.seed}
