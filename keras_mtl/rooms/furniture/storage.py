"""What things are put into: cabinets, dressers, bookshelves, shelves on a wall."""

from keras_mtl.rooms.furniture.appliances import television
from keras_mtl.rooms.furniture.parts import CARPENTRY, draw_fronts, fronts, legs
from keras_mtl.rooms.furniture.small_things import books, on_top
from keras_mtl.rooms.shapes import Thing, box, moved


def cabinet(draw):
    w, d, h = draw.uniform(0.8, 1.3), draw.uniform(0.4, 0.6), draw.uniform(1.5, 2.1)
    body = draw.paint(*CARPENTRY)
    solids = [box(0, d / 2, 0, w, d, h, body)]
    doors = draw_fronts(draw, body)
    solids += fronts(w, d, 0.08, h - 0.03, 1, 2, *doors, "bar")
    return [Thing("cabinet", solids)]


def dresser(draw):
    w, d, h = draw.uniform(0.9, 1.4), draw.uniform(0.42, 0.52), draw.uniform(0.75, 1.0)
    body = draw.paint(*CARPENTRY)
    solids = [*legs(w, d, 0.12, 0.06, body), box(0, d / 2, 0.1, w, d, h - 0.13, body)]
    solids.append(box(0, d / 2, h - 0.03, w + 0.04, d + 0.03, 0.03, body))
    solids += fronts(w, d, 0.12, h - 0.03, draw.integer(3, 4), 2, *draw_fronts(draw, body))
    things = [Thing("dresser", solids)]
    if draw.chance(0.35):
        return things + moved(television(draw, draw.uniform(0.6, 0.9)), 0, 0.18, h)
    return things + on_top(draw, w * 0.8, d / 2, h)


def bookshelf(draw):
    w, d, h = draw.uniform(0.7, 1.3), draw.uniform(0.28, 0.36), draw.uniform(1.4, 2.1)
    wood, rows = draw.paint(*CARPENTRY), draw.integer(4, 5)
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


def shelves(draw):
    """Boards on a wall with things on them."""
    w, wood, things, solids = draw.uniform(0.7, 1.2), draw.paint(*CARPENTRY), [], []
    for k in range(draw.integer(2, 3)):
        z = 0.36 * k
        solids.append(box(0, 0.12, z, w, 0.24, 0.03, wood))
        solids += [box(s * w * 0.35, 0.05, z - 0.08, 0.03, 0.1, 0.08, wood) for s in (-1, 1)]
        if draw.chance(0.5):
            things.append(books(draw, w * 0.9, 0.17, 0.3).moved(0, 0.02, z + 0.03))
    return [Thing("shelves", solids), *things]
