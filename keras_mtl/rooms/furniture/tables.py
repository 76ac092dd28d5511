"""Tables and desks, with what lies on them and who sits at them."""

from keras_mtl.rooms.furniture.appliances import table_lamp, television
from keras_mtl.rooms.furniture.parts import CARPENTRY, draw_fronts, fronts, legs
from keras_mtl.rooms.furniture.seating import chair
from keras_mtl.rooms.furniture.small_things import on_top, paper
from keras_mtl.rooms.shapes import BACKWARD, FORWARD, Thing, bounds, box, cylinder, moved


def table(draw, height=None):
    """A table top on four legs or, if it is round, on a column."""
    w, d = draw.uniform(0.9, 1.8), draw.uniform(0.75, 1.0)
    h = height or draw.uniform(0.7, 0.78)
    top = draw.paint("wood", "wood", "white", "stone", "plastic")
    under = draw.paint("metal", "wood") if draw.chance(0.5) else top
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
    top, body = draw.paint("wood", "wood", "white"), draw.paint(*CARPENTRY)
    side = draw.choice((-1, 1))
    drawers = [
        s.moved(side * (w / 2 - 0.22), 0, 0, FORWARD)
        for s in [
            box(0, d / 2, 0.04, 0.4, d - 0.06, h - 0.08, body),
            *fronts(0.4, d - 0.03, 0.06, h - 0.04, 3, 1, *draw_fronts(draw, body)),
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
