"""Callbacks for `model.fit`."""

from collections.abc import Iterable

import keras
import numpy as np

from keras_mtl import visualize
from keras_mtl.arguments import check_integer
from keras_mtl.evaluation.evaluation import evaluate
from keras_mtl.metrics.odsf.image import FAST_THRESHOLDS
from keras_mtl.models import TaskPrompter


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

    Example:

    ```python
    panels = keras_mtl.callbacks.PredictionPanels("runs/logs", images[:3], labels)
    model.fit(dataset, callbacks=[panels])
    ```
    """

    def __init__(self, log_dir, images: np.ndarray, labels: dict, affinity: bool = True):
        super().__init__()
        self.log_dir = str(log_dir)
        self.images = images
        self.labels = labels
        self.affinity = affinity

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
        ValueError: if `every` is no positive integer.

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
        self.dataset = dataset
        self.every = every
        self.options = {"batch_size": batch_size, "progress": False}
        if thresholds is not None:
            self.options["thresholds"] = thresholds

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        result = evaluate(self.model, self.dataset, **self.options)
        for name, task in result.tasks.items():
            for metric, value in task["scores"].items():
                if value is not None:
                    logs[f"full_{name}_{metric}"] = value
