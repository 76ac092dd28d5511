"""Surface normals."""

import keras
import numpy as np
from keras import ops

from keras_mtl import losses, metrics
from keras_mtl.tasks.task import Task


@keras.saving.register_keras_serializable(package="keras_mtl")
class SurfaceNormals(Task):
    """Unit surface normals in the camera frame: L1 of unit vectors, mean angular error.

    Args:
        name: str.
        channels: int. Always 3.
        loss_weight: float.

    Example:

    >>> task = keras_mtl.tasks.SurfaceNormals()
    >>> np.array(task.decode(np.array([[[0.0, 3.0, -4.0]]])), float).round(3).tolist()
    [[[0.0, 0.6, -0.8]]]
    """

    headline = "mErr"
    higher_is_better = False
    ignore = 0
    unit = "degrees"
    label_dtype = "float32"
    label_channels = 3
    only_channels = 3

    def __init__(self, name: str = "normals", channels: int = 3, loss_weight: float = 10.0):
        super().__init__(name, channels, loss_weight)

    def loss(self):
        return losses.NormalsLoss()

    def metrics(self):
        return [metrics.NormalsMeanError()]

    def evaluation_metrics(self):
        within = [metrics.NormalsWithin(degrees) for degrees in (11.25, 22.5, 30)]
        return [*self.metrics(), metrics.NormalsMedianError(), *within]

    def decode(self, raw):
        return ops.normalize(raw, axis=-1)

    def constant(self, labels):
        return labels.reshape(-1, 3).mean(axis=0, dtype="float64").astype("float32")

    def flipped_label(self, label):
        return label * np.array([-1, 1, 1], "float32")  # x points to the right

    def picture(self, final):
        normals = np.asarray(final)
        colours = np.round((normals + 1) * 127.5)
        colours[(normals == 0).all(-1)] = 255
        return colours.clip(0, 255).astype("uint8")

    def wrong_label(self, labels):
        length = np.sqrt((labels.astype("float64") ** 2).sum(-1))
        wrong = labels[~((np.abs(length - 1) < 0.05) | (length == 0))]
        if wrong.size:
            return wrong[0].tolist(), "vectors of length 1"
