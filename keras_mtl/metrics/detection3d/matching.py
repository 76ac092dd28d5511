"""Which predicted box is which annotated one, in one image and class."""

from typing import NamedTuple

import numpy as np

_LEAST_AREA = 1e-10  # keeps a quotient finite


class Matches(NamedTuple):
    """Pairs, and what is left.

    Args:
        truth: int `(K,)`, places of the annotated boxes that are found.
        found: int `(K,)`, places of the predicted boxes that find them.
        wrong: int, how many predictions find nothing and lie in no ignore region.
        missed: int, how many annotated boxes are not found.
    """

    truth: np.ndarray
    found: np.ndarray
    wrong: int
    missed: int


def match(truth: np.ndarray, found: np.ndarray, inside: np.ndarray, least: float) -> Matches:
    """Pairs boxes in the order of their overlap, each with one other at most.

    The two boxes with the largest intersection over union of all are a pair if it is above
    `least`; then the largest of the others, and so on. A predicted box that is left and lies by
    more than `least` of its own area in an ignore region counts for nothing.

    Args:
        truth: `(N, 4)`, annotated boxes, x and y of two corners, pixels.
        found: `(M, 4)`, predicted boxes.
        inside: `(M,)`, the largest share of each predicted box in an ignore region.
        least: of overlap and of share, in 0..1; more is asked.

    Example:

    >>> truth = np.array([[0.0, 0, 9, 9], [20, 0, 29, 9]])
    >>> found = np.array([[50.0, 0, 59, 9], [0, 0, 9, 8], [0, 0, 9, 9]])
    >>> match(truth, found, np.array([0.9, 0, 0]), 0.7)
    Matches(truth=array([0]), found=array([2]), wrong=1, missed=1)
    """
    overlap = intersection_over_union(truth, found)
    pairs = []
    while overlap.size and overlap.max() > least:
        row, column = np.unravel_index(overlap.argmax(), overlap.shape)
        pairs.append((row, column))
        overlap[row] = overlap[:, column] = 0
    of_truth, of_found = np.array(pairs, int).reshape(-1, 2).T
    left = np.ones(len(found), bool)
    left[of_found] = False
    wrong = int((left & (inside <= least)).sum())
    return Matches(of_truth, of_found, wrong, len(truth) - len(of_truth))


def intersection_over_union(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of every pair of boxes `(N, 4)` and `(M, 4)`, `(N, M)`; a box holds its last pixels, too.

    Example:

    >>> intersection_over_union(np.array([[0, 0, 9, 9]]), np.array([[0, 0, 9, 4], [90, 0, 99, 9]]))
    array([[0.5, 0. ]])
    """
    common = _intersection(one, other)
    return common / (_area(one)[:, None] + _area(other) - common + _LEAST_AREA)


def share_inside(regions: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The largest share of each box `(M, 4)` in one of the regions `(N, 4)`, `(M,)`.

    Example:

    >>> regions = np.array([[0, 0, 99, 99], [0, 0, 4, 9]])
    >>> share_inside(regions, np.array([[0, 0, 9, 9], [100, 0, 109, 9]])).round(6)
    array([1., 0.])
    """
    share = _intersection(regions, boxes) / (_area(boxes) + _LEAST_AREA)
    return share.max(0, initial=0)


def _intersection(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    low = np.maximum(one[:, None, :2], other[:, :2])
    high = np.minimum(one[:, None, 2:], other[:, 2:])
    return (high - low + 1).clip(0).prod(-1)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2] + 1).prod(-1)
