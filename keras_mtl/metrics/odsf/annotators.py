"""One prediction matched with several people's boundaries of the same image, as BSDS500 does.

Each annotator's boundaries are matched on their own. A predicted pixel is right if any of them has
a pair for it, and each annotator's pixel is to be found: precision is of the union of the matches,
recall of all annotators' pixels together.

Which of two predicted pixels gets the one label in reach decides how large that union is. As in the
published tool the nearer one does: pairs are made within a radius of 0 pixels, then of 1, and so
on. What is paired stays paired, if with a farther pixel, so that the matching is a maximum one too.
"""

import numpy as np

from keras_mtl.metrics.odsf.matching import FREE, add_pairs, list_ranges, matching_space, ranges
from keras_mtl.metrics.odsf.thinning import thin


def count_annotated(
    strength: np.ndarray, annotators: np.ndarray, thresholds: np.ndarray, radius: float
) -> np.ndarray:
    """Thins the map above each threshold and matches what is left with every annotator.

    Args:
        strength: float32 `(H, W)`, 0 or more; predicted is what is strictly above a threshold.
        annotators: bool `(A, H, W)`, taken as they are, not thinned.
        thresholds: float32 `(T,)` in ascending order.
        radius: pairs that are farther apart, in pixels, do not match.

    Returns:
        int64 `(T, 3)`: the predicted pixels that any annotator has a pair for, the predicted
        pixels, and the pairs of all annotators.

    Example:

    >>> strength = np.zeros((5, 8), "float32")
    >>> strength[1:4:2] = 0.5
    >>> annotators = np.zeros((2, 5, 8), bool)
    >>> annotators[0, 1] = annotators[1, 1, :4] = annotators[1, 4] = True
    >>> count_annotated(strength, annotators, np.float32([0.2, 0.7]), radius=1.0).tolist()
    [[16, 16, 20], [0, 0, 0]]
    """
    reaches = [*range(int(radius) + 1), radius]
    tables = [[ranges(labelled, reach) for reach in reaches] for labelled in annotators]
    counts, before = np.zeros((len(thresholds), 3), "int64"), None
    for t, threshold in enumerate(thresholds):
        above = strength > threshold
        if before is not None and (above == before).all():
            counts[t] = counts[t - 1]
            continue
        before, predicted = above, thin(above)
        matched = [_matched(predicted, table) for table in tables]
        right = np.any(matched, axis=0).sum() if matched else 0
        counts[t] = right, predicted.sum(), np.sum(matched)
    return counts


def _matched(predicted: np.ndarray, table: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Which predicted pixels have a pair, bool `(H, W)`; a row of the table for each radius."""
    padded = np.pad(predicted, 1)
    places = np.flatnonzero(padded)
    n_labelled = int(table[0][0][-1, -1])
    here, there = np.ones(len(places), bool), np.ones(n_labelled, bool)
    pairs = np.full(len(places), FREE, "int32"), np.full(n_labelled, FREE, "int32")
    space = matching_space(len(places), n_labelled)
    for first, half_widths in table:
        reach = list_ranges(places, padded.shape[1], first, half_widths)
        while add_pairs(here, there, *pairs, *reach, *space):
            pass
    padded.ravel()[places] = pairs[0] != FREE
    return padded[1:-1, 1:-1]
