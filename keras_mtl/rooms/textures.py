"""Textures of a generated room: square tiles that repeat seamlessly, each at several sizes.

A tile holds numbers in 0..1 that mix two colours of a paint. The tiles are the same for all rooms;
what differs is their colours, size, direction and place. Each is kept at half the size, a quarter
and so on, as a photograph averages what is far away.

Integers and IEEE's exact operations only, as in `ray_casting`.
"""

from functools import cache

import numpy as np

SIZE = 256  # pixels along a tile's side
LEVELS = 7
_X, _Y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))


def hashed(i, j, seed):
    """A number in 0..1 for each pair of integers (uint32 arrays), as if drawn at random."""
    h = i * np.uint32(374761393) + j * np.uint32(668265263)
    h = (h ^ np.uint32(seed)) * np.uint32(2246822519)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(1274126177)
    return (h ^ (h >> np.uint32(16))) / 4294967296.0


def value_noise(u, v, seed, period):
    """Smooth noise in 0..1: random values on the integer grid, blended in between.

    Args:
        u, v: arrays of coordinates.
        seed: integer.
        period: (along u, along v), integers after which it repeats.
    """
    i, j = np.floor(u), np.floor(v)
    a, b = u - i, v - j
    a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
    i, j = i.astype(np.int64), j.astype(np.int64)

    def at(di, dj):
        return hashed(
            ((i + di) % period[0]).astype(np.uint32), ((j + dj) % period[1]).astype(np.uint32), seed
        )

    near = at(0, 0) * (1 - a) + at(1, 0) * a
    far = at(0, 1) * (1 - a) + at(1, 1) * a
    return near * (1 - b) + far * b


def _noise(seed, across, down=None):
    """`value_noise` of so many random values across a tile and down it."""
    down = down or across
    (i, a), (j, b) = _places(across), _places(down)
    columns, rows = np.arange(across, dtype=np.uint32), np.arange(down, dtype=np.uint32)
    values = hashed(columns, rows[:, None], seed)

    def at(di, dj):
        return values[(j + dj) % down][:, (i + di) % across]

    b = b[:, None]
    near = at(0, 0) * (1 - a) + at(1, 0) * a
    far = at(0, 1) * (1 - a) + at(1, 1) * a
    return near * (1 - b) + far * b


def _places(count):
    """Along a tile, the random value before each pixel, and how far it is on to the next."""
    u = np.arange(SIZE) * (count / SIZE)
    i = np.floor(u)
    a = u - i
    return i.astype(int), a * a * (3 - 2 * a)


def _octaves(seed, across, down=None, count=4):
    down, total, weight = down or across, 0.0, 0.5
    for k in range(count):
        total = total + weight * _noise(seed + k, across << k, down << k)
        weight *= 0.5
    return total / (1 - 2 * weight)


def _wave(x, period, sharp=1.0):
    """A triangle wave in 0..1."""
    phase = x / period - np.floor(x / period)
    return np.clip((1 - np.abs(2 * phase - 1) - 0.5) * sharp + 0.5, 0, 1)


def _plaster():
    return 0.5 + 0.25 * (_octaves(1, 32, count=3) - 0.5) + 0.2 * (_octaves(5, 2, count=3) - 0.5)


def _clouds():
    return np.clip((_octaves(11, 3, count=5) - 0.5) * 1.8 + 0.5, 0, 1)


def _marble():
    veins = np.abs(_octaves(21, 3, count=5) - 0.5) * 9
    return np.clip(1 - veins, 0, 1) * (0.4 + 0.6 * _noise(26, 4)) + 0.25 * _octaves(27, 2, count=3)


def _grain(seed, rings):
    """The grain of wood along x."""
    bend = 0.45 * _octaves(seed, 2, 4, count=3) + 0.01 * _noise(seed + 4, 4, 64)
    rough = _octaves(seed + 5, 6, 128, count=2)
    return 0.55 * _wave(_Y / SIZE + bend, 1 / rings) * _noise(seed + 8, 2, 8) + 0.45 * rough


def _wood():
    return _grain(31, 9)


def _planks(rows, boards, seed):
    """Boards side by side along x, each of its own tone, with dark seams."""
    height, length = SIZE // rows, SIZE // boards
    row = _Y // height
    shift = (hashed(row.astype(np.uint32), np.uint32(0), seed) * SIZE).astype(int)
    x = (_X + shift) % SIZE
    board = (x // length + boards * row).astype(np.uint32)
    tone = hashed(board, np.uint32(1), seed)
    slid = (hashed(board, np.uint32(2), seed) * SIZE).astype(int)
    grain = _grain(seed, 5)[(_Y + slid) % SIZE, (x + slid) % SIZE]
    seam = (_Y % height < 1) | (x % length < 1)
    return np.where(seam, 1.0, 0.15 + 0.4 * tone + 0.4 * grain)


def _floorboards():
    return _planks(8, 2, 41)


def _parquet():
    return _planks(16, 8, 51)


def _fabric():
    over = _wave(_X, 4) * ((_X // 4 + _Y // 4) % 2) + _wave(_Y, 4) * ((_X // 4 + _Y // 4 + 1) % 2)
    return 0.5 * over + 0.3 * _noise(61, 128) + 0.2 * _octaves(62, 4, count=3)


def _carpet():
    return 0.6 * _noise(71, 128) + 0.25 * _noise(72, 64) + 0.15 * _octaves(73, 4, count=3)


def _bricks():
    height, length = SIZE // 16, SIZE // 6
    row = _Y // height
    x = (_X + (row % 2) * (length // 2)) % SIZE
    brick = np.minimum(x // length, 5)
    tone = hashed((brick + 16 * row).astype(np.uint32), np.uint32(3), 81)
    joint = (_Y % height < 2) | (x - brick * length < 2)
    return np.where(joint, 1.0, 0.5 * tone + 0.25 * _noise(82, 64))


def _tiles():
    step, tone = SIZE // 4, hashed((_X // 64).astype(np.uint32), (_Y // 64).astype(np.uint32), 91)
    joint = (_X % step < 2) | (_Y % step < 2)
    return np.where(joint, 1.0, 0.12 * tone + 0.15 * _octaves(92, 6, count=3))


def _small_tiles():
    tone = hashed((_X // 16).astype(np.uint32), (_Y // 16).astype(np.uint32), 101)
    return np.where((_X % 16 < 1) | (_Y % 16 < 1), 1.0, 0.5 * tone)


def _stripes():
    return _wave(_X, SIZE // 8, 12) * 0.9 + 0.1 * _noise(111, 128)


def _checks():
    return ((_X // 32 + _Y // 32) % 2) * 0.85 + 0.15 * _octaves(121, 16, count=3)


def _plaid():
    across = _wave(_X, 64, 8) + 0.6 * (_X % 64 < 4)
    down = _wave(_Y, 64, 8) + 0.6 * (_Y % 64 < 4)
    return np.clip(0.42 * (across + down) + 0.15 * (_noise(131, 128) - 0.5), 0, 1)


def _dots():
    a, b = (_X + 32 * (_Y // 32 % 2)) % 64 - 32, _Y % 32 - 16
    return np.clip((90 - a * a - b * b) / 20 + 0.5, 0, 1)


def _damask():
    """Mirrored blots, as on wallpaper and cushions."""
    x, y = np.abs(_X % 64 - 32) + 7, np.abs(_Y % 128 - 64)
    blot = value_noise(x / 9, y / 9, 141, (64, 64)) + 0.5 * value_noise(x / 4, y / 4, 142, (64, 64))
    return np.clip((blot - 0.75) * 8 + 0.5, 0, 1)


def _leaves():
    """Blots of many sizes."""
    blot = _noise(151, 20) * 0.7 + _noise(152, 40) * 0.4
    return np.clip((blot - 0.6) * 7 + 0.5, 0, 1) * (0.7 + 0.3 * _noise(153, 64))


def _painting(seed):
    """Large shapes and small ones, as in pictures, posters and on screens."""
    large = np.floor(5 * _octaves(seed, 2, 3, count=2)) / 5
    small = _octaves(seed + 4, 8, count=4)
    bars = _wave(_X + 40 * _noise(seed + 9, 4), 64, 6) * (_noise(seed + 10, 3) > 0.55)
    return np.clip(0.7 * large + 0.4 * (small - 0.4) + 0.3 * bars, 0, 1)


def _abstract():
    return _painting(161)


def _poster():
    return np.where(_Y % 128 < 80, _painting(171), (_Y // 6 % 2) * (_noise(185, 32, 4) > 0.4) * 0.8)


def _text():
    """Lines of words."""
    word = _noise(191, 64, 32) > 0.42
    return ((_Y % 8 < 4) & word & (_X > 20) & (_X < 236) & (_Y > 16)) * (
        0.6 + 0.4 * _noise(192, 128)
    )


def _outside():
    """What is seen through a window: sky above, and roofs, trees or hills below."""
    line = (
        110
        + 70 * _octaves(201, 4, 1, count=4)[:1]
        + 24 * (hashed((_X[:1] // 24).astype(np.uint32), np.uint32(5), 202) > 0.6)
    )
    sky = 0.02 + 0.14 * _octaves(203, 2, count=4) * (_Y / SIZE)
    ground = 0.45 + 0.5 * _octaves(206, 12, count=4)
    # A tile repeats, so its upper end is mixed into the sky again.
    return np.where(line < _Y, ground, sky)[::-1]  # v points up on walls


def _leather():
    return 0.3 * np.abs(_octaves(211, 12, count=4) - 0.5) * 4 + 0.3 * _octaves(215, 2, count=3)


_MAKERS = {
    "plain": lambda: np.full((SIZE, SIZE), 0.3) + 0.1 * _octaves(221, 2, count=3),
    "plaster": _plaster, "clouds": _clouds, "marble": _marble, "wood": _wood,
    "floorboards": _floorboards, "parquet": _parquet, "fabric": _fabric, "carpet": _carpet,
    "bricks": _bricks, "tiles": _tiles, "small tiles": _small_tiles, "stripes": _stripes,
    "checks": _checks, "plaid": _plaid, "dots": _dots, "damask": _damask, "leaves": _leaves,
    "abstract": _abstract, "poster": _poster, "text": _text, "outside": _outside,
    "leather": _leather,
}  # fmt: skip
NAMES = tuple(_MAKERS)


@cache
def atlas():
    """All tiles at all sizes, uint8, one after the other as in `NAMES`; see `places`."""
    rows = []
    for make in _MAKERS.values():
        tile = make()
        for _ in range(LEVELS):
            rows.append((np.clip(tile, 0, 1) * 255 + 0.5).astype(np.uint8).ravel())
            tile = (
                (tile[::2, ::2] + tile[1::2, ::2]) + (tile[::2, 1::2] + tile[1::2, 1::2])
            ) * 0.25
    return np.concatenate(rows)


def mixed(number, u, v, coarseness):
    """Looks tiles up.

    Args:
        number: int32 array, positions in `NAMES`.
        u, v: float32 arrays, in tiles.
        coarseness: float32 array, the square of the tile's pixels that fall into one of the image.

    Returns:
        float32 array in 0..1.
    """
    level = np.frexp(coarseness)[1] >> 1
    level = np.clip(level, 0, LEVELS - 1)
    side = np.right_shift(SIZE, level)
    i = ((v - np.floor(v)) * side).astype(np.int32)
    j = ((u - np.floor(u)) * side).astype(np.int32)
    # Sizes before this one: 256^2 + 128^2 + ... = (256^2 - side^2) * 4 / 3.
    first = number * _TILE + (SIZE * SIZE - side * side) // 3 * 4
    limit = side - 1
    at = first + np.minimum(i, limit) * side + np.minimum(j, limit)
    return atlas().take(at) * np.float32(1 / 255)


_TILE = sum((SIZE >> level) ** 2 for level in range(LEVELS))
