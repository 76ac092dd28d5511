"""The compiled part of odsF: thins a map at every threshold and matches it with the boundaries.

Matching is a maximum-cardinality matching of predicted and labelled pixels within a radius, found
by the phases of Hopcroft and Karp (SIAM Journal on Computing 2(4), 1973): their number grows at
most with the square root of the number of pixels, so that no map can bring it to a standstill. A
phase goes on, as Duff and Wiberg's (ACM Transactions on Mathematical Software 14(3), 1988), along
paths of any length, which makes phases few; and it starts from the side that has fewer pixels, for
what is left over on the other would be searched in vain. The pixels in reach of one are not listed
one by one: numbered row by row, they are one range of numbers for each row of its disc.

What is compiled writes to its own arrays only and releases the GIL: threads match images side by
side.
"""

import numba
import numpy as np

from keras_mtl.metrics.odsf.thinning import REMOVABLE, thin_in_place, thinning_space

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
    labelled = np.asarray(labelled, bool)
    values, pixels = _above(strength, labelled, float(thresholds[0]))
    # Ascending negated values: how many lie strictly below -t is how many are above t.
    above = np.searchsorted(-values, -np.asarray(thresholds, "float32"), side="left")
    counts = _count(pixels, above[::-1].astype("int64"), labelled, radius, REMOVABLE)
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
    predicted, labelled = np.asarray(predicted, bool), np.asarray(labelled, bool)
    _, pixels = _above(predicted.astype("float32"), labelled, 0.0)
    keep = np.zeros_like(REMOVABLE)
    return int(_count(pixels, np.array([len(pixels)]), labelled, radius, keep)[0, 0])


# === Tables ===


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


def matching_space(n_pixels: int, n_labelled: int) -> tuple[np.ndarray, ...]:
    """What searches write to, from either side."""
    most = max(n_pixels, n_labelled)
    level, unseen = np.empty(most, "int32"), np.empty(most + 1, "int32")
    path = np.empty((3, min(n_pixels, n_labelled) + 2), "int64")
    return level, unseen, np.empty(most, "int32"), np.empty(most, "int32"), path


def _count(pixels, above, labelled, radius, removable) -> np.ndarray:
    """`_count_over_thresholds` with what is in reach of each pixel, and of each labelled one."""
    height, width = labelled.shape[0], labelled.shape[1] + 2
    places = np.sort(pixels)
    begins, reach = list_ranges(places, width, *ranges(labelled, radius))
    useful = begins[1:] > begins[:-1]
    places, begins = places[useful], np.append(0, begins[1:][useful])
    number = np.full((height + 2) * width, FREE, "int32")
    number[places] = np.arange(len(places))
    candidates = number.reshape(height + 2, width)[1:-1, 1:-1] != FREE
    back = list_ranges(np.flatnonzero(np.pad(labelled, 1)), width, *ranges(candidates, radius))
    space = matching_space(len(places), len(back[0]) - 1)
    thinning = removable, *thinning_space(len(number), len(pixels))
    return _count_over_thresholds(
        pixels, above, width, thinning, number, (begins, reach), back, space
    )


@numba.njit(cache=True, nogil=True)
def list_ranges(places, width, first, half_widths):
    """The ranges of numbers in reach of places of the padded map, those of place k from begins[k].

    `first` and `half_widths` are what `ranges` returned of the other side's map.
    """
    begins = np.zeros(len(places) + 1, np.int64)
    found = np.empty((0, 2), np.int32)
    for counted in (False, True):
        n = 0
        for k in range(len(places)):
            y, x = places[k] // width - 1, places[k] % width - 1
            for row in range(len(half_widths)):
                to = y + row - len(half_widths) // 2
                if to < 0 or to >= first.shape[0]:
                    continue
                start = first[to, max(x - half_widths[row], 0)]
                end = first[to, min(x + half_widths[row] + 1, first.shape[1] - 1)]
                if start == end:
                    continue
                if counted:
                    found[n] = start, end
                n += 1
            begins[k + 1] = n
        if not counted:
            found = np.empty((n, 2), np.int32)
    return begins, found


# === Matching ===


@numba.njit(cache=True, nogil=True)
def _count_over_thresholds(pixels, above, width, thinning, number, forth, back, space):
    """Matches and predicted pixels for each entry of `above`, the number of pixels to take.

    `above` ascends, and `pixels` are places in the padded map of this width, strongest first;
    `number` is their number there of those that have a label in reach.
    """
    image = np.zeros(len(number), np.uint8)
    n_labelled = len(back[0]) - 1
    predicted_now = np.zeros(len(forth[0]) - 1, np.bool_)
    always = np.ones(n_labelled, np.bool_)
    pair_of_pixel = np.full(len(predicted_now), FREE, np.int32)
    pair_of_label = np.full(n_labelled, FREE, np.int32)
    counts = np.zeros((len(above), 2), np.int64)
    matched = 0
    for t in range(len(above)):
        n = above[t]
        if t > 0 and n == above[t - 1]:  # the same map
            counts[t] = counts[t - 1]
            continue
        for k in range(n):
            image[pixels[k]] = 1
        thin_in_place(image, pixels, n, width, *thinning)
        predicted = useful = 0
        for k in range(n):
            p = pixels[k]
            i = number[p]
            predicted += image[p]
            if i != FREE:
                useful += image[p]
                predicted_now[i] = image[p] == 1
                # Thinned maps are not nested, but nearly: a pair stays while its pixel does.
                if not image[p] and pair_of_pixel[i] != FREE:
                    pair_of_label[pair_of_pixel[i]] = pair_of_pixel[i] = FREE
                    matched -= 1
            image[p] = 0
        while matched < min(useful, n_labelled):
            if useful <= n_labelled:
                more = _phase(predicted_now, always, pair_of_pixel, pair_of_label, *forth, *space)
            else:
                more = _phase(always, predicted_now, pair_of_label, pair_of_pixel, *back, *space)
            if more == 0:
                break
            matched += more
        counts[t, 0] = matched
        counts[t, 1] = predicted
    return counts


@numba.njit(cache=True)
def _phase(here, there, pair_here, pair_there, begins, reach, level, unseen, search, depth, path):
    sides = here, there, pair_here, pair_there, begins, reach
    gain = add_pairs(*sides, level, unseen, search, depth, path)
    return gain + _add_pairs_far_away(*sides, unseen, path) if gain else 0


@numba.njit(cache=True, inline="always")
def _start(unseen, there):
    """Nothing was seen yet; what is not there never will be."""
    for g in range(len(there)):
        unseen[g] = g if there[g] else g + 1
    unseen[len(there)] = len(there)


@numba.njit(cache=True, inline="always")
def _next(unseen, g):
    """The first pixel from g on that was not seen yet; shortens the way for later."""
    while unseen[g] != g:
        unseen[g] = unseen[unseen[g]]
        g = unseen[g]
    return g


@numba.njit(cache=True, inline="always")
def _go_on(path, d, i, begins):
    """Step d of a path begins at i, with its first range, and has found nothing yet."""
    path[0, d] = i
    path[1, d] = begins[i]
    path[2, d] = FREE


@numba.njit(cache=True, inline="always")
def _take(path, d, pair_here, pair_there):
    """Makes pairs along the path; what was paired there gets another one."""
    while d >= 0:
        pair_here[path[0, d]] = path[2, d]
        pair_there[path[2, d]] = path[0, d]
        d -= 1


@numba.njit(cache=True, nogil=True)
def add_pairs(
    here, there, pair_here, pair_there, begins, reach, level, unseen, search, depth, path
):
    """Lengthens the matching along a maximal set of disjoint shortest paths; returns its gain.

    They begin here, at what has no pair, and end there. `here` and `there` say of every pixel of
    either side whether it takes part; `begins` and `reach` are what `list_ranges` returned.
    """
    _start(unseen, there)
    level[: len(there)] = FREE
    # Breadth first: the length of the shortest way from a free pixel to each one there.
    end_of_search, last = 0, -1
    for i in range(len(here)):
        if here[i] and pair_here[i] == FREE:
            search[end_of_search] = i
            depth[end_of_search] = 0
            end_of_search += 1
    k = 0
    while k < end_of_search and (last < 0 or depth[k] == last):
        for r in range(begins[search[k]], begins[search[k] + 1]):
            g = _next(unseen, reach[r, 0])
            while g < reach[r, 1]:
                unseen[g] = g + 1
                level[g] = depth[k]
                q = pair_there[g]
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
    # Depth first along these levels; each pixel there is tried at most once.
    gain = 0
    for first in range(len(here)):
        if not here[first] or pair_here[first] != FREE:
            continue
        d = 0
        _go_on(path, 0, first, begins)
        while d >= 0:
            found = FREE
            while path[1, d] < begins[path[0, d] + 1]:
                r = path[1, d]
                for g in range(max(reach[r, 0], path[2, d]), reach[r, 1]):
                    if level[g] == d and (d < last or pair_there[g] == FREE):
                        found = g
                        break
                if found != FREE:
                    break
                path[1, d] += 1
                path[2, d] = FREE
            if found == FREE:
                d -= 1
                continue
            level[found] = FREE
            path[2, d] = found  # where to go on if this way fails, and the pair if it does not
            q = pair_there[found]
            if q == FREE:
                _take(path, d, pair_here, pair_there)
                gain += 1
                break
            d += 1
            _go_on(path, d, q, begins)
    return gain


@numba.njit(cache=True)
def _add_pairs_far_away(here, there, pair_here, pair_there, begins, reach, unseen, path):
    """Lengthens the matching along disjoint paths of any length; returns its gain."""
    _start(unseen, there)
    gain = 0
    for first in range(len(here)):
        if not here[first] or pair_here[first] != FREE:
            continue
        d = 0
        _go_on(path, 0, first, begins)
        while d >= 0:
            i = path[0, d]
            if path[2, d] == FREE:  # new here: rather one that ends the path than another step
                path[2, d] = _free_in_reach(there, pair_there, reach[begins[i] : begins[i + 1]])
                if path[2, d] != FREE:
                    _take(path, d, pair_here, pair_there)
                    gain += 1
                    break
            found = FREE
            while path[1, d] < begins[i + 1]:
                g = _next(unseen, reach[path[1, d], 0])
                if g < reach[path[1, d], 1]:
                    found = g
                    break
                path[1, d] += 1
            if found == FREE:
                d -= 1
                continue
            unseen[found] = found + 1
            path[2, d] = found
            q = pair_there[found]
            d += 1
            _go_on(path, d, q, begins)
    return gain


@numba.njit(cache=True, inline="always")
def _free_in_reach(there, pair_there, reach):
    for r in range(len(reach)):
        for g in range(reach[r, 0], reach[r, 1]):
            if there[g] and pair_there[g] == FREE:
                return g
    return FREE
