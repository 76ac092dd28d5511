"""How depth is stored elsewhere: as other units than metres, or along the rays of pixels."""

from typing import NamedTuple

import numpy as np

_NOTHING = 65535  # of 16 bits: nothing measured
_HYPERSIM_FOCAL = 886.81 / 1024  # focal length, of the image's width


class DepthUnits(NamedTuple):
    """How depth is stored as numbers.

    Args:
        per_metre: float. How many of them make a metre.
        rotated: bool. Whether the 16 bits are turned by 3 places.
        masked: bool. Whether the numbers mean nothing without a mask.
        along_ray: bool. Whether it is the distance from Hypersim's camera, and not along its axis.

    Example:

    >>> DepthUnits(5000).metres(np.array([[10000, 0]], "uint16")).tolist()
    [[2.0, 0.0]]
    """

    per_metre: float
    rotated: bool = False
    masked: bool = False
    along_ray: bool = False

    def metres(self, stored: np.ndarray) -> np.ndarray:
        """Depth along the camera's axis, float32 of the same shape; 0 where nothing was measured.

        Args:
            stored: `(H, W)` or `(H, W, 1)`.

        Raises:
            ValueError: if it cannot be converted.
        """
        numbers = stored
        if self.rotated:
            bits = stored.astype("uint16")
            if (bits != stored).any():
                raise ValueError("holds no whole numbers of 16 bits, as SUN RGB-D's depth does")
            numbers = (bits >> 3) | (bits << 13)
        depth = numbers.astype("float64") / self.per_metre
        if stored.dtype.kind in "iu":
            depth[stored == _NOTHING] = 0
        return (depth * _along_axis(*stored.shape[:2]) if self.along_ray else depth).astype("f4")


# As the datasets' own tools read them.
DEPTH_UNITS = {
    "tum": DepthUnits(5000),
    "scannet": DepthUnits(1000),
    "sunrgbd": DepthUnits(1000, rotated=True),
    "kitti": DepthUnits(256),
    "diode": DepthUnits(1, masked=True),
    "hypersim": DepthUnits(1, along_ray=True),
}


def depth_units(given: float | str) -> DepthUnits:
    """How depth is stored, by a dataset's name or how many units make a metre.

    Args:
        given: one of `DEPTH_UNITS`, or a number, also as text.

    Raises:
        ValueError: if it is neither.

    Example:

    >>> depth_units("tum").per_metre, depth_units("256").per_metre
    (5000, 256.0)
    """
    if str(given).lower() in DEPTH_UNITS:
        return DEPTH_UNITS[str(given).lower()]
    try:
        per_metre = float(given)
    except (TypeError, ValueError):
        per_metre = 0.0
    if not 0 < per_metre < np.inf:
        raise ValueError(
            f"The depth scale is {given!r}; expected how many units make a metre, such as 1000, or "
            f"one of {', '.join(DEPTH_UNITS)}."
        )
    return DepthUnits(per_metre)


def _along_axis(height: int, width: int) -> np.ndarray:
    """What the distance along a pixel's ray is multiplied by, for Hypersim's camera."""
    if abs(width / height - 4 / 3) > 0.01:
        raise ValueError(
            f"is {height}x{width} pixels, but Hypersim's rays are known for whole images of 3 to "
            "4, such as 768x1024"
        )
    focal = _HYPERSIM_FOCAL * width
    x = np.arange(width) - (width - 1) / 2
    y = np.arange(height)[:, None] - (height - 1) / 2
    return focal / np.sqrt(x**2 + y**2 + focal**2)
