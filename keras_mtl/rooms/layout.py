"""Where things stand in a generated room: drawn, then kept if it fits.

Everything is placed by the box around it: no two boxes overlap, none sticks out of the room, and
the camera (`viewpoint`) keeps its distance from all of them.
"""

from keras_mtl.rooms import furniture as f
from keras_mtl.rooms.people import people
from keras_mtl.rooms.ray_casting import UPRIGHT, Solid, along, rotation
from keras_mtl.rooms.shapes import Thing, bounds, box, moved
from keras_mtl.rooms.viewpoint import best_viewpoint

# What a room holds: (maker, where it goes, how likely). Bulky things first, while there is space.
_DECORATION = (
    (f.door, "wall", 0.7),
    (f.window, "wall", 0.85),
    (people, "floor", 0.3),
    (people, "floor", 0.2),
    (f.picture, "hung", 0.7),
    (f.picture, "hung", 0.5),
    (f.shelves, "hung", 0.4),
    (f.clothes, "hung", 0.3),
    (f.window, "wall", 0.3),
    (f.cabinet, "wall", 0.3),
    (f.plant, "floor", 0.4),
    (f.chair, "floor", 0.3),
    (f.picture, "hung", 0.4),
    (f.clock, "hung", 0.3),
    (f.radiator, "wall", 0.4),
    (f.carton, "floor", 0.4),
    (f.carton, "floor", 0.25),
    (f.bag, "floor", 0.4),
    (f.bag, "floor", 0.2),
    (f.plant, "floor", 0.2),
    (f.basket, "floor", 0.3),
    (f.ball, "floor", 0.2),
    (f.shoes, "floor", 0.3),
    (f.shoes, "floor", 0.2),
    (f.book_stack, "floor", 0.2),
    (f.switch, "hung", 0.4),
    (f.switch, "hung", 0.4),
    (f.pendant, "ceiling", 0.4),
    (f.floor_mat, "mat", 0.5),
)
_ROOMS = (
    (
        (f.bed, "wall", 1.0),
        (f.dresser, "wall", 0.75),
        (f.cabinet, "wall", 0.6),
        (f.desk, "wall", 0.5),
        (f.bookshelf, "wall", 0.4),
        (f.chair, "floor", 0.5),
        (f.mirror, "hung", 0.4),
    ),
    (
        (f.sofa, "wall", 1.0),
        (f.television_stand, "wall", 0.8),
        (f.coffee_table, "floor", 0.9),
        (f.sofa, "wall", 0.5),
        (f.bookshelf, "wall", 0.7),
        (f.floor_lamp, "floor", 0.6),
        (f.chair, "floor", 0.4),
    ),
    (
        (f.kitchen, "wall", 0.8),
        (f.dining_set, "floor", 1.0),
        (f.refridgerator, "wall", 0.8),
        (f.cabinet, "wall", 0.6),
        (f.dining_set, "floor", 0.3),
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
_TILED = (_BATHROOM,)
_INWARD = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))  # turns that face away from each wall


class _Room:
    """An empty box room that things are put into one after the other where there is space."""

    def __init__(self, draw, size, tiled):
        self.draw, self.size = draw, size
        self.things, self.taken = [], []
        w, d, h = size
        ground = draw.choice((("boards",), ("carpet",), ("tiles",), ("boards", "stone")))
        finish = ("wall", "wall", "wallpaper", "bricks", "painted")
        if tiled:
            ground, finish = ("tiles", "stone", "boards"), ("tiles", "tiles", "wall")
        walls = draw.paint(*finish)
        accent = draw.paint(*finish) if draw.chance(0.3) else walls
        x, y, z = UPRIGHT
        self._side("floor", (w / 2, d / 2, 0), (w, d), (x, y, z), draw.paint(*ground))
        above = draw.paint("white", "white", "wall", "wood")
        self._side("ceiling", (w / 2, d / 2, h), (w, d), (x, y, z), above)
        self._side("wall", (w / 2, 0, h / 2), (w, h), (x, z, y), walls)
        self._side("wall", (w, d / 2, h / 2), (d, h), (y, z, x), walls)
        self._side("wall", (w / 2, d, h / 2), (w, h), (x, z, y), accent)
        self._side("wall", (0, d / 2, h / 2), (d, h), (y, z, x), walls)
        if draw.chance(0.7):
            self._skirt(draw.uniform(0.05, 0.14), draw.paint("white", "wood", "wall"))

    def _side(self, name, center, extent, axes, paint):
        half = (extent[0] / 2, extent[1] / 2, 0.01)
        self.things.append(Thing(name, [Solid("plane", center, half, paint, 0, axes)]))

    def _skirt(self, height, paint):
        """Skirting boards, which belong to the walls."""
        w, d, _ = self.size
        boards = ((w / 2, 0, w, 0.024), (w, d / 2, 0.024, d))
        boards += ((w / 2, d, w, 0.024), (0, d / 2, 0.024, d))
        for wall, (x, y, wide, deep) in zip(self.things[2:], boards, strict=True):
            wall.solids.append(box(x, y, 0, wide, deep, height, paint))

    def furnish(self, make, where):
        """Put what `make` draws where it fits; leave it out if no place is found."""
        draw, things = self.draw, make(self.draw)
        corners = bounds(things)
        for _ in range(10):
            wall = draw.integer(0, 3)
            turn = _INWARD[wall]
            if where == "floor":  # nobody lines up a carton with the walls
                c, s = rotation(draw.uniform(-0.4, 0.4))
                turn = (turn[0] * c - turn[1] * s, turn[0] * s + turn[1] * c)
            low, high = (
                bounds(moved(things, turn=turn)) if where == "floor" else _turned(corners, turn)
            )
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
            if where == "mat" or self.free(low, high):
                self.things += moved(things, *shift, turn=turn)
                if where != "mat":  # what stands on a mat does not collide with it
                    self.taken.append((low, high))
                return

    def free(self, low, high, margin=0.03):
        """Whether a box lies in the room and keeps a distance from everything in it."""
        inside = all(low[k] > -1e-6 and high[k] < self.size[k] + 1e-6 for k in range(3))
        return inside and not any(
            all(low[k] < b[k] + margin and high[k] > a[k] - margin for k in range(3))
            for a, b in self.taken
        )


def _turned(corners, turn):
    """The lowest and the highest corner of a box after a quarter turn."""
    (x, y, low), (x2, y2, high) = corners
    c, s = turn
    xs, ys = (c * x - s * y, c * x2 - s * y2), (s * x + c * y, s * x2 + c * y2)
    return (min(xs), min(ys), low), (max(xs), max(ys), high)


def compose(draw):
    """A furnished room and a viewpoint in it.

    Args:
        draw: `shapes.Draw`.

    Returns:
        (things, camera, (width, depth, height)); the first six things are floor, ceiling, walls.
    """
    while True:
        room = _furnished(draw)
        camera = best_viewpoint(draw, room)
        if camera is not None:
            return room.things, camera, room.size


def _furnished(draw):
    kind = draw.integer(0, len(_ROOMS) - 1)
    longest = 3.6 if kind == _BATHROOM else 5.6
    size = (draw.uniform(2.6, longest), draw.uniform(2.8, longest), draw.uniform(2.4, 3.0))
    room = _Room(draw, size, kind in _TILED)
    for make, where, probability in _ROOMS[kind] + _DECORATION:
        if draw.chance(probability):
            room.furnish(make, where)
    return room
