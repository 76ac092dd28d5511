"""mDS against reference values of the public evaluator, and against that itself."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest

from keras_mtl.metrics.detection3d.boxes import predicted
from keras_mtl.metrics.detection3d.files import read_predictions, read_truth, write_boxes
from keras_mtl.metrics.detection3d.folder import evaluate_boxes
from keras_mtl.metrics.detection3d.scores import DetectionScores, Protocol

pytestmark = pytest.mark.once("torch", "the score of boxes is computed in NumPy")
OWN = Path(__file__).parent / "golden" / "golden_mds.json"
GOLDEN = json.loads(Path(os.environ.get("GOLDEN_FILE", OWN)).read_bytes())
if not isinstance(GOLDEN, dict) or "ground_truth" not in GOLDEN:
    pytest.skip("GOLDEN_FILE is of something else", allow_module_level=True)
CONFIDENCES = 50  # of the public evaluator; a run of another number has a curve
# Their name, ours, and whether ours is in percent.
PER_CLASS = {
    "Detection_Score": "DS",
    "AP": "AP",
    "Center_Dist": "center",
    "Size_Similarity": "size",
    "OS_Yaw": "yaw",
    "OS_Pitch_Roll": "pitch_roll",
}


def curves(expected):
    """The precision-recall curves that the file holds, by class."""
    begin = "AP_curve_"
    return {key.removeprefix(begin): x for key, x in expected.items() if key.startswith(begin)}


def protocol(run, expected):
    """The parameters of a run, as the file names them."""
    said, working = expected["eval_params"], set(expected["working_confidence"].values())
    known = [len(curve["recall"]) - 1 for curve in curves(expected).values()]
    return Protocol(
        classes=tuple(said["labels"]),
        amodal=said["matching_method"] == "Amodal",
        min_iou=said["min_iou_to_match"],
        max_depth=said["max_depth"],
        step=said["step_size"],
        confidences=known[0] if known else CONFIDENCES,
        confidence=working.pop() if "cw" in run and len(working) == 1 else None,
    )


def predictions(run):
    """The files of predictions: the annotations themselves, none at all, or the given ones."""
    if run.startswith("perfect"):
        return GOLDEN["ground_truth"]
    return {} if run.startswith("empty") else GOLDEN["predictions"]


def score(run, rules):
    scores = DetectionScores(rules)
    for name, truth in GOLDEN["ground_truth"].items():
        truth = read_truth(json.dumps(truth).encode(), name)
        content = predictions(run).get(name) or {"objects": []}
        found = read_predictions(json.dumps(content).encode(), name, truth.sensor)
        scores.add(truth.boxes, found, truth.ignore)
    return scores


@pytest.mark.parametrize("run", GOLDEN["results"])
def test_scores_are_those_of_the_public_evaluator(run):
    expected = GOLDEN["results"][run]
    scores = score(run, protocol(run, expected))
    assert scores.mDS / 100 == pytest.approx(expected["mDetection_Score"], abs=1e-6)
    for theirs, ours in PER_CLASS.items():
        mean = expected["mDetection_Score" if ours == "DS" else f"m{theirs}"]
        assert scores.mean(ours) / 100 == pytest.approx(mean, abs=1e-6), theirs
        for name, value in expected[theirs].items():
            found = getattr(scores.of(name), ours)
            assert found / 100 == pytest.approx(value, abs=1e-6), (theirs, name)
    for name, found in scores.classes().items():
        assert found.truths == expected["GT_stats"][name]
        assert found.confidence == pytest.approx(expected["working_confidence"][name], abs=1e-6)
        counts = {float(begin): n for begin, n in expected["bin_items"][name].items()}
        assert found.pairs == counts
        for theirs, bins in expected["depth_bins"].items():
            values = {float(begin): x for begin, x in bins[name].items()}
            ours = {b: x / 100 for b, x in found.bins[PER_CLASS[theirs]].items()}
            assert ours == pytest.approx(values, abs=1e-6)
    for name, curve in curves(expected).items():
        assert scores.of(name).recall == pytest.approx(curve["recall"], abs=1e-6)
        assert scores.of(name).precision == pytest.approx(curve["precision"], abs=1e-6)


@pytest.fixture
def public(tmp_path, monkeypatch):
    """The public evaluator's module; to import it writes `eval.log` and takes over the logging."""
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    name = "cityscapesscripts.evaluation.evalObjectDetection3d"
    yield pytest.importorskip(name, reason="cityscapesscripts (extra `dev`) is not installed")
    root.level, root.handlers[:] = before


@pytest.mark.filterwarnings("ignore:The .warn. method is deprecated:DeprecationWarning")
@pytest.mark.parametrize("amodal", [False, True])
def test_other_boxes_and_parameters_as_the_public_evaluator(amodal, public, tmp_path):
    """Annotations shaken at random, through the files that we write and read."""
    rng = np.random.default_rng(7)
    for name, content in GOLDEN["ground_truth"].items():
        data = json.dumps(content).encode()
        truth = read_truth(data, name)
        write_boxes(tmp_path / f"gt/{name}_gtBbox3d.json", truth.boxes, truth.sensor, truth.ignore)
        boxes = truth.boxes.take(rng.permutation(np.repeat(np.arange(len(truth.boxes)), 2)))
        n = len(boxes)
        shaken = predicted(
            truth.sensor,
            truth.image_size,
            np.where(rng.random(n) < 0.9, boxes.label, rng.integers(0, 6, n)),
            rng.random(n).round(2),
            boxes.center + rng.normal(0, 0.3, (n, 3)),
            boxes.size * rng.uniform(0.8, 1.25, (n, 3)),
            boxes.rotation + rng.normal(0, 0.1, (n, 4)),
            boxes.modal + rng.normal(0, 5, (n, 4)),
        )
        write_boxes(tmp_path / f"pred/{name}_predictions.json", shaken)
    rules = Protocol(amodal=amodal, min_iou=0.5, max_depth=60, step=10, confidences=20)
    parameters = public.EvaluationParameters(
        list(rules.classes), 0.5, 60, 10, public.MATCHING_AMODAL if amodal else 1, -1.0, 20
    )
    gt, pred = str(tmp_path / "gt"), str(tmp_path / "pred")
    public.evaluate3dObjectDetection(gt, pred, str(tmp_path), parameters, plot=False)
    expected = json.loads((tmp_path / "results.json").read_text())
    scores = evaluate_boxes(pred, gt, rules, progress=False).scores
    assert scores.mDS / 100 == pytest.approx(expected["mDetection_Score"], abs=1e-9)
    assert 0 < scores.mDS / 100 < 1
    for theirs, ours in PER_CLASS.items():
        for name, value in expected[theirs].items():
            value = value if ours == "DS" else value["auc"]
            found = getattr(scores.of(name), ours)
            assert found / 100 == pytest.approx(value, abs=1e-9), (theirs, name)
