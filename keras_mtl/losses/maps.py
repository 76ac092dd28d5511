"""What losses and metrics of maps share: checks of shapes, and a few formulas."""

from typing import Any

from keras import ops

Tensor = Any  # a tensor of the active backend, or anything it can be made from

NO_LABEL = 255  # "no label here" in class, saliency and boundary maps
VALID_DEPTH = (0.0, 80.0)  # metres; the published evaluations leave labels out from 80 on
SHORTEST_NORMAL = 0.5  # a shorter vector says that there is no normal: grey is 0.007 long


def check_maps(name: str, y_true: Tensor, y_pred: Tensor, label: str, prediction: str) -> None:
    """Raises a one-sentence `ValueError` if labels and predictions do not fit together.

    Without it `(B, H, W)` labels would broadcast against `(B, H, W, 1)` predictions in silence.

    Args:
        name: string, who is asking, named in the error.
        y_true: labels with a static rank.
        y_pred: predictions with a static rank.
        label: string, the expected shape of the labels, such as `"(B, H, W, 1)"`; a number is
            checked, a letter is not.
        prediction: string, the expected shape of the predictions.

    Example:

    >>> labels, predictions = keras.ops.zeros((2, 4, 4, 1)), keras.ops.zeros((2, 4, 4, 1))
    >>> check_maps("DepthLoss", labels, predictions, "(B, H, W, 1)", "(B, H, W, 1)")
    """
    fits = _has_shape(y_true, label) and _has_shape(y_pred, prediction)
    for a, b in zip(y_true.shape[:3], y_pred.shape[:3], strict=False):
        fits = fits and (a is None or b is None or a == b)
    if not fits:
        raise ValueError(
            f"{name} expects labels of shape {label} and predictions of shape {prediction} at the "
            f"same size, but received labels of shape {tuple(y_true.shape)} and predictions of "
            f"shape {tuple(y_pred.shape)}: resize or reshape one of them."
        )


def _has_shape(x: Tensor, expected: str) -> bool:
    expected = expected.strip("()").split(", ")
    return len(x.shape) == len(expected) and all(
        not want.isdigit() or found is None or int(want) == found
        for want, found in zip(expected, x.shape, strict=True)
    )


def labelled_depth(
    depth: Tensor, ignore: float = 0.0, valid_range: tuple[float, float] = VALID_DEPTH
) -> Tensor:
    """Which depths are labels; written with plain comparisons, for NumPy arrays too.

    Args:
        depth: float tensor of any shape, metres.
        ignore: float, what means "no label here".
        valid_range: `(nearest, farthest)` in metres; a label lies between.

    Returns:
        bool tensor of the same shape.

    Example:

    >>> labelled_depth(np.array([0.0, 2.5, 655.35, np.nan])).tolist()
    [False, True, False, False]
    """
    nearest, farthest = valid_range
    return (depth != ignore) & (depth > nearest) & (depth < farthest)


def labelled_classes(ids: Tensor, num_classes: int, ignore: float = NO_LABEL) -> Tensor:
    """Which class ids are labels; written with plain comparisons, for NumPy arrays too.

    Args:
        ids: tensor of any shape, floating point or wide enough for `num_classes`.
        num_classes: int.
        ignore: float, what means "no label here".

    Returns:
        bool tensor of the same shape; an id that is no class is no label, nor is NaN.

    Example:

    >>> labelled_classes(np.array([0.0, 2.0, 3.0, -1.0, np.nan]), num_classes=3).tolist()
    [True, True, False, False, False]
    """
    return (ids != ignore) & (ids >= 0) & (ids < num_classes)


def labelled_binary(values: Tensor, ignore: float = NO_LABEL) -> Tensor:
    """Which values of a yes-or-no map are labels: those from 0 to 1.

    Args:
        values: float tensor of any shape.
        ignore: float, what means "no label here".

    Returns:
        bool tensor of the same shape; NaN is no label.

    Example:

    >>> labelled_binary(np.array([0.0, 1.0, 2.0, 255.0, np.nan])).tolist()
    [True, True, False, False, False]
    """
    return (values != ignore) & (values >= 0) & (values <= 1)


def labelled_vectors(vectors: Tensor, ignore: float = 0.0) -> Tensor:
    """Which unit vectors are labels: those that are finite, not all `ignore`, and not too short.

    Args:
        vectors: float tensor `(..., C)`.
        ignore: float, what means "no label here".

    Returns:
        bool tensor `(...)`.

    Example:

    >>> found = labelled_vectors([[0.0, 0.0, 1.0], [0.0, 0.004, 0.0], [float("nan"), 0.0, 1.0]])
    >>> [bool(each) for each in found]
    [True, False, False]
    """
    vectors = ops.convert_to_tensor(vectors)
    square = ops.sum(ops.square(vectors), axis=-1)
    long_enough = (square >= SHORTEST_NORMAL**2) & ops.isfinite(square)
    return ops.any(vectors != ignore, axis=-1) & long_enough


def unit_vectors(vectors: Tensor) -> Tensor:
    """Scales vectors to unit length; the zero vector stays zero, with zero gradient.

    Args:
        vectors: float tensor `(..., C)`.

    Returns:
        float32 tensor `(..., C)`.

    Example:

    >>> [round(float(v), 4) for v in unit_vectors([3.0, 0.0, 4.0])]
    [0.6, 0.0, 0.8]
    """
    vectors = ops.cast(vectors, "float32")
    squared = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    # Both branches of a `where` are differentiated, so the length must be harmless at zero too.
    nonzero = squared > 1e-12
    length = ops.sqrt(ops.where(nonzero, squared, 1.0))
    return ops.where(nonzero, vectors / length, 0.0)


def weighted_logistic_loss(positive: Tensor, logit: Tensor, positive_weight) -> Tensor:
    # softplus(-x) = -log(sigmoid(x)), without overflow for any x.
    return positive_weight * positive * ops.softplus(-logit) + (1.0 - positive_weight) * (
        1.0 - positive
    ) * ops.softplus(logit)
