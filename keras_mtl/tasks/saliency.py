"""Saliency detection."""

import keras
import numpy as np
from keras import ops

from keras_mtl import losses, metrics
from keras_mtl.losses.maps import labelled_binary
from keras_mtl.tasks.dense import first_not_binary
from keras_mtl.tasks.encodings import YES_OR_NO
from keras_mtl.tasks.task import Task


@keras.saving.register_keras_serializable(package="keras_mtl")
class SaliencyDetection(Task):
    """Salient object probability: class-balanced two-class softmax cross-entropy, maxF.

    Args:
        name: str.
        channels: int. Always 2.
        loss_weight: float.

    Example:

    >>> task = keras_mtl.tasks.SaliencyDetection()
    >>> np.array(task.decode(np.array([[[1.0, 1.0]]]))).tolist()
    [[0.5]]
    """

    headline = "maxF"
    higher_is_better = True
    ignore = 255
    label_values = (0, 1)
    stores = "0 and 1"
    encodings = YES_OR_NO
    only_channels = 2

    def __init__(self, name: str = "sal", channels: int = 2, loss_weight: float = 5.0):
        super().__init__(name, channels, loss_weight)

    def loss(self):
        return losses.SaliencyLoss(ignore=self.ignore)

    def discretization(self):
        return self.channels, self.loss()

    def metrics(self):
        return [metrics.SaliencyMaxF(ignore=self.ignore)]

    def evaluation_metrics(self):
        published = metrics.SaliencyMaxF("taskprompter", "maxF_taskprompter", ignore=self.ignore)
        return [*self.metrics(), published]

    def decode(self, raw):
        return ops.softmax(raw, axis=-1)[..., 1]

    def label_of(self, scene):
        return scene["sal"]

    def labelled_pixels(self, label):
        return labelled_binary(np.asarray(label), self.ignore)

    def constants(self, labels):
        nothing, all_ = np.array([10.0, 0.0], "float32"), np.array([0.0, 10.0], "float32")
        return {"everywhere": all_, "nowhere": nothing}

    def picture(self, final):
        saliency = np.asarray(final, "float32")
        grey = np.where(saliency == self.ignore, 0.5, saliency)
        return (np.repeat(grey[..., None], 3, axis=-1) * 255).astype("uint8")

    def colours(self):
        steps = self.picture(np.linspace(0, 1, 256)[None])[0]
        return {"from": 0, "to": 1, "colours": steps.tolist()}

    def wrong_label(self, labels):
        return first_not_binary(self, labels)
