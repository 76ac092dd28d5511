"""A checkpoint is used as a whole or not at all, whatever somebody has made of its file."""

import io
import json
import re
import shutil
import zipfile

import keras
import numpy as np
import pytest

from keras_mtl.training import Checkpoint


def around(folder):
    """A run's checkpoint and the callbacks that remember, as at its start."""
    early = keras.callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True)
    log = keras.callbacks.CSVLogger(str(folder / "log.csv"))
    return Checkpoint(folder / "checkpoints", callbacks=[early, log]), early, log


def train(model, folder, epochs):
    checkpoint, early, log = around(folder)
    epoch = checkpoint.restore(model)
    x, y = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
    fit = {"initial_epoch": epoch, "epochs": epochs, "callbacks": [early, log, checkpoint]}
    model.fit(x, y, shuffle=False, verbose=0, **fit)
    return epoch, early, log


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    return model


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(model, folder, 2)
    return folder


@pytest.fixture
def folder(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


def rewrite(path, members=None, about=None, without=()):
    """The file with other members, and other values in its JSON."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content |= {name: npy(array) for name, array in (members or {}).items()}
    said = json.loads(content["about.json"])
    if callable(about):
        said = about(said) or said
    content["about.json"] = json.dumps(said | (about if isinstance(about, dict) else {})).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name in content.keys() - set(without):
            archive.writestr(name, content[name])


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def setting(number, name, value):
    def change(about):
        about["callbacks"][number][name] = value

    return change


def all_of(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(variable).copy() for variable in variables]


KERNEL = np.zeros((2, 3), "float32")

BROKEN = {
    "another shape": ({"members": {"model/2.npy": KERNEL}}, r"model/2.npy is float32 \(2, 3\)"),
    "transposed": ({"members": {"model/0.npy": KERNEL.T}}, r"model/0.npy is float32 \(3, 2\)"),
    "another dtype": ({"members": {"model/3.npy": np.zeros(1, "int32")}}, "model/3.npy is int32"),
    "float64": ({"members": {"model/0.npy": KERNEL.astype("float64")}}, "model/0.npy is float64"),
    "text": ({"members": {"model/0.npy": np.full((2, 3), "a")}}, "model/0.npy is <U1"),
    "NaN": ({"members": {"model/3.npy": np.full(1, np.nan, "float32")}}, "holds no finite numbers"),
    "missing": ({"without": ["model/3.npy"]}, "it lacks model/3.npy"),
    "optimizer": ({"without": ["optimizer/4.npy"]}, "it lacks optimizer/4.npy"),
    "best weights": ({"without": ["callbacks/0/3.npy"]}, "it lacks callbacks/0/3.npy"),
    "best shape": ({"members": {"callbacks/0/0.npy": KERNEL.T}}, r"callbacks/0/0.npy is float32"),
    "no about": ({"without": ["about.json"]}, "There is no item named 'about.json'"),
    "another epoch": ({"about": {"epoch": 7}}, "it is the checkpoint of epoch 7 under another"),
    "epoch in words": ({"about": {"epoch": "2"}}, "about.json says '2' for epoch"),
    "epoch of yes": ({"about": {"epoch": True}}, "about.json says True for epoch"),
    "callbacks less": ({"about": {"callbacks": []}}, "it has the memory of other callbacks"),
    "no dict": ({"about": {"callbacks": [1, 2]}}, "."),
    "no log": ({"about": setting(1, "log", 3)}, "it lacks the rows of the log"),
    "a path": ({"about": setting(1, "filename", "/tmp/x")}, "it sets 'filename' of CSVLogger"),
    "a model": ({"about": setting(0, "_model", 1)}, "it sets '_model' of EarlyStopping"),
    "log of another": ({"about": setting(0, "log", "x")}, "it sets 'log' of EarlyStopping"),
    "waits in words": ({"about": setting(0, "wait", "9")}, "it has '9' for wait of EarlyStopping"),
    "best of words": ({"about": setting(0, "best", [1])}, r"it has \[1\] for best of"),
    "keys of numbers": ({"about": setting(1, "keys", [1])}, r"it has \[1\] for keys of CSVLogger"),
    "files of others": (
        {"about": setting(0, "best_weights", ["model/0.npy"])},
        "it names other files than its own",
    ),
    "fewer weights": ({"about": setting(0, "best_weights", ["callbacks/0/0.npy"])}, "1 best weigh"),
}


@pytest.mark.parametrize(("changes", "why"), BROKEN.values(), ids=BROKEN)
def test_a_checkpoint_that_is_not_what_it_should_be(model, folder, capsys, changes, why):
    first, last = sorted((folder / "checkpoints").glob("epoch-*"))
    rewrite(last, **changes)
    checkpoint, early, _ = around(folder)
    assert checkpoint.restore(model) == 1
    printed = capsys.readouterr().out
    assert printed.startswith(f"{last} cannot be read (") and printed.count("\n") == 1
    assert "passed over for the one before it" in printed
    assert re.search(why, printed), printed
    with np.load(first) as file:
        names = [f"model/{n}" for n in range(len(model.variables))]
        for name, variable in zip(names, model.variables, strict=True):
            np.testing.assert_array_equal(file[name], keras.ops.convert_to_numpy(variable))
    first.unlink()
    before, log = all_of(model), (folder / "log.csv").read_text()
    with pytest.raises(ValueError, match="No checkpoint in .* can be read; remove the folder"):
        checkpoint.restore(model)
    for old, new in zip(before, all_of(model), strict=True):
        np.testing.assert_array_equal(old, new)
    assert (folder / "log.csv").read_text() == log and early.wait == 0


def test_what_a_whole_one_gives_back(model, folder):
    epoch, early, log = train(model, folder, 3)
    assert epoch == 2 and early.best_epoch == 2 and "loss" in log.keys
    assert len((folder / "log.csv").read_text().splitlines()) == 4


def test_a_file_under_another_name(model, folder, capsys):
    first, last = sorted((folder / "checkpoints").glob("epoch-*"))
    shutil.copy(first, folder / "checkpoints/epoch-00009.npz")
    checkpoint, *_ = around(folder)
    assert checkpoint.restore(model) == 2
    assert "it is the checkpoint of epoch 1 under another name" in capsys.readouterr().out


def test_a_file_that_declares_too_much(model, folder, capsys):
    *_, last = sorted((folder / "checkpoints").glob("epoch-*"))
    with zipfile.ZipFile(last, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more.npy", bytes(70 * 2**20))
    checkpoint, *_ = around(folder)
    assert checkpoint.restore(model) == 1
    assert "(declares 73 MB for more.npy and has" in capsys.readouterr().out


def test_what_is_no_file(model, folder, capsys):
    first, last = sorted((folder / "checkpoints").glob("epoch-*"))
    last.unlink()
    last.symlink_to("nowhere")
    checkpoint, *_ = around(folder)
    assert checkpoint.restore(model) == 1
    assert f"{last} cannot be read (No such file" in capsys.readouterr().out
    last.unlink()
    last.mkdir()
    with pytest.raises(ValueError, match=r"epoch-00002.npz is a folder, where .* remove it or"):
        checkpoint.restore(model)
    (folder / "file").write_text("")
    with pytest.raises(OSError, match=r"file cannot be written \(.*/file is a file\)\."):
        Checkpoint(folder / "file").restore(model)
