"""Runs that are killed and go on. `python tests/training/test_checkpoint.py FOLDER HOW`
is one to kill."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.data import load
from keras_mtl.tasks import nyud
from keras_mtl.training import Checkpoint, StopOnDivergence

tf = pytest.importorskip("tensorflow")

SIZE = (16, 24)
TASKS = nyud("depth", "edge")
EPOCHS, STEPS = 12, 5


@keras.saving.register_keras_serializable(package="tests.resume")
class Tiny(keras_mtl.MultiTaskModel):
    """All that has a state: weights, a moving mean, dropout, stochastic depth."""

    def __init__(self, stochastic_depth=0.5, **kwargs):
        image = keras.Input((*SIZE, 3))
        x = keras.layers.Conv2D(4, 3, padding="same")(image / 255)
        x = keras.layers.BatchNormalization()(x)
        x = keras_mtl.layers.ResidualMLP(8, dropout=0.2, stochastic_depth=stochastic_depth)(x)
        maps = {task.name: keras.layers.Conv2D(task.channels, 1)(x) for task in TASKS}
        super().__init__(image, maps, TASKS, **kwargs)
        self._config = {"stochastic_depth": stochastic_depth}


def build(folder, settings=None, optimizer=None, **arguments):
    """A model, its checkpoint and the other callbacks, as at the start of a run."""
    keras.utils.set_random_seed(5)
    model = Tiny(**arguments)
    rate = keras_mtl.schedules.PolynomialDecay(1e-2, EPOCHS * STEPS)
    optimizer = optimizer or keras.optimizers.Adam(rate, weight_decay=1e-4)
    model.compile(optimizer, loss_weights=keras_mtl.balancing.DynamicWeightAverage())
    best = keras.callbacks.ModelCheckpoint(
        folder / "best.keras", "depth_loss", mode="min", save_best_only=True
    )
    others = [best, keras.callbacks.CSVLogger(folder / "log.csv")]
    settings = {"seed": 3, "batch_size": 2} if settings is None else settings
    checkpoint = Checkpoint(folder / "checkpoints", settings=settings, callbacks=others)
    return model, checkpoint, others


def train(folder, callbacks=(), epochs=EPOCHS):
    folder.mkdir(exist_ok=True)
    model, checkpoint, others = build(folder)
    epoch = checkpoint.restore(model)
    batches = load(
        "rooms",
        "train",
        tasks=TASKS,
        image_size=SIZE,
        batch_size=2,
        training=True,
        seed=3,
        count=7,
        first_step=epoch * STEPS,
    )
    model.fit(
        batches,
        epochs=epochs,
        initial_epoch=epoch,
        steps_per_epoch=STEPS,
        verbose=0,
        callbacks=[*others, checkpoint, *callbacks],
    )
    return epoch


class Kill(keras.callbacks.Callback):
    """Kills this process a moment after a step of the whole run began, or a later one: how far
    the run came before it was killed last is up to the machine."""

    def __init__(self, step, delay):
        super().__init__()
        self.step, self.delay = step, delay
        self.armed = False

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        step = self.epoch * STEPS + batch
        if step == EPOCHS * STEPS - 1:
            time.sleep(9)  # the moment comes before the end
        if step >= self.step and not self.armed:
            self.armed = True
            kill = threading.Timer(self.delay, os.kill, [os.getpid(), signal.SIGKILL])
            kill.daemon = True
            kill.start()


def kill_while_writing(epoch):
    """Half of the checkpoint of this epoch, or of the first later one, reaches the disk."""
    fsync = os.fsync

    def half(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        number = re.search(r"epoch-(\d+)", path.name)
        if number and int(number[1]) >= epoch:
            os.ftruncate(descriptor, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)

    os.fsync = half


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume") / "whole"
    assert train(folder) == 0
    return folder


def state(folder, epoch=EPOCHS):
    """Everything in a checkpoint: arrays by name, and what it says about itself."""
    with np.load(folder / "checkpoints" / f"epoch-{epoch:05d}.npz") as file:
        arrays = {name: file[name] for name in file.files if name != "about.json"}
        about = json.loads(file["about.json"])
    return arrays, about


def assert_same_end(folder, uninterrupted, when):
    """Weights, moving means, moments, iterations, random generators, balancing: bit for bit."""
    (expected, about), (found, said) = state(uninterrupted), state(folder)
    assert found.keys() == expected.keys() and len(found) > 20
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=f"{name} after {when}")
    assert said == about
    assert (folder / "log.csv").read_bytes() == (uninterrupted / "log.csv").read_bytes()
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names == [f"epoch-{n:05d}.npz" for n in (EPOCHS - 1, EPOCHS)]


def test_stopped_and_going_on(uninterrupted, tmp_path):
    folder = tmp_path / "stopped"
    assert train(folder, epochs=7) == 0
    assert train(folder) == 7
    assert_same_end(folder, uninterrupted, "7 epochs")


@pytest.mark.once("torch", "what is on the disk when a process dies knows no backend")
def test_killed_three_times(uninterrupted, tmp_path):
    folder = tmp_path / "killed"
    folder.mkdir()
    rng = np.random.default_rng(7)
    moments = [
        f"step {rng.integers(6, 22)} {rng.uniform(0, 0.1):.3f}",
        f"writing {rng.integers(6, 9)}",
        f"step {rng.integers(46, 59)} {rng.uniform(0, 0.1):.3f}",
    ]
    for moment in moments:
        command = [sys.executable, __file__, str(folder), *moment.split()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == -signal.SIGKILL, (moments, done.stderr[-3000:])
        if moment.startswith("writing"):
            assert list((folder / "checkpoints").glob(".saving-*"))
    assert 8 < train(folder) < EPOCHS
    assert_same_end(folder, uninterrupted, moments)


def test_a_checkpoint_has_all_of_the_state(uninterrupted):
    _, about = state(uninterrupted)
    model, checkpoint, (_, log) = build(uninterrupted)
    (uninterrupted / "log.csv").write_text("rows of a later epoch")
    assert checkpoint.restore(model) == EPOCHS
    assert int(model.optimizer.iterations) == EPOCHS * STEPS
    seeds = [v for v in model.variables if "seed_generator" in v.path]
    assert len(seeds) == 2 and any(numpy(seed)[1] > 0 for seed in seeds)
    assert any("last_losses" in v.path for v in model.variables)
    assert (numpy(model.balancing.last_losses) > 0).all()
    text = (uninterrupted / "log.csv").read_text()
    assert len(text.splitlines()) == EPOCHS + 1 and log.append
    assert about["callbacks"][0]["best"] == min(
        float(row.split(",")[text.splitlines()[0].split(",").index("depth_loss")])
        for row in text.splitlines()[1:]
    )


def numpy(variable):
    return keras.ops.convert_to_numpy(variable)


def test_callbacks_remember(tmp_path):
    """Those that wait for progress, with weights NumPy has no number type for."""

    def run(folder, epochs):
        folder.mkdir(exist_ok=True)
        keras.utils.set_random_seed(1)
        layer = keras.layers.Dense(1, dtype="bfloat16")
        model = keras.Sequential([keras.Input((2,)), layer])
        model.compile(keras.optimizers.SGD(1.0), "mse")
        early = keras.callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True)
        slower = keras.callbacks.ReduceLROnPlateau("loss", patience=2, min_delta=1e-3)
        log = keras.callbacks.CSVLogger(folder / "log.csv")
        checkpoint = Checkpoint(folder / "checkpoints", 2, callbacks=[early, slower, log])
        callbacks = [early, slower, log, checkpoint]
        epoch = checkpoint.restore(model)
        x = np.array([[1.0, 2.0], [3.0, -1.0]], "float32")
        fit = {"initial_epoch": epoch, "epochs": epochs, "callbacks": callbacks}
        model.fit(x, x[:, :1], shuffle=False, verbose=0, **fit)
        return epoch, (folder / "log.csv").read_text(), early, slower

    _, log, early, slower = run(tmp_path / "whole", 7)
    assert run(tmp_path / "parts", 3)[0] == 0
    epoch, log_too, early_too, slower_too = run(tmp_path / "parts", 7)
    assert epoch == 3  # the last one, though only every second is kept otherwise
    assert log_too == log and len(log.splitlines()) == 8
    assert (early_too.wait, early_too.best, early_too.best_epoch) == (
        early.wait,
        early.best,
        early.best_epoch,
    )
    assert early.best_epoch < 3
    for one, other in zip(early_too.best_weights, early.best_weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one, "float32"), np.asarray(other, "float32"))
    assert slower_too.wait == slower.wait and slower_too.best == slower.best


# === Broken, full, another ===


@pytest.fixture
def folder(uninterrupted, tmp_path):
    return Path(shutil.copytree(uninterrupted, tmp_path / "copy"))


@pytest.mark.parametrize("how", ["half", "a byte", "empty", "no zip"])
def test_a_broken_checkpoint(folder, capsys, how):
    before, last = sorted((folder / "checkpoints").iterdir())
    content = bytearray(last.read_bytes())
    weights = content.index(state(folder)[0]["model/0"].tobytes())
    content[weights + 9] ^= 1
    half = last.read_bytes()[: len(content) // 2]
    last.write_bytes({"half": half, "a byte": content, "empty": b"", "no zip": b"x" * 99}[how])
    model, checkpoint, _ = build(folder)
    assert checkpoint.restore(model) == EPOCHS - 1
    printed = capsys.readouterr().out
    assert printed.startswith(f"{last} cannot be read (") and printed.count("\n") == 1
    expected, _ = state(folder, EPOCHS - 1)
    np.testing.assert_array_equal(numpy(model.variables[0]), expected["model/0"])
    assert len((folder / "log.csv").read_text().splitlines()) == EPOCHS
    before.write_bytes(b"")
    with pytest.raises(ValueError, match="No checkpoint in .* can be read; remove the folder"):
        checkpoint.restore(model)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": {"seed": 4, "batch_size": 2}}, "seed was 3 and is 4;"),
        ({"settings": {"seed": 3}}, "batch_size was 2 and is nothing;"),
        ({"stochastic_depth": 0.1}, "model.stochastic_depth was 0.5 and is 0.1;"),
        ({"optimizer": "sgd"}, "optimizer.class_name was 'Adam' and is 'SGD', .* more\\);"),
    ],
    ids=["setting", "a setting less", "model", "optimizer"],
)
def test_a_checkpoint_of_another_run(folder, change, said):
    if change.get("optimizer"):
        change = {"optimizer": keras.optimizers.SGD(0.1)}
    model, checkpoint, _ = build(folder, **change)
    before = [numpy(v).copy() for v in model.variables]
    with pytest.raises(ValueError, match=f"{folder}.* belongs to another run: {said}") as error:
        checkpoint.restore(model)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, numpy(variable))


def writing(folder):
    """A run that goes on and is about to write the checkpoint of one more epoch."""
    model, checkpoint, _ = build(folder)
    assert checkpoint.restore(model) == EPOCHS
    checkpoint.set_model(model)
    checkpoint.set_params({"steps": STEPS, "epochs": EPOCHS + 1})
    checkpoint.on_train_begin()
    checkpoint.on_epoch_begin(EPOCHS)
    return model, checkpoint


def files(folder):
    return {path.name: path.read_bytes() for path in (folder / "checkpoints").glob("epoch-*")}


@pytest.mark.parametrize("how", ["no space", "no writing"])
def test_a_full_disk(folder, how, monkeypatch):
    _, checkpoint = writing(folder)
    before = files(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        if how == "no space":

            def full(descriptor):
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(os, "fsync", full)
        else:  # a real refusal, by the system: no file may grow beyond 1000 bytes
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(OSError) as error:
            checkpoint.on_epoch_end(EPOCHS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
        monkeypatch.undo()
    text = str(error.value)
    assert text.startswith(f"The checkpoint of epoch {EPOCHS + 1} cannot be written to {folder}")
    assert {"no space": "No space left", "no writing": "File too large"}[how] in text
    assert "epoch-00011.npz and epoch-00012.npz stayed as before" in text and "\n" not in text
    assert files(folder) == before
    checkpoint.on_epoch_end(EPOCHS)  # there is room again
    assert sorted(files(folder)) == ["epoch-00012.npz", "epoch-00013.npz"]


def test_no_checkpoint_of_weights_that_are_not_finite(folder):
    model, checkpoint = writing(folder)
    before = files(folder)
    model.trainable_variables[0].assign(np.nan * numpy(model.trainable_variables[0]))
    with pytest.raises(FloatingPointError, match=r"epoch 13 .* \(the loss of depth is nan\)"):
        checkpoint.on_epoch_end(EPOCHS, {"loss": np.nan, "depth_loss": np.nan, "edge_loss": 1.0})
    assert files(folder) == before


def test_what_fit_must_be_given(folder):
    model, checkpoint, others = build(folder)
    swapped = Checkpoint(checkpoint.folder, settings=checkpoint.settings, callbacks=others[::-1])
    with pytest.raises(ValueError, match="callbacks.0 was 'ModelCheckpoint' and is 'CSVLogger'"):
        swapped.restore(model)
    images, labels = np.zeros((2, *SIZE, 3), "float32"), {}
    for task in TASKS:
        labels[task.name] = np.zeros((2, *task.label_shape(*SIZE)), task.label_dtype)
    fit = {"x": images, "y": labels, "verbose": 0, "callbacks": [checkpoint], "epochs": EPOCHS + 1}
    with pytest.raises(ValueError, match=r"holds checkpoints .* call restore\(model\) before fit"):
        model.fit(**fit)
    assert checkpoint.restore(model) == EPOCHS
    with pytest.raises(ValueError, match=r"An epoch has 1 steps, .* 5; pass the same data"):
        model.fit(**fit, initial_epoch=EPOCHS)
    with pytest.raises(ValueError, match="where epoch 12 begins, but fit begins with epoch 0"):
        checkpoint.on_epoch_begin(0)
    with pytest.raises(ValueError, match="every is 0, expected an integer >= 1"):
        Checkpoint(folder, every=0)
    with pytest.raises(ValueError, match="is not built and compiled"):
        checkpoint.restore(Tiny())


# === Divergence ===


def test_the_task_that_diverges_is_named():
    stop = StopOnDivergence(limit=100.0)
    stop.set_model(Tiny())
    stop.on_epoch_begin(2)
    stop.on_train_batch_end(0, {"loss": 99.0, "depth_loss": 3.0, "edge_loss": -3.0})
    for logs, said in (
        ({"loss": np.nan, "depth_loss": 1.0, "edge_loss": np.nan}, "the loss of edge is nan;"),
        ({"loss": 101.0, "depth_loss": 101.0}, "the loss of depth is 101;"),
        ({"loss": 101.0, "depth_loss": 60.0, "edge_loss": 41.0}, "the loss is 101;"),
        (
            {"depth_loss": -np.inf, "edge_loss": np.nan},
            "the loss of depth is -inf, the loss of edge is nan;",
        ),
    ):
        with pytest.raises(FloatingPointError, match=f"at step 1 of epoch 3: {said}"):
            stop.on_train_batch_end(0, logs)
    with pytest.raises(FloatingPointError, match="epoch 3: the validation loss of depth is inf"):
        stop.on_epoch_end(2, {"loss": 1.0, "depth_loss": 1.0, "val_depth_loss": np.inf})


def test_divergence_stops_before_anything_is_written(tmp_path):
    """The second epoch's first update explodes; the model still has weights to look at."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    x = np.array([[1.0], [np.inf]], "float32")
    checkpoint = Checkpoint(tmp_path / "checkpoints")
    log = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    with pytest.raises(FloatingPointError, match="at step 2 of epoch 1: the loss is (nan|inf);"):
        callbacks = [StopOnDivergence(), log, checkpoint]
        model.fit(x, x, batch_size=1, shuffle=False, verbose=0, callbacks=callbacks)
    assert not list((tmp_path / "checkpoints").glob("epoch-*"))
    assert (tmp_path / "log.csv").read_text() == ""
    assert len(model.get_weights()) == 2


# === The example scripts ===

SMALL = (
    "--scenes 6 --held-out 2 --steps 4 --epochs 4 --batch-size 2 --image-size 32 48 "
    "--patch-size 16 --channel-windows 1 1 --decode-dim 8 --stochastic-depth 0.5"
).split()


def test_a_run_that_was_stopped(tmp_path):
    def run():
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.0), "mse")
        early = keras.callbacks.EarlyStopping("loss", patience=2)
        checkpoint = Checkpoint(tmp_path / "checkpoints", every=5, callbacks=[early])
        epoch = checkpoint.restore(model)
        if not checkpoint.stopped:
            fit = {"initial_epoch": epoch, "epochs": 20, "callbacks": [early, checkpoint]}
            model.fit(np.ones((2, 1)), np.zeros((2, 1)), verbose=0, **fit)
        return epoch, checkpoint.stopped

    assert run() == (0, False)
    assert run() == (3, True)  # without every fifth epoch being reached


@pytest.mark.once("torch", "the script is the same on every backend; PyTorch compiles nothing")
def test_a_run_goes_on(tmp_path, monkeypatch):
    from keras_mtl.runs import run as training

    monkeypatch.setattr(sys, "argv", ["train_nyud.py"])
    monkeypatch.setattr(training, "export_model", lambda model, path: path.mkdir())

    def run(folder, *more):
        arguments = [*SMALL, "--output", str(folder), *more]
        training.main(nyud("depth", "edge"), "nyud", "", arguments)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(whole)
    code = (
        "from keras_mtl.runs import run; from keras_mtl.tasks import nyud; "
        "run.main(nyud('depth', 'edge'), 'nyud', '')"
    )
    command = [sys.executable, "-c", code, *SMALL, "--output", str(killed)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while not list(killed.glob("checkpoints/epoch-*.npz")) and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(SystemExit, match="seed was 0 and is 1; .*--restart"):
        run(killed, "--seed", "1")
    run(killed)
    names = {path.name for path in whole.iterdir()}
    assert names == {path.name for path in killed.iterdir()} and "checkpoints" not in names
    for name in ("log.csv", "results.json", "results.md"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    before = {path: path.stat().st_mtime_ns for path in killed.rglob("*")}
    with pytest.raises(SystemExit, match=f"train_nyud.py: {killed} holds a finished run; pass"):
        run(killed)
    assert before == {path: path.stat().st_mtime_ns for path in killed.rglob("*")}


if __name__ == "__main__":
    if keras.backend.backend() == "tensorflow":  # as in conftest.py: the same graphs, the same bits
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    where, how, when, *delay = sys.argv[1:]
    if how == "writing":
        kill_while_writing(int(when))
        train(Path(where))
    else:
        train(Path(where), [Kill(int(when), float(*delay))])
