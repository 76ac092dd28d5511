"""What hangs on a wall or opens in it."""

from keras_mtl.rooms.furniture.parts import CARPENTRY, drape
from keras_mtl.rooms.paints import draw_outside
from keras_mtl.rooms.shapes import Thing, box, cylinder, disc, ellipsoid, limb


def door(draw):
    w, h, wood = draw.uniform(0.8, 0.95), draw.uniform(1.98, 2.1), draw.paint(*CARPENTRY)
    frame = wood if draw.chance(0.5) else draw.paint("white", "wood")
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
    frame = draw.paint("white", "white", "wood", "metal")
    solids = [box(0, 0.01, z, w, 0.02, h, draw_outside(draw, w, h))]
    bars = draw.integer(1, 2)
    solids += [
        box((k / (bars + 1) - 0.5) * w, 0.02, z, 0.05, 0.04, h, frame) for k in range(bars + 2)
    ]
    solids += [box(0, 0.02, z + k * h / 2 - 0.02, w + 0.05, 0.04, 0.05, frame) for k in range(3)]
    solids.append(box(0, 0.06, z - 0.04, w + 0.15, 0.12, 0.03, frame))
    things = [Thing("window", solids)]
    style = draw.integer(0, 3)
    if style == 1:
        slat = draw.paint("white", "wood", "metal")
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


def picture(draw):
    w, h = draw.uniform(0.3, 0.9), draw.uniform(0.3, 0.7)
    canvas = box(0, 0.022, 0.04, w - 0.08, 0.016, h - 0.08, draw.paint("art"))
    return [
        Thing(
            "picture", [box(0, 0.012, 0, w, 0.024, h, draw.paint("wood", "metal", "white")), canvas]
        )
    ]


def mirror(draw):
    """Oval, which tells it from a picture."""
    w, h = draw.uniform(0.4, 0.6), draw.uniform(0.55, 0.8)
    glass = disc(0, 0.02, 0.03, w - 0.06, 0.02, h - 0.06, draw.paint("metal", "wall"))
    return [
        Thing(
            "mirror", [disc(0, 0.012, 0, w, 0.024, h, draw.paint("wood", "metal", "white")), glass]
        )
    ]


def whiteboard(draw):
    """Wide, with a tray for pens."""
    w, h, frame = draw.uniform(1.2, 2.0), draw.uniform(0.9, 1.2), draw.paint("metal", "wood")
    board = box(0, 0.017, 0.03, w - 0.06, 0.014, h - 0.06, draw.paint("white", "clay", "print"))
    tray = box(0, 0.05, 0, w * 0.8, 0.1, 0.025, frame)
    return [Thing("whiteboard", [box(0, 0.01, 0, w, 0.02, h, frame), board, tray])]


def clock(draw):
    size, frame = draw.uniform(0.2, 0.4), draw.paint("metal", "wood", "plastic")
    face = disc(0, 0.03, 0.02, size - 0.04, 0.012, size - 0.04, draw.paint("white", "print"))
    hand = draw.paint("screen")
    hands = [box(0, 0.038, size * 0.45, 0.012, 0.006, size * 0.35, hand)]
    hands.append(box(size * 0.1, 0.038, size * 0.47, size * 0.26, 0.006, 0.014, hand))
    return [Thing("otherprop", [disc(0, 0.016, 0, size, 0.032, size, frame), face, *hands])]


def switch(draw):
    """A light switch or a socket."""
    plate = draw.paint("white", "plastic")
    solids = [box(0, 0.006, 0, 0.08, 0.012, 0.08, plate)]
    solids.append(box(0, 0.015, 0.02, 0.04, 0.01, 0.04, draw.paint("white", "plastic")))
    return [Thing("otherprop", solids)]


def radiator(draw):
    w, h, metal = draw.uniform(0.6, 1.4), draw.uniform(0.45, 0.65), draw.paint("white", "metal")
    ribs = int(w / 0.07)
    solids = [
        box((k + 0.5) * w / ribs - w / 2, 0.08, 0.12, w / ribs - 0.012, 0.1, h, metal)
        for k in range(ribs)
    ]
    solids += [box(0, 0.06, z, w, 0.04, 0.04, metal) for z in (0.16, h + 0.04)]
    return [Thing("otherfurniture", solids)]


def towel(draw):
    """A rail with a towel over it."""
    w, h = draw.uniform(0.4, 0.6), draw.uniform(0.4, 0.65)
    rail = box(0, 0.05, h, w + 0.15, 0.02, 0.02, draw.paint("metal"))
    cloth = draw.paint("linen", "cloth")
    layers = [
        box(0, y, 0.1 * (y > 0.05), w, 0.02, h - 0.1 * (y > 0.05), cloth) for y in (0.04, 0.07)
    ]
    return [Thing("towel", [rail, *layers, ellipsoid(0, 0.055, h - 0.02, w, 0.06, 0.05, cloth)])]


def clothes(draw):
    """A coat on a hook: two sleeves and a body."""
    cloth, h = draw.paint("cloth", "leather"), draw.uniform(0.7, 1.0)
    hook = cylinder(0, 0.04, h, 0.04, 0.04, 0.08, draw.paint("metal"))
    body = [ellipsoid(0, 0.1, 0, 0.42, 0.16, h * 1.05, cloth)]
    for side in (-1, 1):
        body.append(limb((side * 0.13, 0.1, h * 0.9), (side * 0.24, 0.1, h * 0.3), 0.06, cloth))
    return [Thing("clothes", [hook, *body])]
