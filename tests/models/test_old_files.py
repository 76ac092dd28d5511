"""Files that an earlier version wrote, on JAX: they load on every backend and give the same."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.backbones import vision_transformer
from keras_mtl.tasks import nyud

OLD = Path(__file__).parents[1] / "golden" / "old"
SIZE = (32, 48)


@pytest.fixture(scope="module")
def expected():
    with np.load(OLD / "expected.npz") as values:
        return dict(values)


def old_rooms(count, *names):
    """Rooms as they looked then, and their labels."""
    with np.load(OLD / "rooms.npz") as values:
        return values["images"][:count], {name: values[name][:count] for name in names}


def trained_weights(model):
    return np.concatenate([np.ravel(ops.convert_to_numpy(w)) for w in model.trainable_weights])


def check_predictions(model, name, expected):
    images, _ = old_rooms(2)
    raw = model.predict_on_batch(images.astype("float32"))
    assert raw.keys() == {key.split("/")[1] for key in expected if key.startswith(name)}
    for task, values in raw.items():
        wanted = expected[f"{name}/{task}"]
        error = np.abs(values[:, ::4, ::4] - wanted).max()
        assert error < 1e-5 * max(1, np.abs(wanted).max()), task


def test_a_keras_file(expected):
    own = keras.backend.backend() == "jax"  # compiled elsewhere, it would be compiled as on JAX
    model = keras_mtl.load_model(OLD / "task_prompter.keras", compile=own)
    assert type(model) is keras_mtl.TaskPrompter
    if own:
        assert isinstance(model.optimizer, keras.optimizers.Adam)  # with losses and metrics
        assert set(model.get_compile_config()["loss"]) == {task.name for task in model.tasks}
    check_predictions(model, "task_prompter", expected)


def test_a_preset(expected):
    model = keras_mtl.MultiTaskModel.from_preset(OLD / "tpanet_preset")
    assert type(model) is keras_mtl.TPANet
    check_predictions(model, "tpanet_preset", expected)


@pytest.mark.once("jax", "a run goes on with the backend that it began with, JAX")
def test_a_run_goes_on(expected, tmp_path):
    """Two epochs were done; the third is as it was when the earlier version went on."""
    shutil.copytree(OLD / "run", tmp_path / "run")
    tasks = nyud("depth", "normals")
    keras.utils.set_random_seed(0)
    vit = vision_transformer(
        "tiny", (*SIZE, 3), 16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=8
    )
    model = keras_mtl.MultiTaskBaseline(vit, tasks, head_width=4)
    model.compile(
        keras.optimizers.Adam(1e-3), loss_weights=keras_mtl.balancing.UncertaintyWeighting()
    )
    log = keras.callbacks.CSVLogger(str(tmp_path / "run" / "log.csv"))
    folder, settings = tmp_path / "run" / "checkpoints", {"seed": 0}
    checkpoint = keras_mtl.resume.Checkpoint(folder, settings=settings, callbacks=[log])
    epoch = checkpoint.restore(model)
    assert epoch == 2
    start = trained_weights(model)
    images, labels = old_rooms(4, "depth", "normals")
    how = {"batch_size": 2, "shuffle": False, "verbose": 0, "callbacks": [log, checkpoint]}
    model.fit(images, labels, epochs=3, initial_epoch=epoch, **how)
    # Adam divides by gradients' sizes; where one is all rounding, so is its step.
    wanted = expected["run/next_epoch"]
    error = np.linalg.norm(trained_weights(model) - wanted) / np.linalg.norm(wanted - start)
    assert error < 5e-3
    rows = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "0", "1", "2"]
