"""What stands on a board or lies about: books, plants, bottles, papers, cartons, bags, mats."""

from keras_mtl.rooms.furniture.appliances import table_lamp
from keras_mtl.rooms.ray_casting import Solid, cross, rotation, unit
from keras_mtl.rooms.shapes import Thing, box, cylinder, ellipsoid, limb, moved

_COVERS = ("painted", "painted", "art", "cloth")


def books(draw, width, depth, height):
    """A row of upright books that fills part of a shelf."""
    solids, x = [], -width / 2
    end = width / 2 * draw.uniform(0.0, 1.0)
    while x < end:
        thickness = draw.uniform(0.03, 0.09)
        tall = height * draw.uniform(0.6, 0.95)
        solids.append(
            box(x + thickness / 2, depth / 2, 0, thickness, depth, tall, draw.paint(*_COVERS))
        )
        x += thickness + 0.002
    return Thing("books", solids)


def book_stack(draw):
    solids, z = [], 0.0
    for _ in range(draw.integer(2, 4)):
        w, d, h = draw.uniform(0.15, 0.22), draw.uniform(0.2, 0.28), draw.uniform(0.02, 0.05)
        book = box(0, 0, z, w, d, h, draw.paint(*_COVERS))
        solids.append(book.moved(0, 0, 0, rotation(draw.uniform(-0.2, 0.2))))
        z += h
    return [Thing("books", solids)]


def bottle(draw):
    h, w, glass = (
        draw.uniform(0.22, 0.34),
        draw.uniform(0.07, 0.1),
        draw.paint("plastic", "screen", "clay"),
    )
    solids = [
        cylinder(0, 0, 0, w, w, h * 0.6, glass),
        ellipsoid(0, 0, h * 0.45, w, w, h * 0.3, glass),
        cylinder(0, 0, h * 0.6, w * 0.35, w * 0.35, h * 0.4, draw.paint("plastic")),
    ]
    return [Thing("bottle", solids)]


def vase(draw):
    h, w, clay = (
        draw.uniform(0.15, 0.3),
        draw.uniform(0.12, 0.2),
        draw.paint("clay", "plastic", "stone"),
    )
    neck = cylinder(0, 0, h * 0.7, w * 0.5, w * 0.5, h * 0.3, clay)
    return [Thing("otherprop", [ellipsoid(0, 0, 0, w, w, h * 0.85, clay), neck])]


def cup(draw):
    h, w, clay = draw.uniform(0.08, 0.12), draw.uniform(0.07, 0.1), draw.paint("clay", "plastic")
    handle = box(w * 0.6, 0, h * 0.25, w * 0.4, 0.014, h * 0.5, clay)
    return [Thing("otherprop", [cylinder(0, 0, 0, w, w, h, clay), handle])]


def ball(draw):
    size = draw.uniform(0.15, 0.3)
    return [
        Thing("otherprop", [ellipsoid(0, 0, 0, size, size, size, draw.paint("plastic", "cloth"))])
    ]


def shoes(draw):
    """A pair, one a little ahead."""
    leather, sole, solids = draw.paint("leather", "cloth"), draw.paint("plastic"), []
    for x in (-0.07, 0.07):
        y = draw.uniform(-0.05, 0.05)
        solids.append(box(x, y, 0, 0.08, 0.24, 0.02, sole))
        solids.append(ellipsoid(x, y + 0.04, -0.02, 0.09, 0.2, 0.12, leather))
        solids.append(ellipsoid(x, y - 0.06, 0, 0.08, 0.12, 0.15, leather))
    return [Thing("otherprop", solids)]


def basket(draw):
    """For laundry or waste, with something in it."""
    w, h, cane = (
        draw.uniform(0.22, 0.4),
        draw.uniform(0.28, 0.5),
        draw.paint("cloth", "wood", "metal"),
    )
    solids = [cylinder(0, 0, 0, w, w, h, cane), cylinder(0, 0, h, w * 1.06, w * 1.06, 0.02, cane)]
    filling = ellipsoid(0, 0, h - 0.06, w * 0.9, w * 0.9, 0.14, draw.paint("cloth", "print"))
    return [Thing("otherprop", [*solids, filling])]


def paper(draw):
    sheet = box(0, 0, 0, 0.21, 0.3, 0.003, draw.paint("print"))
    return [Thing("paper", [sheet.moved(0, 0, 0, rotation(draw.uniform(-0.3, 0.3)))])]


def carton(draw, size=None):
    """A box, closed or with its four flaps open."""
    size = size or draw.uniform(0.3, 0.6)
    w, d, h = size, size * draw.uniform(0.6, 1.0), size * draw.uniform(0.5, 0.9)
    card = draw.paint("card", "card", "painted")
    solids = [box(0, 0, 0, w, d, h, card)]
    if draw.chance(0.5):
        out, up = 0.3 * size, draw.uniform(0.05, 0.3) * size
        for side in (-1, 1):
            tilt = unit((side * out, 0, up))
            axes = (tilt, (0.0, 1.0, 0.0), cross(tilt, (0.0, 1.0, 0.0)))
            center = (side * (w + out) / 2, 0, h + up / 2)
            solids.append(Solid("box", center, (out / 2, d / 2, 0.006), card, 0, axes))
    return [Thing("box", solids)]


def small_carton(draw):
    return carton(draw, draw.uniform(0.12, 0.22))


def plant(draw, size=None):
    size = size or draw.uniform(0.6, 1.2)
    pot, leaf, pot_height = draw.paint("clay", "plastic", "stone"), draw.paint("leaf"), size * 0.3
    solids = [cylinder(0, 0, 0, size * 0.35, size * 0.35, pot_height, pot)]
    for _ in range(9):
        tip = (
            draw.uniform(-0.35, 0.35) * size,
            draw.uniform(-0.35, 0.35) * size,
            draw.uniform(0.6, 1.0) * size,
        )
        solids.append(limb((0, 0, pot_height * 0.9), tip, size * 0.05, leaf))
    return [Thing("plant", solids)]


def small_plant(draw):
    return plant(draw, draw.uniform(0.25, 0.4))


def bag(draw):
    """A bag with a handle."""
    w, d, h = draw.uniform(0.3, 0.5), draw.uniform(0.14, 0.22), draw.uniform(0.22, 0.34)
    cloth, strap = draw.paint("cloth", "leather"), draw.paint("leather", "cloth")
    body = [box(0, 0, 0, w, d, h * 0.6, cloth), ellipsoid(0, 0, 0, w, d, h * 1.2, cloth)]
    corners = [(-w / 4, 0, h), (-w / 6, 0, h * 1.6), (w / 6, 0, h * 1.6), (w / 4, 0, h)]
    arcs = [limb(a, b, 0.015, strap) for a, b in zip(corners, corners[1:], strict=False)]
    return [Thing("bag", body + arcs)]


def floor_mat(draw):
    w, d = draw.uniform(1.0, 2.4), draw.uniform(0.7, 1.7)
    shape = cylinder if draw.chance(0.25) else box
    return [Thing("floor mat", [shape(0, d / 2, 0, w, d, 0.012, draw.paint("rug"))])]


_SMALL = (
    bottle, vase, cup, cup, paper, paper, book_stack, small_carton, small_plant, table_lamp,
)  # fmt: skip


def on_top(draw, width, y, z, x=0.0):
    """Small things side by side on a board."""
    slots = max(1, int(width / 0.27))
    things = []
    for k in range(slots):
        if draw.chance(0.65):
            make = draw.choice(
                (
                    bottle,
                    vase,
                    cup,
                    cup,
                    paper,
                    paper,
                    book_stack,
                    small_carton,
                    small_plant,
                    table_lamp,
                )
            )
            at = x + (k + 0.5) * width / slots - width / 2
            things += moved(make(draw), at, y, z, rotation(draw.uniform(-0.3, 0.3)))
    return things
