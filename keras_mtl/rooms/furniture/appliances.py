"""Lamps, televisions and refridgerators."""

from keras_mtl.rooms.furniture.parts import CARPENTRY, fronts
from keras_mtl.rooms.shapes import Thing, box, cylinder, ellipsoid, moved


def lit_shade(draw):
    """A lamp's shade, which glows if the lamp is on."""
    cloth = draw.paint("linen", "cloth", "plastic")
    return cloth._replace(glow=draw.uniform(0.5, 3.0)) if draw.chance(0.5) else cloth


def lamp(draw, height, shade, pole):
    metal, cloth = draw.paint("metal", "wood", "plastic"), lit_shade(draw)
    shape = draw.choice((cylinder, ellipsoid))
    solids = [
        cylinder(0, 0, 0, shade * 0.6, shade * 0.6, 0.025, metal),
        cylinder(0, 0, 0.02, pole, pole, height - 0.1, metal),
        shape(0, 0, height - shade * 0.7, shade, shade, shade * 0.7, cloth),
    ]
    return [Thing("lamp", solids)]


def floor_lamp(draw):
    h = draw.uniform(1.4, 1.8)
    return lamp(draw, h, draw.uniform(0.3, 0.45), 0.02)


def table_lamp(draw):
    return lamp(draw, draw.uniform(0.35, 0.55), draw.uniform(0.18, 0.28), 0.03)


def pendant(draw):
    """A lamp on a cord; its top belongs at the ceiling."""
    drop, shade = draw.uniform(0.4, 0.8), draw.uniform(0.25, 0.5)
    shape = draw.choice((cylinder, ellipsoid))
    cord = cylinder(0, 0, 0.1, 0.015, 0.015, drop - 0.1, draw.paint("metal"))
    return [Thing("lamp", [cord, shape(0, 0, 0, shade, shade, shade * 0.6, lit_shade(draw))])]


def television(draw, width=None):
    """A screen on a foot; its underside is at z = 0."""
    w = width or draw.uniform(0.8, 1.3)
    h, frame = w * 0.58, draw.paint("screen", "screen", "metal")
    screen = draw.paint("screen")
    if draw.chance(0.3):
        screen = draw.paint("art")._replace(glow=draw.uniform(0.2, 1.0))  # it is on
    solids = [
        box(0, 0.06, 0.08, w, 0.05, h, frame),
        box(0, 0.087, 0.105, w - 0.05, 0.006, h - 0.05, screen),
        box(0, 0.05, 0.01, 0.1, 0.03, 0.1, frame),
        box(0, 0.07, 0, w * 0.4, 0.14, 0.015, frame),
    ]
    return [Thing("television", solids)]


def television_stand(draw):
    w, d, h = draw.uniform(1.1, 1.8), draw.uniform(0.38, 0.48), draw.uniform(0.38, 0.55)
    wood = draw.paint(*CARPENTRY)
    solids = [box(0, d / 2, z, w, d, 0.03, wood) for z in (0.06, h / 2, h - 0.03)]
    for x in (-w / 2 + 0.02, -w / 6, w / 6, w / 2 - 0.02):
        solids.append(box(x, d / 2, 0, 0.03, d - 0.02, h, wood))
    solids.append(box(0, 0.01, 0.06, w, 0.02, h - 0.08, wood))
    return [Thing("otherfurniture", solids), *moved(television(draw), 0, 0.12, h)]


def refridgerator(draw):
    w, d, h = draw.uniform(0.58, 0.78), draw.uniform(0.6, 0.7), draw.uniform(1.55, 1.95)
    body, bar, split = (
        draw.paint("white", "metal", "painted"),
        draw.paint("metal"),
        draw.uniform(0.55, 0.7) * h,
    )
    solids = [box(0, d / 2, 0.03, w, d, h - 0.03, body)]
    solids += fronts(w, d, 0.06, split, 1, 1, body, bar, "bar")
    solids += fronts(w, d, split, h, 1, 1, body, bar, "bar")
    return [Thing("refridgerator", solids)]
