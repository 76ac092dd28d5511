"""A training run from the command line, in this process."""

import json
import re

import numpy as np
import pytest
from filelock import FileLock

import keras_mtl
from keras_mtl.data import folders
from keras_mtl.export.formats import describe
from keras_mtl.runs import run
from keras_mtl.tasks import nyud

pytestmark = pytest.mark.once("torch", "a run is the same on every backend: tests/test_examples.py")

SMALL = (
    "--scenes 8 --held-out 4 --steps 3 --epochs 1 --batch-size 2 --image-size 32 48 "
    "--patch-size 16 --channel-windows 1 1 --decode-dim 8 --from-scratch"
).split()

CLASSES = ["soil", "crop", "weed"]


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


def test_training_on_own_classes(monkeypatch, tmp_path, write_folder, capsys):
    """Three classes with names, on data without labels for some of the tasks, by few weights."""
    rng = np.random.default_rng(0)
    write_folder(
        tmp_path / "mine",
        4,
        depth=lambda: rng.uniform(1, 5, (32, 48)),
        semseg=lambda: rng.integers(0, 2, (32, 48)).astype("uint8"),
    )
    (tmp_path / "mine" / "semseg" / "classes.txt").write_text("\n".join(CLASSES))
    data = folders.prepare_folder(tmp_path / "mine", tmp_path / "out", "mine").parent
    with pytest.raises(ValueError, match=r"3 classes of .*semseg.*soil, crop.* has 40; pass .*tas"):
        keras_mtl.data.load(data, "train", tasks=nyud("semseg"), image_size=(32, 48))
    few = "--model baseline --backbone vit_pico --patch-size 16 --head-width 4 --steps 1 --epochs 1"
    few += " --batch-size 1 --image-size 32 48 --lora 1"
    given = ("--data", data, *few.split(), "--output", tmp_path / "run")
    with pytest.raises(SystemExit, match=r"\(--tasks semseg depth takes what is there.\)"):
        train(*given)
    monkeypatch.setattr(run, "export_model", lambda *paths: None)
    train(*given, "--tasks", "semseg", "depth", "--balancing", "PCGrad")
    assert (tmp_path / "run" / "balancing.png").exists()
    assert "semseg_cosine_depth" in (tmp_path / "run" / "log.csv").read_text()
    said = re.search(
        r"([\d.]+) M parameters, of which ([\d.]+) M are trained", capsys.readouterr().out
    )
    assert float(said[2]) < float(said[1]) / 2
    scores = json.loads((tmp_path / "run" / "results.json").read_text())
    assert {"semseg_mIoU", "depth_RMSE"} < set(scores) and "normals_mErr" not in scores
    model = keras_mtl.load_model(tmp_path / "run" / "model.keras")
    assert model(np.zeros((1, 32, 48, 3), "float32"))["semseg"].shape[-1] == 3
    assert describe(model, False)["tasks"][0]["labels"] == CLASSES
    examples = keras_mtl.data.examples(data, "val", tasks=model.tasks)
    found = keras_mtl.evaluate(model, examples, progress=False).tasks["semseg"]
    assert list(found["classes"]) == CLASSES and "mIoU_of_occurring" in found["scores"]
