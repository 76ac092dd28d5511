"""JAX and PyTorch train, save, load and predict where TensorFlow cannot be imported."""

import os
import subprocess
import sys

import keras
import pytest

if keras.backend.backend() == "tensorflow":
    pytest.skip("TensorFlow without TensorFlow", allow_module_level=True)

SCRIPT = '''
import sys
from importlib.machinery import PathFinder


class WithoutTensorFlow(PathFinder):
    """Finds what is installed but for TensorFlow, as if that was not."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.startswith("tensorflow"):
            return None
        return super().find_spec(name, path, target)


sys.meta_path = [WithoutTensorFlow if f is PathFinder else f for f in sys.meta_path]

import keras, numpy as np
import keras_mtl
from keras_mtl import rooms

folder = sys.argv[1]
tasks = keras_mtl.tasks.nyud()
images, labels = rooms.arrays(tasks, 4, (32, 48))
backbone = keras_mtl.backbones.vision_transformer(
    "tiny", (32, 48, 3), num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32
)
model = keras_mtl.TaskPrompter(
    backbone, tasks, channel_windows=(2, 3), prompting_levels=1, decode_dim=4
)
model.compile()
history = model.fit(images, labels, batch_size=2, verbose=0).history
assert np.isfinite(history["loss"]).all(), history
scores = model.evaluate(images, labels, batch_size=2, verbose=0, return_dict=True)
assert np.isfinite(scores["loss"]) and "semseg_mIoU" in scores, scores
photograph = np.random.default_rng(0).integers(0, 256, (37, 101, 3)).astype("uint8")
expected = model.predict_maps(photograph)
model.save(f"{folder}/model.keras")
found = keras_mtl.load_model(f"{folder}/model.keras").predict_maps(photograph)
for name, value in expected.items():
    assert found[name].shape[:2] == (37, 101)
    np.testing.assert_allclose(found[name], value, atol=1e-5)
assert not [name for name in sys.modules if name.startswith("tensorflow")]
print("trained on", keras.backend.backend())
'''


def test_train_save_load_predict(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path],
        env={**os.environ, "KERAS_BACKEND": keras.backend.backend()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"trained on {keras.backend.backend()}\n"
