"""Multi-task learning as a bargaining game."""

import keras

from keras_mtl.training.balancing.gradient_weighting import GradientWeighting
from keras_mtl.training.balancing.small_problems import solve_power


@keras.saving.register_keras_serializable(package="keras_mtl")
class NashMTL(GradientWeighting):
    """Takes the Nash bargaining solution: the tasks' improvements have the largest product.

    The weights solve (G w)_t = 1 / w_t, here by Newton's method in every step, and the gradients
    are not made shorter. (The paper's code solves it approximately, by a sequence of convex
    problems, every so many steps, and limits the length.)

    Args:
        **kwargs: `of`, `name` and the like; see `GradientWeighting`.

    Example:

    >>> rule = keras_mtl.balancing.NashMTL()
    >>> gramian = keras.ops.array([[4.0, 0.0], [0.0, 0.25]])
    >>> np.array(rule.weigh(gramian, keras.ops.ones(2)), "float64").round(3).tolist()
    [0.5, 2.0]

    Source: Navon et al., Multi-Task Learning as a Bargaining Game, ICML 2022, Claim 3.1.
    """

    def weigh(self, gramian, losses):
        return solve_power(gramian, 1.0)
