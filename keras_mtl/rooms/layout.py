"""Where things stand in a generated room and where the camera stands: drawn, then kept if it fits.

Everything is placed by the box around it: no two boxes overlap, none sticks out of the room, and
the camera keeps its distance from all of them.
"""

import numpy as np

from keras_mtl.rooms import furniture as f
from keras_mtl.rooms.people import people
from keras_mtl.rooms.ray_casting import (
    UP,
    UPRIGHT,
    Camera,
    Solid,
    View,
    along,
    cross,
    rotation,
    unit,
)
from keras_mtl.rooms.shapes import Thing, bounds, moved

# What a room holds: (maker, where it goes, how likely). Bulky things first, while there is space.
_DECORATION = (
    (f.door, "wall", 0.7),
    (f.window, "wall", 0.85),
    (people, "floor", 0.3),
    (people, "floor", 0.2),
    (f.picture, "hung", 0.7),
    (f.picture, "hung", 0.5),
    (f.shelves, "hung", 0.3),
    (f.clothes, "hung", 0.25),
    (f.plant, "floor", 0.4),
    (f.carton, "floor", 0.4),
    (f.carton, "floor", 0.25),
    (f.bag, "floor", 0.4),
    (f.pendant, "ceiling", 0.4),
    (f.floor_mat, "mat", 0.5),
)
_ROOMS = (
    (
        (f.bed, "wall", 1.0),
        (f.dresser, "wall", 0.75),
        (f.cabinet, "wall", 0.5),
        (f.desk, "wall", 0.35),
        (f.chair, "floor", 0.4),
        (f.mirror, "hung", 0.4),
    ),
    (
        (f.sofa, "wall", 1.0),
        (f.television_stand, "wall", 0.8),
        (f.coffee_table, "floor", 0.8),
        (f.sofa, "wall", 0.3),
        (f.bookshelf, "wall", 0.7),
        (f.floor_lamp, "floor", 0.6),
        (f.chair, "floor", 0.4),
    ),
    (
        (f.kitchen, "wall", 0.8),
        (f.dining_set, "floor", 1.0),
        (f.refridgerator, "wall", 0.8),
        (f.cabinet, "wall", 0.4),
        (f.towel, "hung", 0.3),
    ),
    (
        (f.desk, "wall", 1.0),
        (f.desk, "wall", 0.6),
        (f.bookshelf, "wall", 0.8),
        (f.whiteboard, "hung", 0.7),
        (f.cabinet, "wall", 0.4),
        (f.dining_set, "floor", 0.3),
        (f.chair, "floor", 0.5),
    ),
    (
        (f.bathtub, "wall", 0.9),
        (f.toilet, "wall", 0.9),
        (f.washstand, "wall", 0.9),
        (f.towel, "hung", 0.8),
        (f.dresser, "wall", 0.3),
        (f.mirror, "hung", 0.3),
    ),
)
_BATHROOM = 4
_INWARD = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))  # turns that face away from each wall


class _Room:
    """An empty box room that things are put into one after the other where there is space."""

    def __init__(self, draw, size):
        self.draw, self.size = draw, size
        self.things, self.taken = [], []
        w, d, h = size
        walls = draw.paint()
        accent = draw.paint() if draw.chance(0.3) else walls
        x, y, z = UPRIGHT
        self._side("floor", (w / 2, d / 2, 0), (w, d), (x, y, z), draw.paint())
        self._side("ceiling", (w / 2, d / 2, h), (w, d), (x, y, z), draw.paint())
        self._side("wall", (w / 2, 0, h / 2), (w, h), (x, z, y), walls)
        self._side("wall", (w, d / 2, h / 2), (d, h), (y, z, x), walls)
        self._side("wall", (w / 2, d, h / 2), (w, h), (x, z, y), accent)
        self._side("wall", (0, d / 2, h / 2), (d, h), (y, z, x), walls)

    def _side(self, name, center, extent, axes, paint):
        half = (extent[0] / 2, extent[1] / 2, 0.01)
        self.things.append(Thing(name, [Solid("plane", center, half, paint, 0, axes)]))

    def furnish(self, make, where):
        """Put what `make` draws where it fits; leave it out if no place is found."""
        draw, things = self.draw, make(self.draw)
        for _ in range(8):
            wall = draw.integer(0, 3)
            turn = _INWARD[wall]
            if where == "floor":  # nobody lines up a carton with the walls
                c, s = rotation(draw.uniform(-0.4, 0.4))
                turn = (turn[0] * c - turn[1] * s, turn[0] * s + turn[1] * c)
            turned = moved(things, turn=turn)
            low, high = bounds(turned)
            shift = [draw.uniform(0.02 - low[k], self.size[k] - high[k] - 0.02) for k in (0, 1)]
            shift.append(0.0)
            if where == "ceiling":
                shift[2] = self.size[2] - high[2]
            if where == "hung":
                shift[2] = min(draw.uniform(1.15, 1.5), self.size[2] - high[2] - 0.1)
            if where in ("wall", "hung"):  # back to the wall
                axis = 1 - wall % 2
                shift[axis] = -low[axis] if wall in (0, 3) else self.size[axis] - high[axis]
            low, high = along(low, shift, 1), along(high, shift, 1)
            if make is f.door:  # keep the way in free
                way_in = (-turn[1], turn[0], 0.0)
                low = along(low, [min(step, 0.0) for step in way_in], 0.6)
                high = along(high, [max(step, 0.0) for step in way_in], 0.6)
            if where == "mat" or self._free(low, high):
                self.things += moved(turned, *shift)
                if where != "mat":  # what stands on a mat does not collide with it
                    self.taken.append((low, high))
                return

    def _free(self, low, high, margin=0.03):
        """Whether a box lies in the room and keeps a distance from everything in it."""
        inside = all(low[k] > -1e-6 and high[k] < self.size[k] + 1e-6 for k in range(3))
        return inside and not any(
            all(low[k] < b[k] + margin and high[k] > a[k] - margin for k in range(3))
            for a, b in self.taken
        )

    def viewpoint(self):
        """A camera in free space that looks toward one of the things, or None."""
        draw, (width, depth, height) = self.draw, self.size
        eye = (
            draw.uniform(0.6, 1.0)
            if draw.chance(0.15)
            else draw.uniform(1.1, min(2.0, height - 0.3))
        )
        position = (draw.uniform(0.15, width - 0.15), draw.uniform(0.15, depth - 0.15), eye)
        if not self._free(position, position, margin=0.35):
            return None
        target = draw.choice(self.things[6:] or self.things).solids[0].center
        across = (width / 2 - position[0], depth / 2 - position[1])
        aim = [target[k] - position[k] + 0.5 * across[k] + draw.uniform(-0.3, 0.3) for k in (0, 1)]
        level = unit((aim[0], aim[1] + 1e-9, 0.0))
        forward = unit((level[0], level[1], draw.uniform(-0.5, 0.04)))
        right = unit(cross(forward, UP))
        down = cross(forward, right)
        c, s = rotation(draw.uniform(-0.03, 0.03))  # nobody holds a camera quite level
        axes = (
            tuple(c * a + s * b for a, b in zip(right, down, strict=True)),
            tuple(c * b - s * a for a, b in zip(right, down, strict=True)),
            forward,
        )
        return Camera(position, axes, 1 / draw.uniform(0.5, 0.8))


def compose(draw):
    """A furnished room and a viewpoint in it.

    Args:
        draw: `shapes.Draw`.

    Returns:
        (things, camera, (width, depth, height)); the first six things are floor, ceiling, walls.
    """
    while True:
        room = _furnished(draw)
        camera = _best_viewpoint(draw, room)
        if camera is not None:
            return room.things, camera, room.size


def _furnished(draw):
    kind = draw.integer(0, len(_ROOMS) - 1)
    longest = 3.6 if kind == _BATHROOM else 5.2
    size = (draw.uniform(2.6, longest), draw.uniform(2.8, longest), draw.uniform(2.4, 3.0))
    room = _Room(draw, size)
    for make, where, probability in _ROOMS[kind] + _DECORATION:
        if draw.chance(probability):
            room.furnish(make, where)
    return room


def _best_viewpoint(draw, room):
    """The one of a few viewpoints that shows most; None in a room too full to stand in."""
    blocks = [t.solids[0] for t in room.things[:6]] + [_block(t) for t in room.things[6:]]
    tries = [room.viewpoint() for _ in range(40)]
    best, camera = -1.0, None
    for candidate in [c for c in tries if c is not None][:10]:
        # Always the same small picture, so that the choice does not depend on the image's size.
        depth, owner = View(blocks, candidate, (24, 32)).nearest()
        share = (np.bincount(owner.ravel(), minlength=len(blocks)) / depth.size).tolist()
        score = 0.0
        for thing, part in zip(room.things[6:], share[6:], strict=True):
            score += min(part, 0.1) + (0.05 if part > 0.01 else 0) * (1 + (thing.name == "person"))
        crowded = depth.min() < 0.5 or max(share) > 0.5
        bare = share[0] + share[1] + share[2] + share[3] + share[4] + share[5] > 0.65
        score *= (0.2 if crowded else 1) * (0.5 if bare else 1)
        if score > best:
            best, camera = score, candidate
        if score > 0.9:
            break
    return camera


def _block(thing):
    """The box around a thing, as a solid."""
    low, high = bounds([thing])
    center = tuple((a + b) / 2 for a, b in zip(low, high, strict=True))
    half = tuple((b - a) / 2 for a, b in zip(low, high, strict=True))
    return Solid("box", center, half, thing.solids[0].paint)
