"""The compiled part of odsF: thins a map at every threshold and matches it with the boundaries.

Thinning removes pixels by the conditions of Guo and Hall (Communications of the ACM 32(3), 1989),
the same as `skimage.morphology.thin`; only pixels beside removed ones are looked at again.

Matching is a maximum-cardinality matching of predicted and labelled pixels within a radius, found
by the phases of Hopcroft and Karp (SIAM Journal on Computing 2(4), 1973): their number grows at
most with the square root of the number of pixels, so that no map can bring it to a standstill. The
labelled pixels in reach of a predicted one are never listed: numbered row by row, they are one
range of numbers per row, which two look-ups give.

What is compiled writes to its own arrays only and releases the GIL: threads match images side by
side.
"""

import numba
import numpy as np

FREE = -1


# === What the caller sees ===


def count_matches(
    strength: np.ndarray, labelled: np.ndarray, thresholds: np.ndarray, radius: float
) -> np.ndarray:
    """Thins the map above each threshold and matches what is left with the labelled pixels.

    Args:
        strength: float32 `(H, W)`, 0 or more; predicted is what is strictly above a threshold.
        labelled: bool `(H, W)`, taken as it is, not thinned.
        thresholds: float32 `(T,)` in ascending order.
        radius: pairs that are farther apart, in pixels, do not match.

    Returns:
        int64 `(T, 2)`: the size of the maximum matching and the number of predicted pixels.

    Raises:
        ValueError: if the two maps differ in shape.

    Example:

    >>> strength = np.zeros((5, 8), "float32")
    >>> strength[2] = 0.5
    >>> labelled = np.zeros((5, 8), bool)
    >>> labelled[3, :4] = True
    >>> count_matches(strength, labelled, np.float32([0.2, 0.7]), radius=1.0).tolist()
    [[4, 8], [0, 0]]
    """
    strength = np.asarray(strength, "float32")
    values, pixels = _above(strength, labelled, float(thresholds[0]))
    # Ascending negated values: how many lie strictly below -t is how many are above t.
    above = np.searchsorted(-values, -np.asarray(thresholds, "float32"), side="left")
    first, half_widths = ranges(np.asarray(labelled, bool), radius)
    counts = _count_over_thresholds(
        pixels, above[::-1].astype("int64"), strength.shape[1] + 2, first, half_widths, _REMOVABLE
    )
    return counts[::-1].copy()


def match_pixels(predicted: np.ndarray, labelled: np.ndarray, radius: float) -> int:
    """Size of the maximum one-to-one matching of two binary maps; nothing is thinned.

    Args:
        predicted: bool `(H, W)`.
        labelled: bool `(H, W)`.
        radius: pairs that are farther apart, in pixels, do not match.

    Returns:
        The number of pairs.

    Raises:
        ValueError: if the two maps differ in shape.

    Example:

    >>> match_pixels(np.array([[1, 1, 0, 0]]), np.array([[0, 0, 1, 0]]), radius=2.0)
    1
    """
    predicted = np.asarray(predicted, bool)
    _, pixels = _above(predicted.astype("float32"), labelled, 0.0)
    first, half_widths = ranges(np.asarray(labelled, bool), radius)
    keep = np.zeros_like(_REMOVABLE)
    width = predicted.shape[1] + 2
    above = np.array([len(pixels)])
    return int(_count_over_thresholds(pixels, above, width, first, half_widths, keep)[0, 0])


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
    _thin(flat, pixels, len(pixels), padded.shape[1], _REMOVABLE, *_thinning_space(flat, pixels))
    return padded[1:-1, 1:-1].astype(bool)


# === Tables ===


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


_REMOVABLE = _removable()


def _above(strength, labelled, lowest) -> tuple[np.ndarray, np.ndarray]:
    """Pixels above the lowest threshold, strongest first: values, places in the padded map."""
    if strength.ndim != 2 or strength.shape != np.shape(labelled):
        raise ValueError(
            f"The prediction is of shape {strength.shape} and the label of shape "
            f"{np.shape(labelled)}, expected one shape (H, W) of both."
        )
    flat = np.pad(strength, 1).ravel()
    pixels = np.flatnonzero(flat > np.float32(lowest))
    order = np.argsort(-flat[pixels], kind="stable")
    return flat[pixels][order], pixels[order]


def ranges(labelled, radius) -> tuple[np.ndarray, np.ndarray]:
    """How many labelled pixels lie before each place, and half the disc's width in each row."""
    height, width = labelled.shape
    first = np.zeros((height, width + 1), "int32")
    first[:, 1:] = np.cumsum(labelled).reshape(height, width)
    first[1:, 0] = first[:-1, -1]
    reach = min(int(radius), height)
    rows = np.abs(np.arange(-reach, reach + 1))
    return first, np.array([_half_width(radius, row) for row in rows])


def _half_width(radius, row) -> int:
    return max(x for x in range(int(radius) + 1) if x * x + row * row <= radius * radius)


def _thinning_space(flat, pixels):
    n = len(pixels)
    return np.zeros(len(flat), "uint8"), np.empty((2, n), "int64"), np.empty(n, "int64")


# === Thinning ===


@numba.njit(cache=True, nogil=True)
def _thin(image, pixels, n, width, removable, waiting, queue, removed):
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


# === Matching ===


@numba.njit(cache=True, nogil=True)
def _count_over_thresholds(pixels, above, width, first, half_widths, removable):
    """Matches and predicted pixels for each entry of `above`, the number of pixels to take.

    `above` ascends, and `pixels` are places in the padded map of this width, strongest first.
    """
    n_labelled = first[-1, -1]
    image = np.zeros((first.shape[0] + 2) * width, np.uint8)
    waiting = np.zeros(len(image), np.uint8)
    queue = np.empty((2, len(pixels)), np.int64)
    removed = np.empty(len(pixels), np.int64)
    pair_of_pixel = np.full(len(image), FREE, np.int32)
    pair_of_label = np.full(n_labelled, FREE, np.int32)
    in_reach = np.zeros(len(image), np.bool_)
    for p in pixels:
        in_reach[p] = _has_label(p, width, first, half_widths)
    free = np.empty(len(pixels), np.int64)
    level = np.empty(n_labelled, np.int32)
    unseen = np.empty(n_labelled + 1, np.int32)
    search = np.empty(len(pixels), np.int64)
    depth = np.empty(len(pixels), np.int32)
    path = np.empty((3, n_labelled + 2), np.int64)
    counts = np.zeros((len(above), 2), np.int64)
    matched = 0
    for t in range(len(above)):
        n = above[t]
        if t > 0 and n == above[t - 1]:  # the same map
            counts[t] = counts[t - 1]
            continue
        for k in range(n):
            image[pixels[k]] = 1
        _thin(image, pixels, n, width, removable, waiting, queue, removed)
        # Thinned maps are not nested, but nearly: a pair stays while its pixel does.
        for g in range(n_labelled):
            p = pair_of_label[g]
            if p != FREE and not image[p]:
                pair_of_label[g] = pair_of_pixel[p] = FREE
                matched -= 1
        predicted = n_free = useful = 0
        for k in range(n):
            p = pixels[k]
            if image[p]:
                image[p] = 0
                predicted += 1
                if in_reach[p]:
                    useful += 1
                    if pair_of_pixel[p] == FREE:
                        free[n_free] = p
                        n_free += 1
        most = min(useful, n_labelled)
        while matched < most:
            more = add_pairs(
                free, n_free, pair_of_pixel, pair_of_label, width, first, half_widths,
                level, unseen, search, depth, path,
            )  # fmt: skip
            if more == 0:
                break
            matched += more
            kept = 0
            for k in range(n_free):
                if pair_of_pixel[free[k]] == FREE:
                    free[kept] = free[k]
                    kept += 1
            n_free = kept
        counts[t, 0] = matched
        counts[t, 1] = predicted
    return counts


@numba.njit(cache=True, inline="always")
def _range(y, x, row, first, half_widths):
    """The labelled pixels in reach of a pixel in one row of its disc, as (start, end)."""
    y += row - len(half_widths) // 2
    if y < 0 or y >= first.shape[0]:
        return np.int32(0), np.int32(0)
    left = max(x - half_widths[row], 0)
    right = min(x + half_widths[row] + 1, first.shape[1] - 1)
    return first[y, left], first[y, right]


@numba.njit(cache=True)
def _has_label(p, width, first, half_widths):
    y, x = p // width - 1, p % width - 1
    for row in range(len(half_widths)):
        start, end = _range(y, x, row, first, half_widths)
        if end > start:
            return True
    return False


@numba.njit(cache=True, inline="always")
def _next(unseen, g):
    """The first labelled pixel from g on that was not seen yet; shortens the way for later."""
    while unseen[g] != g:
        unseen[g] = unseen[unseen[g]]
        g = unseen[g]
    return g


@numba.njit(cache=True)
def add_pairs(
    free, n_free, pair_of_pixel, pair_of_label, width, first, half_widths,
    level, unseen, search, depth, path,
):  # fmt: skip
    """Lengthens the matching along a maximal set of disjoint shortest paths; returns its gain."""
    n_labelled, n_rows = len(pair_of_label), len(half_widths)
    for g in range(n_labelled):
        level[g] = FREE
        unseen[g] = g
    unseen[n_labelled] = n_labelled
    # Breadth first: the length of the shortest way from a free pixel to each labelled one.
    end_of_search, last = n_free, -1
    for k in range(n_free):
        search[k] = free[k]
        depth[k] = 0
    k = 0
    while k < end_of_search and (last < 0 or depth[k] == last):
        y, x = search[k] // width - 1, search[k] % width - 1
        for row in range(n_rows):
            start, end = _range(y, x, row, first, half_widths)
            if start == end:
                continue
            g = _next(unseen, start)
            while g < end:
                unseen[g] = g + 1
                level[g] = depth[k]
                q = pair_of_label[g]
                if q == FREE:
                    last = depth[k]
                else:
                    search[end_of_search] = q
                    depth[end_of_search] = depth[k] + 1
                    end_of_search += 1
                g = _next(unseen, g)
        k += 1
    if last < 0:
        return 0
    # Depth first along these levels; each labelled pixel is tried at most once.
    gain = 0
    for k in range(n_free):
        d = 0
        path[0, 0] = free[k]
        path[1, 0] = 0
        path[2, 0] = FREE
        while d >= 0:
            y, x = path[0, d] // width - 1, path[0, d] % width - 1
            found = -1
            while path[1, d] < n_rows:
                start, end = _range(y, x, path[1, d], first, half_widths)
                g = max(start, path[2, d])
                while g < end:
                    if level[g] == d and (d < last or pair_of_label[g] == FREE):
                        found = g
                        break
                    g += 1
                if found >= 0:
                    break
                path[1, d] += 1
                path[2, d] = FREE
            if found < 0:
                d -= 1
                continue
            level[found] = FREE
            path[2, d] = found  # where to go on if this way fails, and the pair if it does not
            q = pair_of_label[found]
            if q != FREE:
                d += 1
                path[0, d] = q
                path[1, d] = 0
                path[2, d] = FREE
                continue
            gain += 1
            while d >= 0:
                pair_of_pixel[path[0, d]] = path[2, d]
                pair_of_label[path[2, d]] = path[0, d]
                d -= 1
    return gain
