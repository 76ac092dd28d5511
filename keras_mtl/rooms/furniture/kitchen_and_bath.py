"""What has water: counters with sinks, washstands, bathtubs, toilets."""

from keras_mtl.rooms.furniture.on_walls import mirror
from keras_mtl.rooms.furniture.parts import drape, draw_fronts, fronts
from keras_mtl.rooms.furniture.small_things import on_top
from keras_mtl.rooms.shapes import FORWARD, Thing, box, cylinder, disc, ellipsoid, limb, moved


def basin(draw, width, depth, height):
    """An open tub: a bottom, four walls and a tap at the back."""
    clay, metal = draw.paint("clay", "clay", "metal"), draw.paint("metal")
    edge = 0.035 if width < 0.9 else 0.07
    solids = [box(0, depth / 2, 0, width, depth, 0.3 * height, clay)]
    for side in (-1, 1):
        solids.append(box(side * (width - edge) / 2, depth / 2, 0, edge, depth, height, clay))
    for y in (edge / 2, depth - edge / 2):
        solids.append(box(0, y, 0, width, edge, height, clay))
    solids.append(cylinder(0, edge / 2 + 0.01, height, 0.03, 0.03, 0.16, metal))
    spout = ((0, edge / 2, height + 0.15), (0, edge + 0.12, height + 0.12))
    return [*solids, limb(*spout, 0.012, metal, shape="cylinder")]


def kitchen(draw):
    """A counter with a sink and, above it, hanging cabinets."""
    w, d, h = draw.uniform(1.6, 2.6), 0.6, draw.uniform(0.86, 0.94)
    body = draw.paint("wood", "white", "painted")
    front, knob = draw_fronts(draw, body)
    columns = 3 if w < 2.1 else 4
    base = [box(0, d / 2 - 0.02, 0, w, d - 0.04, h - 0.04, body)]
    base.append(
        box(0, d / 2, h - 0.04, w + 0.02, d + 0.05, 0.04, draw.paint("stone", "wood", "metal"))
    )
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


def washstand(draw):
    h, w, d = draw.uniform(0.78, 0.88), draw.uniform(0.5, 0.7), draw.uniform(0.4, 0.48)
    foot = cylinder(0, d / 2, 0, 0.18, 0.18, h - 0.15, draw.paint("clay"))
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
    clay = draw.paint("clay")
    seat = clay if draw.chance(0.6) else draw.paint("plastic", "wood")
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
