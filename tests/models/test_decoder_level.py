"""What decoder-level architectures share: a task's own features and its last step."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.layers import PredictionHead
from keras_mtl.models.decoder_level import fused_features, predictions, task_features
from keras_mtl.tasks import DepthEstimation, SurfaceNormals

pytestmark = pytest.mark.once("torch", "layers of Keras, put together")


class WithHead(DepthEstimation):
    """A kind with a head of its own, which its last step needs."""

    def head(self, **arguments):
        return PredictionHead(self.channels, **{"width": 3, **arguments})


def test_the_last_step_of_a_task():
    keras.utils.set_random_seed(0)
    predict = SurfaceNormals().predictor(name="last")
    predict.build((None, 4, 6, 400))
    kernel, bias = (ops.convert_to_numpy(each) for each in predict.weights)
    assert predict.name == "last" and kernel.shape == (400, 3)
    assert kernel.std() == pytest.approx(0.01, rel=0.1) and not bias.any()
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 400)).astype("float32")
    np.testing.assert_allclose(ops.convert_to_numpy(predict(x)), x @ kernel, atol=1e-5)
    own = WithHead().predictor(name="last", kernel_initializer="zeros")
    assert isinstance(own, PredictionHead) and (own.width, own.name) == (3, "last")


def test_from_levels_to_predictions():
    """Levels finer than stride 4 are left out; each task has its convolution and its last step."""
    levels = {
        2: keras.Input((16, 24, 3)),
        4: keras.Input((8, 12, 5)),
        8: keras.Input((4, 6, 11)),
    }
    x = fused_features(levels)
    assert x.shape == (None, 8, 12, 16)
    tasks = [DepthEstimation(), SurfaceNormals()]
    own = task_features(x, tasks)
    assert {name: each.shape[1:] for name, each in own.items()} == {
        "depth": (8, 12, 4),
        "normals": (8, 12, 4),
    }
    raw = predictions(tasks, own, levels)
    model = keras.Model(list(levels.values()), raw)
    assert {name: each.shape[1:] for name, each in raw.items()} == {
        "depth": (8, 12, 1),
        "normals": (8, 12, 3),
    }
    # 3x3 convolution without bias, normalization, last step with bias
    trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trained == 2 * (9 * 16 * 4 + 2 * 4) + (4 * 1 + 1) + (4 * 3 + 3)
