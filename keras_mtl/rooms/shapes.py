"""What furniture and people are made of: repeatable random draws, things, and handy solids."""

from math import sqrt
from typing import NamedTuple

import numpy as np

from keras_mtl.rooms.paints import draw_paint
from keras_mtl.rooms.ray_casting import UP, Solid, along, cross, dot, unit

FORWARD = (1.0, 0.0)  # (cos, sin) of a turn
BACKWARD = (-1.0, 0.0)


class Draw:
    """Random draws that are the same on every machine and for every NumPy version.

    Only the raw 64-bit stream of PCG64 is guaranteed never to change: values are made of it here.
    """

    def __init__(self, seed, index):
        # As a spawn key, the index can never be mistaken for a part of the seed.
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(index,)))

    def raw(self, count):
        """`count` random 64-bit integers, uint64 array."""
        return self._bits.random_raw(count)

    def uniform(self, low=0.0, high=1.0):
        return low + (high - low) * ((self._bits.random_raw() >> 11) * 2.0**-53)

    def integer(self, low, high):
        """An integer in low..high, both included."""
        return low + int(self.uniform() * (high - low + 1))

    def choice(self, options):
        return options[self.integer(0, len(options) - 1)]

    def chance(self, probability):
        return self.uniform() < probability

    def paint(self, *materials):
        """A paint of one of these materials (`paints.MATERIALS`), now and then of any."""
        return draw_paint(self, materials)


class Thing(NamedTuple):
    """One instance: what it is called and the solids it is made of."""

    name: str
    solids: list

    def moved(self, x=0.0, y=0.0, z=0.0, turn=FORWARD):
        return Thing(self.name, [s.moved(x, y, z, turn) for s in self.solids])


def moved(things, x=0.0, y=0.0, z=0.0, turn=FORWARD):
    return [thing.moved(x, y, z, turn) for thing in things]


def bounds(things):
    """((x, y, z) lowest, (x, y, z) highest) corner of the box around things."""
    reaches = [(s.center, s.reach()) for thing in things for s in thing.solids]
    low = zip(*[(x - i, y - j, z - k) for (x, y, z), (i, j, k) in reaches], strict=True)
    high = zip(*[(x + i, y + j, z + k) for (x, y, z), (i, j, k) in reaches], strict=True)
    return tuple(map(min, low)), tuple(map(max, high))


def box(x, y, z, width, depth, height, paint, shape="box"):
    """A solid by the centre of its footprint, the height of its underside and its full sizes."""
    return Solid(shape, (x, y, z + height / 2), (width / 2, depth / 2, height / 2), paint)


def cylinder(x, y, z, width, depth, height, paint):
    return box(x, y, z, width, depth, height, paint, "cylinder")


def ellipsoid(x, y, z, width, depth, height, paint):
    return box(x, y, z, width, depth, height, paint, "ellipsoid")


def disc(x, y, z, width, depth, height, paint):
    """An elliptic cylinder whose axis points to the front: flat on a wall."""
    axes = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))
    return Solid(
        "cylinder", (x, y, z + height / 2), (width / 2, height / 2, depth / 2), paint, 0, axes
    )


def limb(start, end, radius, paint, part=0, shape="ellipsoid", extra=1.15):
    """A solid stretched from one point to another."""
    offset = tuple(b - a for a, b in zip(start, end, strict=True))
    third = unit(offset)
    length = sqrt(dot(offset, offset))
    helper = UP if abs(third[2]) < 0.9 else (1.0, 0.0, 0.0)
    first = unit(cross(helper, third))
    axes = (first, cross(third, first), third)
    middle = along(start, offset, 0.5)
    return Solid(shape, middle, (radius, radius, length / 2 * extra), paint, part, axes)
