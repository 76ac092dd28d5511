"""The command: scores of folders, sentences on broken files, and going on after a kill."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

if keras.backend.backend() != "torch":
    pytest.skip("needs no backend: runs once, with PyTorch", allow_module_level=True)
pytest.importorskip("numba", reason="the extra `evaluation` is not installed")

import keras_mtl
from keras_mtl import evaluation
from keras_mtl.metrics.odsf import folder as boundary
from keras_mtl.metrics.odsf.folder import (
    LABEL_FILES,
    BrokenFile,
    evaluate_folder,
    main,
    read_label,
    read_prediction,
)
from keras_mtl.metrics.odsf.image import (
    FAST_THRESHOLDS,
    MAX_DISTANCE,
    THRESHOLDS,
    Counts,
    evaluate_image,
)
from keras_mtl.metrics.odsf.scores import BoundaryScores


def write(path, pixels):
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folders(tmp_path, monkeypatch, scene):
    """Predictions and labels of three images."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for k in range(3):
        prediction, label = scene(k)
        write(tmp_path / "predictions" / f"{k}.png", prediction)
        write(tmp_path / "labels" / f"{k}.png", label)
    return tmp_path


def command(root, *more, protocol="nyud"):
    return main(
        [
            *("--predictions", str(root / "predictions"), "--labels", str(root / "labels")),
            *("--protocol", protocol, *map(str, more)),
        ]
    )


@pytest.fixture(scope="module")
def expected(scene):
    """`expected(seeds)`: the scores of these images."""

    def of(seeds):
        scores = BoundaryScores()
        for seed in seeds:
            scores.add(evaluate_image(*scene(seed)))
        return scores

    return of


def test_folders(folders, expected, capsys):
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


def test_labels_of_pascal(folders, scene, capsys):
    regions = np.kron([[1, 459], [2, 1]], np.ones((45, 60))).astype("uint16")
    write(folders / "labels" / "0.png", regions)
    write(folders / "labels" / "1.png", regions.astype("uint8"))
    (folders / "labels" / "2.png").unlink()
    np.save(folders / "labels" / "2.npy", regions.astype("int32"))
    assert command(folders, protocol="pascal") == 0
    scores = BoundaryScores()
    for k, dtype in enumerate(("uint16", "uint8", "int32")):
        scores.add(evaluate_image(scene(k)[0], regions.astype(dtype), "pascal"))
    assert f"odsF {scores.odsF:8.3f}" in capsys.readouterr().out


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
def test_faults(folders, expected, fault, capsys):
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


def test_label_maps_of_pascal_context(label_maps, scene, capsys):
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
def test_faults_of_label_maps(label_maps, scene, fault, capsys):
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


def test_labels_without_a_boundary(folders, scene, capsys):
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
    for name, problem in (("a", "float64"), ("b", "not readable"), ("c", "missing"), ("d", "not")):
        with pytest.raises(BrokenFile, match=problem):
            read_label(tmp_path / f"{name}.npy", "pascal")
    with pytest.raises(BrokenFile, match="missing"):
        read_prediction(tmp_path / "c.png")


def test_nothing_to_evaluate(folders, capsys):
    (folders / "empty").mkdir()
    (folders / "ids.txt").write_text("\n")
    for more, problem in (
        (["--labels", folders / "nowhere"], "nowhere is not a folder"),
        (["--labels", folders / "empty"], "empty holds no label, expected ID.png"),
        (["--ids", folders / "ids.txt"], "ids.txt lists no image"),
        (["--ids", folders / "none.txt"], "none.txt is not readable"),
        (["--processes", "0"], "expected 1 or more"),
    ):
        with pytest.raises(SystemExit) as caught:
            command(folders, *more)
        assert caught.value.code == 2
        assert problem in capsys.readouterr().err


@pytest.mark.parametrize("how", ["killed", "fault"])
def test_a_run_goes_on(folders, scene, how, monkeypatch):
    """Images that are done are not done again, unless their files have changed."""
    partial = folders / "scores.json.partial.npz"
    evaluate, done = boundary.evaluate_files, []

    def interrupted(prediction, label, protocol):
        if len(done) == 2:
            raise KeyboardInterrupt if how == "killed" else BrokenFile("It is broken.")
        done.append(prediction.stem)
        return evaluate(prediction, label, protocol)

    monkeypatch.setattr(boundary, "evaluate_files", interrupted)
    arguments = (folders / "predictions", folders / "labels", "nyud")
    with pytest.raises(KeyboardInterrupt if how == "killed" else BrokenFile):
        evaluate_folder(*arguments, partial=partial, progress=False)
    assert partial.is_file() and done == ["0", "1"]

    def counted(*files):
        done.append(files[0].stem)
        return evaluate(*files)

    monkeypatch.setattr(boundary, "evaluate_files", counted)
    prediction, label = scene(1)
    write(folders / "predictions" / "1.png", 255 - prediction)
    done.clear()
    scores = BoundaryScores()
    for each in (scene(0), (255 - prediction, label), scene(2)):
        scores.add(evaluate_image(*each))
    assert command(folders, "--json", folders / "scores.json") == 0
    assert done == ["1", "2"] and not partial.exists()
    assert json.loads((folders / "scores.json").read_text())["odsF"] == scores.odsF


@pytest.mark.parametrize("kind", ["another run", "damaged"])
def test_a_partial_file_that_is_of_no_use(folders, expected, kind):
    partial = folders / "scores.json.partial.npz"
    if kind == "damaged":
        partial.write_bytes(b"PK\x03\x04 cut short")
    else:
        kept = boundary._Kept(partial, "pascal", folders / "predictions", folders / "labels")
        nothing = Counts(np.zeros(101, int), np.zeros(101, int), 1)
        kept.put("0", [1, 2, 3, 4], nothing)
        kept.save()
    assert command(folders, "--json", folders / "scores.json") == 0
    report = json.loads((folders / "scores.json").read_text())
    assert report["odsF"] == expected(range(3)).odsF


def test_counts_are_saved_on_the_way(folders, monkeypatch):
    """A process killed outright cannot save at its end."""
    monkeypatch.setattr(boundary, "_SAVE_EVERY", -1.0)
    partial, evaluate, seen = folders / "partial.npz", boundary.evaluate_files, []

    def watched(*files):
        seen.append(partial.is_file())
        return evaluate(*files)

    monkeypatch.setattr(boundary, "evaluate_files", watched)
    arguments = (folders / "predictions", folders / "labels", "nyud")
    evaluate_folder(*arguments, partial=partial, progress=False)
    assert seen == [False, True, True]


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
    """Without the parent package, which imports Keras, for one."""
    code = f"""
import sys, types
parent = sys.modules["keras_mtl"] = types.ModuleType("keras_mtl")
parent.__path__ = {list(keras_mtl.__path__)}
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
