"""What the README shows, runs."""

import re
from pathlib import Path

import keras
import pytest

import keras_mtl

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the text is the same for all; torch compiles least"
)
def test_the_ten_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    smaller = {"count=200": "count=2", "epochs=5": "epochs=1", "batch_size=8": "batch_size=2"}
    for text, replacement in smaller.items():
        assert text in code
        code = code.replace(text, replacement)
    found = {}
    exec(code, found)
    assert set(found["maps"]) == {"semseg", "depth", "normals", "edge"}
    assert (tmp_path / "model.keras").is_file()


def test_named_things_exist():
    presets = r"[`\"]((?:taskprompter|tpanet|multitask_baseline)_\w+_(?:nyud|pascal))[`\"]"
    for name in re.findall(presets, README):
        assert name in keras_mtl.presets.PRESETS
    for path in re.findall(r"\]\((docs/[^)]+)\)", README):
        assert (Path(__file__).parents[1] / path).is_file()
