"""Maps in windows, inside which positions attend to each other, and masks of shifted ones."""

import numpy as np
from keras import ops


def pad_to_multiple(x, length: int):
    """Zeros at the bottom and at the right of maps, up to multiples of `length`.

    Args:
        x: tensor `(B, h, w, C)`.
        length: int.

    Example:

    >>> tuple(pad_to_multiple(ops.ones((1, 5, 8, 2)), 4).shape)
    (1, 8, 8, 2)
    """
    bottom, right = (-size % length for size in x.shape[1:3])
    return ops.pad(x, ((0, 0), (0, bottom), (0, right), (0, 0))) if bottom or right else x


def split_into_windows(x, window: int):
    """Maps as windows of w x w positions, row by row.

    Args:
        x: tensor `(B, h, w, C)`, sides that are multiples of the window.
        window: int.

    Returns:
        Tensor `(B * windows, window**2, C)`.

    Example:

    >>> tuple(split_into_windows(ops.ones((1, 4, 6, 3)), 2).shape)
    (6, 4, 3)
    """
    _, height, width, channels = x.shape
    x = ops.reshape(x, (-1, height // window, window, width // window, window, channels))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, window * window, channels))


def join_windows(x, window: int, size: tuple[int, int]):
    """The maps that `split_into_windows` cut.

    Args:
        x: tensor `(B * windows, window**2, C)`.
        window: int.
        size: `(h, w)` of the maps.

    Returns:
        Tensor `(B, h, w, C)`.

    Example:

    >>> tuple(join_windows(ops.ones((6, 4, 3)), 2, (4, 6)).shape)
    (1, 4, 6, 3)
    """
    height, width = size
    x = ops.reshape(x, (-1, height // window, width // window, window, window, x.shape[-1]))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height, width, x.shape[-1]))


def shift_mask(grid: tuple[int, int], window: int, shift: int) -> np.ndarray:
    """What is added to the scores after a shift: -100 between tokens that are no neighbours.

    Args:
        grid: `(h, w)` of the maps, before they are padded.
        window: int.
        shift: int, positions.

    Returns:
        Array `(windows of the padded grid, window**2, window**2)`.

    Example:

    >>> shift_mask((2, 4), 2, 1)[0].tolist()  # the lower row came round from the top
    [[0.0, 0.0, -100.0, -100.0], [0.0, 0.0, -100.0, -100.0], \
[-100.0, -100.0, 0.0, 0.0], [-100.0, -100.0, 0.0, 0.0]]
    """
    # Of the last window on each axis, the part that came round from the other end is a region
    # of its own.
    padded = [length + -length % window for length in grid]
    rows, columns = (np.arange(length) >= length - shift for length in padded)
    regions = 2 * rows[:, None] + columns
    regions = regions.reshape(padded[0] // window, window, padded[1] // window, window)
    regions = regions.transpose(0, 2, 1, 3).reshape(-1, 1, window * window)
    return np.where(regions == regions.transpose(0, 2, 1), 0, -100).astype("float32")


def relative_position_index(window: int) -> np.ndarray:
    """The row of a table of relative positions for each pair of positions in a window.

    Args:
        window: int w, positions along a side; the table has (2 w - 1)**2 rows.

    Returns:
        Array of int `(window**2, window**2)`, queries by keys.

    Example:

    >>> relative_position_index(2)[0].tolist()
    [4, 3, 1, 0]
    """
    rows, columns = (each.ravel() for each in np.indices((window, window)))
    down, right = (each[:, None] - each[None] + window - 1 for each in (rows, columns))
    return down * (2 * window - 1) + right
