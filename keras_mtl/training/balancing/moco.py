"""Multi-objective gradient correction."""

import keras
from keras import ops

from keras_mtl.arguments import check_number
from keras_mtl.training.balancing.gradient_weighting import present
from keras_mtl.training.balancing.small_problems import equal_weights, onto_simplex, scale_of
from keras_mtl.training.balancing.tracked_gradients import TrackedGradients


@keras.saving.register_keras_serializable(package="keras_mtl")
class MoCo(TrackedGradients):
    """Follows the shortest weighted mean of moving averages of the gradients.

    The averages, y_t, correct the bias that a batch's noise brings into the weights. w takes one
    step of projected descent on |sum_t w_t y_t|^2 / 2 + ridge |w|^2 / 2 in each step of training,
    from where it was. A task without any label in the batch keeps its weight for later.

    Args:
        momentum: float from 0 to below 1, what stays of an average; 1 less the paper's beta.
        rate: float. Of the descent, for averages of mean squared length 1; the paper's gamma.
        ridge: float; the paper's rho.
        of: str. `"variables"`, or without momentum also `"features"`.
        **kwargs: `name` and the like; see `TrackedGradients`, of which this is one.

    Raises:
        ValueError: if one is out of range, or features are to be averaged.

    Example:

    >>> rule = keras_mtl.balancing.MoCo(rate=0.1)
    >>> rule.prepare({"semseg": 1.0, "depth": 1.0})
    >>> gramian = keras.ops.array([[0.5, 0.0], [0.0, 1.5]])
    >>> np.array(rule.weigh(gramian, keras.ops.ones(2)), "float64").round(3).tolist()
    [0.525, 0.475]

    Source: Fernando et al., Mitigating Gradient Bias in Multi-objective Learning: A Provably
    Convergent Approach, ICLR 2023, Algorithm 1.
    """

    def __init__(
        self,
        momentum: float = 0.5,
        rate: float = 0.1,
        ridge: float = 0.0,
        of: str = "variables",
        **kwargs,
    ):
        super().__init__(momentum=momentum, of=of, **kwargs)
        self.rate, self.ridge = check_number("rate", rate), check_number("ridge", ridge)

    def build(self, tasks):
        super().build(tasks)
        self.kept = self.add_state("kept", (tasks,), keras.initializers.Constant(1 / tasks))

    def weigh(self, gramian, losses):
        there, kept = present(gramian), ops.convert_to_tensor(self.kept)
        share = ops.sum(ops.where(there, kept, 0.0))  # of those that are there
        some = share > 0
        start = ops.where(some, kept / ops.where(some, share, 1.0), equal_weights(gramian))
        start = ops.where(there, start, 0.0)
        slope = ops.matmul(gramian / scale_of(gramian), start) + self.ridge * start
        weights = onto_simplex(start - self.rate * slope, there)
        self.kept.assign(ops.where(there, share * weights, kept))
        return weights

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "ridge": self.ridge}
