"""Rotary positions: queries and keys turned by where their patch lies in the image (DINOv3)."""

from collections.abc import Sequence

import numpy as np
from keras import ops


def rotary_table(grid: Sequence[int], size: int, theta: float) -> list[np.ndarray]:
    """Cosines and sines by which each patch turns a head's numbers.

    The centre of a patch lies between -1 and 1 along each side of the image, whatever its size, so
    a network takes images of any size as they are.

    Args:
        grid: `(H, W)`, patches along height and width.
        size: int, numbers of a head; a multiple of 4.
        theta: float. The lowest frequency is nearly `2 pi / theta`, the highest `2 pi`.

    Returns:
        Two float32 arrays `(H * W, size)`, row by row from the top left.

    Raises:
        ValueError: if half the numbers of a head do not divide into rows' and columns'.

    Example:

    >>> cosines, sines = rotary_table((2, 3), 8, theta=100.0)
    >>> cosines.shape, bool(np.allclose(cosines**2 + sines**2, 1))
    ((6, 8), True)

    Reference: Simeoni et al., DINOv3, 2025, Sec. 3.2 (axial rotary positions); Su et al.,
        RoFormer, 2021.
    """
    if size % 4:
        raise ValueError(
            f"A head of {size} numbers has no rotary positions, which come in fours; use a width "
            "that is a multiple of four times the heads."
        )
    frequencies = 1 / theta ** np.arange(0, 1, 4 / size, dtype="float32")
    axes = [2 * (np.arange(length, dtype="float32") + 0.5) / length - 1 for length in grid]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2, 1)
    angles = (2 * np.pi * centres * frequencies).reshape(len(centres), -1)
    angles = np.tile(angles, (1, 2)).astype("float32")
    return [np.cos(angles), np.sin(angles)]


def rotated(x, table: Sequence):
    """Queries or keys, the last of which, the patches, are turned.

    Args:
        x: tensor `(B, T + N, heads, d)`: tokens without a position come first.
        table: arrays `(N, d)` of cosines and sines.

    Returns:
        Tensor like `x`.

    Example:

    >>> table = rotary_table((2, 3), 8, theta=100.0)
    >>> tuple(rotated(keras.ops.ones((1, 4 + 6, 2, 8)), table).shape)
    (1, 10, 2, 8)
    """
    cosines, sines = (ops.cast(ops.convert_to_tensor(each)[:, None], x.dtype) for each in table)
    first = x.shape[1] - len(table[0])
    patches = x[:, first:]
    half = x.shape[-1] // 2
    turned = ops.concatenate([-patches[..., half:], patches[..., :half]], axis=-1)
    patches = patches * cosines + turned * sines
    return patches if first == 0 else ops.concatenate([x[:, :first], patches], axis=1)
