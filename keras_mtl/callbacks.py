"""Callbacks for `model.fit`."""

import keras
import numpy as np

from keras_mtl import visualize


class PredictionPanels(keras.callbacks.Callback):
    """Shows predictions beside labels in TensorBoard after every epoch.

    Needs TensorFlow (for TensorBoard's file format) and matplotlib.

    Args:
        log_dir: str or path. TensorBoard's folder.
        images: array `(n, H, W, 3)` of the model's image size; a handful.
        labels: dict by task name of label arrays.

    Example:

    ```python
    panels = keras_mtl.callbacks.PredictionPanels("runs/logs", images[:3], labels)
    model.fit(dataset, callbacks=[panels])
    ```
    """

    def __init__(self, log_dir, images: np.ndarray, labels: dict):
        super().__init__()
        self.log_dir = str(log_dir)
        self.images = images
        self.labels = labels

    def on_epoch_end(self, epoch, logs=None):
        import tensorflow as tf

        maps = self.model.predict_maps(list(self.images))
        maps = {name: [each[name] for each in maps] for name in maps[0]}
        figure = visualize.panel(self.images, maps, self.model.tasks, self.labels)
        with tf.summary.create_file_writer(self.log_dir).as_default():
            picture = visualize.as_array(figure)[None]
            tf.summary.image("predictions", picture, step=epoch + 1)
