"""FCOS3D's loss."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_mtl.boxes3d.angles import check_slots
from keras_mtl.boxes3d.points import parts_of_raw
from keras_mtl.distribution import sum_over_replicas
from keras_mtl.losses.detection3d.targets import Targets, angles_of_quaternions, point_targets
from keras_mtl.losses.maps import Tensor

# Published.
FOCAL_WEIGHT, FOCAL_ALPHA, FOCAL_GAMMA = 5.0, 0.25, 2.0
BETA = 1 / 9
WEIGHTS = {"offset": 1.0, "depth": 0.2, "size": 1.0, "angles": 5.0, "box": 1.0}


class FCOS3DLoss(keras.losses.Loss):
    """Boxes in space at the points of a pyramid: the plain sum of FCOS3D's losses.

    Focal loss of the classes at every point, over the number of positive points and of images; at
    positive points, over their number: smooth L1 of offset, depth, size, of the sines of the angles
    and of the box in the image, cross-entropy of the directions and of the centerness.

    Images without objects, annotated as such or not annotated at all, are left out, as published.

    Args:
        angles: which slots the three angles are, see `keras_mtl.boxes3d.angles_of`.
        name: str.

    Call arguments:
        y_true: dict of `"classes"` `(B, N)`, below 0 where there is no object, `"places"`
            `(B, N, 3)`, `"sizes"` `(B, N, 3)`, `"rotations"` `(B, N, 4)` and `"boxes"`
            `(B, N, 4)`; see `keras_mtl.tasks.Detection3D`.
        y_pred: tensor `(B, P, classes + 25)`, see `keras_mtl.layers.FCOS3DHead`.
        sample_weight: weights of the images, `(B,)`.

    Example:

    >>> task = keras_mtl.tasks.Detection3D(width=8, class_branch=(8,), groups=2)
    >>> nothing = {name: x[None] for name, x in task.no_label(32, 48).items()}
    >>> float(task.loss()(nothing, task.head()({8: keras.ops.ones((1, 4, 6, 3))})))
    0.0

    Reference: Wang et al., FCOS3D, ICCV Workshops 2021, Eq. 1 and 2; TaskPrompter, A.6.
    """

    def __init__(self, angles: str = "roll_pitch_yaw", name: str = "fcos3d_loss"):
        super().__init__(name=name, reduction="sum", dtype="float32")
        self.angles = check_slots(angles)

    def call(self, y_true: Mapping[str, Tensor], y_pred: Tensor) -> Tensor:
        rotations = ops.cast(y_true["rotations"], "float32")
        lengths = ops.sqrt(ops.sum(ops.square(rotations), axis=-1, keepdims=True))
        rotations = rotations / ops.maximum(lengths, 1e-6)
        label = {**y_true, "angles": angles_of_quaternions(rotations, self.angles)}
        return sum(loss_terms(label, y_pred).values())

    def get_config(self):
        return {"name": self.name, "angles": self.angles}


def loss_terms(label: Mapping[str, Any], raw: Tensor) -> dict[str, Tensor]:
    """The parts of `FCOS3DLoss` by name, `(B,)` each, whose sum over the batch is the part.

    Args:
        label: see `keras_mtl.losses.detection3d.targets.point_targets`.
        raw: tensor `(B, P, classes + 25)`.
    """
    found = parts_of_raw(ops.cast(raw, "float32"))
    wanted = point_targets(label, found)
    taken = ops.cast(ops.any(ops.cast(label["classes"], "int32") >= 0, axis=-1), "float32")
    positives = sum_over_replicas(ops.sum(ops.cast(wanted.positive, "float32")))
    images = sum_over_replicas(ops.sum(taken))

    def over_positives(values):
        """Of `(B, P)` or `(B, P, c)`, nothing where a point stands for no object."""
        values = ops.sum(values, axis=-1) if len(values.shape) == 3 else values
        values = ops.sum(ops.where(wanted.positive, values, 0.0), axis=-1)
        return values / ops.maximum(positives, 1.0)

    one_hot = ops.one_hot(wanted.classes, found.classes.shape[-1])
    one_hot = one_hot * ops.cast(wanted.positive, "float32")[..., None]
    focal = ops.sum(focal_loss(one_hot, found.classes), axis=(1, 2)) * taken
    terms = {"classes": FOCAL_WEIGHT * focal / ops.maximum(positives + images, 1.0)}
    for name, (value, target) in _regressed(found, wanted).items():
        terms[name] = over_positives(WEIGHTS[name] * smooth_l1(value - target))
    ahead = ops.reshape(found.direction, (*ops.shape(found.direction)[:2], 3, 2))
    chosen = ops.cast(wanted.direction, "float32")
    # Softmax over two is a sigmoid of their difference.
    terms["direction"] = over_positives(_logistic(chosen, ahead[..., 1] - ahead[..., 0]))
    terms["centerness"] = over_positives(_logistic(wanted.centerness, found.centerness[..., 0]))
    return terms


def _regressed(found, wanted: Targets) -> dict[str, tuple[Tensor, Tensor]]:
    pairs = {name: (getattr(found, name), getattr(wanted, name)) for name in WEIGHTS}
    p, t = pairs["angles"]  # their difference is sin(p - t), whichever half of the turn
    return {**pairs, "angles": (ops.sin(p) * ops.cos(t), ops.cos(p) * ops.sin(t))}


def focal_loss(labels: Tensor, logits: Tensor) -> Tensor:
    """Focal loss of independent classes, of the shape of both.

    Args:
        labels: tensor of 0 and 1.
        logits: tensor.

    Example:

    >>> round(float(focal_loss(keras.ops.ones(()), keras.ops.zeros(()))), 6)  # log 2 / 16
    0.043322

    Reference: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, Eq. 5.
    """
    p = ops.sigmoid(logits)
    wrong = p + labels - 2 * p * labels  # 1 - p_t
    alpha = 1 - FOCAL_ALPHA + (2 * FOCAL_ALPHA - 1) * labels
    return alpha * ops.power(wrong, FOCAL_GAMMA) * _logistic(labels, logits)


def smooth_l1(difference: Tensor) -> Tensor:
    """Half the square over 1/9 for differences below 1/9, and above straight on."""
    size = ops.abs(difference)
    return ops.where(size < BETA, 0.5 * ops.square(size) / BETA, size - 0.5 * BETA)


def _logistic(labels, logits):
    return ops.softplus(logits) - labels * logits
