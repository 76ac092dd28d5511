"""What a discriminator of gradients is trained by, and the network against it."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_mtl.computation.gradients import gradient_of
from keras_mtl.losses.affinity import pixels_at
from keras_mtl.losses.labelled import LabelledPixelLoss
from keras_mtl.losses.labelled_images import labelled_places
from keras_mtl.losses.maps import Tensor


class GradientAdversarialLoss(LabelledPixelLoss):
    """Cross-entropy of telling a task from the gradient of its loss with respect to features.

    Called with labels of an image's size and features `(B, h, w, C)`; the mean over the pixels of
    the features that are labelled, by labels each the nearest to the upper left. Needs second
    gradients.

    Args:
        task: whose labels they are.
        predict: function of features `(B, h, w, C)` to the task's raw map at the labels' size, that
            can be differentiated twice.
        scores: function of a gradient `(B, h, w, C)` to the scores of all tasks `(B, h, w, T)`.
        number: int, the task's.
        all_pixels: bool. Whether pixels without a label count, too.
        name: string.
        reduction, dtype: as in `LabelledPixelLoss`.

    Example:

    >>> task = keras_mtl.tasks.SemanticSegmentation(channels=2)
    >>> loss = GradientAdversarialLoss(task, lambda x: x, lambda gradient: gradient, number=0)
    >>> float(loss(np.zeros((1, 2, 2), "int32"), np.zeros((1, 2, 2, 2), "float32"))) > 0.69
    True
    """

    def __init__(
        self,
        task: Any,
        predict: Callable,
        scores: Callable,
        number: int,
        all_pixels: bool = False,
        name: str = "gradient_adversarial_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: str | None = None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.task, self.predict, self.scores = task, predict, scores
        self.number, self.all_pixels = number, all_pixels
        self.task_loss = task.loss()

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None):
        if sample_weight is not None and len(sample_weight.shape) == 3:
            if sample_weight.shape[1:] != (1, 1):  # of the images' pixels
                size = y_pred.shape[1:3]
                sample_weight = ops.reshape(pixels_at(sample_weight, size), (-1, *size))
        return super().__call__(y_true, y_pred, sample_weight)

    def gradient(self, y_true: Tensor, features: Tensor) -> Tensor:
        """The gradient of the task's weighed loss, `(B, h, w, C)`.

        Args:
            y_true: labels.
            features: tensor `(B, h, w, C)`.
        """
        weight = self.task.loss_weight
        return gradient_of(lambda x: weight * self.task_loss(y_true, self.predict(x)), features)

    def loss_map(self, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
        size = y_pred.shape[1:3]
        scores = ops.cast(self.scores(self.gradient(y_true, y_pred)), "float32")
        wrong = -ops.log_softmax(scores, axis=-1)[..., self.number]
        known = labelled_places(pixels_at(ops.convert_to_tensor(y_true), size), self.task.ignore)
        if len(known.shape) == 3:
            known = ops.any(known, axis=-1)
        known = ops.reshape(known, (-1, *size))
        if self.all_pixels:
            known = ops.ones_like(known)
        return ops.where(known, wrong, 0.0), known
