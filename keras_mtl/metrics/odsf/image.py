"""The boundaries of one image: predictions and label made one pixel wide, and matched.

Nothing here is random, and images do not know of each other: `evaluate_image` may run in several
threads side by side, for its compiled part, which takes most of the time, lets others run.
"""

from typing import NamedTuple

import numpy as np

THRESHOLDS = np.concatenate([[0.001], np.arange(1, 100) / 100, [0.999]]).astype("float32")
# For a look now and then during training: 0.05, 0.10 .. 0.80, then 0.82, 0.84 .. 0.98, as a loss
# that weighs boundaries more makes probabilities high. All of them are among THRESHOLDS, so that
# odsF from these is a lower bound of odsF from those; OIS and AP may come out on either side.
FAST_THRESHOLDS = THRESHOLDS[[*range(5, 80, 5), *range(80, 99, 2)]]
# As a share of the image's diagonal.
MAX_DISTANCE = {"nyud": 0.011, "pascal": 0.0075, "bsds": 0.0075}
_SMOOTHING = 4  # radius of the triangle filter, in pixels
_BORDER = 5  # pixels along the border that fade out


class Counts(NamedTuple):
    """What one image adds to the curve.

    Args:
        matched: int64 `(T,)`, predicted pixels that have a labelled one at each threshold.
        predicted: int64 `(T,)`, predicted pixels after thinning.
        labelled: int, labelled pixels after thinning, of all annotators.
        found: int64 `(T,)`, labelled pixels that have a predicted one; `None` means as many as
            `matched`, as of one annotator.
    """

    matched: np.ndarray
    predicted: np.ndarray
    labelled: int
    found: np.ndarray | None = None


def evaluate_image(
    prediction: np.ndarray,
    label: np.ndarray,
    protocol: str = "nyud",
    thresholds: np.ndarray = THRESHOLDS,
) -> Counts:
    """Matches one prediction with its label at every threshold.

    Args:
        prediction: `(H, W)`, uint8 (255 times the probability, truncated), or a float probability
            in 0..1, which is brought to that.
        label: `(H, W)`. "nyud": the edge image, 0 or 255 (or bool). "pascal": whole numbers, one
            for each kind of region (the LabelMap of PASCAL-Context). "bsds": `(A, H, W)`, each
            annotator's boundaries, 0 or 1 (or bool).
        protocol: "nyud", "pascal" or "bsds".
        thresholds: ascending, each 0 or more; `FAST_THRESHOLDS` for a quick look. Predicted is
            what is strictly above.

    Returns:
        The counts.

    Raises:
        ValueError: if the protocol is unknown, the shapes differ, or values are out of range.
        ImportError: if Numba or SciPy is not installed.

    Example:

    >>> label = np.zeros((32, 40), "uint8")
    >>> label[16] = 255
    >>> counts = evaluate_image(label, label, thresholds=[0.25, 0.75])
    >>> counts.matched.shape, counts.labelled > 0
    ((2,), True)
    """
    matching = load_matching()
    thresholds = np.asarray(thresholds, "float32")
    if thresholds.ndim != 1 or not thresholds.size or (np.diff(thresholds) < 0).any():
        raise ValueError("The thresholds must be one or more numbers in ascending order.")
    if not thresholds[0] >= 0:
        raise ValueError(f"The thresholds begin with {thresholds[0]}, expected 0 or more.")
    prediction, label = _as_uint8(prediction), np.asarray(label)
    expected = "one shape (H, W) of both"
    of_label = label.shape
    if protocol == "bsds":
        expected, of_label = "(H, W) and (annotators, H, W)", label.shape[1:]
    if prediction.shape != of_label:
        raise ValueError(
            f"The prediction is of shape {prediction.shape} and the label of shape {label.shape}, "
            f"expected {expected}; crop or resize the prediction."
        )
    boundaries = label_boundaries(label, protocol)
    radius = MAX_DISTANCE[protocol] * float(np.hypot(*prediction.shape))
    labelled = int(boundaries.sum())
    if protocol == "bsds":
        from keras_mtl.metrics.odsf.annotators import count_annotated

        strength = suppress(prediction, fade=False)
        right, predicted, found = count_annotated(strength, boundaries, thresholds, radius).T
        return Counts(right, predicted, labelled, found)
    counts = matching.count_matches(suppress(prediction), boundaries, thresholds, radius)
    return Counts(counts[:, 0], counts[:, 1], labelled)


def suppress(prediction: np.ndarray, fade: bool = True) -> np.ndarray:
    """Non-maximum suppression: keeps what is strongest across the direction of a boundary.

    The direction is that of the strongest curvature of the smoothed map; a pixel goes if the
    unsmoothed map is over 1% higher one pixel further along it, on either side. Five pixels along
    the border fade out.

    Args:
        prediction: uint8 `(H, W)`.
        fade: whether the border fades out. BSDS500's own tool knows nothing of it, and a boundary
            that ends at the border is one there.

    Returns:
        float32 `(H, W)` in 0..1.

    Example:

    >>> prediction = np.zeros((32, 40), "uint8")
    >>> prediction[:, 19:22] = [100, 200, 100]
    >>> np.flatnonzero(suppress(prediction)[16]).tolist()
    [20]
    """
    from scipy.ndimage import correlate1d

    strength = prediction.astype("float32") / np.float32(255)
    height, width = strength.shape
    fading = _fading(height)[:, None] * _fading(width) if fade else np.float32(1)
    if min(height, width) < 2:  # no direction: curvature needs two pixels
        return strength * fading
    ramp = np.arange(1, _SMOOTHING + 1)
    triangle = np.concatenate([ramp, [_SMOOTHING + 1], ramp[::-1]]) / (_SMOOTHING + 1) ** 2
    smooth = correlate1d(correlate1d(strength, triangle, 0, mode="reflect"), triangle, 1)
    down, right = np.gradient(smooth)
    right_right = np.gradient(right, axis=1)
    down_down, down_right = np.gradient(down)
    # Where nothing is predicted nothing can go: most of a usual map.
    y, x = np.nonzero(strength)
    values = strength[y, x]
    down_down, down_right, right_right = (
        each[y, x] for each in (down_down, down_right, right_right)
    )
    angle = np.mod(
        np.arctan(down_down * np.sign(-down_right) / (right_right + np.float32(1e-5))),
        np.float32(np.pi),
    )
    step_y, step_x = np.sin(angle), np.cos(angle)
    beaten = np.zeros(len(values), bool)
    for side in (1, -1):
        neighbour = _sample(strength, y + side * step_y, x + side * step_x)
        beaten |= np.float32(1.01) * values < neighbour
    kept = strength.copy()
    kept[y[beaten], x[beaten]] = 0
    return kept * fading


def label_boundaries(label: np.ndarray, protocol: str) -> np.ndarray:
    """The labelled boundaries that predictions are matched with, one pixel wide.

    A pixel is boundary if its region differs from that of its right, lower or lower right
    neighbour; the result is thinned. The regions of "nyud" are the edge image's own two values
    (so that each drawn line has two boundaries before thinning), those of "pascal" the 4-connected
    components of the label map. "bsds" has the boundaries themselves, which are thinned.

    Args:
        label: as for `evaluate_image`.
        protocol: "nyud", "pascal" or "bsds".

    Returns:
        bool `(H, W)`, or of "bsds" `(A, H, W)`.

    Raises:
        ValueError: if the protocol is unknown or values are out of range.

    Example:

    >>> label_boundaries(np.array([[1, 1, 2, 2]] * 3), "pascal").astype(int).tolist()
    [[0, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]
    """
    load_matching()  # says what is not installed
    from keras_mtl.metrics.odsf.thinning import thin

    label = np.asarray(label)
    if protocol not in MAX_DISTANCE:
        raise ValueError(f"Unknown protocol {protocol!r}; use {' or '.join(MAX_DISTANCE)}.")
    shape = "(annotators, H, W)" if protocol == "bsds" else "(H, W)"
    if label.ndim != shape.count(",") + 1 or label.dtype.kind not in "bui":
        raise ValueError(
            f"The label is of shape {label.shape} and type {label.dtype}, expected whole numbers "
            f"of shape {shape}."
        )
    if protocol == "bsds":
        if not len(label) or label.min(initial=0) < 0 or label.max(initial=0) > 1:
            raise ValueError(
                f"The label holds {len(label)} annotators and the value "
                f"{label.max(initial=0)}, expected one or more and 0 or 1."
            )
        return np.stack([thin(boundaries) for boundaries in label])
    if protocol == "pascal":
        from skimage.measure import label as components

        regions = components(label.astype("int64"), connectivity=1, background=-1)
    elif label.dtype.kind == "b":
        regions = label
    else:
        other = label[(label != 0) & (label != 255)]
        if other.size:
            raise ValueError(f"The label holds the value {other[0]}, expected 0 or 255.")
        regions = label
    differs = np.zeros(regions.shape, bool)
    differs[:, :-1] |= regions[:, :-1] != regions[:, 1:]
    differs[:-1] |= regions[:-1] != regions[1:]
    differs[:-1, :-1] |= regions[:-1, :-1] != regions[1:, 1:]
    return thin(differs)


def _as_uint8(prediction) -> np.ndarray:
    prediction = np.asarray(prediction)
    if prediction.ndim != 2 or not prediction.size:
        raise ValueError(f"The prediction is of shape {prediction.shape}, expected (H, W).")
    if prediction.dtype == np.uint8:
        return prediction
    if prediction.dtype.kind != "f":
        raise ValueError(f"The prediction is of type {prediction.dtype}, expected uint8 or float.")
    if not (prediction.min() >= 0 and prediction.max() <= 1):  # so written, NaN is caught too
        raise ValueError(
            f"The prediction ranges from {prediction.min()} to {prediction.max()}, expected "
            "probabilities in 0..1; apply a sigmoid to logits."
        )
    return (255 * prediction).astype("uint8")


def _fading(size: int) -> np.ndarray:
    """Weights along one axis: 0, 1/5 .. 4/5 from either border, 1 between."""
    weights = np.ones(size, "float32")
    for k in range(min(_BORDER, size)):
        weights[k] *= np.float32(k / _BORDER)
        weights[-1 - k] *= np.float32(k / _BORDER)
    return weights


def _sample(image, y, x) -> np.ndarray:
    """Bilinear samples, as the reference keeps them inside the image."""
    height, width = image.shape
    y, x = np.clip(y, 0, height - 1.001), np.clip(x, 0, width - 1.001)
    top, left = y.astype(int), x.astype(int)
    lower, right = (y - top).astype("float32"), (x - left).astype("float32")
    return (
        (1 - lower) * (1 - right) * image[top, left]
        + lower * (1 - right) * image[top + 1, left]
        + (1 - lower) * right * image[top, left + 1]
        + lower * right * image[top + 1, left + 1]
    )


def load_matching():
    """The module `matching`; imported when it is used, for Numba takes long to import.

    Raises:
        ImportError: if Numba or another library of the extra `evaluation` is not installed.

    Example:

    >>> load_matching().match_pixels(np.eye(3), np.eye(3), radius=1.0)
    3
    """
    try:
        from keras_mtl.metrics.odsf import matching
    except ImportError as error:
        raise ImportError(
            f'odsF needs Numba, SciPy and scikit-image; pip install "keras-mtl[evaluation]" '
            f"({error})."
        ) from error
    return matching
