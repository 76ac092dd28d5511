"""From the numbers predicted at points to a list of boxes."""

from typing import Any, NamedTuple

import numpy as np

from keras_mtl.boxes3d.overlap import bird_eye_rectangles, rotated_nms
from keras_mtl.boxes3d.points import PointBoxes, boxes_of_points, parts_of_raw
from keras_mtl.boxes3d.projection import unproject


class Choice(NamedTuple):
    """Which of all boxes are kept; as published unless said otherwise.

    Args:
        least_score: float. A box of this score or less is none.
        most_overlap: float. The overlap from above (intersection over union) with a better box of
            its class beyond which one is left out.
        of_level: int. Points of each level that are looked at, the best ones.
        most: int. Boxes of an image.
    """

    least_score: float = 0.05
    most_overlap: float = 0.3
    of_level: int = 1000
    most: int = 200


class FoundBoxes(NamedTuple):
    """The boxes of one image, N of them.

    Args:
        classes: int `(N,)`.
        scores: `(N,)`, in 0..1.
        places: `(N, 3)`, projected centre, pixels, and its depth, metres.
        centers: `(N, 3)`, the same in the frame S, metres.
        sizes: `(N, 3)`, length, width, height, metres.
        angles: `(N, 3)`, radians.
        boxes: `(N, 4)`, left, top, right, bottom of the visible part, pixels.
    """

    classes: np.ndarray
    scores: np.ndarray
    places: np.ndarray
    centers: np.ndarray
    sizes: np.ndarray
    angles: np.ndarray
    boxes: np.ndarray


def choose_boxes(
    raw: Any, camera: Any, image_size: tuple[int, int], choice: Choice | None = None
) -> FoundBoxes:
    """The boxes of one image: the best points, and of those that overlap from above the best one.

    Args:
        raw: array `(P, classes + 25)`, see `keras_mtl.boxes3d.points.RawBoxes`.
        camera: array `(3, 3)`.
        image_size: `(height, width)` in pixels, which boxes in the image are cut off at.
        choice: which are kept; `None` means the published choice.

    Returns:
        Class by class, by descending score; if there are more than `choice.most`, by descending
        score all together.

    Example:

    >>> from keras_mtl.boxes3d.points import points_of
    >>> raw = np.concatenate([np.full((12, 26), -5.0), points_of([(3, 4)], [8.0])], axis=-1)
    >>> raw[5, 0] = raw[5, 25] = 4.0  # a car at the sixth point
    >>> raw[:, 8] = 10.0  # m away
    >>> found = choose_boxes(raw, [[50.0, 0, 16], [0, 50, 12], [0, 0, 1]], (24, 32))
    >>> found.classes.tolist(), found.scores.round(2).tolist()
    ([0], [0.96])
    """
    choice, raw = choice or Choice(), np.asarray(raw, "float32")
    found = boxes_of_points(raw, _NumPy)
    best = found.scores.max(axis=-1)
    looked_at = []
    for low in np.unique(parts_of_raw(raw).span[:, 0]):
        (level,) = np.nonzero(parts_of_raw(raw).span[:, 0] == low)
        if len(level) > choice.of_level:
            level = level[np.argsort(-best[level], kind="stable")[: choice.of_level]]
        looked_at.append(level[best[level] > choice.least_score])
    places = np.concatenate(looked_at)
    found = PointBoxes(*(each[places].astype("float64") for each in found))
    centers = unproject(found.places, camera)
    rectangles = bird_eye_rectangles(centers, found.sizes, found.angles)
    chosen = []
    for number in range(found.scores.shape[-1]):
        (of_class,) = np.nonzero(found.scores[:, number] > np.float32(choice.least_score))
        best_ones = rotated_nms(
            rectangles[of_class],
            found.scores[of_class, number],
            choice.most_overlap,
            choice.most + 1,  # of more than are kept all classes are put in order together
        )
        chosen.append(of_class[best_ones])
    kept = np.concatenate(chosen)
    classes = np.repeat(np.arange(len(chosen)), [len(each) for each in chosen])
    scores = found.scores[kept, classes]
    if len(kept) > choice.most:
        order = np.argsort(-scores, kind="stable")[: choice.most]
        kept, classes, scores = kept[order], classes[order], scores[order]
    height, width = image_size
    return FoundBoxes(
        classes=classes,
        scores=scores,
        places=found.places[kept],
        centers=centers[kept],
        sizes=found.sizes[kept],
        angles=found.angles[kept],
        boxes=np.clip(found.boxes[kept], 0, [width, height, width, height]),
    )


class _NumPy:
    """What of `keras.ops` the boxes of points are made of."""

    concatenate, mod, where = np.concatenate, np.mod, np.where

    @staticmethod
    def sigmoid(x):
        return 1 / (1 + np.exp(-np.clip(x, -80, 80)))
