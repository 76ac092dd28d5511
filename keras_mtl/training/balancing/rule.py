"""What all rules that balance tasks have in common."""

from collections.abc import Mapping

import keras


class BalancingRule(keras.layers.Layer):
    """A rule that says during training how much each task counts.

    Its variables belong to the model from `compile` on, and are saved with it. `LossWeighting`
    looks at the tasks' losses, `GradientWeighting` at their gradients.

    Attributes:
        fixed: dict by task name of the fixed weights that the rule is applied on top of, the tasks'
            `loss_weight`s or what `compile` was given.
    """

    fixed: dict[str, float] | None = None

    def prepare(self, fixed: Mapping[str, float]) -> None:
        """Called by `compile` with the fixed weights.

        Args:
            fixed: weight by task name.

        Raises:
            ValueError: if it belongs to a model of other tasks.
        """
        if self.fixed is not None and list(self.fixed) != list(fixed):
            raise ValueError(
                f"This {type(self).__name__} belongs to a model of {', '.join(self.fixed)}; give "
                "another model one of its own."
            )
        self.fixed = dict(fixed)
        if not self.built:  # as one from a file is
            self.build(len(self.fixed))

    def load_own_variables(self, store):
        if store.keys():  # a file saved without a balancing leaves this one as it is
            super().load_own_variables(store)

    def add_state(self, name: str, shape: tuple[int, ...], initializer: str = "zeros"):
        """A variable that the rule itself assigns: float32, not trained.

        Args:
            name, shape, initializer: of `keras.layers.Layer.add_weight`.
        """
        return self.add_weight(
            shape=shape, initializer=initializer, trainable=False, dtype="float32", name=name
        )
