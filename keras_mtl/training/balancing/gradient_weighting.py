"""The contract of rules that weigh the tasks' gradients during training."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_mtl.training.balancing.rule import BalancingRule

LEVELS = ("features", "variables")


class GradientWeighting(BalancingRule):
    """Turns the gradients of the tasks into the one that the shared network is trained by.

    What the tasks share is trained by the sum of the tasks' gradients, each times its weight; what
    belongs to one task only is trained by that task's loss as it is. A subclass defines `weigh`;
    it makes what variables it needs in `build`, and calls that of this class there. A rule that is
    no weighted sum overrides `combine`.

    Args:
        of: str. The gradients that are compared: `"features"`, with respect to the features where
            the tasks' own parts begin, for which each task's own part is differentiated once and
            the shared one once; or `"variables"`, with respect to all variables that tasks share,
            for which the shared part is differentiated once for each task.
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Attributes:
        cosines: variable `(tasks, tasks)`, the cosines between the tasks' gradients in the last
            step; 0 beside a task without any label.
        last_weights: variable `(tasks,)`, the weights of the last step.

    Raises:
        ValueError: if `of` is something else.

    Example:

    >>> @keras.saving.register_keras_serializable(package="my_project")
    ... class AllAlike(keras_mtl.balancing.GradientWeighting):  # all tasks pull equally hard
    ...     def weigh(self, gramian, losses):
    ...         return keras.ops.rsqrt(keras.ops.diagonal(gramian) + 1e-12)
    >>> rule = AllAlike()
    >>> rule.prepare({"semseg": 1.0, "depth": 1.0})
    >>> gradients = [[keras.ops.array([3.0, 0.0]), keras.ops.array([0.0, 1.0])]]
    >>> np.array(rule.combine(gradients, keras.ops.ones(2))[0], "float64").round(3).tolist()
    [1.0, 1.0]
    """

    def __init__(self, of: str = "features", **kwargs):
        super().__init__(**kwargs)
        if of not in LEVELS:
            raise ValueError(f"of is {of!r}, expected one of {', '.join(map(repr, LEVELS))}.")
        self.of = of

    def build(self, tasks):
        self.cosines = self.add_state("cosines", (tasks, tasks))
        self.last_weights = self.add_state("last_weights", (tasks,))

    def track(self, tasks: int, variables: Sequence) -> None:
        """Called by `compile`; a rule that keeps gradients makes its variables here.

        Args:
            tasks: how many tasks there are.
            variables: the trainable variables that tasks share.
        """

    def weigh(self, gramian: Any, losses: Any) -> Any:
        """What each task's gradient is multiplied by.

        It is compiled into the step: it computes with `keras.ops` and reads no value. A task
        without any label in the batch has zeros in the Gramian, and should not change what the
        others weigh.

        Args:
            gramian: float32 tensor `(tasks, tasks)`, the products of the tasks' gradients.
            losses: float32 tensor `(tasks,)`, the losses times their fixed weights.

        Returns:
            Tensor `(tasks,)`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define weigh(gramian, losses).")

    def combine(self, gradients: Sequence[Sequence], losses: Any, scale: Any = 1.0) -> list:
        """The gradient of all tasks together.

        Args:
            gradients: for each of what is compared, features or variables, a list of one tensor
                for each task; `None` where it has none.
            losses: float32 tensor `(tasks,)`, the losses times their fixed weights.
            scale: number or scalar tensor. What all gradients are multiplied by, in float16.

        Returns:
            A tensor for each of what is compared, multiplied by it, too.
        """
        gramian = gramian_of(gradients) / scale**2
        # A step whose gradients overflowed is left out by the optimizer; none of this fails in it.
        finite = ops.all(ops.isfinite(gramian))
        gramian = ops.where(finite, gramian, ops.eye(gramian.shape[0]))
        weights = ops.where(present(gramian), self.weigh(gramian, losses), 0.0)
        self.remember(gramian, weights)
        return [weighted_sum(each, weights) for each in gradients]

    def remember(self, gramian: Any, weights: Any) -> None:
        """Keeps what pictures show of a step.

        Args:
            gramian, weights: see `weigh`.
        """
        lengths = ops.sqrt(ops.maximum(ops.diagonal(gramian), 0.0))
        products = lengths[:, None] * lengths[None]
        self.cosines.assign(ops.where(products > 0, gramian / _or_one(products), 0.0))
        self.last_weights.assign(weights)

    def weights_by_task(self) -> dict[str, float]:
        """What each task's gradient was multiplied by in the last step, its fixed weight aside."""
        weights = ops.convert_to_numpy(self.last_weights).tolist()
        return dict(zip(self.fixed or {}, weights, strict=True))

    def get_config(self):
        return {**super().get_config(), "of": self.of}


def gramian_of(gradients: Sequence[Sequence]) -> Any:
    """The products of the tasks' gradients, in float32.

    Args:
        gradients: see `GradientWeighting.combine`.

    Returns:
        Tensor `(tasks, tasks)`.
    """
    tasks = range(len(gradients[0]))
    products = {(t, u): ops.zeros((), "float32") for t in tasks for u in tasks if u <= t}
    for of_one in gradients:
        flat = [None if g is None else ops.reshape(ops.cast(g, "float32"), (-1,)) for g in of_one]
        for t, u in products:
            if flat[t] is not None and flat[u] is not None:
                products[t, u] = products[t, u] + ops.sum(flat[t] * flat[u])
    rows = [[products[max(t, u), min(t, u)] for u in tasks] for t in tasks]
    return ops.stack([ops.stack(row) for row in rows])


def present(gramian: Any) -> Any:
    """Which tasks have a gradient: bool tensor `(tasks,)`.

    Args:
        gramian: tensor `(tasks, tasks)`.
    """
    return ops.diagonal(gramian) > 0


def weighted_sum(gradients: Sequence, weights: Any) -> Any:
    """The sum of the tasks' gradients times their weights, `None` if there is none.

    Args:
        gradients: a tensor for each task, or `None`.
        weights: tensor `(tasks,)`.
    """
    found = [
        ops.cast(weights[t], each.dtype) * each
        for t, each in enumerate(gradients)
        if each is not None
    ]
    return sum(found[1:], found[0]) if found else None


def _or_one(x: Any) -> Any:
    """A divisor: 1 where it would be 0."""
    return ops.where(x > 0, x, 1.0)
