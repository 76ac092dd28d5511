"""One image: suppression and labels equal the reference's, and so do the counts."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from skimage.morphology import thin as thin_reference

pytest.importorskip("numba", reason="the extra `evaluation` is not installed")

from keras_mtl.metrics.odsf.image import (
    FAST_THRESHOLDS,
    MAX_DISTANCE,
    THRESHOLDS,
    evaluate_image,
    label_boundaries,
    suppress,
)
from keras_mtl.metrics.odsf.matching import count_matches

pytestmark = pytest.mark.once("torch", "needs no backend")

PIPELINE = {"nyud_like": "nyud", "pascal_like": "pascal"}


# === Golden ===


@pytest.mark.parametrize("case, protocol", PIPELINE.items())
def test_the_whole_procedure(odsf_golden, unpack, case, protocol):
    assert odsf_golden[f"{case}/maxDist"] == MAX_DISTANCE[protocol]
    prediction, label = odsf_golden[f"{case}/pred_u8"], odsf_golden[f"{case}/gt_src"]
    boundaries = unpack(case, "gt_eval")
    np.testing.assert_array_equal(label_boundaries(label, protocol), boundaries)
    reference = odsf_golden[f"{case}/nms_ref"]
    strength = suppress(prediction)
    assert strength.dtype == "float32"
    assert (np.abs(strength - reference) > 1e-6).sum() <= 3
    thresholds, exact, predicted, labelled = odsf_golden[f"{case}/curve"].T
    np.testing.assert_array_equal(thresholds.astype("float32"), THRESHOLDS)
    counts = evaluate_image(prediction, label, protocol)
    np.testing.assert_array_equal(counts.matched, exact)
    assert np.abs(counts.predicted - predicted).max() <= 3
    assert (counts.labelled == labelled).all()
    # From the reference's own suppressed map everything is equal, thinning too.
    radius = MAX_DISTANCE[protocol] * np.hypot(*label.shape)
    same = count_matches(reference, boundaries, THRESHOLDS, radius)
    np.testing.assert_array_equal(same, np.stack([exact, predicted], 1))
    for threshold, n_predicted, _, exact, *_ in odsf_golden[f"{case}/rows"]:
        row = count_matches(reference, boundaries, np.float32([threshold]), radius)
        assert row.tolist() == [[exact, n_predicted]]


# === Labels ===


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


def test_nothing_predicted_or_labelled(scene):
    prediction, label = scene(0)
    nothing = np.zeros_like(label)
    for first, second in ((nothing, label), (prediction, nothing), (nothing, nothing)):
        counts = evaluate_image(first, second)
        assert counts.matched.tolist() == [0] * 101
        assert counts.predicted.any() == first.any()
        assert (counts.labelled > 0) == second.any()


def test_probabilities_are_truncated_to_8_bits(scene):
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
    shape = (150, 200) if protocol == "bsds" else (425, 560)
    y, x = np.indices(shape)
    prediction = {
        "saturated": np.full(shape, 255),
        "constant": np.full(shape, 100),
        "checkerboard": 255 * ((x + y) % 2),
        "random": np.random.default_rng(0).integers(0, 256, shape),
    }[kind].astype("uint8")
    label = 255 * ((x % 40 == 0) | (y % 40 == 0))
    label = np.stack([label > 0] * 2) if protocol == "bsds" else label
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
        (np.zeros((4, 5)), np.zeros((4, 5), "uint8"), "bsd", "Unknown protocol 'bsd'"),
        (np.zeros((4, 5)), np.zeros((4, 5), "uint8"), "bsds", r"expected .*annotators, H, W"),
        (np.zeros((4, 5)), np.full((2, 4, 5), 255), "bsds", "the value 255, expected .* 0 or 1"),
    ],
)
def test_wrong_arguments(prediction, label, protocol, problem):
    with pytest.raises(ValueError, match=problem):
        evaluate_image(prediction, label, protocol)


def test_wrong_thresholds(scene):
    prediction, label = scene(0)
    for thresholds in ([0.5, 0.2], [], [-0.1, 0.5]):
        with pytest.raises(ValueError, match="thresholds"):
            evaluate_image(prediction, label, thresholds=thresholds)


def test_a_perfect_prediction(scene):
    _, label = scene(2)
    boundaries = label_boundaries(label, "nyud")
    radius = MAX_DISTANCE["nyud"] * np.hypot(*label.shape)
    counts = count_matches(boundaries.astype("float32"), boundaries, THRESHOLDS, radius)
    assert (counts == boundaries.sum()).all()


@pytest.mark.parametrize("protocol", MAX_DISTANCE)
def test_threads_count_the_same(protocol, scene):
    """What is compiled releases the GIL: images are matched at the same moment."""
    shape = (180, 240)
    images = [scene(seed, shape) for seed in range(12)]
    if protocol == "bsds":
        images = [(prediction, np.stack([label > 0] * 2)) for prediction, label in images[:4]]
    one_by_one = [evaluate_image(*image, protocol) for image in images]
    with ThreadPoolExecutor(4) as pool:
        side_by_side = list(pool.map(lambda image: evaluate_image(*image, protocol), images))
    for one, other in zip(one_by_one, side_by_side, strict=True):
        np.testing.assert_array_equal(one.matched, other.matched)
        np.testing.assert_array_equal(one.predicted, other.predicted)
        assert one.labelled == other.labelled


def test_fast_thresholds_are_among_all(scene):
    assert FAST_THRESHOLDS.dtype == THRESHOLDS.dtype == "float32"
    assert (np.diff(FAST_THRESHOLDS) > 0).all() and len(FAST_THRESHOLDS) == 25
    places = np.searchsorted(THRESHOLDS, FAST_THRESHOLDS)
    assert THRESHOLDS[places].tobytes() == FAST_THRESHOLDS.tobytes()
    coarse, dense = np.arange(1, 17) * 0.05, np.arange(41, 50) * 0.02
    np.testing.assert_allclose(FAST_THRESHOLDS, [*coarse, *dense], rtol=1e-6)
    # And an image counts the same at them, whatever the others are.
    few, every = (evaluate_image(*scene(3), thresholds=t) for t in (FAST_THRESHOLDS, THRESHOLDS))
    np.testing.assert_array_equal(few.matched, every.matched[places])
    np.testing.assert_array_equal(few.predicted, every.predicted[places])
    assert few.labelled == every.labelled
