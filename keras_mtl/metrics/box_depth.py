"""How far boxes in space are from where they should be, quickly, for training."""

from keras import ops

from keras_mtl.boxes3d.points import parts_of_raw
from keras_mtl.losses.detection3d.targets import point_targets
from keras_mtl.metrics.accumulate import MeanOverPixels


class BoxDepthError(MeanOverPixels):
    """Mean error of the depth of objects in metres, at the points that stand for them.

    It watches training; mDS needs all images, and the choice between boxes.

    Args:
        name: string.

    Call arguments:
        y_true, y_pred: see `keras_mtl.losses.FCOS3DLoss`.

    Example:

    >>> task = keras_mtl.tasks.Detection3D(width=8, class_branch=(8,), groups=2)
    >>> nothing = {name: x[None] for name, x in task.no_label(32, 48).items()}
    >>> error = keras_mtl.metrics.BoxDepthError()
    >>> error.update_state(nothing, task.head()({8: keras.ops.ones((1, 4, 6, 3))}))
    >>> float(error.result())  # no object, no error
    0.0
    """

    higher_is_better = False

    def __init__(self, name: str = "box_depth_error", dtype: str | None = None):
        super().__init__(name=name, dtype=dtype)

    def pixel_values(self, y_true, y_pred):
        points = parts_of_raw(ops.cast(y_pred, "float32"))
        # Which point stands for what does not hang on angles.
        wanted = point_targets({**y_true, "angles": ops.zeros_like(y_true["sizes"])}, points)
        wrong = ops.abs(points.depth - wanted.depth)[..., 0]
        return ops.where(wanted.positive, wrong, 0.0), wanted.positive
