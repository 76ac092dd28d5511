"""The command that evaluates: what it finds out before the work."""

import types

import pytest

from keras_mtl.evaluation import command

pytestmark = pytest.mark.once("torch", "arguments are looked at alike")


def test_places_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["evaluate.py"])
    model = types.SimpleNamespace(tasks=[], image_size=(16, 24))
    monkeypatch.setattr(command, "load_model", lambda path: model)
    monkeypatch.setattr(command, "examples", lambda *about, **more: [])
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit, match="evaluate.py: .*file cannot be written .*/file is a file"):
        command.main("", ["model.keras", "--output", str(tmp_path / "file")])
