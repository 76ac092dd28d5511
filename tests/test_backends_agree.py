"""A `.keras` file gives the same outputs, scores and training step on all three backends."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl import rooms
from keras_mtl.tasks import nyud

pytestmark = pytest.mark.once("jax", "runs once, on JAX, for all three backends")

BACKENDS = ("jax", "tensorflow", "torch")
SIZE = (32, 48)

SCRIPT = """
import sys
from pathlib import Path
import keras, numpy as np
import keras_mtl

folder = Path(sys.argv[1])
data = np.load(folder / "data.npz")
images = data["image"]
# TensorFlow need not trace a graph for one step.
eager = keras.backend.backend() == "tensorflow"
how = {"batch_size": 2, "verbose": 0}
found = {}
for file in folder.glob("*.keras"):
    model = keras_mtl.load_model(file)
    labels = {task.name: data[task.name] for task in model.tasks}
    model.compile(keras.optimizers.SGD(1e-4), run_eagerly=eager)
    results = {f"output {key}": value for key, value in model.predict(images, **how).items()}
    scores = model.evaluate(images, labels, return_dict=True, **how)
    results |= {f"before {key}": value for key, value in scores.items()}
    model.fit(images, labels, shuffle=False, **how)
    scores = model.evaluate(images, labels, return_dict=True, **how)
    results |= {f"after {key}": value for key, value in scores.items() if key.endswith("loss")}
    found |= {f"{file.stem} {key}": value for key, value in results.items()}
np.savez(folder / f"{keras.backend.backend()}.npz", **found)
"""


def task_prompter():
    backbone = keras_mtl.backbones.vision_transformer(
        "tiny", (*SIZE, 3), num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    return keras_mtl.TaskPrompter(
        backbone,
        nyud(),
        channel_windows=(2, 3),
        prompting_levels=1,
        decode_dim=8,
        stochastic_depth=0.0,
    )


def tpanet():
    backbone = keras_mtl.backbones.swin_transformer(
        "tiny",
        (*SIZE, 3),
        embed_dim=8,
        depths=(1, 2, 1, 1),
        num_heads=(1, 1, 2, 2),
        window_size=2,
        drop_path=0.0,
    )
    tasks = nyud("semseg", "normals")
    return keras_mtl.TPANet(backbone, tasks, dim=8, head_width=8, stochastic_depth=0.0)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backends")
    keras.utils.set_random_seed(0)
    for build in (task_prompter, tpanet):
        model = build()
        # A fresh network may answer nothing but zeros to an image, the direction or class of which
        # is rounding; a trained one has biases.
        rng = np.random.default_rng(0)
        for weight in model.trainable_weights:
            if weight.path.endswith(("bias", "beta")):
                weight.assign(rng.normal(0, 0.5, weight.shape))
        model.save(folder / f"{build.__name__}.keras")
    images, labels = rooms.arrays(nyud(), 2, SIZE)
    np.savez(folder / "data.npz", image=images, **labels)
    for backend in BACKENDS:
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT, folder],
            env={
                **os.environ,
                "KERAS_BACKEND": backend,
                "TF_CPP_MIN_LOG_LEVEL": "3",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{backend}: {result.stderr}"
    return {backend: dict(np.load(folder / f"{backend}.npz")) for backend in BACKENDS}


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_same_as_on_jax(found, backend):
    assert set(found[backend]) == set(found["jax"])
    for key, wanted in found["jax"].items():
        error = np.abs(found[backend][key] - wanted).max()
        assert error <= 1e-4 * max(1e-3, np.abs(wanted).max()), key


@pytest.mark.parametrize("model", ["task_prompter", "tpanet"])
def test_the_step_changed_something(found, model):
    assert found["jax"][f"{model} after loss"] < found["jax"][f"{model} before loss"]
