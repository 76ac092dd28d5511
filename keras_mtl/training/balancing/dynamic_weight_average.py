"""Dynamic weight average."""

import keras
from keras import ops

from keras_mtl.arguments import check_number
from keras_mtl.training.balancing.loss_weighting import LossWeighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class DynamicWeightAverage(LossWeighting):
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
        if not check_number("temperature", temperature) > 0:
            raise ValueError(f"temperature is {temperature!r}, expected a number above 0.")
        self.temperature = temperature

    def build(self, tasks):
        self.factors = self.add_state("factors", (tasks,), "ones")
        self.last_losses = self.add_state("last_losses", (tasks,))  # 0: there was no such epoch

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
