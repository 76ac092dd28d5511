"""Callbacks for `model.fit`."""

from collections.abc import Iterable, Iterator, Mapping

import keras
import numpy as np

from keras_mtl import visualize
from keras_mtl.arguments import check_integer, check_path
from keras_mtl.evaluation.evaluation import evaluate
from keras_mtl.files import make_folder
from keras_mtl.metrics.odsf.image import FAST_THRESHOLDS
from keras_mtl.metrics.odsf.scores import BoundaryScores
from keras_mtl.models import TaskPrompter
from keras_mtl.training.read_once import check_read
from keras_mtl.visualize.panels import check_shown


class PredictionPanels(keras.callbacks.Callback):
    """Shows predictions beside labels in TensorBoard after every epoch.

    Of a `TaskPrompter` it also shows where the task prompts look on the first image
    (`keras_mtl.visualize.affinity`). Needs TensorFlow (for TensorBoard's file format) and
    matplotlib.

    Args:
        log_dir: str or path. TensorBoard's folder.
        images: array `(n, H, W, 3)` of the model's image size; a handful.
        labels: dict by task name of label arrays.
        affinity: bool. Whether to show that, too, where the model is a `TaskPrompter`.

    Raises:
        ValueError: if these are no path, images and labels; in `fit`, before the first epoch, if a
            task of the model has no labels, or not one for each image.
        keras_mtl.files.NotWritten: if there cannot be such a folder; an `OSError`.

    Example:

    ```python
    panels = keras_mtl.callbacks.PredictionPanels("runs/logs", images[:3], labels)
    model.fit(dataset, callbacks=[panels])
    ```
    """

    def __init__(self, log_dir, images: np.ndarray, labels: dict, affinity: bool = True):
        super().__init__()
        self.log_dir = str(check_path("log_dir", log_dir))
        if np.ndim(images) != 4 or not len(images):
            raise ValueError(
                f"images are {_said(images)}; expected an array (n, H, W, 3), with one at least."
            )
        if not isinstance(labels, Mapping):
            raise ValueError(f"labels are {_said(labels)}; expected a dict by task name.")
        self.images = images
        self.labels = labels
        self.affinity = affinity

    def on_train_begin(self, logs=None):
        make_folder(self.log_dir)
        check_shown("labels", self.labels, self.model.tasks, len(self.images))

    def on_epoch_end(self, epoch, logs=None):
        import tensorflow as tf

        maps = self.model.predict_maps(list(self.images))
        maps = {name: [each[name] for each in maps] for name in maps[0]}
        figures = {"predictions": visualize.panel(self.images, maps, self.model.tasks, self.labels)}
        if self.affinity and isinstance(self.model, TaskPrompter):
            figures["affinity"] = visualize.affinity(self.model, self.images[0])
        with tf.summary.create_file_writer(self.log_dir).as_default():
            for tag, figure in figures.items():
                tf.summary.image(tag, visualize.as_array(figure)[None], step=epoch + 1)


class FullEvaluation(keras.callbacks.Callback):
    """Scores the model by the published procedure (`keras_mtl.evaluate`) during training.

    After an epoch its logs hold `full_{task}_{metric}` for every metric. Boundaries are matched at
    25 thresholds instead of 101, in less than half of the time: the score is called `odsF_fast` and
    is at most odsF. Callbacks that write logs, such as `keras.callbacks.TensorBoard`, belong after
    this one in the list; `keras.callbacks.CSVLogger` has the columns of the first epoch only, and
    so needs `every=1`.

    Args:
        dataset: see `keras_mtl.evaluate`; iterated anew each time.
        every: int. Epochs from one evaluation to the next.
        thresholds: of odsF, or `None` for all 101 (`odsF`).
        batch_size: int. Images run through the network at a time.

    Raises:
        ValueError: if `every` or `batch_size` is no positive integer, the thresholds are none, or
            the dataset is none or can be read only once.

    Example:

    ```python
    examples = keras_mtl.data.examples("nyud_v2", "val[:100]", tasks=tasks)
    model.fit(batches, callbacks=[keras_mtl.callbacks.FullEvaluation(examples, every=5)])
    ```
    """

    def __init__(
        self,
        dataset: Iterable,
        every: int = 1,
        thresholds: np.ndarray | None = FAST_THRESHOLDS,
        batch_size: int = 4,
    ):
        super().__init__()
        check_integer("every", every, 1)
        check_integer("batch_size", batch_size, 1)
        check_read(dataset, "batches that end")
        if isinstance(dataset, Iterator):
            raise ValueError(
                f"The dataset is a {type(dataset).__name__}, which can be read once; expected one "
                "that is read anew each time, such as a list of its batches."
            )
        self.dataset = dataset
        self.every = every
        self.options = {"batch_size": batch_size, "progress": False}
        if thresholds is not None:
            self.options["thresholds"] = BoundaryScores(thresholds).thresholds

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        result = evaluate(self.model, self.dataset, **self.options)
        for name, task in result.tasks.items():
            for metric, value in task["scores"].items():
                if value is not None:
                    logs[f"full_{name}_{metric}"] = value


def _said(value) -> str:
    return f"of shape {np.shape(value)}" if hasattr(value, "shape") else f"a {type(value).__name__}"
