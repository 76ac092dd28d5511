"""The light in a generated room: a ceiling lamp with its shadows, windows, lamps, corners.

Float32 and IEEE's exact operations only, as in `ray_casting`.
"""

from typing import NamedTuple

import numpy as np

from keras_mtl.rooms.paints import albedo
from keras_mtl.rooms.ray_casting import UP, Camera, View, dot


class _Light(NamedTuple):
    """A small light: where, its linear RGB power, what it faces (or None), how wide it is."""

    position: tuple
    power: tuple
    facing: tuple | None
    width: float


def shade(draw, view, things, size, face, points, normals, texture):
    """The light that reaches the camera.

    Args:
        draw: `shapes.Draw`.
        view: `View` of the solids of `things`.
        things, size: of `layout.compose`.
        face, points, normals, texture: of the view's `nearest`, `points` and `surface`.

    Returns:
        float32 (3, H, W), linear RGB.
    """
    ceiling, others = _lights(draw, things, size)
    ambient = draw.uniform(0.15, 0.4)
    solids, solid = view.solids, face >> 2
    gloss = np.array([s.paint.gloss for s in solids], np.float32).take(solid)
    glow = np.array([s.paint.glow for s in solids], np.float32).take(solid)
    n = np.ascontiguousarray(np.moveaxis(normals, -1, 0))
    away = 2 * dot(n, points)
    mirrored = [p - away * m for p, m in zip(points, n, strict=True)]
    length = dot(points, points)
    # What changes slowly is looked at in every second pixel of a large picture.
    step = 2 if max(face.shape) >= 200 else 1
    coarse = [p[::step, ::step] for p in points]
    open_ = _fine(openness(coarse, [m[::step, ::step] for m in n]), step, face.shape)
    softness = draw.uniform(0.4, 1.5)
    unshaded = _lit(view, ceiling.position, softness, coarse, solid[::step, ::step])
    up = dot(n, [dot(axis, UP) for axis in view.camera.axes])
    base = open_ * (ambient * (0.85 + 0.15 * up))
    level = [base.copy() for _ in range(3)]
    shine = [np.zeros_like(base) for _ in range(3)]
    for light in (ceiling, *others):
        diffuse, mirror = _arrives(light, view.camera, points, n, mirrored, length)
        if light is ceiling:
            shadow = _fine(unshaded, step, face.shape)
            diffuse, mirror = diffuse * shadow, mirror * shadow
        else:
            diffuse = diffuse * open_
        for power, lit, shining in zip(light.power, level, shine, strict=True):
            lit += np.float32(power) * diffuse
            shining += np.float32(power) * mirror
    colors = albedo(view, face, points, texture)
    return np.stack(
        [c * (a + glow) + gloss * s for c, a, s in zip(colors, level, shine, strict=True)]
    )


def _lights(draw, things, size):
    """The ceiling's lamp, and a list of windows and lamps that are on."""
    lamp = tuple(draw.uniform(0.25, 0.75) * side for side in size[:2]) + (size[2] - 0.12,)
    warm = draw.uniform(0.0, 0.35)
    tint = (1.0, 1 - 0.5 * warm, 1 - warm)
    bright = draw.uniform(0.3, 1.6)
    ceiling = _Light(lamp, tuple(bright * c for c in tint), None, 0.6)
    others = []
    for thing in things:
        solid = thing.solids[-1 if thing.name == "lamp" else 0]
        if thing.name not in ("lamp", "window") or solid.paint.glow == 0:
            continue
        if thing.name == "lamp":
            power = 0.12 * solid.paint.glow
            others.append(_Light(solid.center, tuple(power * c for c in tint), None, 0.08))
        else:
            area = solid.half[0] * solid.half[2]
            power = area * solid.paint.glow * draw.uniform(0.3, 1.2)
            sky = tuple(power * (0.4 + 0.6 * c) for c in solid.paint.color)
            others.append(_Light(solid.center, sky, solid.axes[1], 0.5))
    return ceiling, others[:4]


def _arrives(light, camera, points, normals, mirrored, length):
    """How much of a light's power falls on each point, and how much of it a gloss mirrors."""
    to_light = tuple(p - q for p, q in zip(light.position, camera.position, strict=True))
    center = [np.float32(dot(axis, to_light)) for axis in camera.axes]
    offset = [c - p for c, p in zip(center, points, strict=True)]
    square = dot(offset, offset)
    weaker = 1 / (square + np.float32(light.width))
    distance = np.sqrt(square) + np.float32(1e-6)
    diffuse = np.maximum(dot(normals, offset), 0) / distance * weaker
    if light.facing is not None:
        front = [np.float32(dot(axis, light.facing)) for axis in camera.axes]
        diffuse = diffuse * np.maximum(-dot(front, offset) / distance, 0)
    angle = np.maximum(dot(mirrored, offset), 0)
    angle = angle * angle / (length * square + np.float32(1e-6))
    for _ in range(3):  # the cosine's sixteenth power
        angle = angle * angle
    return diffuse, angle * weaker


def _fine(coarse, step, shape):
    """A map of every second pixel for all of them."""
    for axis, size in enumerate(shape if step == 2 else ()):
        coarse = np.moveaxis(coarse, axis, 0)
        fine = np.empty((size, coarse.shape[1]), np.float32)
        fine[::2] = coarse
        fine[1:-1:2] = (coarse[1 : size // 2 + size % 2] + coarse[: (size - 1) // 2]) * 0.5
        fine[size - 1] = coarse[-1]
        coarse = np.moveaxis(fine, 0, axis)
    return coarse


def openness(points, normals):
    """How much of the surroundings' light reaches a point past what is near it, 0..1.

    Looked at in the picture: what lies above a point's tangent plane hides light from it.
    """
    height, width = points[2].shape
    hidden = np.zeros((height, width), np.float32)
    largest = max(height, width)
    for reach in (max(1, largest // 70), max(2, largest // 22)):
        padded = [np.pad(p, reach, mode="edge") for p in points]
        for down, right in ((0, 1), (1, 2), (2, 1), (1, 0)):
            rows = slice(down * reach, down * reach + height)
            columns = slice(right * reach, right * reach + width)
            offset = [q[rows, columns] - p for q, p in zip(padded, points, strict=True)]
            above = np.maximum(dot(offset, normals) - np.float32(0.005), 0)
            square = dot(offset, offset)
            hidden += above / ((square + np.float32(0.03)) * (1 + 4 * square))
    # The few directions looked at would show as outlines.
    reach = max(1, largest // 70)
    for axis in (0, 1):
        hidden = np.moveaxis(hidden, axis, 0)
        padded = np.pad(hidden, ((reach, reach), (0, 0)), mode="edge")
        hidden = hidden + hidden + padded[: -2 * reach] + padded[2 * reach :]
        hidden = np.moveaxis(hidden, 0, axis)
    return 1 / (1 + np.float32(0.18 / 16) * hidden)


def _lit(view, lamp, softness, points, solid):
    """Share of a ceiling lamp's light that is not in shadow, float32 (H, W) in 0..1."""
    axes = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0))  # straight down
    reach = min(max(max(points[2].shape) // 2, 32), 80)  # the shadow map's half size in pixels
    below = View(view.solids, Camera(lamp, axes, 0.55), (2 * reach, 2 * reach))
    nearest, owner = below.nearest()
    nearest, owner = nearest.astype(np.float32).ravel(), (owner >> 2).ravel()
    offset = [p - q for p, q in zip(view.camera.position, lamp, strict=True)]
    world = np.array(view.camera.axes)
    east, north, high = (
        dot(world[:, k].astype(np.float32), points) + np.float32(offset[k]) for k in range(3)
    )
    down = np.maximum(-high, np.float32(0.05))
    column = east / down * np.float32(below.focal) + np.float32(reach)
    row = -north / down * np.float32(below.focal) + np.float32(reach)
    inside = (column > 3) & (column < 2 * reach - 3) & (row > 3) & (row < 2 * reach - 3)
    inside &= high < -0.05
    column, row = np.where(inside, column, 3), np.where(inside, row, 3)
    light, limit = np.zeros(solid.shape, np.float32), down - np.float32(0.06)
    for right, under in ((1, 0.4), (-0.4, 1), (-1, -0.4), (0.4, -1), (0.4, 0.1), (-0.2, -0.3)):
        i = (row + np.float32(under * softness)).astype(np.int32)
        j = (column + np.float32(right * softness)).astype(np.int32)
        at = i * (2 * reach) + j
        # A convex solid never shades itself, which spares the usual speckles.
        light += (owner.take(at) == solid) | (nearest.take(at) > limit)
    return np.where(inside, light * np.float32(1 / 6), np.float32(1))
