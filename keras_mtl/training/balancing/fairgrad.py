"""Fair gradients."""

import keras

from keras_mtl.arguments import check_number
from keras_mtl.training.balancing.gradient_weighting import GradientWeighting
from keras_mtl.training.balancing.small_problems import solve_power


@keras.saving.register_keras_serializable(package="keras_mtl")
class FairGrad(GradientWeighting):
    """Shares what a step improves among the tasks, by alpha-fairness.

    The weights solve (G w)_t = w_t^(-1 / alpha): 1 is proportional fairness, `NashMTL`; toward
    infinity the least improvement is the largest it can be.

    Args:
        alpha: float above 0.
        **kwargs: `of`, `name` and the like; see `GradientWeighting`.

    Raises:
        ValueError: if alpha is not above 0.

    Example:

    >>> rule = keras_mtl.balancing.FairGrad(alpha=2.0)
    >>> gramian = keras.ops.array([[1.0, 0.0], [0.0, 8.0]])
    >>> np.array(rule.weigh(gramian, keras.ops.ones(2)), "float64").round(3).tolist()
    [1.0, 0.25]

    Source: Ban and Ji, Fair Resource Allocation in Multi-Task Learning, ICML 2024, Eq. 6.
    """

    def __init__(self, alpha: float = 2.0, **kwargs):
        super().__init__(**kwargs)
        if not check_number("alpha", alpha) > 0:
            raise ValueError(f"alpha is {alpha!r}, expected a number above 0.")
        self.alpha = alpha

    def weigh(self, gramian, losses):
        return solve_power(gramian, 1 / self.alpha)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha}
