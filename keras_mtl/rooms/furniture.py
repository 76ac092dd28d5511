"""The things that stand, lie and hang in a generated room, each built from a few solids.

A maker draws its sizes, proportions and paints and returns a list of `Thing`s (a bed comes with
its pillows). Makers build in their own frame: x across, centred on 0; the back at y = 0, the front
toward +y; the floor at z = 0. What a thing is can be told from its shape and place alone: every
paint comes from the same `Draw.paint`.
"""

from keras_mtl.rooms.people import person
from keras_mtl.rooms.ray_casting import Solid, cross, rotation, unit
from keras_mtl.rooms.shapes import (
    BACKWARD,
    FORWARD,
    Thing,
    bounds,
    box,
    cylinder,
    disc,
    ellipsoid,
    limb,
    moved,
)


def legs(width, depth, height, thickness, paint, y=0.0):
    """Four legs under a board of this footprint whose back is at y."""
    shape = cylinder if thickness < 0.045 else box
    inset = thickness / 2 + 0.01
    return [
        shape(side * (width / 2 - inset), row, 0, thickness, thickness, height, paint)
        for side in (-1, 1)
        for row in (y + inset, y + depth - inset)
    ]


def fronts(width, depth, bottom, top, rows, columns, paint, knob_paint, knob="middle"):
    """Door or drawer fronts with knobs on the front of a body of this width and depth."""
    w, h = width / columns, (top - bottom) / rows
    solids = []
    for row in range(rows):
        for column in range(columns):
            x, z = (column + 0.5) * w - width / 2, bottom + row * h
            solids.append(box(x, depth + 0.008, z + 0.012, w - 0.024, 0.016, h - 0.024, paint))
            if knob == "middle":
                solids.append(ellipsoid(x, depth + 0.03, z + h / 2, 0.04, 0.03, 0.03, knob_paint))
            else:  # a vertical bar on the side where the door opens
                side = 1 if column < columns / 2 else -1
                bar = (x + side * (w / 2 - 0.07), depth + 0.03, z + h * 0.35)
                solids.append(box(*bar, 0.025, 0.03, h * 0.3, knob_paint))
    return solids


# === Things on the floor ===


def bed(draw):
    w, d, z = draw.uniform(0.9, 1.8), draw.uniform(1.95, 2.15), draw.uniform(0.38, 0.55)
    wood, sheet, blanket = draw.paint(), draw.paint(), draw.paint()
    solids = [
        box(0, 0.03, 0, w + 0.06, 0.06, draw.uniform(0.8, 1.25), wood),
        box(0, d / 2, 0.1, w, d - 0.04, z - 0.3, wood),
        *legs(w, d, 0.12, 0.08, wood),
        box(0, d / 2 + 0.02, z - 0.2, w - 0.02, d - 0.06, 0.2, sheet),
    ]
    if draw.chance(0.8):
        cover = draw.uniform(0.5, 0.75) * d
        solids.append(box(0, d - cover / 2, z - 0.22, w + 0.05, cover, 0.25, blanket))
    if draw.chance(0.5):
        solids.append(box(0, d + 0.02, 0, w + 0.06, 0.05, z + draw.uniform(0.05, 0.2), wood))
    things = [Thing("bed", solids)]
    count = 1 if w < 1.2 else 2
    for k in range(count):
        x, size = (k + 0.5) * w / count - w / 2, draw.uniform(0.48, 0.62)
        case = ellipsoid(x, 0.3, z - 0.03, size, 0.4, draw.uniform(0.15, 0.22), draw.paint())
        things.append(Thing("pillow", [case]))
    for side in (-1, 1):
        if draw.chance(0.55):
            things += moved(night_stand(draw), side * (w / 2 + 0.34))
    return things


def night_stand(draw):
    w, d, h = draw.uniform(0.4, 0.5), draw.uniform(0.35, 0.42), draw.uniform(0.45, 0.62)
    body, front = draw.paint(), draw.paint()
    solids = [*legs(w, d, 0.13, 0.04, body), box(0, d / 2, 0.12, w, d, h - 0.15, body)]
    solids.append(box(0, d / 2, h - 0.03, w + 0.04, d + 0.03, 0.03, body))
    solids += fronts(w, d, 0.13, h - 0.03, 2, 1, front, draw.paint())
    things = [Thing("night stand", solids)]
    return things + (moved(table_lamp(draw), 0, d / 2, h) if draw.chance(0.6) else [])


def chair(draw, sitter=None):
    w, d, z = draw.uniform(0.4, 0.5), draw.uniform(0.4, 0.48), draw.uniform(0.42, 0.48)
    top = draw.uniform(0.82, 1.05)
    frame, cushion = draw.paint(), draw.paint()
    solids = [box(0, d / 2, z - 0.05, w, d, 0.05, cushion)]
    style = draw.integer(0, 2)
    if style == 2:  # an office chair on a column
        solids.append(cylinder(0, d / 2, 0.06, 0.06, 0.06, z - 0.1, frame))
        solids.append(box(0, d / 2, 0.03, w + 0.1, 0.07, 0.05, frame))
        solids.append(box(0, d / 2, 0.03, 0.07, d + 0.1, 0.05, frame))
        solids.append(box(0, 0.02, z - 0.03, 0.06, 0.03, 0.2, frame))
    else:
        solids += legs(w, d, z - 0.05, draw.uniform(0.03, 0.05), frame)
        for side in (-1, 1):
            solids.append(box(side * (w / 2 - 0.02), 0.02, z, 0.035, 0.035, top - z, frame))
    if style == 1:  # slats
        for k in range(3):
            height = z + (top - z) * (0.3 + 0.3 * k) - 0.04
            solids.append(box(0, 0.02, height, w - 0.05, 0.02, 0.07, frame))
    else:
        solids.append(box(0, 0.02, z + 0.14, w - 0.03, 0.03, top - z - 0.14, cushion))
    things = [Thing("chair", solids)]
    if sitter if sitter is not None else draw.chance(0.15):
        things.append(person(draw, seat=z).moved(0, 0.17))
    return things


def sofa(draw):
    w, d, z = draw.uniform(1.3, 2.3), draw.uniform(0.8, 0.95), draw.uniform(0.38, 0.46)
    cover, arm = draw.paint(), draw.uniform(0.14, 0.22)
    solids = [
        box(0, d / 2, 0.08, w, d - 0.02, z - 0.2, cover),
        *legs(w, d, 0.08, 0.06, draw.paint()),
        box(0, 0.11, 0.08, w, 0.22, draw.uniform(0.72, 0.9) - 0.08, cover),
    ]
    arm_top = z + draw.uniform(0.14, 0.22)
    for side in (-1, 1):
        x = side * (w / 2 - arm / 2)
        solids.append(box(x, d / 2, 0.08, arm, d, arm_top - 0.08, cover))
    seats = 2 if w < 1.8 else 3
    seat = (w - 2 * arm) / seats
    places = [(k + 0.5) * seat - w / 2 + arm for k in range(seats)]
    cushion = draw.paint() if draw.chance(0.5) else cover
    for x in places:
        solids.append(box(x, d / 2 + 0.1, z - 0.12, seat - 0.02, d - 0.22, 0.12, cushion))
        solids.append(box(x, 0.26, z, seat - 0.03, 0.12, 0.34, cushion))
    things = [Thing("sofa", solids)]
    taken = draw.integer(0, seats - 1) if draw.chance(0.2) else None
    for k, x in enumerate(places):
        if k == taken:
            things.append(person(draw, seat=z).moved(x, 0.42))
        elif draw.chance(0.45):
            size, lean = draw.uniform(0.36, 0.46), unit((0.0, 0.14, 0.05))
            axes = ((1.0, 0.0, 0.0), cross(lean, (1.0, 0.0, 0.0)), lean)
            center, half = (x, 0.43, z + size / 2), (size / 2, size / 2, 0.09)
            case = Solid("ellipsoid", center, half, draw.paint(), 0, axes)
            things.append(Thing("pillow", [case]))
    return things


def table(draw, height=None):
    """A table top on four legs or, if it is round, on a column."""
    w, d = draw.uniform(0.9, 1.8), draw.uniform(0.75, 1.0)
    h = height or draw.uniform(0.7, 0.78)
    top, under = draw.paint(), draw.paint()
    if draw.chance(0.3):
        w = d = draw.uniform(0.8, 1.2)
        solids = [
            cylinder(0, d / 2, h - 0.04, w, d, 0.04, top),
            cylinder(0, d / 2, 0.03, 0.1, 0.1, h - 0.07, under),
            cylinder(0, d / 2, 0, w * 0.5, d * 0.5, 0.04, under),
        ]
    else:
        solids = [box(0, d / 2, h - 0.04, w, d, 0.04, top)]
        solids += legs(w, d, h - 0.04, draw.uniform(0.04, 0.09), under)
        solids.append(box(0, d / 2, h - 0.11, w - 0.14, d - 0.14, 0.07, under))
    return [Thing("table", solids), *on_top(draw, w * 0.7, d / 2, h)]


def coffee_table(draw):
    return table(draw, draw.uniform(0.34, 0.48))


def dining_set(draw):
    """A table with chairs on its two long sides, some of them taken."""
    things = table(draw)
    (left, near, _), (right, far, _) = bounds(things[:1])
    count = 1 if right - left < 1.3 else 2
    for turn, edge in ((FORWARD, near), (BACKWARD, far)):
        for k in range(count):
            if draw.chance(0.8):
                x = left + (k + 0.5) * (right - left) / count
                seat = chair(draw, draw.chance(0.3))
                gap = draw.uniform(0.28, 0.42) * (1 if edge == near else -1)
                things += moved(seat, x, edge - gap, turn=turn)
    return things


def desk(draw):
    w, d, h = draw.uniform(1.1, 1.6), draw.uniform(0.6, 0.75), draw.uniform(0.71, 0.76)
    top, body = draw.paint(), draw.paint()
    side = draw.choice((-1, 1))
    drawers = [
        s.moved(side * (w / 2 - 0.22), 0, 0, FORWARD)
        for s in [
            box(0, d / 2, 0.04, 0.4, d - 0.06, h - 0.08, body),
            *fronts(0.4, d - 0.03, 0.06, h - 0.04, 3, 1, draw.paint(), draw.paint()),
        ]
    ]
    solids = [
        box(0, d / 2, h - 0.035, w, d, 0.035, top),
        box(-side * (w / 2 - 0.02), d / 2, 0, 0.035, d - 0.04, h - 0.03, body),
        box(0, 0.05, 0.25, w - 0.06, 0.02, h - 0.29, body),
        *drawers,
    ]
    things = [Thing("desk", solids)]
    if draw.chance(0.7):
        screen = television(draw, draw.uniform(0.5, 0.65))
        things += moved(screen, -side * 0.15, 0.12, h)
        things += moved(paper(draw), draw.uniform(-0.2, 0.2) - side * 0.15, d - 0.2, h)
        things += moved(table_lamp(draw), side * (w / 2 - 0.2), 0.2, h)
    else:
        things += on_top(draw, w * 0.8, d / 2, h)
    if draw.chance(0.85):
        seat = chair(draw, draw.chance(0.3))
        things += moved(seat, -side * 0.2, d + draw.uniform(0.3, 0.45), turn=BACKWARD)
    return things


def cabinet(draw):
    w, d, h = draw.uniform(0.8, 1.3), draw.uniform(0.4, 0.6), draw.uniform(1.5, 2.1)
    body = draw.paint()
    solids = [box(0, d / 2, 0, w, d, h, body)]
    solids += fronts(w, d, 0.08, h - 0.03, 1, 2, draw.paint(), draw.paint(), "bar")
    return [Thing("cabinet", solids)]


def dresser(draw):
    w, d, h = draw.uniform(0.9, 1.4), draw.uniform(0.42, 0.52), draw.uniform(0.75, 1.0)
    body = draw.paint()
    solids = [*legs(w, d, 0.12, 0.06, body), box(0, d / 2, 0.1, w, d, h - 0.13, body)]
    solids.append(box(0, d / 2, h - 0.03, w + 0.04, d + 0.03, 0.03, body))
    solids += fronts(w, d, 0.12, h - 0.03, draw.integer(3, 4), 2, draw.paint(), draw.paint())
    things = [Thing("dresser", solids)]
    if draw.chance(0.35):
        return things + moved(television(draw, draw.uniform(0.6, 0.9)), 0, 0.18, h)
    return things + on_top(draw, w * 0.8, d / 2, h)


def books(draw, width, depth, height):
    """A row of upright books that fills part of a shelf."""
    solids, x = [], -width / 2
    end = width / 2 * draw.uniform(0.0, 1.0)
    while x < end:
        thickness = draw.uniform(0.03, 0.09)
        tall = height * draw.uniform(0.6, 0.95)
        solids.append(box(x + thickness / 2, depth / 2, 0, thickness, depth, tall, draw.paint()))
        x += thickness + 0.002
    return Thing("books", solids)


def book_stack(draw):
    solids, z = [], 0.0
    for _ in range(draw.integer(2, 4)):
        w, d, h = draw.uniform(0.15, 0.22), draw.uniform(0.2, 0.28), draw.uniform(0.02, 0.05)
        book = box(0, 0, z, w, d, h, draw.paint())
        solids.append(book.moved(0, 0, 0, rotation(draw.uniform(-0.2, 0.2))))
        z += h
    return [Thing("books", solids)]


def bookshelf(draw):
    w, d, h = draw.uniform(0.7, 1.3), draw.uniform(0.28, 0.36), draw.uniform(1.4, 2.1)
    wood, rows = draw.paint(), draw.integer(4, 5)
    solids = [box(0, 0.01, 0, w, 0.02, h, wood)]
    for side in (-1, 1):
        solids.append(box(side * (w / 2 - 0.015), d / 2, 0, 0.03, d, h, wood))
    step = (h - 0.08) / rows
    solids += [box(0, d / 2, 0.05 + k * step, w, d, 0.03, wood) for k in range(rows + 1)]
    things = [Thing("bookshelf", solids)]
    for k in range(rows):
        if draw.chance(0.85):
            row = books(draw, w - 0.08, d * 0.7, step - 0.05)
            things.append(row.moved(0, 0.03, 0.08 + k * step))
    return things


def refridgerator(draw):
    w, d, h = draw.uniform(0.58, 0.78), draw.uniform(0.6, 0.7), draw.uniform(1.55, 1.95)
    body, bar, split = draw.paint(), draw.paint(), draw.uniform(0.55, 0.7) * h
    solids = [box(0, d / 2, 0.03, w, d, h - 0.03, body)]
    solids += fronts(w, d, 0.06, split, 1, 1, body, bar, "bar")
    solids += fronts(w, d, split, h, 1, 1, body, bar, "bar")
    return [Thing("refridgerator", solids)]


def kitchen(draw):
    """A counter with a sink and, above it, hanging cabinets."""
    w, d, h = draw.uniform(1.6, 2.6), 0.6, draw.uniform(0.86, 0.94)
    body, front, knob = draw.paint(), draw.paint(), draw.paint()
    columns = 3 if w < 2.1 else 4
    base = [box(0, d / 2 - 0.02, 0, w, d - 0.04, h - 0.04, body)]
    base.append(box(0, d / 2, h - 0.04, w + 0.02, d + 0.05, 0.04, draw.paint()))
    base += fronts(w, d - 0.04, 0.1, h - 0.05, 1, columns, front, knob)
    x = draw.uniform(-0.3, 0.3) * w
    things = [Thing("counter", base), Thing("sink", basin(draw, 0.5, 0.4, 0.08)).moved(x, 0.1, h)]
    things += on_top(draw, w * 0.25, d / 2, h, x=x + (0.25 if x < 0 else -0.25) * w + 0.15)
    if draw.chance(0.7):
        z, top = draw.uniform(1.4, 1.5), draw.uniform(0.55, 0.7)
        hung = [box(0, 0.16, z, w, 0.32, top, body)]
        hung += fronts(w, 0.32, z, z + top, 1, columns, front, knob)
        things.append(Thing("cabinet", hung))
    return things


def basin(draw, width, depth, height):
    """An open tub: a bottom, four walls and a tap at the back."""
    clay, metal = draw.paint(), draw.paint()
    edge = 0.035 if width < 0.9 else 0.07
    solids = [box(0, depth / 2, 0, width, depth, 0.3 * height, clay)]
    for side in (-1, 1):
        solids.append(box(side * (width - edge) / 2, depth / 2, 0, edge, depth, height, clay))
    for y in (edge / 2, depth - edge / 2):
        solids.append(box(0, y, 0, width, edge, height, clay))
    solids.append(cylinder(0, edge / 2 + 0.01, height, 0.03, 0.03, 0.16, metal))
    spout = ((0, edge / 2, height + 0.15), (0, edge + 0.12, height + 0.12))
    return [*solids, limb(*spout, 0.012, metal, shape="cylinder")]


def washstand(draw):
    h, w, d = draw.uniform(0.78, 0.88), draw.uniform(0.5, 0.7), draw.uniform(0.4, 0.48)
    foot = cylinder(0, d / 2, 0, 0.18, 0.18, h - 0.15, draw.paint())
    tub = [s.moved(0, 0, h - 0.15, FORWARD) for s in basin(draw, w, d, 0.15)]
    things = [Thing("sink", [foot, *tub])]
    return things + (moved(mirror(draw), 0, 0, h + 0.35) if draw.chance(0.7) else [])


def bathtub(draw):
    w, d = draw.uniform(1.5, 1.75), draw.uniform(0.7, 0.8)
    things = [Thing("bathtub", basin(draw, w, d, draw.uniform(0.48, 0.58)))]
    if draw.chance(0.6):
        width = draw.uniform(0.3, 0.8) * w
        folds = drape(draw, width, draw.uniform(1.7, 1.8))
        drawn = Thing("shower curtain", folds).moved((width - w) / 2, d + 0.02, 0.2)
        things.append(drawn)
    return things


def toilet(draw):
    clay, seat = draw.paint(), draw.paint()
    w, z = draw.uniform(0.36, 0.42), draw.uniform(0.38, 0.44)
    solids = [
        box(0, 0.1, z - 0.05, w + 0.04, 0.18, draw.uniform(0.38, 0.45), clay),
        cylinder(0, 0.38, 0, w * 0.6, 0.4, z - 0.1, clay),
        ellipsoid(0, 0.43, 0.06, w, 0.52, 2 * z - 0.3, clay),
        box(0, 0.2, z - 0.16, w * 0.7, 0.2, 0.14, clay),
        cylinder(0, 0.43, z - 0.04, w + 0.02, 0.54, 0.04, clay),
        cylinder(0, 0.43, z, w, 0.52, 0.025, seat),
    ]
    if draw.chance(0.5):
        solids.append(disc(0, 0.215, z + 0.02, w, 0.025, 0.46, seat))
    return [Thing("toilet", solids)]


def television(draw, width=None):
    """A screen on a foot; its underside is at z = 0."""
    w = width or draw.uniform(0.8, 1.3)
    h, frame = w * 0.58, draw.paint()
    solids = [
        box(0, 0.06, 0.08, w, 0.05, h, frame),
        box(0, 0.087, 0.105, w - 0.05, 0.006, h - 0.05, draw.paint()),
        box(0, 0.05, 0.01, 0.1, 0.03, 0.1, frame),
        box(0, 0.07, 0, w * 0.4, 0.14, 0.015, frame),
    ]
    return [Thing("television", solids)]


def television_stand(draw):
    w, d, h = draw.uniform(1.1, 1.8), draw.uniform(0.38, 0.48), draw.uniform(0.38, 0.55)
    wood = draw.paint()
    solids = [box(0, d / 2, z, w, d, 0.03, wood) for z in (0.06, h / 2, h - 0.03)]
    for x in (-w / 2 + 0.02, -w / 6, w / 6, w / 2 - 0.02):
        solids.append(box(x, d / 2, 0, 0.03, d - 0.02, h, wood))
    solids.append(box(0, 0.01, 0.06, w, 0.02, h - 0.08, wood))
    return [Thing("otherfurniture", solids), *moved(television(draw), 0, 0.12, h)]


def floor_lamp(draw):
    h = draw.uniform(1.4, 1.8)
    return lamp(draw, h, draw.uniform(0.3, 0.45), 0.02)


def table_lamp(draw):
    return lamp(draw, draw.uniform(0.35, 0.55), draw.uniform(0.18, 0.28), 0.03)


def lamp(draw, height, shade, pole):
    metal, cloth = draw.paint(), draw.paint()
    shape = draw.choice((cylinder, ellipsoid))
    solids = [
        cylinder(0, 0, 0, shade * 0.6, shade * 0.6, 0.025, metal),
        cylinder(0, 0, 0.02, pole, pole, height - 0.1, metal),
        shape(0, 0, height - shade * 0.7, shade, shade, shade * 0.7, cloth),
    ]
    return [Thing("lamp", solids)]


def pendant(draw):
    """A lamp on a cord; its top belongs at the ceiling."""
    drop, shade = draw.uniform(0.4, 0.8), draw.uniform(0.25, 0.5)
    shape = draw.choice((cylinder, ellipsoid))
    cord = cylinder(0, 0, 0.1, 0.015, 0.015, drop - 0.1, draw.paint())
    return [Thing("lamp", [cord, shape(0, 0, 0, shade, shade, shade * 0.6, draw.paint())])]


def plant(draw, size=None):
    size = size or draw.uniform(0.6, 1.2)
    pot, leaf, pot_height = draw.paint(), draw.paint(), size * 0.3
    solids = [cylinder(0, 0, 0, size * 0.35, size * 0.35, pot_height, pot)]
    for _ in range(9):
        tip = (
            draw.uniform(-0.35, 0.35) * size,
            draw.uniform(-0.35, 0.35) * size,
            draw.uniform(0.6, 1.0) * size,
        )
        solids.append(limb((0, 0, pot_height * 0.9), tip, size * 0.05, leaf))
    return [Thing("plant", solids)]


def bottle(draw):
    h, w, glass = draw.uniform(0.22, 0.34), draw.uniform(0.07, 0.1), draw.paint()
    solids = [
        cylinder(0, 0, 0, w, w, h * 0.6, glass),
        ellipsoid(0, 0, h * 0.45, w, w, h * 0.3, glass),
        cylinder(0, 0, h * 0.6, w * 0.35, w * 0.35, h * 0.4, draw.paint()),
    ]
    return [Thing("bottle", solids)]


def vase(draw):
    h, w, clay = draw.uniform(0.15, 0.3), draw.uniform(0.12, 0.2), draw.paint()
    neck = cylinder(0, 0, h * 0.7, w * 0.5, w * 0.5, h * 0.3, clay)
    return [Thing("otherprop", [ellipsoid(0, 0, 0, w, w, h * 0.85, clay), neck])]


def paper(draw):
    sheet = box(0, 0, 0, 0.21, 0.3, 0.003, draw.paint())
    return [Thing("paper", [sheet.moved(0, 0, 0, rotation(draw.uniform(-0.3, 0.3)))])]


def carton(draw, size=None):
    """A box, closed or with its four flaps open."""
    size = size or draw.uniform(0.3, 0.6)
    w, d, h = size, size * draw.uniform(0.6, 1.0), size * draw.uniform(0.5, 0.9)
    card = draw.paint()
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


def small_plant(draw):
    return plant(draw, draw.uniform(0.25, 0.4))


def bag(draw):
    """A bag with a handle."""
    w, d, h = draw.uniform(0.3, 0.5), draw.uniform(0.14, 0.22), draw.uniform(0.22, 0.34)
    cloth, strap = draw.paint(), draw.paint()
    body = [box(0, 0, 0, w, d, h * 0.6, cloth), ellipsoid(0, 0, 0, w, d, h * 1.2, cloth)]
    corners = [(-w / 4, 0, h), (-w / 6, 0, h * 1.6), (w / 6, 0, h * 1.6), (w / 4, 0, h)]
    arcs = [limb(a, b, 0.015, strap) for a, b in zip(corners, corners[1:], strict=False)]
    return [Thing("bag", body + arcs)]


def floor_mat(draw):
    w, d = draw.uniform(1.0, 2.4), draw.uniform(0.7, 1.7)
    shape = cylinder if draw.chance(0.25) else box
    return [Thing("floor mat", [shape(0, d / 2, 0, w, d, 0.012, draw.paint())])]


def on_top(draw, width, y, z, x=0.0):
    """Small things side by side on a board."""
    slots = max(1, int(width / 0.35))
    things = []
    for k in range(slots):
        if draw.chance(0.45):
            make = draw.choice(
                (bottle, vase, paper, book_stack, small_carton, small_plant, table_lamp)
            )
            at = x + (k + 0.5) * width / slots - width / 2
            things += moved(make(draw), at, y, z, rotation(draw.uniform(-0.3, 0.3)))
    return things


# === Things on a wall ===


def door(draw):
    w, h, wood, frame = draw.uniform(0.8, 0.95), draw.uniform(1.98, 2.1), draw.paint(), draw.paint()
    side = draw.choice((-1, 1))
    solids = [box(0, 0.015, 0, w, 0.03, h, wood), box(0, 0.025, h, w + 0.16, 0.05, 0.08, frame)]
    solids += [box(s * (w / 2 + 0.04), 0.025, 0, 0.08, 0.05, h, frame) for s in (-1, 1)]
    if draw.chance(0.6):
        for z in (0.15, h * 0.52):
            solids.append(box(0, 0.032, z, w - 0.3, 0.012, h * 0.4, wood))
    solids.append(ellipsoid(side * (w / 2 - 0.08), 0.06, 1.0, 0.06, 0.06, 0.06, frame))
    return [Thing("door", solids)]


def window(draw):
    """A window with, at times, blinds or curtains; hung at its own height."""
    w, h, z = draw.uniform(0.9, 1.8), draw.uniform(0.9, 1.3), draw.uniform(0.8, 1.0)
    frame = draw.paint()
    solids = [box(0, 0.01, z, w, 0.02, h, draw.paint())]
    bars = draw.integer(1, 2)
    solids += [
        box((k / (bars + 1) - 0.5) * w, 0.02, z, 0.05, 0.04, h, frame) for k in range(bars + 2)
    ]
    solids += [box(0, 0.02, z + k * h / 2 - 0.02, w + 0.05, 0.04, 0.05, frame) for k in range(3)]
    solids.append(box(0, 0.06, z - 0.04, w + 0.15, 0.12, 0.03, frame))
    things = [Thing("window", solids)]
    style = draw.integer(0, 3)
    if style == 1:
        slat = draw.paint()
        drop = draw.uniform(0.4, 1.0) * h
        count = int(drop / 0.08)
        slats = [box(0, 0.09, z + h, w + 0.06, 0.06, 0.05, slat)]
        slats += [
            box(0, 0.09, z + h - 0.08 * (k + 1), w + 0.04, 0.04, 0.055, slat) for k in range(count)
        ]
        things.append(Thing("blinds", slats))
    if style >= 2:
        top = z + h + 0.12
        for side in (-1, 1):
            width = draw.uniform(0.25, 0.45)
            length = top - draw.choice((0.05, z - 0.25))
            folds = Thing("curtain", drape(draw, width, length))
            things.append(folds.moved(side * (w / 2 + 0.1), 0.18, top - length))
    return things


def drape(draw, width, height):
    """Hanging cloth in folds below a rail."""
    cloth = draw.paint()
    folds = max(3, int(width / 0.09))
    pitch = width / folds
    rail = box(0, 0, height - 0.03, width + 0.06, 0.03, 0.03, draw.paint())
    return [rail] + [
        cylinder((k + 0.5) * pitch - width / 2, 0, 0, pitch * 1.25, 0.09, height - 0.02, cloth)
        for k in range(folds)
    ]


def picture(draw):
    w, h = draw.uniform(0.3, 0.9), draw.uniform(0.3, 0.7)
    canvas = box(0, 0.022, 0.04, w - 0.08, 0.016, h - 0.08, draw.paint())
    return [Thing("picture", [box(0, 0.012, 0, w, 0.024, h, draw.paint()), canvas])]


def mirror(draw):
    """Oval, which tells it from a picture."""
    w, h = draw.uniform(0.4, 0.6), draw.uniform(0.55, 0.8)
    glass = disc(0, 0.02, 0.03, w - 0.06, 0.02, h - 0.06, draw.paint())
    return [Thing("mirror", [disc(0, 0.012, 0, w, 0.024, h, draw.paint()), glass])]


def whiteboard(draw):
    """Wide, with a tray for pens."""
    w, h, frame = draw.uniform(1.2, 2.0), draw.uniform(0.9, 1.2), draw.paint()
    board = box(0, 0.017, 0.03, w - 0.06, 0.014, h - 0.06, draw.paint())
    tray = box(0, 0.05, 0, w * 0.8, 0.1, 0.025, frame)
    return [Thing("whiteboard", [box(0, 0.01, 0, w, 0.02, h, frame), board, tray])]


def shelves(draw):
    """Boards on a wall with things on them."""
    w, wood, things, solids = draw.uniform(0.7, 1.2), draw.paint(), [], []
    for k in range(draw.integer(2, 3)):
        z = 0.36 * k
        solids.append(box(0, 0.12, z, w, 0.24, 0.03, wood))
        solids += [box(s * w * 0.35, 0.05, z - 0.08, 0.03, 0.1, 0.08, wood) for s in (-1, 1)]
        if draw.chance(0.5):
            things.append(books(draw, w * 0.9, 0.17, 0.3).moved(0, 0.02, z + 0.03))
    return [Thing("shelves", solids), *things]


def towel(draw):
    """A rail with a towel over it."""
    w, h = draw.uniform(0.4, 0.6), draw.uniform(0.4, 0.65)
    rail = box(0, 0.05, h, w + 0.15, 0.02, 0.02, draw.paint())
    cloth = draw.paint()
    layers = [
        box(0, y, 0.1 * (y > 0.05), w, 0.02, h - 0.1 * (y > 0.05), cloth) for y in (0.04, 0.07)
    ]
    return [Thing("towel", [rail, *layers, ellipsoid(0, 0.055, h - 0.02, w, 0.06, 0.05, cloth)])]


def clothes(draw):
    """A coat on a hook: two sleeves and a body."""
    cloth, h = draw.paint(), draw.uniform(0.7, 1.0)
    hook = cylinder(0, 0.04, h, 0.04, 0.04, 0.08, draw.paint())
    body = [ellipsoid(0, 0.1, 0, 0.42, 0.16, h * 1.05, cloth)]
    for side in (-1, 1):
        body.append(limb((side * 0.13, 0.1, h * 0.9), (side * 0.24, 0.1, h * 0.3), 0.06, cloth))
    return [Thing("clothes", [hook, *body])]
