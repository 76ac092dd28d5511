"""The command that evaluates: what it finds out before the work."""

import runpy
import types
from pathlib import Path

import pytest

from keras_mtl.evaluation import command

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.once("torch", "arguments are looked at alike")


def test_places_that_cannot_be_written(tmp_path, monkeypatch):
    told = ["evaluate.py", "model.keras", "--output", str(tmp_path / "file")]
    monkeypatch.setattr("sys.argv", told)
    model = types.SimpleNamespace(tasks=[], image_size=(16, 24))
    monkeypatch.setattr(command, "load_model", lambda path: model)
    monkeypatch.setattr(command, "examples", lambda *about, **more: [])
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit, match="evaluate.py: .*file cannot be written .*/file is a file"):
        runpy.run_path(str(EXAMPLES / "evaluate.py"), run_name="__main__")
