"""Depth estimation."""

import keras
import numpy as np
from keras import ops

from keras_mtl import losses, metrics
from keras_mtl.losses.maps import VALID_DEPTH, labelled_depth
from keras_mtl.tasks import encodings
from keras_mtl.tasks.task import Task


@keras.saving.register_keras_serializable(package="keras_mtl")
class DepthEstimation(Task):
    """Depth along the optical axis in metres: L1, RMSE.

    Args:
        name: str.
        channels: int. Always 1.
        loss_weight: float.
        valid_range: `(nearest, farthest)` in metres. Labels that do not lie between count as none,
            in losses, metrics and pictures.

    Raises:
        ValueError: if the range is none.

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
    stores = "metres"
    encodings = encodings.METRES
    label_dtype = "float32"
    label_channels = 1
    farthest = 10.0  # metres; the far end of the colour scale of a picture by itself
    only_channels = 1

    def __init__(
        self,
        name: str = "depth",
        channels: int = 1,
        loss_weight: float = 1.0,
        valid_range: tuple[float, float] = VALID_DEPTH,
    ):
        super().__init__(name, channels, loss_weight)
        try:
            nearest, farthest = map(float, valid_range)
        except (TypeError, ValueError):
            nearest = farthest = np.nan
        if not 0 <= nearest < farthest:
            raise ValueError(
                f"The valid_range of task {name!r} is {valid_range!r}; expected (nearest, "
                "farthest) in metres, such as (0, 80)."
            )
        self.valid_range = (nearest, farthest)

    @property
    def _labelled(self) -> dict:
        """What losses and metrics must know of labels."""
        return {"ignore": self.ignore, "valid_range": self.valid_range}

    def loss(self):
        return losses.DepthLoss(**self._labelled)

    def discretization(self):
        loss = losses.DepthBinsLoss(**self._labelled)
        return loss.num_classes, loss

    def metrics(self):
        return [metrics.DepthRMSE(**self._labelled)]

    def evaluation_metrics(self):
        errors = (metrics.DepthAbsRel, metrics.DepthSqRel, metrics.DepthLogRMSE)
        return [
            *self.metrics(),
            *(error(**self._labelled) for error in errors),
            *(metrics.DepthDelta(power, **self._labelled) for power in (1, 2, 3)),
        ]

    def target_affinity(self, labels):
        depth = ops.cast(labels[..., 0], "float32")
        labelled = labelled_depth(depth, **self._labelled)
        depth = ops.where(labelled, depth, 1.0)
        one, other = depth[:, :, None], depth[:, None, :]
        return 1 - ops.abs(one - other) / ops.maximum(one, other), labelled

    def decode(self, raw):
        return ops.maximum(raw, 0.0)

    def constants(self, labels):
        known = labels[self.labelled_pixels(labels)]
        mean = known.mean(dtype="float64") if known.size else 0.0
        return {f"{mean:.2f} m": np.array([mean], "float32")}

    def unpack(self, stored):
        import tensorflow as tf

        label = super().unpack(stored)
        # Before it is scaled, which would move what is too far away into the range.
        known = labelled_depth(label, self.ignore, self.valid_range)
        return tf.where(known, label, float(self.ignore))

    def without_voids(self, label):
        void = ~np.isfinite(label) | encodings.is_nothing_measured(label)
        return np.where(void, np.float32(self.ignore), label)

    def scaled_label(self, label, factor):
        return label / factor  # what appears larger is nearer

    def labelled_pixels(self, label):
        return labelled_depth(np.asarray(label)[..., 0], self.ignore, self.valid_range)

    def label_of(self, scene):
        return scene["depth"]

    def picture(self, final):
        return self.draw(final, None)

    def scale_of(self, shown):
        depths = [np.asarray(each)[self.labelled_pixels(each)] for each in shown]
        return max((float(each.max()) for each in depths if each.size), default=None)

    def draw(self, final, photograph, scale=None):
        import matplotlib

        depth = np.asarray(final)[..., 0]
        colours = matplotlib.colormaps["viridis_r"](depth / (scale or self.farthest))[..., :3]
        colours[~self.labelled_pixels(final)] = 1.0
        return (colours * 255).astype("uint8")

    def colours(self):
        import matplotlib

        steps = (matplotlib.colormaps["viridis_r"](range(256))[:, :3] * 255).astype("uint8")
        return {"from": 0, "to": None, "white": self.ignore, "colours": steps.tolist()}

    def difference(self, raw, found, decoded):
        errors, scale = super().difference(raw, found, decoded)
        return errors, np.abs(raw).max() if decoded else scale

    def wrong_label(self, labels):
        wrong = labels[(labels != self.ignore) & (~(labels >= 0) | ~np.isfinite(labels))]
        if wrong.size:
            return wrong.flat[0], "metres above 0"
        if labels.size and labels.max() >= self.valid_range[1]:
            if encodings.mostly_beyond(self, labels):
                return encodings.measured(self, labels).max(), "metres, not millimetres"
            if encodings.grey_levels(self, labels):
                return encodings.measured(self, labels).max(), "metres"
        return None

    def get_config(self):
        return {**super().get_config(), "valid_range": self.valid_range}
