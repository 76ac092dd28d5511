"""What stands beside a generated street: houses, trees, poles, signs, fences, people."""

from keras_mtl.rooms.people import person
from keras_mtl.rooms.shapes import Thing, box, cylinder, disc, ellipsoid

FAR = 400.0  # metres; there the sky begins


def house(draw, width, depth):
    """A house along x whose front, toward +y, is at y = 0, with a band of windows each floor."""
    floors, storey = draw.integer(2, 6), draw.uniform(2.9, 3.6)
    height = floors * storey + 0.4
    wall, glass = draw.paint("bricks", "wall", "painted", "stone"), draw.paint("screen")
    solids = [box(0, -depth / 2, 0, width, depth, height, wall)]
    windows = max(1, int(width / draw.uniform(2.4, 4.5)))
    pitch = width / windows
    for floor in range(floors):
        sill = floor * storey + (0.9 if floor else 0.4)
        solids.append(box(0, 0, sill, width * 0.96, 0.06, storey - 1.3, glass))
    for k in range(windows + 1):  # what parts the windows from each other
        x = k * pitch - width / 2
        solids.append(box(x, 0, 0, pitch * 0.45, 0.1, height, wall))
    solids.append(box(0, -depth / 2, height, width * 1.02, depth * 1.02, 0.25, draw.paint("metal")))
    return Thing("building", solids)


def tree(draw):
    trunk, crown = draw.uniform(2.0, 3.2), draw.uniform(2.5, 4.5)
    bark, leaf, other = draw.paint("wood"), draw.paint("leaf"), draw.paint("leaf")
    shift = draw.uniform(-0.6, 0.6)
    return Thing(
        "vegetation",
        [
            cylinder(0, 0, 0, 0.3, 0.3, trunk + crown * 0.4, bark),
            ellipsoid(0, 0, trunk, crown, crown, crown * draw.uniform(0.9, 1.4), leaf),
            ellipsoid(shift, shift, trunk + 0.3, crown * 0.8, crown * 0.9, crown, other),
        ],
    )


def hedge(draw, length):
    height = draw.uniform(0.8, 1.6)
    return Thing("vegetation", [box(0, 0, 0, length, 0.7, height, draw.paint("leaf"))])


def fence(draw, length):
    paint, posts = draw.paint("wood", "metal"), max(2, int(length / 1.5))
    bars = [box(0, 0, z, length, 0.05, 0.1, paint) for z in (0.3, 0.7, 1.1)]
    step = length / posts
    bars += [box((k + 0.5) * step - length / 2, 0, 0, 0.1, 0.1, 1.3, paint) for k in range(posts)]
    return Thing("fence", bars)


def wall(draw, length):
    paint = draw.paint("bricks", "stone", "wall")
    return Thing("wall", [box(0, 0, 0, length, 0.3, draw.uniform(1.0, 2.4), paint)])


def lamp_post(draw):
    height, paint = draw.uniform(5.0, 7.0), draw.paint("metal")
    return [
        Thing(
            "pole",
            [
                cylinder(0, 0, 0, 0.16, 0.16, height, paint),
                box(0, 0.6, height - 0.1, 0.1, 1.4, 0.1, paint),
            ],
        )
    ]


def sign(draw):
    """A sign on a pole that faces the cars that come along +x."""
    paint = draw.paint("plastic", "print")
    face = (
        disc(0, 0, 2.0, 0.65, 0.04, 0.65, paint)
        if draw.chance(0.5)
        else box(0, 0, 2.0, 0.65, 0.04, 0.65, paint)
    )
    turned = Thing("traffic sign", [face]).moved(-0.06, turn=(0.0, 1.0))
    return [Thing("pole", [cylinder(0, 0, 0, 0.08, 0.08, 2.7, draw.paint("metal"))]), turned]


def traffic_light(draw):
    black, glow = draw.paint("screen"), draw.choice(((0.9, 0.05, 0.02), (0.05, 0.8, 0.2)))
    lit = black._replace(texture="plain", color=glow, other_color=glow, glow=2.0)
    bulb = 3.1 if glow[0] > 0.5 else 2.55
    return [
        Thing("pole", [cylinder(0, 0, 0, 0.12, 0.12, 3.5, draw.paint("metal"))]),
        Thing(
            "traffic light",
            [
                box(-0.16, 0, 2.45, 0.2, 0.3, 0.95, black),
                ellipsoid(-0.26, 0, bulb, 0.08, 0.2, 0.2, lit),
            ],
        ),
    ]


def pedestrian(draw):
    return [person(draw)]
