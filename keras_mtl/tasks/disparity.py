"""Estimation of disparity, in pixels."""

import keras
import numpy as np

from keras_mtl import losses, metrics
from keras_mtl.arguments import check_number
from keras_mtl.losses.maps import labelled_depth
from keras_mtl.tasks.depth import DepthEstimation
from keras_mtl.tasks.task import Task


@keras.saving.register_keras_serializable(package="keras_mtl")
class DisparityEstimation(DepthEstimation):
    """Disparity of a pair of cameras in pixels, from one of the pictures: L1, RMSE.

    As TaskPrompter's code trains on Cityscapes-3D: all labels count in the loss, those below
    `scored_below` in the scores.

    Args:
        name: str.
        channels: int. Always 1.
        loss_weight: float.
        valid_range: `(least, largest)` in pixels. Labels that do not lie between count as none.
        scored_below: float. Pixels; larger labels are left out of scores.

    Raises:
        ValueError: if the range is none.

    Example:

    >>> task = keras_mtl.tasks.DisparityEstimation()
    >>> labels = np.array([[[[10.0], [100.0], [-1.0]]]], "float32")  # the last one is no label
    >>> predicted = np.zeros((1, 1, 3, 1), "float32")
    >>> float(task.loss()(labels, predicted)), float(task.metrics()[0](labels, predicted))
    (55.0, 10.0)
    """

    ignore = -1
    unit = "px"
    measured_in = "pixels"
    stores = "pixels"
    encodings = ()
    farthest = 80.0  # the largest of the colour scale of a picture by itself
    only_channels = 1

    def __init__(
        self,
        name: str = "disparity",
        channels: int = 1,
        loss_weight: float = 1.0,
        valid_range: tuple[float, float] = (0.0, 1000.0),
        scored_below: float = 80.0,
    ):
        super().__init__(name, channels, loss_weight, valid_range)
        self.scored_below = check_number("scored_below", scored_below)

    def loss(self):
        return losses.DepthLoss(ignore=self.ignore, valid_range=self.valid_range)

    def discretization(self):
        return Task.discretization(self)  # depth's classes are metres

    def metrics(self):
        scored = (self.valid_range[0], min(self.scored_below, self.valid_range[1]))
        return [metrics.DepthRMSE(ignore=self.ignore, valid_range=scored)]

    def evaluation_metrics(self):
        return self.metrics()

    def constants(self, labels):
        known = labels[self.labelled_pixels(labels)]
        mean = known.mean(dtype="float64") if known.size else 0.0
        return {f"{mean:.2f} px": np.array([mean], "float32")}

    def without_voids(self, label):
        return np.where(np.isfinite(label), label, np.float32(self.ignore))

    def scaled_label(self, label, factor):
        return label * factor  # it is a length in the image

    def label_of(self, scene):
        return Task.label_of(self, scene)

    def draw(self, final, photograph, scale=None):
        import matplotlib

        disparity = np.asarray(final)[..., 0]
        colours = matplotlib.colormaps["viridis"](disparity / (scale or self.farthest))[..., :3]
        known = labelled_depth(disparity, self.ignore, self.valid_range)
        return (np.where(known[..., None], colours, 1.0) * 255).astype("uint8")

    def colours(self):
        import matplotlib

        steps = (matplotlib.colormaps["viridis"](range(256))[:, :3] * 255).astype("uint8")
        return {"from": 0, "to": None, "white": 0, "colours": steps.tolist()}

    def wrong_label(self, labels):
        wrong = labels[(labels != self.ignore) & (~(labels >= 0) | ~np.isfinite(labels))]
        return (wrong.flat[0], "pixels from 0 on") if wrong.size else None

    def get_config(self):
        return {**super().get_config(), "scored_below": self.scored_below}
