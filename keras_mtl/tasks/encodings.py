"""How others store labels: what gives an encoding away, and what to do about it.

Each task lists the encodings that it may meet; `check_labels`, at every door, looks them up. What
is certain is refused, what is doubtful is said as a warning.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from keras_mtl.losses.maps import SHORTEST_NORMAL


class Encoding(NamedTuple):
    """A way in which others store a label.

    Args:
        looks_like: str, what it is.
        advice: str, what to do about it; `{ignore}` stands for the task's.
        seen: function of the task and an array of its labels: whether they look like this.
        certain: bool. Whether labels that hold wrong values are refused for this reason; else
            they may be right, and it is a warning.

    Example:

    >>> encoding = keras_mtl.tasks.SaliencyDetection.encodings[0]
    >>> encoding.looks_like, encoding.seen(keras_mtl.tasks.SaliencyDetection(), np.array([0.25]))
    ('probabilities', True)
    """

    looks_like: str
    advice: str
    seen: Callable[[Any, np.ndarray], bool]
    certain: bool = True

    def sentence(self, task) -> str:
        """What it looks like and what to do, the end of a message."""
        return f"this looks like {self.looks_like}; {self.advice.format(ignore=task.ignore)}"


def recognised(task, labels: np.ndarray, certain: bool) -> Encoding | None:
    """The first of a task's encodings that labels look like.

    Args:
        task: whose `encodings`.
        labels: array of its labels, or just of their values.
        certain: bool. Of those that are refused, or of those that are doubtful.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # of comparisons with NaN
        for encoding in task.encodings:
            if encoding.certain == certain and encoding.seen(task, labels):
                return encoding
    return None


def _others(task, labels) -> np.ndarray:
    """The values that are neither a class id nor the task's `ignore`."""
    known = np.isin(labels, [*(task.class_ids or task.label_values), task.ignore])
    return labels[~known]


def _holds(value) -> Callable[[Any, np.ndarray], bool]:
    return lambda task, labels: bool((labels == value).any())


def _no_label_is_255(task, labels) -> bool:
    # Where the task declares another number; beside 0 alone, 255 would mean yes.
    values = set(np.unique(labels).tolist())
    return task.ignore != 255 and 255 in values and bool(values - {0, 255, task.ignore})


def _fractions(task, labels) -> bool:
    others = _others(task, labels)
    return bool((np.isfinite(others) & (others != np.floor(others))).any())


NOT_A_NUMBER = Encoding(
    "NaN or infinity where there is no label",
    "write {ignore} there",
    lambda task, labels: not np.isfinite(labels).all(),
)
MINUS_ONE = Encoding("-1 where there is no label", "write {ignore} there", _holds(-1))
TOP_OF_8_BITS = Encoding("255 where there is no label", "write {ignore} there", _no_label_is_255)


def _holds_0_and_255_alone(task, labels) -> bool:
    yes = labels == 255
    return task.ignore == 255 and bool(yes.any() and ((labels == 0) != yes).all() and not yes.all())


MASK = Encoding(
    "a mask of 0 and 255 for no and yes",
    "write 1 for yes, as in labels // 255: {ignore} means that there is no label",
    _holds_0_and_255_alone,
    certain=False,
)


# === Class ids ===

CLASS_IDS = (
    NOT_A_NUMBER,
    Encoding("shares of a class", "store the id of the likeliest class", _fractions),
    MINUS_ONE,
    TOP_OF_8_BITS,
    Encoding(
        "16 bits, the largest number of which means no label",
        "write {ignore} there",
        _holds(65535),
    ),
    Encoding(
        "ids that are counted from 1 on",
        "subtract 1 and write {ignore} where there is no label",
        lambda task, labels: set(_others(task, labels).tolist()) == {task.channels},
    ),
    Encoding(
        "grey levels of 8 bits",
        "store class ids",
        lambda task, labels: (
            task.channels <= 16
            and labels.max() <= 255
            and len(np.unique(_others(task, labels))) > 2 * task.channels + 16
        ),
    ),
    Encoding(
        "class and instance in one number",
        "store the class id alone",
        lambda task, labels: bool((_others(task, labels) >= 1000).all()),
    ),
    MASK,
)

# === Yes or no ===

YES_OR_NO = (
    Encoding("probabilities", "store 1 from 0.5 on, else 0", _fractions),
    NOT_A_NUMBER,
    MINUS_ONE,
    TOP_OF_8_BITS,
    Encoding(
        "a mask of 0 and 255 for no and yes",
        "write 1 for yes, as in labels // 255",
        lambda task, labels: set(_others(task, labels).tolist()) == {255},
    ),
    Encoding(
        "grey levels of 8 bits",
        "store 1 from 128 on, else 0",
        lambda task, labels: labels.min() >= 0 and 16 < labels.max() <= 255,
    ),
    Encoding(
        "class ids",
        "store 1 for yes and 0 for no",
        lambda task, labels: labels.min() >= 0 and labels.max() <= 255,
    ),
    MASK,
)
BOUNDARIES = (
    *YES_OR_NO,
    Encoding(
        "0 on boundaries and 1 elsewhere, for more than half of the pixels are 1",
        "store 1 on boundaries and 0 elsewhere",
        lambda task, labels: labels.size > 64 and (labels == 1).sum() > labels.size / 2,
        certain=False,
    ),
)

# === Metres ===

# What a sensor of 16 bits says of nothing: the largest number, in units of 1, 0.1, 1/256, 0.01,
# 1/1000 and 1/5000 metres; and what programs write into float depth, the largest one last.
NOTHING_MEASURED = np.array(
    [65535, 6553.5, 65535 / 256, 655.35, 65.535, 65535 / 5000, 1e4, 1e5, 1e6, 1e9, 1e10]
    + [float(np.finfo("float32").max)]
)


def is_nothing_measured(depth: np.ndarray) -> np.ndarray:
    """Which depths are numbers that stand for "nothing measured" elsewhere.

    Example:

    >>> is_nothing_measured(np.array([655.35, 3.0], "float32")).tolist()
    [True, False]
    """
    found = np.zeros(depth.shape, bool)
    for number in NOTHING_MEASURED:
        found |= np.abs(depth - number) < 1e-6 * number
    return found


def measured(task, labels: np.ndarray) -> np.ndarray:
    """Depths that are labels but for their range, those that say "nothing measured" left out."""
    given = labels[np.isfinite(labels) & (labels != task.ignore) & (labels > 0)]
    far = given >= min(task.valid_range[1], NOTHING_MEASURED.min())
    return given if not far.any() else given[~is_nothing_measured(given)]


def mostly_beyond(task, labels: np.ndarray) -> bool:
    """Whether more than half of the depths lie beyond the task's `valid_range`."""
    given = measured(task, labels)
    return bool((given >= task.valid_range[1]).sum() > given.size / 2)


def _median_beyond(least, most) -> Callable[[Any, np.ndarray], bool]:
    def seen(task, labels):
        return mostly_beyond(task, labels) and least <= np.median(measured(task, labels)) < most

    return seen


def _some_beyond(task, labels) -> bool:
    given = measured(task, labels)
    return bool(given.size) and given.max() >= task.valid_range[1]


def grey_levels(task, labels: np.ndarray) -> bool:
    """Whether depths are whole numbers of 8 bits, some of them beyond the `valid_range`."""
    given = measured(task, labels)
    if not given.size or not task.valid_range[1] <= given.max() <= 255:
        return False
    return bool((given == np.floor(given)).all()) and len(np.unique(given)) > 16


METRES = (
    NOT_A_NUMBER,
    Encoding(
        "depths along an axis that points backwards",
        "change their sign",
        lambda task, labels: bool((labels <= 0).all()) and len(np.unique(labels)) > 2,
    ),
    MINUS_ONE,
    Encoding(
        "a number below 0 where there is no label",
        "write {ignore} there",
        lambda task, labels: len(np.unique(labels[labels < 0])) == 1,
    ),
    Encoding("grey levels of 8 bits", "store metres", grey_levels),
    Encoding(
        "centimetres",
        "divide by 100 (whole numbers as KITTI's by 256), or give the task a valid_range if they "
        "are metres",
        _median_beyond(0, 1000),
    ),
    Encoding(
        "millimetres",
        "divide by 1000 (whole numbers as TUM's by 5000), or give the task a valid_range if they "
        "are metres",
        _median_beyond(1000, np.inf),
    ),
    Encoding(
        "depths with a largest number where nothing was measured",
        "write {ignore} there",
        lambda task, labels: (
            labels.max() >= NOTHING_MEASURED.min() and bool(is_nothing_measured(labels).any())
        ),
        certain=False,
    ),
    Encoding(
        "depths of which some lie beyond the task's valid_range and count as no label",
        "give the task another valid_range if they should count",
        _some_beyond,
        certain=False,
    ),
    Encoding(
        "depths that are scaled to 0..1",
        "store metres",
        lambda task, labels: 0 < labels.max() <= 1 and labels.min() >= 0,
        certain=False,
    ),
)

# === Unit vectors ===


def lengths(labels: np.ndarray) -> np.ndarray:
    """Of vectors `(..., 3)`, float64.

    Example:

    >>> lengths(np.array([3.0, 0.0, 4.0]))
    np.float64(5.0)
    """
    return np.sqrt(np.einsum("...c,...c", labels, labels, dtype="float64", casting="unsafe"))


def _not_unit(task, labels) -> np.ndarray:
    found = lengths(labels)
    return found[(labels != task.ignore).any(axis=-1) & ~(np.abs(found - 1) < 0.05)]


def _z_beyond(bound, share) -> Callable[[Any, np.ndarray], bool]:
    """Whether z is larger in more than a share of the labelled pixels."""

    def seen(task, labels):
        z = labels[..., 2][task.labelled_pixels(labels)]
        return z.size > 0 and (z > bound).mean() > share

    return seen


NORMALS = (
    NOT_A_NUMBER,
    Encoding(
        "grey where there is no normal",
        "write ({ignore}, {ignore}, {ignore}) there",
        lambda task, labels: _not_unit(task, labels).max(initial=0) < SHORTEST_NORMAL,
    ),
    Encoding(
        "normals as colours in 0..1",
        "store 2 v - 1",
        lambda task, labels: labels.min() >= 0 and labels.max() <= 1,
    ),
    Encoding(
        "normals as colours of 8 bits",
        "store 2 v / 255 - 1",
        lambda task, labels: labels.min() >= 0 and 1 < labels.max() <= 255,
    ),
    Encoding(
        "normals as colours of 16 bits",
        "store 2 v / 65535 - 1",
        lambda task, labels: labels.min() >= 0 and 255 < labels.max() <= 65535,
    ),
    Encoding(
        "normals in whole numbers up to 127",
        "divide them by their length",
        lambda task, labels: 2 < np.abs(labels).max() <= 128,
    ),
    Encoding("vectors of another length", "divide them by their length", lambda task, labels: True),
    Encoding(
        "normals that point away from the camera, for x is right, y down and z forward",
        "change the sign of z, and of y where it points up",
        _z_beyond(0, 0.9),
        certain=False,
    ),
    # No surface that is seen points away, but at the sides of a wide picture walls may a little.
    Encoding(
        "(0, 0, 1) where there is no normal",
        "write ({ignore}, {ignore}, {ignore}) there",
        _z_beyond(0.9999, 0.01),
        certain=False,
    ),
    Encoding(
        "normals of other axes, for an eighth of them points away from the camera",
        "store x to the right, y down and z forward",
        _z_beyond(0.3, 1 / 8),
        certain=False,
    ),
)
