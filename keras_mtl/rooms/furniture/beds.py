"""Beds, with their pillows and the stands beside them."""

from keras_mtl.rooms.furniture.appliances import table_lamp
from keras_mtl.rooms.furniture.parts import CARPENTRY, draw_fronts, fronts, legs
from keras_mtl.rooms.shapes import Thing, box, ellipsoid, moved


def bed(draw):
    w, d, z = draw.uniform(0.9, 1.8), draw.uniform(1.95, 2.15), draw.uniform(0.38, 0.55)
    wood, sheet = draw.paint("wood", "wood", "white", "cloth"), draw.paint("linen")
    blanket = draw.paint("cloth", "cloth", "linen")
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
        case = ellipsoid(
            x, 0.3, z - 0.03, size, 0.4, draw.uniform(0.15, 0.22), draw.paint("linen", "cloth")
        )
        things.append(Thing("pillow", [case]))
    for side in (-1, 1):
        if draw.chance(0.55):
            things += moved(night_stand(draw), side * (w / 2 + 0.34))
    return things


def night_stand(draw):
    w, d, h = draw.uniform(0.4, 0.5), draw.uniform(0.35, 0.42), draw.uniform(0.45, 0.62)
    body = draw.paint(*CARPENTRY)
    solids = [*legs(w, d, 0.13, 0.04, body), box(0, d / 2, 0.12, w, d, h - 0.15, body)]
    solids.append(box(0, d / 2, h - 0.03, w + 0.04, d + 0.03, 0.03, body))
    solids += fronts(w, d, 0.13, h - 0.03, 2, 1, *draw_fronts(draw, body))
    things = [Thing("night stand", solids)]
    return things + (moved(table_lamp(draw), 0, d / 2, h) if draw.chance(0.6) else [])
