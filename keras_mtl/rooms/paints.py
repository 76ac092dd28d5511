"""What surfaces of a generated room look like: materials, and paints drawn from them."""

from typing import NamedTuple

import numpy as np

from keras_mtl.rooms import textures


class Paint(NamedTuple):
    """A surface: two linear RGB colours in 0..1 that a texture mixes.

    Args:
        texture: one of `textures.NAMES`.
        color, other_color: linear RGB where the texture is 0 and 1.
        scale: metres across the texture's tile.
        shift: where the tile begins, in tiles.
        upright: bool. Whether the tile is turned by a right angle.
        gloss: how much of a lamp it mirrors, 0..1.
        glow: light of its own, in units of a well lit white surface.
    """

    texture: str
    color: tuple
    other_color: tuple
    scale: float
    shift: tuple = (0.0, 0.0)
    upright: bool = False
    gloss: float = 0.0
    glow: float = 0.0


class Material(NamedTuple):
    """Textures to choose from, ranges of a tile's size in metres, of contrast and of gloss, and a
    function that draws a colour."""

    textures: tuple
    scale: tuple
    color: object
    contrast: tuple = (0.2, 0.7)
    gloss: tuple = (0.0, 0.05)


def any_color(draw):
    """Linear RGB, from grey to vivid and from dark to bright."""
    rgb = [draw.uniform() for _ in range(3)]
    grey = (rgb[0] + rgb[1] + rgb[2]) / 3
    vivid = draw.uniform() * draw.uniform(0.2, 1.0)
    bright = draw.uniform(0.1, 0.9) / max(*rgb, 0.2)
    return tuple(bright * (grey + vivid * (c - grey)) for c in rgb)


def _between(*colors):
    """A function that draws a colour between two neighbours of a list, a little off."""

    def draw_color(draw):
        first = draw.integer(0, len(colors) - 2)
        share, bright = draw.uniform(), draw.uniform(0.8, 1.2)
        return tuple(
            min(bright * (a + share * (b - a)) * draw.uniform(0.93, 1.07), 0.95)
            for a, b in zip(colors[first], colors[first + 1], strict=True)
        )

    return draw_color


_WOODS = _between(
    (0.06, 0.03, 0.018), (0.16, 0.075, 0.04), (0.32, 0.17, 0.08), (0.5, 0.31, 0.16),
    (0.62, 0.47, 0.3), (0.75, 0.7, 0.62), (0.85, 0.84, 0.8),
)  # fmt: skip
_PALE = _between((0.5, 0.5, 0.5), (0.8, 0.79, 0.76), (0.75, 0.68, 0.55), (0.62, 0.68, 0.72))
_WHITE = _between((0.62, 0.62, 0.6), (0.85, 0.85, 0.84), (0.8, 0.77, 0.7))
_BLACK = _between((0.01, 0.01, 0.012), (0.05, 0.05, 0.05), (0.02, 0.022, 0.03))
_CLOTHS = (
    "fabric", "fabric", "plain", "leather", "stripes", "plaid", "dots", "damask", "leaves",
    "checks", "clouds",
)  # fmt: skip
_SMOOTH = ("plain", "plain", "plaster", "clouds")

MATERIALS = {
    "any": Material(textures.NAMES, (0.15, 1.0), any_color, (0.15, 0.8), (0.0, 0.3)),
    "wood": Material(("wood", "wood", "plain"), (0.4, 1.4), _WOODS, (0.3, 0.8), (0.0, 0.3)),
    "painted": Material(_SMOOTH, (0.3, 1.0), any_color, (0.1, 0.3), (0.0, 0.3)),
    "white": Material(_SMOOTH, (0.3, 1.0), _WHITE, (0.05, 0.25), (0.0, 0.3)),
    "wall": Material(
        ("plaster", "plaster", "plain", "clouds"), (0.5, 1.5), _PALE, (0.05, 0.25), (0.0, 0.0)
    ),
    "wallpaper": Material(
        ("stripes", "damask", "leaves", "plaid", "dots", "fabric"), (0.4, 1.5), any_color,
        (0.05, 0.5),
    ),
    "bricks": Material(
        ("bricks",), (1.0, 1.4),
        _between((0.3, 0.1, 0.06), (0.45, 0.2, 0.12), (0.7, 0.68, 0.65)), (0.2, 0.6),
    ),
    "tiles": Material(
        ("tiles", "small tiles", "tiles"), (0.6, 1.6),
        _between((0.8, 0.8, 0.78), (0.55, 0.5, 0.42), (0.25, 0.25, 0.26), (0.3, 0.42, 0.5)),
        (0.2, 0.7), (0.1, 0.5),
    ),
    "boards": Material(
        ("floorboards", "floorboards", "parquet"), (0.8, 1.6), _WOODS, (0.3, 0.8), (0.05, 0.45)
    ),
    "carpet": Material(
        ("carpet", "carpet", "fabric", "damask", "plain"), (0.3, 0.8), any_color, (0.2, 0.5)
    ),
    "rug": Material(
        ("carpet", "damask", "stripes", "plaid", "leaves", "abstract", "checks"), (0.4, 1.2),
        any_color, (0.3, 0.9),
    ),
    "cloth": Material(_CLOTHS, (0.15, 0.6), any_color, (0.1, 0.7)),
    "linen": Material(
        ("fabric", "plain", "stripes", "dots", "leaves"), (0.2, 0.6), _WHITE, (0.1, 0.5)
    ),
    "leather": Material(
        ("leather",), (0.3, 0.6),
        _between((0.02, 0.015, 0.012), (0.2, 0.09, 0.04), (0.6, 0.5, 0.4)), (0.2, 0.5), (0.1, 0.4),
    ),
    "metal": Material(
        ("plain", "clouds"), (0.3, 0.8),
        _between((0.05, 0.05, 0.055), (0.35, 0.35, 0.36), (0.65, 0.65, 0.66)), (0.1, 0.3),
        (0.3, 0.9),
    ),
    "stone": Material(
        ("marble", "clouds", "carpet", "plain"), (0.3, 0.9),
        _between((0.05, 0.05, 0.05), (0.4, 0.38, 0.36), (0.75, 0.73, 0.7)), (0.2, 0.6), (0.1, 0.6),
    ),
    "clay": Material(("plain",), (0.4, 0.8), _WHITE, (0.02, 0.12), (0.3, 0.8)),
    "plastic": Material(("plain",), (0.3, 0.8), any_color, (0.02, 0.2), (0.1, 0.6)),
    "screen": Material(("plain", "plain", "clouds"), (0.5, 1.5), _BLACK, (0.02, 0.1), (0.4, 0.9)),
    "art": Material(("abstract", "poster", "outside", "leaves", "text"), (0.4, 0.9), any_color,
        (0.5, 1.0), (0.0, 0.3)),
    "print": Material(("text", "poster", "plain"), (0.2, 0.35), _WHITE, (0.5, 1.0)),
    "card": Material(
        ("plain", "plain", "poster", "clouds"), (0.3, 0.8),
        _between((0.3, 0.19, 0.1), (0.5, 0.34, 0.2), (0.7, 0.66, 0.6)), (0.1, 0.4),
    ),
    "leaf": Material(
        ("plain", "clouds", "leaves"), (0.1, 0.4),
        _between((0.02, 0.07, 0.02), (0.07, 0.2, 0.04), (0.22, 0.34, 0.08), (0.2, 0.26, 0.16)),
        (0.1, 0.5), (0.0, 0.4),
    ),
    "skin": Material(
        ("plain",), (0.3, 0.6),
        _between((0.08, 0.035, 0.02), (0.25, 0.13, 0.08), (0.5, 0.3, 0.21), (0.72, 0.5, 0.4)),
        (0.02, 0.1), (0.0, 0.1),
    ),
    "hair": Material(
        ("carpet", "plain"), (0.1, 0.3),
        _between((0.01, 0.008, 0.007), (0.09, 0.045, 0.02), (0.4, 0.26, 0.12), (0.5, 0.5, 0.5)),
        (0.1, 0.4), (0.0, 0.3),
    ),
}  # fmt: skip


def draw_paint(draw, materials):
    """A paint of one of some materials (names); one time in eight of none of them."""
    name = draw.choice(materials) if materials and not draw.chance(0.12) else "any"
    material = MATERIALS[name]
    color, second = material.color(draw), any_color(draw)
    if draw.chance(0.6):  # of the same hue, darker or brighter
        bright = draw.choice((0.25, 0.5, 1.6))
        second = tuple(min(bright * c, 0.9) for c in color)
    contrast = draw.uniform(*material.contrast)
    other = tuple(a + contrast * (b - a) for a, b in zip(color, second, strict=True))
    return Paint(
        draw.choice(material.textures), color, other, draw.uniform(*material.scale),
        (draw.uniform(), draw.uniform()), draw.chance(0.5), draw.uniform(*material.gloss),
    )  # fmt: skip


def draw_outside(draw, width, height):
    """What is behind a window: a bright sky and the land below it, or the night."""
    scale = max(width, height) * draw.uniform(1.1, 1.6)
    if draw.chance(0.15):
        dark = _BLACK(draw)
        return Paint("outside", dark, any_color(draw), scale, (0.5, 0.5), False, 0.6, 0.05)
    sky = draw.choice(((0.9, 0.9, 0.9), (0.55, 0.7, 0.95), (0.95, 0.85, 0.7), (0.75, 0.85, 0.95)))
    land = draw.choice((MATERIALS["leaf"].color, MATERIALS["bricks"].color, any_color))(draw)
    shift = (draw.uniform(), draw.uniform(0.3, 0.6))
    return Paint("outside", sky, land, scale, shift, False, 0.2, draw.uniform(0.5, 3.0))


def albedo(view, face, points, texture):
    """Linear RGB colours of what is seen.

    Args:
        view: `ray_casting.View`.
        face, points, texture: of its `nearest`, `points` and `surface`.

    Returns:
        float32 (3, H, W).
    """
    paints, solid = [s.paint for s in view.solids], face >> 2
    scales = np.array([p.scale for p in paints])
    # Solids of one paint are cut from different places of it.
    shifts = np.array([p.shift for p in paints]).T + 0.37 * np.arange(len(paints)) * (
        np.array([p.texture != "outside" for p in paints])
    )
    upright = np.array([p.upright for p in paints]).take(solid)
    number = np.array([textures.NAMES.index(p.texture) for p in paints], np.int32)
    scale = (1 / scales).astype(np.float32).take(solid)
    u, v = texture[0] * scale, texture[1] * scale
    u, v = np.where(upright, v, u), np.where(upright, u, v)
    u += shifts[0].astype(np.float32).take(solid)
    v += shifts[1].astype(np.float32).take(solid)
    # Squared pixels of the tile to one of the image, more where a flat side is seen aslant.
    distance = view.distances().astype(np.float32)
    coarse = points[2] * scale * np.float32(textures.SIZE / view.focal)
    aslant = np.minimum(points[2] / np.maximum(distance.take(face), 0.01), 5)
    mix = textures.mixed(number.take(solid), u, v, coarse * coarse * aslant)
    first = np.array([p.color for p in paints], np.float32).T
    change = np.array([p.other_color for p in paints], np.float32).T - first
    return np.stack(
        [a.take(solid) + mix * b.take(solid) for a, b in zip(first, change, strict=True)]
    )
