"""The command: mDS of folders."""

import json

import numpy as np
import pytest

from keras_mtl.boxes3d import Sensor
from keras_mtl.metrics.detection3d.boxes import no_boxes, predicted
from keras_mtl.metrics.detection3d.files import write_boxes
from keras_mtl.metrics.detection3d.folder import main
from keras_mtl.metrics.detection3d.scores import Protocol

pytestmark = pytest.mark.once("torch", "needs no backend")
SENSOR, SIZE = Sensor([[100, 0, 31], [0, 90, 17], [0, 0, 1]]), (40, 64)


@pytest.fixture
def run(tmp_path):
    """Two images with a car each, at 9 and 20 m, found as they are; and the command."""
    for i, x in enumerate((9.0, 20.0)):
        a_car = [0], [1.0], [[x, 0, 0]], [[4.0, 2, 1.5]], [[1.0, 0, 0, 0]]
        boxes = predicted(SENSOR, SIZE, *map(np.array, a_car))
        write_boxes(tmp_path / f"gt/aachen/aachen_0_{i}_gtBbox3d.json", boxes, SENSOR, None, SIZE)
        write_boxes(tmp_path / f"found/aachen_0_{i}_predictions.json", boxes)
    folders = ["--labels", tmp_path / "gt", "--predictions", tmp_path / "found"]
    return lambda *more: main([str(each) for each in (*folders, *more)])


def test_scores(run, tmp_path, capsys):
    (tmp_path / "found" / "results.json").write_text("{}")  # what the benchmark's program writes
    assert run("--json", tmp_path / "new" / "scores.json") == 0
    out = capsys.readouterr().out
    assert "2 images, modal boxes" in out and "mDS 100.00" in out
    report = json.loads((tmp_path / "new" / "scores.json").read_text())
    assert report["mDS"] == pytest.approx(100) and report["classes"]["car"]["truths"] == 2
    assert report["without_predictions"] == report["without_annotation"] == []
    (tmp_path / "found" / "aachen_0_1_predictions.json").rename(
        tmp_path / "found" / "bonn_0_1_predictions.json"
    )
    assert run("--amodal") == 0
    out = capsys.readouterr().out
    # One bin of distance only: of no quality, so is it published.
    assert "amodal boxes" in out and "mDS 0.00" in out
    assert "1 images have no file of predictions and count as empty: aachen_0_1." in out
    assert "1 images have predictions and no annotation, and are left out: bonn_0_1." in out


def test_refusals(run, tmp_path, capsys):
    path = tmp_path / "found" / "aachen_0_1_predictions.json"
    path.write_text('{"objects": 1}')
    assert run() == 1
    assert f"{path} has the objects 1, expected a list" in capsys.readouterr().err
    write_boxes(tmp_path / "found" / "deeper" / path.name, no_boxes())
    assert run() == 1
    assert "keep one of the two" in capsys.readouterr().err
    for wrong in ("--labels", "--predictions"):
        with pytest.raises(SystemExit) as end:
            run(wrong, tmp_path / "nowhere")
        assert end.value.code == 2 and "is not a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("--labels", tmp_path / "found")
    assert "holds no annotation" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [{"classes": ()}, {"classes": ("tram",)}, {"min_iou": 2}, {"step": 0}, {"confidence": -1}],
)
def test_wrong_protocols(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*; expected"):
        Protocol(**wrong)


def test_nothing_annotated(run, tmp_path, capsys):
    for i in range(2):
        write_boxes(tmp_path / f"gt/aachen/aachen_0_{i}_gtBbox3d.json", no_boxes(), SENSOR)
    assert run("--json", tmp_path / "scores.json") == 0
    assert "mDS nan" in capsys.readouterr().out
    assert json.loads((tmp_path / "scores.json").read_text())["mDS"] is None
