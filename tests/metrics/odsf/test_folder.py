"""The command: scores of folders, by one process or several."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("numba", reason="the extra `evaluation` is not installed")

import keras_mtl
from keras_mtl import evaluation, metrics
from keras_mtl.metrics.odsf.files import LABEL_FILES
from keras_mtl.metrics.odsf.folder import evaluate_folder, main
from keras_mtl.metrics.odsf.image import (
    FAST_THRESHOLDS,
    MAX_DISTANCE,
    THRESHOLDS,
    evaluate_image,
)
from keras_mtl.metrics.odsf.scores import BoundaryScores

pytestmark = pytest.mark.once("torch", "needs no backend")


def test_folders(folders, command, expected, capsys):
    assert command(folders, "--json", folders / "new" / "scores.json") == 0
    printed = capsys.readouterr()
    scores = expected(range(3))
    assert f"odsF {scores.odsF:8.3f}" in printed.out and "3 images" in printed.out
    assert "100%" in printed.err
    report = json.loads((folders / "new" / "scores.json").read_text())
    assert report["odsF"] == scores.odsF and report["images"] == 3 and report["faults"] == []
    np.testing.assert_allclose(report["curve"]["F"], scores.curve.F, atol=1e-6)
    assert os.listdir(folders / "new") == ["scores.json"]
    (folders / "ids.txt").write_text("2\n0\n")
    assert command(folders, "--ids", folders / "ids.txt") == 0
    assert f"odsF {expected([0, 2]).odsF:8.3f}" in capsys.readouterr().out
    assert not list((folders / "cache").rglob("*.*"))


def test_labels_of_pascal(folders, command, scene, capsys):
    regions = np.kron([[1, 459], [2, 1]], np.ones((45, 60))).astype("uint16")
    Image.fromarray(regions).save(folders / "labels" / "0.png")
    Image.fromarray(regions.astype("uint8")).save(folders / "labels" / "1.png")
    (folders / "labels" / "2.png").unlink()
    np.save(folders / "labels" / "2.npy", regions.astype("int32"))
    assert command(folders, protocol="pascal") == 0
    scores = BoundaryScores()
    for k, dtype in enumerate(("uint16", "uint8", "int32")):
        scores.add(evaluate_image(scene(k)[0], regions.astype(dtype), "pascal"))
    assert f"odsF {scores.odsF:8.3f}" in capsys.readouterr().out


def test_nothing_to_evaluate(folders, command, capsys):
    (folders / "empty").mkdir()
    (folders / "ids.txt").write_text("\n")
    for more, problem in (
        (["--labels", folders / "nowhere"], "nowhere is not a folder"),
        (["--labels", folders / "empty"], "empty holds no label, expected ID.png"),
        (["--ids", folders / "ids.txt"], "ids.txt lists no image"),
        (["--ids", folders / "none.txt"], "none.txt is not readable"),
        (["--processes", "0"], "expected 1 or more"),
        (["--json", folders / "empty"], "empty is a folder; name a file for --json"),
        (["--json", folders / "ids.txt/a.json"], "ids.txt is a file)."),
    ):
        with pytest.raises(SystemExit) as caught:
            command(folders, *more)
        assert caught.value.code == 2
        assert problem in capsys.readouterr().err


def test_several_processes(folders, expected):
    """As a program of its own, as users start it."""
    (folders / "predictions" / "1.png").write_text("broken")
    result = subprocess.run(
        [
            *(sys.executable, "-m", "keras_mtl.evaluation.boundary", "--protocol", "nyud"),
            *("--predictions", folders / "predictions", "--labels", folders / "labels"),
            *("--processes", "2", "--skip-broken"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    assert f"odsF {expected([0, 2]).odsF:8.3f}" in result.stdout
    assert "1.png is not readable" in result.stdout
    assert "Warning" not in result.stderr


def test_names_of_the_package():
    assert evaluation.evaluate_image is evaluate_image
    assert evaluation.evaluate_folder is evaluate_folder
    assert evaluation.BoundaryScores is BoundaryScores
    assert evaluation.THRESHOLDS is THRESHOLDS
    assert evaluation.FAST_THRESHOLDS is FAST_THRESHOLDS
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = evaluation.nothing


def test_help(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    printed = capsys.readouterr().out
    assert caught.value.code == 0
    assert all(suffix in printed for suffixes in LABEL_FILES.values() for suffix in suffixes)
    assert all(protocol in printed for protocol in MAX_DISTANCE)


def test_import_is_light():
    code = "import sys, keras_mtl.metrics.odsf.folder; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_here_needs_keras():
    """Without the packages around, which import Keras for others."""
    packages = {package.__name__: list(package.__path__) for package in (keras_mtl, metrics)}
    code = f"""
import sys, types
for package, places in {packages}.items():
    sys.modules[package] = types.ModuleType(package)
    sys.modules[package].__path__ = places
import keras_mtl.metrics.odsf.folder
heavy = {{"numba", "scipy", "skimage", "PIL"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
import numpy as np
from keras_mtl.evaluation import evaluate_image
evaluate_image(np.eye(30), np.eye(30) > 0)
backends = {{"keras", "jax", "tensorflow", "torch"}}
assert not backends & set(sys.modules), backends & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
