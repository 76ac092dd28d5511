"""The search spaces build and train, the objective is Delta_m, and a killed search goes on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl import rooms
from keras_mtl.runs import search_state
from keras_mtl.tasks import nyud

pytest.importorskip("keras_tuner", reason="the extra `tuning` is not installed")

import keras_tuner

from keras_mtl import tuning

pytestmark = pytest.mark.once("torch", "KerasTuner is one for all; PyTorch compiles nothing")

SIZE = (32, 48)
SINGLE = {"depth": 2.0, "normals": 50.0}


def vit():
    return keras_mtl.backbones.vision_transformer("nano", (*SIZE, 3), num_layers=2)


def hrnet():
    return keras_mtl.backbones.HRNet((*SIZE, 3), 4, 1, (1, 1, 1), 1)


@pytest.fixture(scope="module")
def tasks():
    return nyud("depth", "normals")


@pytest.fixture(scope="module")
def scenes(tasks):
    return rooms.arrays(tasks, 4, SIZE)


def test_delta_m_in_the_logs(tasks, scenes):
    model = keras_mtl.MultiTaskBaseline(hrnet(), tasks, head_width=4)
    model.compile(keras.optimizers.SGD(1e-3))
    gains = tuning.DeltaM(SINGLE)
    logs = model.fit(*scenes, validation_data=scenes, verbose=0, callbacks=[gains]).history
    expected = 50 * (
        (2.0 - logs["val_depth_RMSE"][0]) / 2.0 + (50.0 - logs["val_normals_mErr"][0]) / 50.0
    )
    assert logs["val_delta_m"][0] == pytest.approx(expected)


def wide_hrnet():
    return keras_mtl.backbones.HRNet((*SIZE, 3), 8, 1, (1, 1, 1), 1)


@pytest.mark.parametrize(
    "kind, backbone",
    [
        ("TaskPrompter", vit),
        ("TPANet", hrnet),
        ("CrossStitch", vit),
        ("NDDRCNN", vit),
        ("MTAN", vit),
        ("PAP", hrnet),
        ("PSD", hrnet),
        ("PADNet", hrnet),
        ("MTINet", wide_hrnet),
    ],
)
def test_every_corner_of_the_space_builds(tasks, kind, backbone):
    search = getattr(tuning, f"{kind}Search")(backbone, tasks, SINGLE)
    hp = keras_tuner.HyperParameters()
    assert type(search.build(hp)).__name__ == kind
    for pick in (0, -1):
        for parameter in hp.space:
            bounds = ("min_value", "max_value")
            ends = [getattr(parameter, bound, None) for bound in bounds]
            ends = list(parameter.values) if ends[0] is None else ends
            hp.values[parameter.name] = ends[pick]
        model = search.build(hp)
        assert [task.name for task in model.tasks] == ["depth", "normals"]
    factor = hp.get("normals_weight")
    assert factor == 4.0
    names = {parameter.name for parameter in hp.space}
    wanted = {"learning_rate", "weight_decay", "depth_weight", "normals_weight"}
    own = {
        "TaskPrompter": {"channel_windows_a_side", "decode_dim", "prompting_levels"},
        "TPANet": {"dim", "head_width", "dropout"},
        "CrossStitch": {"width", "alpha"},
        "NDDRCNN": {"width", "alpha"},
        "MTAN": {"head_width"},
        "PAP": {"width", "grid_stride", "iterations", "beta"},
        "PSD": {"width", "window", "steps"},
        "PADNet": {"gate", "width"},
        "MTINet": {"mask_grouping"},
    }
    wanted |= {"stochastic_depth"} if kind in ("TaskPrompter", "TPANet") else set()
    assert names == wanted | own[kind]


def test_rules_that_balance_are_searched_for(tasks):
    rules = [keras_mtl.balancing.MGDA, keras_mtl.balancing.FAMO]
    search = tuning.MTANSearch(vit, tasks, SINGLE, balancing=rules)
    hp = keras_tuner.HyperParameters()
    assert search.build(hp).balancing is None
    for rule in rules:
        hp.values["balancing"] = rule.__name__
        assert type(search.build(hp).balancing) is rule


class Killer(keras.callbacks.Callback):
    """Counts the trainings that start, and kills the process at the n-th one's first batch."""

    started = 0

    def __init__(self, n=None):
        super().__init__()
        self.n = n

    def on_train_begin(self, logs=None):
        Killer.started += 1

    def on_train_batch_end(self, batch, logs=None):
        if Killer.started == self.n:
            os.kill(os.getpid(), signal.SIGKILL)

    def __deepcopy__(self, memo):  # KerasTuner copies callbacks for every trial
        return self


def search(folder, kill=None):
    """Three trials, and the tuner that made them."""
    keras.utils.set_random_seed(0)
    tasks = nyud("depth", "normals")
    images, labels = rooms.arrays(tasks, 4, SIZE)
    space = tuning.TPANetSearch(hrnet, tasks, SINGLE)
    how = {"max_trials": 3, "seed": 1, "directory": folder, "project_name": "s"}
    tuner = keras_tuner.RandomSearch(space, space.objective, **how)
    callbacks = [search_state.KeepState(folder / "s"), Killer(kill)]
    validation = {"validation_data": (images, labels)}
    tuner.search(images, labels, epochs=1, verbose=0, callbacks=callbacks, **validation)
    return tuner


def test_a_killed_search_goes_on(tmp_path, capsys):
    command = [sys.executable, __file__, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(keras_mtl.__file__).parents[1])}
    assert subprocess.run(command, env=environment).returncode == -signal.SIGKILL
    for name in ("oracle.json", "trial_1/trial.json"):  # written in place by KerasTuner
        path = tmp_path / "s" / name
        path.write_bytes(path.read_bytes()[:99])
    search_state.mend(tmp_path / "s")
    assert "s/oracle.json was cut short when the search was killed; it" in capsys.readouterr().out
    search_state.mend(tmp_path / "s")
    tuner = search(tmp_path)
    assert Killer.started == 2  # the first trial is not run again, the second one is
    table = tuning.results(tuner).splitlines()
    assert len(table) == 2 + 3 and table[0].startswith("| trial | val_delta_m | dim | ")
    scores = [float(row.split("|")[2]) for row in table[2:]]
    assert scores == sorted(scores, reverse=True) and np.isfinite(scores).all()


def test_trials_in_tensorboard(tasks, scenes, tmp_path):
    """Each trial has a folder, with its hyperparameters and the curve of the objective."""
    tf = pytest.importorskip("tensorflow", reason="TensorBoard's callback needs it")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    search = tuning.TPANetSearch(hrnet, tasks, SINGLE)
    tuner = keras_tuner.RandomSearch(
        search, search.objective, max_trials=2, seed=1, directory=tmp_path, project_name="s"
    )
    board = keras.callbacks.TensorBoard(str(tmp_path / "board"))
    tuner.search(*scenes, validation_data=scenes, epochs=1, verbose=0, callbacks=[board])
    assert len(list((tmp_path / "board").iterdir())) == 2
    for trial in tuner.oracle.trials.values():
        folder = tmp_path / "board" / trial.trial_id
        events = EventAccumulator(str(folder)).Reload()
        (content,) = events.PluginTagToContent("hparams").values()
        found = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
        found = {name: value.number_value for name, value in found.items()}
        assert found == pytest.approx(trial.hyperparameters.values) and "learning_rate" in found
        curves = EventAccumulator(str(folder / "validation")).Reload()
        (point,) = curves.Tensors("epoch_delta_m")
        assert float(tf.make_ndarray(point.tensor_proto)) == pytest.approx(trial.score)


def test_refusals(tasks):
    for arguments, problem in (
        ({}, "Give either single"),
        ({"single": SINGLE, "headline": "depth"}, "Give either single"),
        ({"headline": "edge"}, "headline is 'edge', expected one of depth, normals"),
        ({"single": {"depth": 1.0}}, "single has scores of depth, expected depth, normals"),
    ):
        with pytest.raises(ValueError, match=problem):
            tuning.TPANetSearch(hrnet, tasks, **arguments)
    search = tuning.TPANetSearch(hrnet, tasks, headline="depth")
    assert (search.objective.name, search.objective.direction) == ("val_depth_RMSE", "min")


if __name__ == "__main__":  # a search to kill
    search(Path(sys.argv[1]), kill=2)
