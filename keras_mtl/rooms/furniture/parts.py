"""What pieces of furniture are made of: legs, fronts with knobs, hanging cloth."""

from keras_mtl.rooms.shapes import box, cylinder, ellipsoid

# What furniture is made of, likely ones more than once.
CARPENTRY = ("wood", "wood", "white", "painted")


def draw_fronts(draw, body):
    """Paints of fronts, often the body's own, and of their knobs."""
    front = body if draw.chance(0.6) else draw.paint(*CARPENTRY)
    return front, draw.paint("metal", "metal", "wood")


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


def drape(draw, width, height):
    """Hanging cloth in folds below a rail."""
    cloth = draw.paint("cloth", "linen")
    folds = max(3, int(width / 0.09))
    pitch = width / folds
    rail = box(0, 0, height - 0.03, width + 0.06, 0.03, 0.03, draw.paint("metal", "wood"))
    return [rail] + [
        cylinder((k + 0.5) * pitch - width / 2, 0, 0, pitch * 1.25, 0.09, height - 0.02, cloth)
        for k in range(folds)
    ]
