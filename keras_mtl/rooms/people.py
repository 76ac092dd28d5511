"""Human figures of a generated room, built from limbs."""

from keras_mtl.rooms.ray_casting import UP, Solid, along, rotation, unit
from keras_mtl.rooms.shapes import Thing, bounds, limb

# The six parts of PASCAL-Context's human parts task.
HEAD, TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG = range(1, 7)


def person(draw, seat=None):
    """A figure of limbs that faces +y, standing or sitting on a `seat` of a height in metres.

    A sitting figure's hips are above the origin.
    """
    tall = draw.uniform(1.5, 1.9)
    skin, shirt, trousers = draw.paint("skin"), draw.paint("cloth"), draw.paint("cloth")
    sleeve, shoe, hair = draw.choice((shirt, skin)), draw.paint("leather"), draw.paint("hair")
    stocky = draw.uniform(0.9, 1.2)

    def direction(side, swing, spread):
        """Hanging down, swung to the front and spread to a side (half-angle tangents)."""
        (c, s), (c2, s2) = rotation(swing), rotation(spread)
        return (side * s2, s * c2, -c * c2)

    if seat is None:
        hip_height = 0.53 * tall
    else:
        hip_height = seat + 0.055 * tall
    lean = draw.uniform(-0.05, 0.08)
    hips, chest = (0.0, 0.0, hip_height), (0.0, lean * 0.2 * tall, hip_height + 0.2 * tall)
    neck = (0.0, lean * 0.3 * tall, hip_height + 0.3 * tall)
    head = along(neck, unit((draw.uniform(-0.2, 0.2), draw.uniform(-0.1, 0.3), 1.0)), 0.085 * tall)
    wide = stocky * tall
    solids = [
        _lump(hips, (0.095 * wide, 0.07 * wide, 0.075 * tall), trousers, TORSO),
        _lump(along(hips, UP, 0.09 * tall), (0.085 * wide, 0.06 * wide, 0.11 * tall), shirt, TORSO),
        _lump(chest, (0.11 * wide, 0.068 * wide, 0.12 * tall), shirt, TORSO),
        limb(chest, neck, 0.034 * tall, skin, TORSO, extra=1.6),
        _lump(head, (0.047 * tall, 0.055 * tall, 0.068 * tall), skin, HEAD),
        _lump(along(head, (0, -0.3, 0.3), 0.05 * tall), (0.052 * tall,) * 3, hair, HEAD),
    ]
    for side in (-1, 1):
        shoulder = (side * 0.108 * wide, chest[1], chest[2] + 0.065 * tall)
        swing, spread = draw.uniform(-0.25, 0.55), draw.uniform(0.05, 0.35)
        if draw.chance(0.1):
            swing = draw.uniform(0.9, 2.0)  # a raised arm
        elbow = along(shoulder, direction(side, swing, spread), 0.17 * tall)
        bend = min(swing + draw.uniform(0.05, 0.6), 3.0)
        wrist = along(elbow, direction(side, bend, spread * 0.5 - 0.1), 0.155 * tall)
        solids.append(limb(shoulder, elbow, 0.032 * wide, shirt, UPPER_ARM, extra=1.25))
        solids.append(limb(elbow, wrist, 0.025 * wide, sleeve, LOWER_ARM, extra=1.2))
        solids.append(_lump(wrist, (0.024 * tall, 0.024 * tall, 0.03 * tall), skin, LOWER_ARM))
        hip = (side * 0.052 * wide, 0.0, hip_height)
        if seat is None:
            swing, spread = draw.uniform(-0.18, 0.18), draw.uniform(0.0, 0.08)
            bend = swing - draw.uniform(0.0, 0.2)
        else:
            swing, spread = draw.uniform(0.8, 0.95), draw.uniform(0.0, 0.1)
            bend = draw.uniform(-0.12, 0.2)
        knee = along(hip, direction(side, swing, spread), 0.25 * tall)
        ankle = along(knee, direction(side, bend, spread * 0.5), 0.245 * tall)
        toe = along(ankle, (0, 1, -0.15), 0.07 * tall)
        solids.append(limb(hip, knee, 0.045 * wide, trousers, UPPER_LEG, extra=1.25))
        solids.append(limb(knee, ankle, 0.034 * wide, trousers, LOWER_LEG, extra=1.2))
        solids.append(_lump(toe, (0.028 * tall, 0.075 * tall, 0.027 * tall), shoe, LOWER_LEG))
    figure = Thing("person", solids)
    lowest = bounds([figure])[0][2]
    return figure.moved(z=-lowest) if seat is None or lowest < 0 else figure


def _lump(center, half, paint, part):
    return Solid("ellipsoid", center, half, paint, part)


def people(draw):
    return [person(draw)]
