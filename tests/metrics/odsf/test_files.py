"""Files of boundaries: every kind of label, and one sentence on each kind of broken file."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

pytest.importorskip("numba", reason="the extra `evaluation` is not installed")

from keras_mtl.metrics.odsf.files import BrokenFile, read_label, read_prediction
from keras_mtl.metrics.odsf.image import evaluate_image
from keras_mtl.metrics.odsf.scores import BoundaryScores

pytestmark = pytest.mark.once("torch", "needs no backend")


def write(path, pixels):
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(pixels).save(path)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


FAULTS = {
    "missing": ("predictions/1.png", Path.unlink, "is missing, expected the prediction of image"),
    "damaged": ("predictions/1.png", truncate, "is not readable ("),
    "text": ("predictions/1.png", lambda path: path.write_text("no PNG"), "is not readable ("),
    "16 bits": (
        "predictions/1.png",
        lambda path: write(path, np.ones((90, 120), "uint16")),
        "holds 16-bit pixels, expected an 8-bit grey PNG",
    ),
    "colour": (
        "predictions/1.png",
        lambda path: write(path, np.ones((90, 120, 3), "uint8")),
        "holds RGB pixels",
    ),
    "size": (
        "predictions/1.png",
        lambda path: write(path, np.ones((32, 40), "uint8")),
        "is 32x40 pixels (height x width), expected 90x120 as in",
    ),
    "label": ("labels/1.png", truncate, "is not readable ("),
    "colour label": (
        "labels/1.png",
        lambda path: write(path, np.ones((90, 120, 3), "uint8")),
        "holds RGB pixels, expected one number",
    ),
    "value": (
        "labels/1.png",
        lambda path: write(path, np.full((90, 120), 9, "uint8")),
        "holds the value 9, expected 0 or 255",
    ),
    "no label": (
        "labels/1.png",
        lambda path: write(path, np.full((90, 120), 255, "uint8")),
        "is 255 in every pixel, which stands for no label and cannot be edges, expected",
    ),
    "no label, in 1 bit": (
        "labels/1.png",
        lambda path: write(path, np.full((90, 120), True)),
        "is 255 in every pixel",
    ),
    "missing label": ("labels/1.png", Path.unlink, "is missing, expected the label (.png) of"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(folders, command, expected, fault, capsys):
    file, break_it, problem = FAULTS[fault]
    break_it(folders / file)
    (folders / "ids.txt").write_text("0\n1\n2\n")
    more = ("--ids", folders / "ids.txt", "--json", folders / "scores.json")
    assert command(folders, *more) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(str(folders / file)) and problem in said
    assert not (folders / "scores.json").exists()
    assert command(folders, *more, "--skip-broken") == 1
    printed = capsys.readouterr().out
    assert "2 images" in printed and f"Left out (1)\n- {folders / file}" in printed
    report = json.loads((folders / "scores.json").read_text())
    assert report["odsF"] == expected([0, 2]).odsF
    assert len(report["faults"]) == 1 and report["faults"][0].endswith(".")


REGIONS = np.kron([[1, 459], [2, 1]], np.ones((45, 60)))


@pytest.fixture
def label_maps(folders):
    """Predictions of three images, and labels as PASCAL-Context has them."""
    for k, dtype in enumerate(("float64", "uint16", "int32")):
        (folders / "labels" / f"{k}.png").unlink()
        save_label_map(folders / "labels" / f"{k}.mat", REGIONS.astype(dtype))
    return folders


def save_label_map(path, label_map, variable="LabelMap"):
    savemat(path, {"other": [1, 2], variable: label_map}, do_compression=path.stem != "2")


def test_label_maps_of_pascal_context(label_maps, command, scene, capsys):
    assert command(label_maps, protocol="pascal") == 0
    scores = BoundaryScores()
    for k in range(3):
        scores.add(evaluate_image(scene(k)[0], REGIONS.astype(int), "pascal"))
    assert f"odsF {scores.odsF:8.3f}" in capsys.readouterr().out
    with pytest.raises(SystemExit):  # of NYUD there are no such labels
        command(label_maps, protocol="nyud")
    assert "holds no label, expected ID.png." in capsys.readouterr().err


def change(*changed):
    return lambda path: save_label_map(path, *changed)


LABEL_MAP_FAULTS = {
    "missing": (Path.unlink, "is missing, expected the label (.png or .npy or .mat) of image 1"),
    "damaged": (truncate, "is not readable ("),
    "text": (lambda path: path.write_text("no .mat"), "is not readable ("),
    "empty": (lambda path: path.write_bytes(b""), "is not readable ("),
    "variable": (change(REGIONS, "labels"), "has no variable LabelMap, expected one"),
    "shape": (
        change(np.ones((90, 120, 3))),
        "LabelMap of shape (90, 120, 3) and type float64, expected",
    ),
    "size": (change(REGIONS[:, 1:]), "is 90x120 pixels (height x width), expected 90x119 as in"),
    "fraction": (change(REGIONS + 0.25), "holds the value 1.25 in its LabelMap, expected whole"),
    "NaN": (change(REGIONS * np.nan), "holds the value nan in its LabelMap"),
    "infinite": (change(REGIONS * np.inf), "holds the value inf in its LabelMap"),
    "huge": (change(REGIONS * 1e300), "holds the value 1e+300 in its LabelMap"),
    "complex": (change(REGIONS * 1j), "a LabelMap of shape (90, 120) and type complex128"),
    "text in it": (change("regions"), "a LabelMap of shape (1,) and type <U7, expected numbers"),
    "no label": (change(0 * REGIONS), "is 0 (no label) in every pixel, expected regions"),
    "no pixel": (change(REGIONS[:0]), "is 0 (no label) in every pixel"),
}


@pytest.mark.parametrize("fault", LABEL_MAP_FAULTS)
def test_faults_of_label_maps(label_maps, command, scene, fault, capsys):
    break_it, problem = LABEL_MAP_FAULTS[fault]
    break_it(label_maps / "labels" / "1.mat")
    (label_maps / "ids.txt").write_text("0\n1\n2\n")
    more = ("--ids", label_maps / "ids.txt")
    assert command(label_maps, *more, protocol="pascal") == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(str(label_maps)) and problem in said
    assert str(label_maps / "labels" / "1.") in said
    assert command(label_maps, *more, "--skip-broken", protocol="pascal") == 1
    scores = BoundaryScores()
    for k in (0, 2):
        scores.add(evaluate_image(scene(k)[0], REGIONS.astype(int), "pascal"))
    printed = capsys.readouterr().out
    assert "2 images" in printed and f"odsF {scores.odsF:8.3f}" in printed and problem in printed


def test_labels_of_zeros_as_arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4), int))
    write(tmp_path / "a.png", np.zeros((3, 4), "uint8"))
    for file in ("a.npy", "a.png"):
        with pytest.raises(BrokenFile, match=rf"{file} is 0 \(no label\) in every pixel"):
            read_label(tmp_path / file, "pascal")


def test_labels_without_a_boundary(folders, command, scene, capsys):
    """An image without edges, or all of one class (there is a class 255), is a label."""
    nothing = np.zeros((90, 120), "uint8")
    write(folders / "labels" / "1.png", nothing)
    assert command(folders) == 0
    scores = BoundaryScores()
    for each in (scene(0), (scene(1)[0], nothing), scene(2)):
        scores.add(evaluate_image(*each))
    assert f"odsF {scores.odsF:8.3f}" in capsys.readouterr().out
    write(folders / "labels" / "0.png", nothing + 255)
    write(folders / "labels" / "1.png", np.full((90, 120), 65535, "uint16"))
    (folders / "labels" / "2.png").unlink()
    save_label_map(folders / "labels" / "2.mat", np.full((90, 120), 459.0))
    assert command(folders, protocol="pascal") == 0
    printed = capsys.readouterr().out
    assert "3 images" in printed and "odsF    0.000" in printed


def test_broken_arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    (tmp_path / "b.npy").write_text("text")
    np.save(tmp_path / "d.npy", np.ones((30, 40), int))
    truncate(tmp_path / "d.npy")
    for name, problem in (
        ("a", "float64"),
        ("b", "not readable"),
        ("c", "missing"),
        ("d", "damaged"),
    ):
        with pytest.raises(BrokenFile, match=problem):
            read_label(tmp_path / f"{name}.npy", "pascal")
    with pytest.raises(BrokenFile, match="missing"):
        read_prediction(tmp_path / "c.png")
