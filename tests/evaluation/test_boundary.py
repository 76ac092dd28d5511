"""odsF equals the reference on golden maps, and the matching an independent one on random maps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial.distance import cdist
from skimage.morphology import thin as thin_reference

if keras.backend.backend() != "torch":
    pytest.skip("needs no backend: runs once, with PyTorch", allow_module_level=True)
pytest.importorskip("numba", reason="the extra `evaluation` is not installed")

from keras_mtl import evaluation
from keras_mtl.evaluation import boundary
from keras_mtl.evaluation.boundary import (
    MAX_DISTANCE,
    THRESHOLDS,
    BoundaryScores,
    BrokenFile,
    Counts,
    evaluate_folder,
    evaluate_image,
    label_boundaries,
    main,
    read_label,
    read_prediction,
    suppress,
)
from keras_mtl.evaluation.matching import count_matches, match_pixels, thin

GOLDEN = Path(__file__).parents[1] / "golden" / "golden_odsf.npz"
DIRECT = ["dots", "double_line", "diagonal", "empty_pred", "empty_gt"]
PIPELINE = {"nyud_like": "nyud", "pascal_like": "pascal"}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def unpack(golden, case, name):
    height, width = golden[f"{case}/shape"]
    bits = np.unpackbits(golden[f"{case}/{name}"])[: height * width]
    return bits.reshape(height, width).astype(bool)


# === Golden ===


@pytest.mark.parametrize("case", DIRECT)
def test_matches_of_two_binary_maps(golden, case):
    predicted, labelled = unpack(golden, case, "pred"), unpack(golden, case, "gt")
    for max_distance, n_predicted, n_labelled, exact, *_ in golden[f"{case}/rows"]:
        assert (predicted.sum(), labelled.sum()) == (n_predicted, n_labelled)
        radius = max_distance * np.hypot(*predicted.shape)
        assert match_pixels(predicted, labelled, radius) == exact
        assert match_pixels(labelled, predicted, radius) == exact


@pytest.mark.parametrize("case, protocol", PIPELINE.items())
def test_the_whole_procedure(golden, case, protocol):
    assert golden[f"{case}/maxDist"] == MAX_DISTANCE[protocol]
    prediction, label = golden[f"{case}/pred_u8"], golden[f"{case}/gt_src"]
    boundaries = unpack(golden, case, "gt_eval")
    np.testing.assert_array_equal(label_boundaries(label, protocol), boundaries)
    reference = golden[f"{case}/nms_ref"]
    strength = suppress(prediction)
    assert strength.dtype == "float32"
    assert (np.abs(strength - reference) > 1e-6).sum() <= 3
    thresholds, exact, predicted, labelled = golden[f"{case}/curve"].T
    np.testing.assert_array_equal(thresholds.astype("float32"), THRESHOLDS)
    counts = evaluate_image(prediction, label, protocol)
    np.testing.assert_array_equal(counts.matched, exact)
    assert np.abs(counts.predicted - predicted).max() <= 3
    assert (counts.labelled == labelled).all()
    # From the reference's own suppressed map everything is equal, thinning too.
    radius = MAX_DISTANCE[protocol] * np.hypot(*label.shape)
    same = count_matches(reference, boundaries, THRESHOLDS, radius)
    np.testing.assert_array_equal(same, np.stack([exact, predicted], 1))
    for threshold, n_predicted, _, exact, *_ in golden[f"{case}/rows"]:
        row = count_matches(reference, boundaries, np.float32([threshold]), radius)
        assert row.tolist() == [[exact, n_predicted]]


# === Independent references ===


def matches_reference(predicted, labelled, radius):
    near = cdist(np.argwhere(predicted), np.argwhere(labelled), "sqeuclidean") <= radius * radius
    if not near.size:
        return 0
    return int((maximum_bipartite_matching(csr_matrix(near)) >= 0).sum())


SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 13))


@st.composite
def two_maps(draw):
    shape = draw(SHAPES)
    return draw(arrays(bool, shape)), draw(arrays(bool, shape))


@settings(max_examples=300, deadline=None)
@given(two_maps(), st.sampled_from([0.0, 0.9, 1.0, 1.5, 2.0, 2.9, 5.0, 40.0]))
def test_the_matching_is_maximal(maps, radius):
    predicted, labelled = maps
    assert match_pixels(predicted, labelled, radius) == matches_reference(*maps, radius)


@pytest.mark.parametrize("seed", range(4))
def test_the_matching_is_maximal_on_larger_maps(seed):
    rng = np.random.default_rng(seed)
    predicted, labelled = rng.random((2, 61, 47)) < np.array([0.02, 0.1, 0.3, 0.5])[seed]
    labelled[:, :20] = False  # far more predicted than labelled pixels there: long paths
    for radius in (1.0, 2.5, 4.3):
        expected = matches_reference(predicted, labelled, radius)
        assert match_pixels(predicted, labelled, radius) == expected


@settings(max_examples=200, deadline=None)
@given(arrays(bool, SHAPES))
def test_thinning_is_that_of_scikit_image(image):
    np.testing.assert_array_equal(thin(image), thin_reference(image))


@pytest.mark.parametrize("density", [0.05, 0.3, 0.6, 0.9, 0.99, 1.0])
def test_thinning_of_larger_maps(density):
    image = np.random.default_rng(3).random((70, 91)) < density
    np.testing.assert_array_equal(thin(image), thin_reference(image))


@pytest.mark.parametrize("seed", range(3))
def test_each_threshold_as_if_it_were_alone(seed):
    """What is carried over from one threshold to the next changes nothing."""
    rng = np.random.default_rng(seed)
    strength = rng.random((40, 53)).astype("float32").round(2)
    strength[rng.random((40, 53)) < 0.4] = 0
    labelled = thin(rng.random((40, 53)) < 0.2)
    thresholds = THRESHOLDS[::7]
    counts = count_matches(strength, labelled, thresholds, 2.3)
    for threshold, (matched, predicted) in zip(thresholds, counts, strict=True):
        thinned = thin_reference(strength > threshold)
        assert predicted == thinned.sum()
        assert matched == matches_reference(thinned, labelled, 2.3)


def boundaries_reference(label):
    """Fact 5 of the procedure, pixel by pixel."""
    height, width = label.shape
    differs = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            for dy, dx in ((0, 1), (1, 0), (1, 1)):
                if y + dy < height and x + dx < width:
                    differs[y, x] |= label[y, x] != label[y + dy, x + dx]
    return thin_reference(differs)


def test_boundaries_of_a_label():
    edge = np.where(np.random.default_rng(0).random((20, 31)) < 0.1, 255, 0).astype("uint8")
    np.testing.assert_array_equal(label_boundaries(edge, "nyud"), boundaries_reference(edge))
    np.testing.assert_array_equal(label_boundaries(edge > 0, "nyud"), boundaries_reference(edge))
    # Two regions of one value touch at a corner only: different regions. 0 is a region as well.
    regions = np.kron([[0, 1], [1, 0]], np.ones((5, 8), "uint16"))
    expected = boundaries_reference(np.kron([[1, 2], [3, 4]], np.ones((5, 8), int)))
    np.testing.assert_array_equal(label_boundaries(regions, "pascal"), expected)


# === Single images ===


def scene(seed, shape=(90, 120)):
    """A noisy prediction and the edge image it is of."""
    rng = np.random.default_rng(seed)
    label = np.zeros(shape, "uint8")
    label[rng.integers(8, 80)] = 255
    label[:, rng.integers(8, 110)] = 255
    prediction = 0.6 * np.roll(label, rng.integers(-1, 2), 0) + rng.integers(0, 100, shape)
    return prediction.astype("uint8"), label


def test_nothing_predicted_or_labelled():
    prediction, label = scene(0)
    nothing = np.zeros_like(label)
    for first, second in ((nothing, label), (prediction, nothing), (nothing, nothing)):
        counts = evaluate_image(first, second)
        assert counts.matched.tolist() == [0] * 101
        assert counts.predicted.any() == first.any()
        assert (counts.labelled > 0) == second.any()
        scores = BoundaryScores()
        scores.add(counts)
        assert (scores.odsF, scores.OIS, scores.AP) == (0, 0, 0)


def test_probabilities_are_truncated_to_8_bits():
    prediction, label = scene(1)
    probability = (prediction + np.float32(0.9)) / 255
    expected = evaluate_image(prediction, label)
    found = evaluate_image(probability.clip(0, 1), label)
    np.testing.assert_array_equal(found.matched, expected.matched)
    np.testing.assert_array_equal(found.predicted, expected.predicted)


def test_tiny_images():
    for shape in ((1, 1), (1, 7), (7, 1), (2, 2), (4, 3)):
        counts = evaluate_image(np.full(shape, 200, "uint8"), np.zeros(shape, "uint8"))
        assert counts.labelled == 0


@pytest.mark.parametrize("protocol", MAX_DISTANCE)
@pytest.mark.parametrize("kind", ["saturated", "constant", "checkerboard", "random"])
def test_broken_predictions_do_not_stall(kind, protocol):
    """At the size of NYUD; the benchmark times them, here only a standstill would show."""
    shape = (425, 560)
    y, x = np.indices(shape)
    prediction = {
        "saturated": np.full(shape, 255),
        "constant": np.full(shape, 100),
        "checkerboard": 255 * ((x + y) % 2),
        "random": np.random.default_rng(0).integers(0, 256, shape),
    }[kind].astype("uint8")
    label = 255 * ((x % 40 == 0) | (y % 40 == 0))
    counts = evaluate_image(prediction, label, protocol)
    assert (counts.matched <= counts.predicted).all()
    assert (counts.matched <= counts.labelled).all()


@pytest.mark.parametrize(
    "prediction, label, protocol, problem",
    [
        (np.zeros((4, 5), "uint8"), np.zeros((4, 6), "uint8"), "nyud", "shape .4, 5. and the"),
        (np.zeros((4, 5), "int32"), np.zeros((4, 5), "uint8"), "nyud", "type int32, expected"),
        (np.full((4, 5), 3.0), np.zeros((4, 5), "uint8"), "nyud", "apply a sigmoid"),
        (np.full((4, 5), np.nan), np.zeros((4, 5), "uint8"), "nyud", "ranges from nan"),
        (np.zeros((4, 5, 1)), np.zeros((4, 5), "uint8"), "nyud", r"expected \(H, W\)"),
        (np.zeros((4, 5)), np.full((4, 5), 7, "uint8"), "nyud", "the value 7, expected 0 or 255"),
        (np.zeros((4, 5)), np.zeros((4, 5)), "pascal", "expected whole numbers"),
        (np.zeros((4, 5)), np.zeros((4, 5), "uint8"), "bsds", "Unknown protocol 'bsds'"),
    ],
)
def test_wrong_arguments(prediction, label, protocol, problem):
    with pytest.raises(ValueError, match=problem):
        evaluate_image(prediction, label, protocol)


def test_wrong_thresholds():
    prediction, label = scene(0)
    for thresholds in ([0.5, 0.2], [], [-0.1, 0.5]):
        with pytest.raises(ValueError, match="thresholds"):
            evaluate_image(prediction, label, thresholds=thresholds)
    with pytest.raises(ValueError, match="for 2 thresholds, expected 101"):
        BoundaryScores().add(evaluate_image(prediction, label, thresholds=[0.2, 0.5]))


# === Scores ===


def test_scores_of_several_images():
    every = [evaluate_image(*scene(seed)) for seed in range(6)]
    scores = BoundaryScores()
    for counts in every:
        scores.add(counts)
    # Written out with plain loops.
    labelled = sum(c.labelled for c in every)
    curve = []
    for t in range(101):
        matched = sum(int(c.matched[t]) for c in every)
        predicted = sum(int(c.predicted[t]) for c in every)
        precision, recall = matched / max(predicted, 1), matched / labelled
        f = 2 * precision * recall / (precision + recall) if matched else 0.0
        curve.append((precision, recall, f))
    expected = np.array(curve).T * 100
    np.testing.assert_allclose(scores.curve[1:], expected)
    assert scores.odsF == pytest.approx(expected[2].max())
    assert scores.best_threshold == pytest.approx(THRESHOLDS[expected[2].argmax()])
    best = [
        max(range(101), key=lambda t, c=c: c.matched[t] / (c.predicted[t] + c.labelled))
        for c in every
    ]
    matched = sum(c.matched[t] for c, t in zip(every, best, strict=True))
    predicted = sum(c.predicted[t] for c, t in zip(every, best, strict=True))
    precision, recall = matched / predicted, matched / labelled
    assert scores.OIS == pytest.approx(200 * precision * recall / (precision + recall))
    assert scores.images == 6 and scores.OIS >= scores.odsF > 20
    assert 0 < scores.AP < 100


def test_average_precision_by_hand():
    scores = BoundaryScores(thresholds=[0.2, 0.5, 0.8])
    # Recall 0.8, 0.8, 0.4 at precision 0.4, 0.5, 1.
    scores.add(Counts(np.array([8, 8, 4]), np.array([20, 16, 4]), 10))
    recalls = np.arange(40, 81) / 100
    assert scores.AP == pytest.approx(sum(1 - (r - 0.4) * 0.5 / 0.4 for r in recalls))


def test_a_perfect_prediction():
    _, label = scene(2)
    boundaries = label_boundaries(label, "nyud")
    radius = MAX_DISTANCE["nyud"] * np.hypot(*label.shape)
    counts = count_matches(boundaries.astype("float32"), boundaries, THRESHOLDS, radius)
    assert (counts == boundaries.sum()).all()


# === The command line ===


def write(path, pixels):
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folders(tmp_path, monkeypatch):
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


def expected(seeds):
    scores = BoundaryScores()
    for seed in seeds:
        scores.add(evaluate_image(*scene(seed)))
    return scores


def test_folders(folders, capsys):
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


def test_labels_of_pascal(folders, capsys):
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
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(folders, fault, capsys):
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


def test_broken_arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    (tmp_path / "b.npy").write_text("text")
    for name, problem in (("a", "float64"), ("b", "not readable"), ("c", "missing")):
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
def test_a_run_goes_on(folders, how, monkeypatch):
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
def test_a_partial_file_that_is_of_no_use(folders, kind):
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


def test_several_processes(folders):
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
    assert evaluation.BoundaryScores is BoundaryScores
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = evaluation.nothing


def test_import_is_light():
    code = "import sys, keras_mtl.evaluation.boundary; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
