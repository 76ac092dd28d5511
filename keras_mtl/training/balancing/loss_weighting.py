"""The contract of rules that weigh the tasks' losses during training."""

from collections.abc import Sequence

from keras import ops

from keras_mtl.training.balancing.rule import BalancingRule


class LossWeighting(BalancingRule):
    """Turns the losses of the tasks into the one that is minimized; subclass it for another rule.

    Its variables belong to the model from `compile` on, and are saved with it. A subclass defines
    `total` and `task_factors`, makes its variables in `build`, and may assign those that are not
    trained in `after_step` and `on_epoch_end`.

    Args:
        **kwargs: `name` and the like, for `keras.layers.Layer`.

    Example:

    >>> class Largest(keras_mtl.balancing.LossWeighting):  # only the worst task learns
    ...     def total(self, losses):
    ...         return keras.ops.max(keras.ops.stack(losses))
    >>> float(Largest().total([1.0, 3.0]))
    3.0
    """

    measures_again = False  # whether `after_update` wants the losses, for one more forward pass

    def total(self, losses: Sequence) -> object:
        """The loss to minimize.

        Args:
            losses: scalar tensors, the losses of the tasks times their fixed weights; those of
                their auxiliary outputs are in them.

        Returns:
            Scalar tensor.
        """
        raise NotImplementedError(f"{type(self).__name__} must define total(losses).")

    def after_step(self, losses: Sequence) -> None:
        """Called in every training step, after `total`; what it assigns counts from the next on.

        It is compiled into the step: it computes with `keras.ops` and reads no value.

        Args:
            losses: those that `total` was given, without gradients.

        Example:

        >>> class ByRunningMean(keras_mtl.balancing.LossWeighting):  # all tasks weigh the same
        ...     def build(self, tasks):
        ...         self.means = self.add_weight(
        ...             shape=(tasks,), initializer="ones", trainable=False, name="means"
        ...         )
        ...
        ...     def total(self, losses):
        ...         return keras.ops.sum(keras.ops.stack(losses) / self.means)
        ...
        ...     def after_step(self, losses):
        ...         self.means.assign(0.9 * self.means + 0.1 * keras.ops.stack(losses))
        """

    def after_update(self, losses: Sequence) -> None:
        """Called in every training step after the network's update, if `measures_again` is true.

        Args:
            losses: those that `total` was given, of the same batch, computed again.
        """

    def on_epoch_end(self, losses: Sequence[float]) -> None:
        """Called after every epoch.

        Args:
            losses: mean training loss of each task, without its fixed weight and its auxiliary
                outputs.
        """

    def weights_by_task(self) -> dict[str, float]:
        """What the loss of each task is multiplied by now, the fixed weight included."""
        factors = ops.convert_to_numpy(self.task_factors()).tolist()
        pairs = zip(self.fixed.items(), factors, strict=True)
        return {name: fixed * factor for (name, fixed), factor in pairs}

    def task_factors(self) -> object:
        """What the rule multiplies the tasks' fixed weights by now: a tensor `(tasks,)`."""
        raise NotImplementedError(f"{type(self).__name__} must define task_factors().")
