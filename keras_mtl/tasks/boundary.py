"""Boundary detection."""

import keras
import numpy as np
from keras import ops

from keras_mtl import losses, metrics
from keras_mtl.tasks.dense import first_not_binary
from keras_mtl.tasks.task import Task


@keras.saving.register_keras_serializable(package="keras_mtl")
class BoundaryDetection(Task):
    """Boundary probability: weighted binary cross-entropy.

    The in-graph metric is a cheap F-measure with a pixel tolerance; the headline, the papers'
    odsF, thins and matches boundaries one to one: `keras_mtl.evaluate` computes it.

    Args:
        name: str.
        channels: int. Always 1.
        loss_weight: float.

    Example:

    >>> task = keras_mtl.tasks.BoundaryDetection()
    >>> np.array(task.decode(np.array([[[0.0]]]))).tolist()
    [[[0.5]]]
    """

    headline = "odsF"
    higher_is_better = True
    ignore = 255
    label_values = (0, 1)
    label_dtype = "float32"
    label_channels = 1
    only_channels = 1

    def __init__(self, name: str = "edge", channels: int = 1, loss_weight: float = 50.0):
        super().__init__(name, channels, loss_weight)

    def loss(self):
        return losses.BoundaryLoss()

    def metrics(self):
        return [metrics.BoundaryF()]

    def decode(self, raw):
        return ops.sigmoid(raw)

    def constant(self, labels):
        return np.array([-10.0], "float32")

    def picture(self, final):
        edge = np.asarray(final)[..., 0]
        grey = np.where(edge == self.ignore, 0.5, 1 - edge)
        return (np.repeat(grey[..., None], 3, axis=-1) * 255).astype("uint8")

    def wrong_label(self, labels):
        return first_not_binary(self, labels)
