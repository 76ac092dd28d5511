"""The vehicles of a generated street, each built from a few solids.

A maker draws sizes and paints and returns a `Thing` of its class in its own frame: x to its front,
y to its left, z up from the ground, centred above the origin. The box around it is its annotation.
"""

from keras_mtl.rooms.ray_casting import Solid
from keras_mtl.rooms.shapes import Thing, box, cylinder, ellipsoid, limb

_ACROSS = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))  # a wheel's axle lies along y


def wheel(x, y, radius, width, paint):
    return Solid("cylinder", (x, y, radius), (radius, radius, width / 2), paint, 0, _ACROSS)


def _wheels(draw, length, width, radius, axles):
    """Pairs of wheels at shares of the length from the middle."""
    tyre = draw.paint("screen")
    return [
        wheel(share * length, side * (width / 2 - 0.12), radius, 0.22, tyre)
        for share in axles
        for side in (-1, 1)
    ]


def _lights(draw, length, width, height):
    """Two white lamps at the front, two red ones at the back."""
    white, red = draw.paint("white"), draw.paint("plastic")
    red = red._replace(texture="plain", color=(0.5, 0.02, 0.02), other_color=(0.6, 0.05, 0.05))
    return [
        box(end * (length / 2 - 0.03), side * (width / 2 - 0.25), height, 0.06, 0.3, 0.14, paint)
        for end, paint in ((1, white), (-1, red))
        for side in (-1, 1)
    ]


def car(draw):
    length, width, height = draw.uniform(3.6, 4.9), draw.uniform(1.65, 1.95), draw.uniform(1.4, 1.8)
    paint, glass = draw.paint("metal", "painted", "plastic"), draw.paint("screen")
    waist, radius = height * draw.uniform(0.52, 0.62), draw.uniform(0.29, 0.35)
    # A cabin further back than the bonnet, or, of a van, nearly as long as the car.
    cabin, back = (0.78, -0.08) if draw.chance(0.25) else (draw.uniform(0.5, 0.6), -0.07)
    middle = back * length
    body = [
        box(0, 0, 0.22, length, width, waist - 0.22, paint),
        box(middle, 0, waist, cabin * length, width * 0.88, height - waist - 0.05, glass),
        box(middle, 0, height - 0.05, cabin * length * 0.86, width * 0.84, 0.05, paint),
    ]
    body += _lights(draw, length, width, waist - 0.28)
    return Thing("car", body + _wheels(draw, length, width, radius, (-0.3, 0.31)))


def truck(draw):
    length, width, height = draw.uniform(6.0, 10.0), draw.uniform(2.2, 2.5), draw.uniform(2.8, 3.8)
    paint, load, glass = draw.paint("painted"), draw.paint("white", "painted"), draw.paint("screen")
    cab, front = draw.uniform(1.7, 2.2), length / 2
    tall = min(height, draw.uniform(2.4, 3.0))
    solids = [
        box(front - cab / 2, 0, 0.4, cab, width * 0.95, tall - 0.4, paint),
        box(front - 0.02, 0, tall * 0.55, 0.04, width * 0.85, tall * 0.3, glass),
        box(-cab / 2 - 0.1, 0, 0.9, length - cab - 0.2, width, height - 0.9, load),
        box(-cab / 2, 0, 0.6, length - cab, width * 0.6, 0.3, draw.paint("metal")),
    ]
    solids += _lights(draw, length, width, 0.65)
    return Thing("truck", solids + _wheels(draw, length, width, 0.48, (-0.38, -0.24, 0.34)))


def bus(draw):
    length, width, height = draw.uniform(9.0, 13.0), draw.uniform(2.4, 2.6), draw.uniform(2.9, 3.3)
    paint, glass = draw.paint("painted", "plastic"), draw.paint("screen")
    solids = [
        box(0, 0, 0.35, length, width, height - 0.35, paint),
        box(0, 0, 1.3, length * 0.94, width + 0.02, height - 2.0, glass),
        box(length / 2, 0, 1.1, 0.02, width * 0.9, height - 1.7, glass),
        box(length / 2, 0, height - 0.45, 0.04, width * 0.6, 0.3, draw.paint("print")),
    ]
    solids += _lights(draw, length, width, 0.6)
    return Thing("bus", solids + _wheels(draw, length, width, 0.48, (-0.28, 0.32)))


def train(draw):
    """A tram of two or three cars."""
    parts, part, width = draw.integer(2, 3), draw.uniform(8.0, 10.0), draw.uniform(2.3, 2.65)
    height, length = draw.uniform(3.3, 3.7), 0.0
    paint, glass, joint = draw.paint("painted"), draw.paint("screen"), draw.paint("leather")
    length, solids = parts * part, []
    for k in range(parts):
        x = (k + 0.5) * part - length / 2
        solids += [
            box(x, 0, 0.0, part * 0.6, width * 0.7, 0.4, joint),
            box(x, 0, 0.35, part - 0.5, width, height - 0.35, paint),
            box(x, 0, 1.4, part - 1.2, width + 0.02, height - 2.2, glass),
        ]
        if k:
            solids.append(box(x - part / 2, 0, 0.5, 0.6, width * 0.85, height - 0.8, joint))
    solids += [
        box(end * (length / 2 - 0.25), 0, 1.3, 0.04, width * 0.8, height - 2.0, glass)
        for end in (-1, 1)
    ]
    return Thing("train", solids)


def motorcycle(draw):
    length, high = draw.uniform(1.9, 2.3), draw.uniform(0.62, 0.75)
    paint, tyre, seat = draw.paint("painted"), draw.paint("screen"), draw.paint("leather")
    radius = 0.3
    fork = length / 2 - radius
    return Thing(
        "motorcycle",
        [
            wheel(fork, 0, radius, 0.14, tyre),
            wheel(-fork, 0, radius, 0.18, tyre),
            box(0.05, 0, 0.3, length * 0.45, 0.3, high - 0.3, draw.paint("metal")),
            ellipsoid(0.18, 0, high - 0.15, 0.7, 0.36, 0.34, paint),
            box(-0.4, 0, high, 0.75, 0.28, 0.1, seat),
            limb((fork, 0, radius), (fork - 0.3, 0, high + 0.3), 0.04, tyre, 0, "cylinder", 1.0),
            box(fork - 0.32, 0, high + 0.28, 0.06, draw.uniform(0.65, 0.8), 0.06, tyre),
        ],
    )


def bicycle(draw):
    length, paint, tyre = draw.uniform(1.6, 1.8), draw.paint("painted"), draw.paint("screen")
    radius = 0.34
    hub, seat, bars = length / 2 - radius, 0.9, draw.uniform(0.95, 1.1)

    def tube(start, end):
        return limb((start[0], 0, start[1]), (end[0], 0, end[1]), 0.03, paint, 0, "cylinder", 1.0)

    low, post, head = (-0.05, 0.3), (-0.25, seat), (hub - 0.15, bars - 0.1)
    return Thing(
        "bicycle",
        [
            wheel(hub, 0, radius, 0.06, tyre),
            wheel(-hub, 0, radius, 0.06, tyre),
            *(tube(*ends) for ends in ((low, post), (low, head), (post, head))),
            tube((-hub, radius), post),
            tube((-hub, radius), low),
            tube((hub, radius), head),
            box(-0.27, 0, seat, 0.26, 0.16, 0.07, draw.paint("leather")),
            cylinder(hub - 0.15, 0, bars - 0.12, 0.05, 0.05, 0.12, paint),
            box(hub - 0.15, 0, bars, 0.05, draw.uniform(0.5, 0.62), 0.05, paint),
        ],
    )


def rider(draw, high):
    """A figure that sits on a bicycle or motorcycle, its hips at a height, and faces the front."""
    skin, shirt, trousers = draw.paint("skin"), draw.paint("cloth"), draw.paint("cloth")
    hips, neck = (-0.2, 0.0, high + 0.12), (0.08, 0.0, high + 0.62)
    solids = [
        limb(hips, neck, 0.15, shirt),
        ellipsoid(0.12, 0, high + 0.68, 0.2, 0.18, 0.26, draw.paint("hair", "plastic")),
        ellipsoid(0.16, 0, high + 0.66, 0.15, 0.15, 0.2, skin),
    ]
    for side in (-1, 1):
        shoulder = (0.05, side * 0.18, high + 0.55)
        knee = (0.2, side * 0.12, high - 0.15)
        solids += [
            limb(shoulder, (0.45, side * 0.25, high + 0.2), 0.05, shirt),
            limb((-0.2, side * 0.1, high + 0.05), knee, 0.08, trousers),
            limb(knee, (0.0, side * 0.12, max(high - 0.6, 0.2)), 0.06, trousers),
        ]
    return Thing("rider", solids)
