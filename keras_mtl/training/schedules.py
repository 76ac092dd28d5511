"""Learning rate schedules."""

import keras
from keras import ops

from keras_mtl.arguments import check_integer, check_number


@keras.saving.register_keras_serializable(package="keras_mtl")
class PolynomialDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate falling from its initial value to 0: `(1 - step / steps) ** power`.

    Past the last step it stays 0. Keras' own `PolynomialDecay` becomes NaN there in a compiled
    JAX step for most numbers of steps (1 - step / steps rounds to just below 0).

    Args:
        initial_learning_rate: float.
        steps: int. Training steps after which the rate is 0.
        power: float.

    Raises:
        ValueError: if there is not at least one step, or a number is negative or none.

    Example:

    >>> schedule = keras_mtl.schedules.PolynomialDecay(2e-5, steps=40_000)
    >>> round(float(schedule(20_000)) * 1e5, 4)
    1.0718

    Reference: Ye and Xu, TaskPrompter, ICLR 2023, A.3.
    """

    def __init__(self, initial_learning_rate: float, steps: int, power: float = 0.9):
        self.initial_learning_rate = check_number("initial_learning_rate", initial_learning_rate)
        self.steps = check_integer("steps", steps, 1)
        self.power = check_number("power", power)

    def __call__(self, step):
        remaining = ops.clip(1 - ops.cast(step, "float32") / self.steps, 0.0, 1.0)
        return self.initial_learning_rate * remaining**self.power

    def get_config(self):
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "steps": self.steps,
            "power": self.power,
        }
