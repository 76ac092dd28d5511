"""Where things stand in a generated street: along lanes, one after the other, with gaps.

World frame: the vehicle's own, x along the street, y to the left, z up, on the road below the
rear axle, metres.
"""

from typing import NamedTuple

from keras_mtl.rooms.paints import Paint
from keras_mtl.rooms.ray_casting import UPRIGHT, Solid, rotation
from keras_mtl.rooms.shapes import BACKWARD, FORWARD, Thing, bounds, box
from keras_mtl.rooms.streets import roadside as r
from keras_mtl.rooms.streets import vehicles as v

_KERB = 0.12  # metres that a pavement lies above the road
_PARKED = (v.car,) * 13 + (v.truck, v.motorcycle, v.motorcycle, v.bus)
_DRIVING = (v.car,) * 9 + (v.truck, v.truck, v.bus, v.bus, v.motorcycle, v.bicycle, v.bicycle)
_ONCOMING = (*_DRIVING, v.train, v.train)


class Placed(NamedTuple):
    """A vehicle as it is annotated.

    Args:
        thing: its number among the street's things.
        center: metres.
        size: length, width, height in metres.
        turn: (cosine, sine) of its yaw.
    """

    thing: int
    center: tuple
    size: tuple
    turn: tuple


class Street:
    """A street that things are put into.

    Args:
        draw: `shapes.Draw`.
    """

    def __init__(self, draw):
        self.draw = draw
        self.things: list[Thing] = []
        self.vehicles: list[Placed] = []
        self.lane = draw.uniform(3.0, 3.6)
        self.parking = [draw.uniform(2.2, 2.6) if draw.chance(0.8) else 0.4 for _ in range(2)]
        self.pavement = [draw.uniform(2.5, 5.0) for _ in range(2)]
        # The kerbs: the right one, and the left one beyond the lane of those who come.
        self.kerbs = (-self.lane / 2 - self.parking[0], 1.5 * self.lane + self.parking[1])

    def put(self, thing, x=0.0, y=0.0, z=0.0, turn=FORWARD):
        self.things.append(thing.moved(x, y, z, turn))

    def park(self, thing, x, y, z=0.0, turn=FORWARD, rider=None):
        """A vehicle, its annotation, the shadow below it, and who sits on it."""
        low, high = bounds([thing])
        size = tuple(b - a for a, b in zip(low, high, strict=True))
        own = tuple((a + b) / 2 for a, b in zip(low, high, strict=True))
        c, s = turn
        center = (x + c * own[0] - s * own[1], y + s * own[0] + c * own[1], z + own[2])
        self.vehicles.append(Placed(len(self.things), center, size, turn))
        self.put(thing, x, y, z, turn)
        if rider:
            self.put(rider, x, y, z, turn)
        dark = Paint("plain", (0.02, 0.02, 0.02), (0.03, 0.03, 0.03), 1.0)
        shadow = box(0, 0, 0.004, size[0] + 0.25, size[1] + 0.25, 0.004, dark)
        self.put(Thing("sidewalk" if z else "road", [shadow]), *center[:2], z, turn)

    def ground(self):
        draw, (right, left) = self.draw, self.kerbs
        length = 2 * r.FAR
        asphalt = draw.paint("stone", "carpet")._replace(color=(0.12, 0.12, 0.125))
        asphalt = asphalt._replace(other_color=(0.17, 0.17, 0.17), texture="carpet", scale=2.0)
        white = Paint("plain", (0.75, 0.75, 0.72), (0.6, 0.6, 0.6), 1.0)
        grass = Solid("plane", (0, 0, -0.05), (2000, 2000, 0.001), draw.paint("leaf"), 0, UPRIGHT)
        self.put(Thing("terrain", [grass]))
        road = [box(0, (left + right) / 2, -0.2, length, left - right, 0.2, asphalt)]
        middle, start = self.lane / 2, draw.uniform(0, 4)
        road += [box(start + 8 * k, middle, 0, 4.0, 0.14, 0.003, white) for k in range(20)]
        if self.parking[0] > 1:
            road.append(box(0, -self.lane / 2, 0, length, 0.12, 0.003, white))
        self.put(Thing("road", road))
        for side, kerb, width in ((-1, right, self.pavement[0]), (1, left, self.pavement[1])):
            slab = box(0, kerb + side * width / 2, -0.1, length, width, 0.1 + _KERB,
                       draw.paint("stone", "tiles", "bricks"))  # fmt: skip
            self.put(Thing("sidewalk", [slab]))

    def sky(self):
        draw = self.draw
        blue = draw.choice(((0.45, 0.62, 0.95), (0.7, 0.8, 0.95), (0.85, 0.85, 0.88)))
        paint = Paint("clouds", blue, (0.95, 0.95, 0.95), 300.0, (draw.uniform(), 0.3), glow=0.8)
        x, y, z = UPRIGHT
        sides = [
            ((r.FAR, 0, 0), (y, z, x)),
            ((0, 150, 0), (x, z, y)),
            ((0, -150, 0), (x, z, y)),
            ((0, 0, 120), (x, y, z)),
        ]
        solids = [Solid("plane", at, (2000, 2000, 0.01), paint, 0, axes) for at, axes in sides]
        self.put(Thing("sky", solids))

    def houses(self):
        """On both sides houses and, between them, gardens behind a fence, a wall or a hedge."""
        draw = self.draw
        for side, kerb, width in zip((-1, 1), self.kerbs, self.pavement, strict=True):
            x, edge = draw.uniform(-10, 0), kerb + side * width
            turn = FORWARD if side < 0 else BACKWARD
            while x < 150:
                long = draw.uniform(8, 22)
                place = (x + long / 2, edge + side * draw.uniform(0.05, 2.0))
                if draw.chance(0.75):
                    self.put(r.house(draw, long, 10.0), *place, -0.05, turn)
                else:
                    make = draw.choice((r.fence, r.wall, r.hedge))
                    self.put(make(draw, long), *place, -0.05, turn)
                    for _ in range(draw.integer(1, 3)):
                        back = place[1] + side * draw.uniform(3, 8)
                        self.put(r.tree(draw), x + draw.uniform(0, long), back, -0.05)
                x += long + (draw.uniform(2, 6) if draw.chance(0.3) else 0.0)

    def along_pavements(self):
        draw = self.draw
        makers = (r.lamp_post, r.sign, r.sign, r.traffic_light, "tree", "tree", r.pedestrian,
                  r.pedestrian, "bicycle", "bicycle", "motorcycle")  # fmt: skip
        for side, kerb, width in zip((-1, 1), self.kerbs, self.pavement, strict=True):
            x = draw.uniform(4, 10)
            while x < 90:
                make = draw.choice(makers)
                near = kerb + side * 0.55
                if make == "tree":
                    self.put(r.tree(draw), x, near, _KERB)
                elif make in ("bicycle", "motorcycle"):
                    made = v.bicycle(draw) if make == "bicycle" else v.motorcycle(draw)
                    c, s = rotation(draw.uniform(-1, 1))
                    self.park(made, x, kerb + side * draw.uniform(1.1, width - 1.0), _KERB, (c, s))
                else:
                    across = draw.uniform(0.5, width - 0.5) if make is r.pedestrian else 0.55
                    turn = rotation(draw.uniform(-2, 2)) if make is r.pedestrian else FORWARD
                    for thing in make(draw):
                        self.put(thing, x, kerb + side * across, _KERB, turn)
                x += draw.uniform(3, 9)

    def traffic(self):
        """Cars that park, that drive ahead and that come; some turn."""
        draw = self.draw
        for side, kerb, room in zip((-1, 1), self.kerbs, self.parking, strict=True):
            if room > 1:
                self._line(_PARKED, kerb - side * room / 2, draw.uniform(3, 14), (0.6, 9), 0.03,
                           BACKWARD if side > 0 and draw.chance(0.7) else FORWARD, 2.3)  # fmt: skip
        self._line(_DRIVING, 0.0, draw.uniform(10, 30), (6, 30), 0.02, FORWARD, 9)
        self._line(_ONCOMING, self.lane, draw.uniform(6, 25), (6, 30), 0.02, BACKWARD, 9)

    def _line(self, makers, y, x, gap, spread, toward, widest):
        """Vehicles one after the other along x."""
        draw = self.draw
        while x < 95:
            make = draw.choice(makers)
            thing = make(draw)
            (back, right, _), (front, left, _) = bounds([thing])
            half = (front - back) / 2
            if left - right < widest + 0.2 or make is v.car:
                c, s = rotation(draw.uniform(-spread, spread))
                if spread < 0.03 and half < 3 and draw.chance(0.12):  # it turns off
                    c, s = rotation(draw.uniform(-0.4, 0.4))
                turn = (toward[0] * c, toward[0] * s)
                seat = {v.motorcycle: 0.7, v.bicycle: 0.9}.get(make) if spread < 0.03 else None
                sitting = v.rider(draw, seat) if seat else None
                shift = draw.uniform(-0.25, 0.25) if spread < 0.03 else 0.0
                self.park(thing, x + half, y + shift, 0.0, turn, sitting)
            x += 2 * half + draw.uniform(*gap)


def compose(draw):
    """A street with all that is in it.

    Args:
        draw: `shapes.Draw`.
    """
    street = Street(draw)
    street.ground()
    street.sky()
    street.houses()
    street.along_pavements()
    street.traffic()
    return street
