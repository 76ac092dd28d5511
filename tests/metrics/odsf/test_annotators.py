"""Several annotators of one image: BSDS500's files and protocol, by hand."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

pytest.importorskip("numba", reason="the extra `evaluation` is not installed")

from keras_mtl.metrics.odsf.annotators import count_annotated
from keras_mtl.metrics.odsf.files import BrokenFile, read_label
from keras_mtl.metrics.odsf.image import evaluate_image, suppress
from keras_mtl.metrics.odsf.matching import match_pixels
from keras_mtl.metrics.odsf.scores import BoundaryScores

pytestmark = pytest.mark.once("torch", "needs no backend")


def save(path, annotators, **more):
    """As published: a 1xN cell, each entry a 1x1 struct of Segmentation and Boundaries."""
    cell = np.empty((1, len(annotators)), object)
    for k, boundaries in enumerate(annotators):
        segmentation = np.ones(np.shape(boundaries), "uint16")
        cell[0, k] = {"Segmentation": segmentation, "Boundaries": boundaries, **more}
    path.parent.mkdir(exist_ok=True)
    savemat(path, {"groundTruth": cell})


def drawing(*strings):
    return np.array([[pixel == "#" for pixel in string] for string in strings])


# At this size only the very pixel is within 0.0075 of the diagonal.
PREDICTED = drawing(
    "........",
    "########",
    "........",
    "........",
    "..#.....",
    "..#.....",
    "..#.....",
    "..#.....",
)
FIRST = drawing(*["........", "########", *["........"] * 6])  # 8 pixels, all predicted
SECOND = drawing(  # 4 predicted pixels that the first lacks, and 8 that are not predicted
    "........",
    "........",
    "########",
    "........",
    "..#.....",
    "..#.....",
    "..#.....",
    "..#.....",
)
THIRD = drawing("########", *["........"] * 7)  # 8 pixels, one row from the prediction


def evaluated(tmp_path, command, predicted, annotators):
    """What the command writes of one image."""
    save(tmp_path / "labels" / "8068.mat", [each.astype("uint8") for each in annotators])
    (tmp_path / "predictions").mkdir(exist_ok=True)
    Image.fromarray(np.uint8(255 * predicted)).save(tmp_path / "predictions" / "8068.png")
    assert command(tmp_path, "--json", tmp_path / "scores.json", protocol="bsds") == 0
    return json.loads((tmp_path / "scores.json").read_text())


@pytest.mark.parametrize(
    "annotators, precision, recall",
    [
        ([FIRST], 8 / 12, 8 / 8),
        ([SECOND], 4 / 12, 4 / 12),
        ([FIRST, SECOND], 12 / 12, 12 / 20),  # each is right about another part
        ([FIRST, FIRST], 8 / 12, 16 / 16),  # what two agree on is right once, and found twice
        ([FIRST, SECOND, THIRD], 12 / 12, 12 / 28),
        ([THIRD, np.zeros_like(FIRST)], 0, 0),
    ],
)
def test_by_hand(tmp_path, command, annotators, precision, recall):
    report = evaluated(tmp_path, command, PREDICTED, annotators)
    assert report["max_distance"] == 0.0075 and report["images"] == 1
    f = 2 * precision * recall / (precision + recall) if precision else 0
    assert report["odsF"] == pytest.approx(100 * f) and report["OIS"] == pytest.approx(100 * f)
    assert report["curve"]["precision"][0] == pytest.approx(100 * precision, abs=1e-5)
    assert report["curve"]["recall"][0] == pytest.approx(100 * recall, abs=1e-5)


def outlines(seed):
    """Boundaries of random rectangles, with corners, that end at the border, as annotators' do."""
    draw = np.random.default_rng(seed)
    regions = np.zeros((60, 90), int)
    for k in range(1, 6):
        top, left = draw.integers(0, 50), draw.integers(0, 75)
        regions[top : top + draw.integers(8, 40), left : left + draw.integers(8, 40)] = k
    boundaries = np.zeros(regions.shape, bool)
    boundaries[:, :-1] |= regions[:, :-1] != regions[:, 1:]
    boundaries[:-1] |= regions[:-1] != regions[1:]
    return boundaries


def test_an_annotator_against_annotators(tmp_path, command):
    one = outlines(0)
    report = evaluated(tmp_path, command, one, [one])
    assert report["odsF"] == report["OIS"] == 100
    others = [outlines(seed) for seed in (1, 2)]
    report = evaluated(tmp_path, command, one, [one, *others])
    assert report["curve"]["precision"][50] == 100
    # What is found of each annotator, matched alone; radius 0.0075 * hypot(60, 90) < 1.
    from skimage.morphology import thin

    maps = [thin(each) for each in (one, *others)]
    share = sum((maps[0] & each).sum() for each in maps) / sum(each.sum() for each in maps)
    assert report["curve"]["recall"][50] == pytest.approx(100 * share, abs=1e-5)


def test_each_annotator_has_a_maximum_matching_of_near_pairs():
    """Against matchings one by one; of three lines in reach of one label the near one is right."""
    draw = np.random.default_rng(3)
    strength = (draw.random((30, 40)) * (draw.random((30, 40)) < 0.3)).astype("float32")
    annotators = draw.random((3, 30, 40)) < 0.1
    thresholds = np.float32([0.001, 0.3, 0.3, 0.8, 0.9999])
    from skimage.morphology import thin

    counts = count_annotated(strength, annotators, thresholds, 2.5)
    for (right, predicted, found), threshold in zip(counts, thresholds, strict=True):
        thinned = thin(strength > threshold)
        each = [match_pixels(thinned, labelled, 2.5) for labelled in annotators]
        assert predicted == thinned.sum() and found == sum(each)
        assert max(each) <= right <= min(predicted, sum(each))
    lines = np.zeros((9, 12), "float32")
    lines[[2, 4, 6]] = 1
    label = np.zeros((9, 12), bool)
    label[4] = True
    same = count_annotated(lines, np.stack([label] * 4), np.float32([0.5]), 3.0)
    assert same.tolist() == [[12, 36, 48]]


def test_probabilities_over_two_images():
    """Sums over images; each image's best threshold on its own for OIS."""
    images = [(outlines(seed), np.stack([outlines(seed), outlines(seed + 5)])) for seed in (1, 2)]
    scores = BoundaryScores()
    right = found = predicted = labelled = 0
    for strength, (one, annotators) in zip((0.3, 0.9), images, strict=True):
        counts = evaluate_image(np.float32(strength) * one, annotators, "bsds")
        scores.add(counts)
        right, found = right + counts.matched[10], found + counts.found[10]
        predicted, labelled = predicted + counts.predicted[10], labelled + counts.labelled
    assert right == predicted and found < labelled
    f = 200 / (1 + labelled / found)
    assert scores.odsF == pytest.approx(f) and scores.OIS == pytest.approx(f)
    assert scores.curve.recall[50] < scores.curve.recall[10]


def test_the_border_does_not_fade():
    """A boundary that ends at the border is one there; `nyud` and `pascal` let it fade."""
    one = np.uint8(255 * outlines(0))
    assert (suppress(one, fade=False) == one / 255).all() and suppress(one)[0].max() == 0


STRUCT = np.ones((8, 8), "uint8")
FAULTS = {
    "no annotator": (lambda path: save(path, []), "groundTruth of 0 entries"),
    "a LabelMap": (
        lambda path: savemat(path, {"LabelMap": STRUCT}),
        'has no variable groundTruth, expected one; use the protocol "pascal"',
    ),
    "another": (
        lambda path: savemat(path, {"x": 1}),
        "no variable groundTruth, expected one; take",
    ),
    "no cell": (lambda path: savemat(path, {"groundTruth": STRUCT}), "groundTruth of 64 entries"),
    "no struct": (
        lambda path: savemat(path, {"groundTruth": np.array([[STRUCT, None]], object)[:, :1]}),
        "groundTruth of 1 entries whose Boundaries",
    ),
    "sizes": (lambda path: save(path, [STRUCT, STRUCT[:7]]), "shapes (7, 8), (8, 8), expected one"),
    "value": (lambda path: save(path, [STRUCT * 255]), "the value 255 in its Boundaries, expected"),
    "NaN": (lambda path: save(path, [STRUCT * np.nan]), "the value nan in its Boundaries"),
    "three axes": (lambda path: save(path, [np.ones((8, 8, 3))]), "are not all maps (H, W)"),
    "no pixel": (lambda path: save(path, [STRUCT[:0]]), "expected one (H, W)"),
    "text": (lambda path: path.write_text("no .mat"), "is not readable ("),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(tmp_path, fault):
    write, problem = FAULTS[fault]
    path = tmp_path / "8068.mat"
    write(path)
    with pytest.raises(BrokenFile) as error:
        read_label(path, "bsds")
    said = str(error.value)
    assert said.startswith(str(path)) and problem in said and said.endswith(".")
    assert "\n" not in said


def test_the_other_protocol_is_named(tmp_path):
    save(tmp_path / "8068.mat", [STRUCT])
    with pytest.raises(BrokenFile, match='no variable LabelMap, expected one; use .* "bsds"'):
        read_label(tmp_path / "8068.mat", "pascal")
    boundaries = read_label(tmp_path / "8068.mat", "bsds")
    assert boundaries.dtype == bool and boundaries.shape == (1, 8, 8)
