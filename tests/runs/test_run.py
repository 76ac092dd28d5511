"""A training run from the command line, in this process."""

import json

import numpy as np
import pytest
from filelock import FileLock

from keras_mtl.data import folders
from keras_mtl.runs import run
from keras_mtl.tasks import nyud

pytestmark = pytest.mark.once("torch", "a run is the same on every backend: tests/test_examples.py")

SMALL = (
    "--scenes 8 --held-out 4 --steps 3 --epochs 1 --batch-size 2 --image-size 32 48 "
    "--patch-size 16 --channel-windows 1 1 --decode-dim 8"
).split()


def train(*arguments):
    run.main(nyud(), "nyud", "", list(map(str, arguments)))


@pytest.fixture(autouse=True)
def called(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train_nyud.py"])


def test_data_is_looked_for_before_a_model_is_built(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "build", None)
    with pytest.raises(SystemExit) as ended:
        train("--data", tmp_path / "nowhere", "--output", tmp_path / "out")
    said = str(ended.value)
    assert said.startswith("train_nyud.py: No prepared dataset") and "--tasks" not in said


def test_folders_that_are_not_for_a_run(monkeypatch, tmp_path):
    """Found out before a model is built, and left as they are."""
    monkeypatch.setattr(run, "build", None)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "busy").mkdir()
    with FileLock(tmp_path / "busy/.lock"):  # as another process has it
        for output, problem in (
            ("file", "/file is a file"),
            ("file/run", "/file is a file"),
            ("link", "/link is a link that leads nowhere"),
            ("busy", "another process writes there now; wait for it or name another folder"),
        ):
            with pytest.raises(
                SystemExit, match=rf"train_nyud.py: {tmp_path}/{output} .*"
            ) as ended:
                train("--output", tmp_path / output, "--restart")
            said = str(ended.value)
            assert f"cannot be written ({tmp_path if problem[0] == '/' else ''}{problem})." in said
            assert "\n" not in said
    assert (tmp_path / "file").read_text() == "mine"


def test_training_on_some_tasks(monkeypatch, tmp_path, write_folder):
    """On data without labels for the others."""
    rng = np.random.default_rng(0)
    write_folder(tmp_path / "mine", 4, depth=lambda: rng.uniform(1, 5, (32, 48)))
    data = folders.prepare_folder(tmp_path / "mine", tmp_path / "out", "mine")
    data = ("--data", data.parent, "--backbone", "vit_nano", *SMALL, "--output", tmp_path / "run")
    with pytest.raises(SystemExit, match=r"\(--tasks depth takes what is there.\)"):
        train(*data)
    monkeypatch.setattr(run, "export_model", lambda *paths: None)
    train(*data, "--tasks", "depth")
    assert set(json.loads((tmp_path / "run" / "results.json").read_text())) == {
        "loss",
        "depth_loss",
        "depth_RMSE",
    }
