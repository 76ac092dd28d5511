"""Rules on moving averages of the tasks' gradients."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_mtl.arguments import check_number
from keras_mtl.training.balancing.gradient_weighting import (
    GradientWeighting,
    gramian_of,
    present,
)


class TrackedGradients(GradientWeighting):
    """Weighs and sums moving averages of the tasks' gradients: those of batches are noisy.

    Each step y_t becomes momentum y_t + (1 - momentum) g_t, from 0 on; that of a task without any
    label in the batch stays, and takes no part in the step. The averages are as large as the
    shared variables for each task, and are saved with the model. A subclass defines `weigh`, of
    the averages' Gramian.

    Args:
        momentum: float from 0 to below 1, the share of an average that stays; 0 keeps none.
        **kwargs: `of`, which must be `"variables"` where there is momentum, `name` and the like;
            see `GradientWeighting`.

    Raises:
        ValueError: if the momentum is outside, or features are to be averaged.
    """

    def __init__(self, momentum: float, **kwargs):
        super().__init__(**kwargs)
        self.momentum = check_number("momentum", momentum, 1)
        if momentum and self.of == "features":
            raise ValueError(
                f"momentum is {momentum!r}, and of 'features', which are others in every batch; "
                "give of='variables', or momentum=0."
            )
        self.averages: list = []
        self._shapes: list[tuple] = []

    def get_build_config(self):
        """None: one from a file is built by `compile`, for it depends on the model's variables."""

    def track(self, tasks, variables):
        shapes = [(tasks, *variable.shape) for variable in variables] if self.momentum else []
        if not self.built:
            self._shapes = shapes
            self.build(tasks)
        elif shapes != [tuple(each.shape) for each in self.averages]:
            raise ValueError(
                f"This {type(self).__name__} keeps gradients of other variables than the model "
                "trains now; compile it with a new one."
            )

    def build(self, tasks):
        super().build(tasks)
        self.averages = [
            self.add_state(f"average_{n}", shape) for n, shape in enumerate(self._shapes)
        ]

    def factors_of(self, losses: Any, there: Any) -> Any:
        """What a task's gradient is multiplied by before it enters the average.

        Args:
            losses: float32 tensor `(tasks,)`.
            there: bool tensor `(tasks,)`, which tasks have a gradient.
        """
        return ops.ones_like(losses)

    def combine(self, gradients, losses, scale=1.0):
        if not self.momentum:
            return super().combine(gradients, losses, scale)
        gramian = gramian_of(gradients)
        finite, there = ops.all(ops.isfinite(gramian)), present(gramian)
        taken = there & finite  # else the optimizer leaves the step out, and so do the averages
        factors = self.factors_of(losses, there)
        new = (1 - self.momentum) * factors / scale
        tracked = [
            self._average(average, of_one, new, taken)
            for average, of_one in zip(self.averages, gradients, strict=True)
        ]
        found = super().combine(tracked, factors * losses)
        return [None if g is None else ops.where(finite, g * scale, float("nan")) for g in found]

    def _average(self, average: Any, gradients: Sequence, new: Any, taken: Any) -> list:
        """The tasks' averages after a step; zeros for those that are not there."""
        if all(each is None for each in gradients):
            return list(gradients)
        before = ops.convert_to_tensor(average)
        seen = [
            before[t] * 0 if each is None else new[t] * ops.cast(each, "float32")
            for t, each in enumerate(gradients)
        ]
        after = [
            ops.where(taken[t], self.momentum * before[t] + each, before[t])
            for t, each in enumerate(seen)
        ]
        average.assign(ops.stack(after))
        return [ops.where(taken[t], each, 0.0) for t, each in enumerate(after)]

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum}
