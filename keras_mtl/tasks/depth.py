"""Depth estimation."""

import keras
import numpy as np
from keras import ops

from keras_mtl import losses, metrics
from keras_mtl.metrics.depth import MAX_DEPTH
from keras_mtl.tasks.task import Task


@keras.saving.register_keras_serializable(package="keras_mtl")
class DepthEstimation(Task):
    """Depth along the optical axis in metres: L1, RMSE.

    Args:
        name: str.
        channels: int. Always 1.
        loss_weight: float.

    Example:

    >>> task = keras_mtl.tasks.DepthEstimation()
    >>> np.array(task.decode(np.array([[[-0.5], [2.5]]]))).tolist()
    [[[0.0], [2.5]]]
    """

    headline = "RMSE"
    higher_is_better = False
    ignore = 0
    unit = "m"
    measured_in = "metres"
    label_dtype = "float32"
    label_channels = 1
    farthest = 10.0  # metres; the far end of the colour scale in pictures
    only_channels = 1

    def __init__(self, name: str = "depth", channels: int = 1, loss_weight: float = 1.0):
        super().__init__(name, channels, loss_weight)

    def loss(self):
        return losses.DepthLoss()

    def metrics(self):
        return [metrics.DepthRMSE()]

    def evaluation_metrics(self):
        deltas = [metrics.DepthDelta(power) for power in (1, 2, 3)]
        errors = [metrics.DepthAbsRel(), metrics.DepthSqRel(), metrics.DepthLogRMSE()]
        return [*self.metrics(), *errors, *deltas]

    def decode(self, raw):
        return ops.maximum(raw, 0.0)

    def constant(self, labels):
        return np.array([labels[labels > 0].mean()], "float32")

    def scaled_label(self, label, factor):
        return label / factor  # what appears larger is nearer

    def picture(self, final):
        import matplotlib

        depth = np.asarray(final)[..., 0]
        colours = matplotlib.colormaps["viridis_r"](depth / self.farthest)[..., :3]
        colours[depth <= 0] = 1.0
        return (colours * 255).astype("uint8")

    def wrong_label(self, labels):
        wrong = labels[~(labels >= 0) | ~np.isfinite(labels)]
        if wrong.size:
            return wrong.flat[0], "metres above 0"
        if labels.size and labels.max() > 0 and labels[labels > 0].min() >= MAX_DEPTH:
            return labels.max(), "metres, not millimetres"
