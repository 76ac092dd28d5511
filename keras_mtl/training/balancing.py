"""Weights of the tasks' losses that change during training: what `compile` takes as `loss_weights`.

model.compile(loss_weights=keras_mtl.balancing.UncertaintyWeighting())
"""

from collections.abc import Mapping, Sequence

import keras
from keras import ops


class LossBalancing(keras.layers.Layer):
    """Turns the losses of the tasks into the one that is minimized; subclass it for another rule.

    Its variables belong to the model from `compile` on, and are saved with it. A subclass defines
    `total` and `task_factors`, makes its variables in `build`, and may update them in
    `on_epoch_end`.

    Args:
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Attributes:
        fixed: dict by task name of the fixed weights that the rule is applied on top of, the tasks'
            `loss_weight`s.

    Example:

    >>> class Largest(keras_mtl.balancing.LossBalancing):  # only the worst task learns
    ...     def total(self, losses):
    ...         return keras.ops.max(keras.ops.stack(losses))
    >>> float(Largest().total([1.0, 3.0]))
    3.0
    """

    fixed: dict[str, float] | None = None

    def prepare(self, fixed: Mapping[str, float]) -> None:
        """Called by `compile` with the tasks' own weights.

        Args:
            fixed: `loss_weight` by task name.

        Raises:
            ValueError: if it belongs to a model of other tasks.
        """
        if self.fixed is None:
            self.fixed = dict(fixed)
            if not self.built:  # as one from a file is
                self.build(len(self.fixed))
        elif list(self.fixed) != list(fixed):
            raise ValueError(
                f"This {type(self).__name__} belongs to a model of {', '.join(self.fixed)}; give "
                "another model one of its own."
            )

    def load_own_variables(self, store):
        if store.keys():  # a file saved without a balancing leaves this one as it is
            super().load_own_variables(store)

    def total(self, losses: Sequence) -> object:
        """The loss to minimize.

        Args:
            losses: scalar tensors, the losses of the tasks times their fixed weights.

        Returns:
            Scalar tensor.
        """
        raise NotImplementedError(f"{type(self).__name__} must define total(losses).")

    def on_epoch_end(self, losses: Sequence[float]) -> None:
        """Called after every epoch.

        Args:
            losses: mean training loss of each task, without its fixed weight.
        """

    def weights_by_task(self) -> dict[str, float]:
        """What the loss of each task is multiplied by now, the fixed weight included."""
        factors = ops.convert_to_numpy(self.task_factors()).tolist()
        pairs = zip(self.fixed.items(), factors, strict=True)
        return {name: fixed * factor for (name, fixed), factor in pairs}

    def task_factors(self) -> object:
        """What the rule multiplies the tasks' fixed weights by now: a tensor `(tasks,)`."""
        raise NotImplementedError(f"{type(self).__name__} must define task_factors().")


@keras.saving.register_keras_serializable(package="keras_mtl")
class UncertaintyWeighting(LossBalancing):
    """Weighs each task by a learned uncertainty: sum over t of exp(-s_t) L_t + s_t / 2.

    s_t, the logarithm of the task's variance, is trained along with the network, from 0 on. (The
    paper's factor 1/2 before the losses of regression only moves s_t.) A task without any label in
    a batch, whose loss is 0, is left out of that batch's sum: else s_t would fall without bound.

    Example:

    >>> balancing = keras_mtl.balancing.UncertaintyWeighting()
    >>> balancing.prepare({"semseg": 1.0, "depth": 2.0})
    >>> total = balancing.total([keras.ops.ones(()), keras.ops.ones(())])
    >>> float(keras.ops.stop_gradient(total))
    2.0

    Source: Kendall, Gal and Cipolla, Multi-Task Learning Using Uncertainty to Weigh Losses for
    Scene Geometry and Semantics, CVPR 2018, Eq. 7 and 10.
    """

    def build(self, tasks):
        self.log_variance = self.add_weight(
            shape=(tasks,), initializer="zeros", dtype="float32", name="log_variance"
        )

    def total(self, losses):
        losses = ops.stack(losses)
        weighed = self.task_factors() * losses + self.log_variance / 2
        return ops.sum(ops.where(losses > 0, weighed, 0.0))

    def task_factors(self):
        return ops.exp(-self.log_variance)


@keras.saving.register_keras_serializable(package="keras_mtl")
class DynamicWeightAverage(LossBalancing):
    """Weighs each task by how slowly its loss fell: w_t = T softmax(r_t / temperature).

    r_t is the task's loss of the last epoch over that of the epoch before; in the first two
    epochs, and for a task without any label in them, it is 1.

    Args:
        temperature: float. The larger, the more alike the weights.

    Raises:
        ValueError: if the temperature is not above 0.

    Example:

    >>> balancing = keras_mtl.balancing.DynamicWeightAverage(temperature=1.0)
    >>> balancing.prepare({"semseg": 1.0, "depth": 1.0})
    >>> balancing.on_epoch_end([4.0, 4.0])
    >>> balancing.on_epoch_end([4.0, 2.0])  # depth learns faster, and weighs less
    >>> {name: round(weight, 3) for name, weight in balancing.weights_by_task().items()}
    {'semseg': 1.245, 'depth': 0.755}

    Source: Liu, Johns and Davison, End-to-End Multi-Task Learning with Attention, CVPR 2019, Eq. 7.
    """

    def __init__(self, temperature: float = 2.0, **kwargs):
        super().__init__(**kwargs)
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature!r}, expected a number above 0.")
        self.temperature = temperature

    def build(self, tasks):
        def variable(start, name):
            return self.add_weight(
                shape=(tasks,), initializer=start, trainable=False, dtype="float32", name=name
            )

        self.factors = variable("ones", "factors")
        self.last_losses = variable("zeros", "last_losses")  # 0: there was no such epoch

    def total(self, losses):
        return ops.sum(self.factors * ops.stack(losses))

    def on_epoch_end(self, losses):
        losses = ops.convert_to_tensor(losses, "float32")
        before = ops.convert_to_tensor(self.last_losses)
        known = ops.logical_and(before > 0, losses > 0)
        ratio = ops.where(known, losses / ops.where(known, before, 1.0), 1.0)
        self.factors.assign(len(self.fixed) * ops.softmax(ratio / self.temperature))  # Eq. 7
        self.last_losses.assign(losses)

    def task_factors(self):
        return self.factors

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}
