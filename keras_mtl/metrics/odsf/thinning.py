"""Thins binary maps until their lines are one pixel wide.

Pixels go by the conditions of Guo and Hall (Communications of the ACM 32(3), 1989), the same as
`skimage.morphology.thin`; only pixels beside removed ones are looked at again.
"""

import numba
import numpy as np


def thin(image: np.ndarray) -> np.ndarray:
    """Thins a binary map until nothing changes.

    Args:
        image: bool `(H, W)`.

    Returns:
        bool `(H, W)`.

    Example:

    >>> thin(np.ones((3, 6), bool)).astype(int).tolist()
    [[0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]]
    """
    padded = np.pad(np.asarray(image, bool), 1).astype("uint8", order="C")  # MATLAB's is "F"
    pixels = np.flatnonzero(padded)
    flat = padded.ravel()
    space = thinning_space(len(flat), len(pixels))
    thin_in_place(flat, pixels, len(pixels), padded.shape[1], REMOVABLE, *space)
    return padded[1:-1, 1:-1].astype(bool)


def _removable() -> np.ndarray:
    """Which pixels each of the two half-steps of thinning removes, by their neighbours.

    Neighbours x1 .. x8 are bits 0 .. 7: east, then against the clock. Conditions G1 to G3 of the
    paper, as in Lam, Lee and Suen's survey (IEEE PAMI 14(9), 1992).
    """
    table = np.zeros((2, 256), bool)
    for code in range(256):
        x = [bool(code >> (k % 8) & 1) for k in range(10)]  # x[k] is the paper's x_(k+1)
        runs = sum(not x[k] and (x[k + 1] or x[k + 2]) for k in (0, 2, 4, 6))
        pairs = min(
            sum(x[k - 1] or x[k] for k in (1, 3, 5, 7)),
            sum(x[k] or x[k + 1] for k in (1, 3, 5, 7)),
        )
        if runs == 1 and 2 <= pairs <= 3:
            table[0, code] = not ((x[1] or x[2] or not x[7]) and x[0])
            table[1, code] = not ((x[5] or x[6] or not x[3]) and x[4])
    return table


REMOVABLE = _removable()


def thinning_space(size: int, n: int) -> tuple[np.ndarray, ...]:
    """What `thin_in_place` writes to, for a map of this size and lists of n pixels."""
    return np.zeros(size, "uint8"), np.empty((2, n), "int64"), np.empty(n, "int64")


@numba.njit(cache=True, nogil=True)
def thin_in_place(image, pixels, n, width, removable, waiting, queue, removed):
    """Thins in place. `image` is padded and flat, its n pixels are listed; `waiting` is all 0."""
    around = np.array(
        [1, 1 - width, -width, -1 - width, -1, width - 1, width, width + 1]
    )  # x1 .. x8
    size = np.array([n, n])
    for k in range(n):
        queue[0, k] = queue[1, k] = pixels[k]
        waiting[pixels[k]] = 3
    while size[0] + size[1] > 0:
        for half in range(2):
            n_removed = 0
            for k in range(size[half]):
                p = queue[half, k]
                waiting[p] &= 2 - half  # takes bit `half` away
                if image[p]:
                    code = 0
                    for j in range(8):
                        code |= image[p + around[j]] << j
                    if removable[half, code]:
                        removed[n_removed] = p
                        n_removed += 1
            size[half] = 0
            for k in range(n_removed):
                image[removed[k]] = 0
            # Both half-steps look again at the neighbours; for all others the answer stands.
            for k in range(n_removed):
                for j in range(8):
                    q = removed[k] + around[j]
                    if image[q]:
                        for step in range(2):
                            if not waiting[q] >> step & 1:
                                waiting[q] |= 1 << step
                                queue[step, size[step]] = q
                                size[step] += 1
