"""Chairs and sofas, some of them taken."""

from keras_mtl.rooms.furniture.parts import legs
from keras_mtl.rooms.people import person
from keras_mtl.rooms.ray_casting import Solid, cross, unit
from keras_mtl.rooms.shapes import Thing, box, cylinder


def chair(draw, sitter=None):
    w, d, z = draw.uniform(0.4, 0.5), draw.uniform(0.4, 0.48), draw.uniform(0.42, 0.48)
    top = draw.uniform(0.82, 1.05)
    frame = draw.paint("wood", "wood", "metal", "plastic")
    cushion = frame if draw.chance(0.4) else draw.paint("cloth", "leather", "plastic")
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
    cover, arm = draw.paint("cloth", "cloth", "leather"), draw.uniform(0.14, 0.22)
    solids = [
        box(0, d / 2, 0.08, w, d - 0.02, z - 0.2, cover),
        *legs(w, d, 0.08, 0.06, draw.paint("wood", "metal")),
        box(0, 0.11, 0.08, w, 0.22, draw.uniform(0.72, 0.9) - 0.08, cover),
    ]
    arm_top = z + draw.uniform(0.14, 0.22)
    for side in (-1, 1):
        x = side * (w / 2 - arm / 2)
        solids.append(box(x, d / 2, 0.08, arm, d, arm_top - 0.08, cover))
    seats = 2 if w < 1.8 else 3
    seat = (w - 2 * arm) / seats
    places = [(k + 0.5) * seat - w / 2 + arm for k in range(seats)]
    cushion = draw.paint("cloth") if draw.chance(0.3) else cover
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
            case = Solid("ellipsoid", center, half, draw.paint("cloth"), 0, axes)
            things.append(Thing("pillow", [case]))
    return things
