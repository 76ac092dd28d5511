import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.data import rooms
from keras_mtl.tasks import DepthEstimation

tf = pytest.importorskip("tensorflow")

SIZE = (32, 48)


@keras.saving.register_keras_serializable(package="tests")
class Brightness(keras_mtl.MultiTaskModel):
    def __init__(self, **kwargs):
        image = keras.Input((*SIZE, 3))
        depth = keras.layers.Conv2D(1, 1)(keras.layers.Rescaling(1 / 255)(image))
        super().__init__(image, {"depth": depth}, [DepthEstimation()], **kwargs)


def test_prediction_panels(tmp_path):
    images, labels = rooms.arrays([DepthEstimation()], 2, SIZE)
    model = Brightness()
    model.compile()
    logs = tmp_path / "logs"
    panels = keras_mtl.callbacks.PredictionPanels(logs, images, labels)
    model.fit(images, labels, epochs=2, verbose=0, callbacks=[panels])

    found = {}
    for file in logs.iterdir():
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found[event.step] = (value.tag, value.tensor.string_val)
    assert sorted(found) == [1, 2]
    for tag, (width, height, *pictures) in found.values():
        assert tag == "predictions"
        (png,) = pictures
        picture = tf.io.decode_png(png).numpy()
        assert picture.shape == (int(height), int(width), 3)
        assert np.std(picture) > 10
