"""The matching is a maximum one, and thinning is that of scikit-image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial.distance import cdist
from skimage.morphology import thin as thin_reference

pytest.importorskip("numba", reason="the extra `evaluation` is not installed")

from keras_mtl.metrics.odsf.image import THRESHOLDS
from keras_mtl.metrics.odsf.matching import count_matches, match_pixels
from keras_mtl.metrics.odsf.thinning import thin

pytestmark = pytest.mark.once("torch", "needs no backend")

DIRECT = ["dots", "double_line", "diagonal", "empty_pred", "empty_gt"]


@pytest.mark.parametrize("case", DIRECT)
def test_matches_of_two_binary_maps(odsf_golden, unpack, case):
    predicted, labelled = unpack(case, "pred"), unpack(case, "gt")
    for max_distance, n_predicted, n_labelled, exact, *_ in odsf_golden[f"{case}/rows"]:
        assert (predicted.sum(), labelled.sum()) == (n_predicted, n_labelled)
        radius = max_distance * np.hypot(*predicted.shape)
        assert match_pixels(predicted, labelled, radius) == exact
        assert match_pixels(labelled, predicted, radius) == exact


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
