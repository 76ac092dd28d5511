"""How normals are stored elsewhere: along other axes than x right, y down, z forward."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_AXES = (("right", "left"), ("down", "up"), ("forward", "toward"))  # ours first


class NormalsAxes(NamedTuple):
    """Which stored components are x, y and z, and with which sign.

    Args:
        order: three indices.
        signs: three numbers, 1 or -1.

    Example:

    >>> NormalsAxes((0, 1, 2), (1, -1, -1)).turn(np.array([0.6, 0.0, 0.8])).tolist()
    [0.6, -0.0, -0.8]
    """

    order: tuple[int, ...]
    signs: tuple[int, ...]

    def turn(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors `(..., 3)` along our axes."""
        return vectors[..., self.order] * np.array(self.signs, vectors.dtype)

    def turn_colours(self, colours: np.ndarray) -> np.ndarray:
        """Their colours of 8 bits, `(..., 3)` uint8: -(2 v / 255 - 1) is that of 255 - v."""
        found = colours[..., self.order]
        return np.where(np.array(self.signs) < 0, 255 - found, found)


def normals_axes(axes: Sequence[str]) -> NormalsAxes:
    """Where the stored x, y and z point, from words.

    Args:
        axes: one of "right" or "left", one of "down" or "up", and one of "forward" or "toward" (the
            camera), in the order of the stored components.

    Raises:
        ValueError: if they are something else.

    Example:

    >>> normals_axes(["right", "up", "toward"])
    NormalsAxes(order=(0, 1, 2), signs=(1, -1, -1))
    >>> normals_axes(["right", "forward", "up"])  # z is up, as in many 3-D programs
    NormalsAxes(order=(0, 2, 1), signs=(1, -1, 1))
    """
    found = [[axis for axis in axes if axis in both] for both in _AXES]
    if len(axes) != 3 or any(len(each) != 1 for each in found):
        raise ValueError(
            f"The axes of normals are {' '.join(axes)}; expected where x, y and z point: one of "
            "right or left, one of down or up, and one of forward or toward, in their order."
        )
    pointed = [axis for (axis,) in found]
    signs = (1 - 2 * both.index(axis) for axis, both in zip(pointed, _AXES, strict=True))
    return NormalsAxes(tuple(list(axes).index(axis) for axis in pointed), tuple(signs))
