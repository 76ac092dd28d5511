"""Exact ray casting of planes, boxes, ellipsoids and cylinders in pure NumPy.

World frame: x and y along the floor, z up, metres. Camera frame: x right, y down, z forward; the
ray of pixel (row i, column j) of an H x W image is ((j - (W - 1) / 2) / focal,
(i - (H - 1) / 2) / focal, 1), so a ray's parameter is the z-depth of the point it reaches.

Why the arithmetic looks the way it does: the same scene must give the same bytes on every machine.
IEEE 754 fixes the result of + - * / sqrt, floor and comparisons to the last bit, but not that of
sin, exp or pow, nor the summation order inside matmul, einsum, linalg or sum. So only the first
kind occurs here, sums are written out in order, and rotations come from `rotation`.
"""

from math import sqrt
from typing import NamedTuple

import numpy as np

NEAR = 0.05  # metres; what is closer to the camera plane is not seen
UP = (0.0, 0.0, 1.0)
UPRIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
SHAPES = ("box", "ellipsoid", "cylinder", "plane")
PATTERNS = ("plain", "noise", "grain", "stripes", "checks", "tiles", "dots")


def dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a, b):
    return (
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    )


def along(a, direction, step):
    """The point `step` metres from `a` in a direction."""
    return tuple(p + step * q for p, q in zip(a, direction, strict=True))


def unit(a):
    length = sqrt(dot(a, a))
    return (a[0] / length, a[1] / length, a[2] / length)


def rotation(half_tangent):
    """(cosine, sine) of the angle whose half has this tangent: exact where cos and sin are not."""
    t = half_tangent
    return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)


class Paint(NamedTuple):
    """A two-coloured pattern on a surface; colours are linear RGB in 0..1, `scale` in metres."""

    pattern: str
    color: tuple
    other_color: tuple
    scale: float
    seed: int


class Solid(NamedTuple):
    """A box, an ellipsoid, a cylinder (its axis is the third of `axes`) or a plane (its normal is).

    `axes` are three orthonormal rows, `half` the half extents along them in metres. A plane goes on
    beyond its extents: it is meant for the sides of a closed room, where the others cut it off.
    """

    shape: str
    center: tuple
    half: tuple
    paint: Paint
    part: int = 0
    axes: tuple = UPRIGHT

    def moved(self, x, y, z, turn):
        """The solid turned about the origin's vertical by `turn` = (cos, sin), then shifted."""
        c, s = turn

        def turned(p):
            return (c * p[0] - s * p[1], s * p[0] + c * p[1], p[2])

        cx, cy, cz = turned(self.center)
        axes = tuple(turned(axis) for axis in self.axes)
        return self._replace(center=(cx + x, cy + y, cz + z), axes=axes)

    def reach(self):
        """Half extents of the enclosing box that is parallel to the world's axes."""
        (a, b, c), (h, i, j) = self.axes, self.half
        return tuple(abs(a[k]) * h + abs(b[k]) * i + abs(c[k]) * j for k in range(3))


class Camera(NamedTuple):
    """A pinhole camera: position, the world directions of its x, y, z axes, and `zoom`.

    `zoom` is the focal length in units of half the longer image side.
    """

    position: tuple
    axes: tuple
    zoom: float

    def focal(self, image_size):
        """Focal length in pixels for an image of (height, width) pixels."""
        return self.zoom * max(image_size) / 2


class View:
    """Solids in a camera's frame and the rays of its pixels.

    Args:
        solids: list of `Solid`.
        camera: `Camera`.
        image_size: (height, width) in pixels.
    """

    def __init__(self, solids, camera, image_size):
        self.solids, self.camera = solids, camera
        height, width = image_size
        self.focal = camera.focal(image_size)
        self.x = (np.arange(width) - (width - 1) / 2) / self.focal
        self.y = (np.arange(height) - (height - 1) / 2) / self.focal
        self.half = np.array([s.half for s in solids])
        position = camera.position
        offsets = [tuple(c - p for c, p in zip(s.center, position, strict=True)) for s in solids]
        self.center = np.array([[dot(a, o) for a in camera.axes] for o in offsets])
        self.axes = np.array([[[dot(a, b) for b in camera.axes] for a in s.axes] for s in solids])
        # A ray in the coordinates of a unit solid is origin + depth * (slope . (x, y, 1)).
        a, c = self.axes, self.center
        self.slope = a / self.half[:, :, None]
        self.origin = -(
            self.slope[:, :, 0] * c[:, None, 0]
            + self.slope[:, :, 1] * c[:, None, 1]
            + self.slope[:, :, 2] * c[:, None, 2]
        )

    def rectangles(self):
        """Per solid the pixel rows and columns it can cover: (top, bottom, left, right)."""
        height, width = len(self.y), len(self.x)
        sides = self.axes * self.half[:, :, None]
        corners = np.stack(
            [
                self.center + i * sides[:, 0] + j * sides[:, 1] + k * sides[:, 2]
                for i in (-1, 1)
                for j in (-1, 1)
                for k in (-1, 1)
            ]
        )
        z = corners[:, :, 2]
        clipped = np.maximum(z, NEAR)
        columns = corners[:, :, 0] / clipped * self.focal + (width - 1) / 2
        rows = corners[:, :, 1] / clipped * self.focal + (height - 1) / 2
        straddles = z.min(0) <= NEAR  # the projected corners bound only what lies in front

        def bounds(pixels, size):
            low = np.clip(np.floor(pixels.min(0)), 0, size)
            high = np.clip(np.floor(pixels.max(0)) + 2, 0, size)
            low, high = np.where(straddles, 0, low), np.where(straddles, size, high)
            return low.astype(int), np.where(z.max(0) <= NEAR, low, high).astype(int)

        return np.stack([*bounds(rows, height), *bounds(columns, width)], 1).tolist()

    def nearest(self):
        """What every pixel sees.

        Returns:
            depth: float64 (H, W), metres along the optical axis; inf where nothing is hit.
            index: int (H, W), position in `solids`; -1 where nothing is hit.
        """
        depth = np.full((len(self.y), len(self.x)), np.inf)
        index = np.full(depth.shape, -1)
        slopes, origins = self.slope.tolist(), self.origin.tolist()
        for k, (top, bottom, left, right) in enumerate(self.rectangles()):
            if top >= bottom or left >= right:
                continue
            x, y = self.x[None, left:right], self.y[top:bottom, None]
            rays = [s[0] * x + (s[1] * y + s[2]) for s in slopes[k]]
            with np.errstate(invalid="ignore"):  # sqrt of a negative number: the ray misses
                entry, leave = _INTERVALS[self.solids[k].shape](origins[k], rays)
                seen = depth[top:bottom, left:right]
                closer = (entry < leave) & (entry > NEAR) & (entry < seen)
            np.copyto(seen, entry, where=closer)
            np.copyto(index[top:bottom, left:right], k, where=closer)
        return depth, index

    def surface(self, depth, index):
        """Normals and texture coordinates of the points that `nearest` found.

        Returns:
            normals: float64 (H, W, 3), unit, camera frame, pointing toward the camera.
            texture: two float64 (H, W) arrays, metres along the two solid axes that lie flattest.
        """
        x, y = self.x[None], self.y[:, None]
        ray = []  # direction and hit point, both in the coordinates of the unit solid
        point = []
        for i in range(3):
            slope = [self.slope[:, i, j][index] for j in range(3)]
            ray.append(slope[0] * x + slope[1] * y + slope[2])
            point.append(self.origin[:, i][index] + depth * ray[i])
        # Rounding may put a point a hair over an edge: only faces turned to the ray are candidates.
        faces = np.stack([np.where(point[i] * ray[i] < 0, np.abs(point[i]), -1) for i in range(3)])
        face = faces.argmax(0)
        box = [np.where(face == i, np.sign(point[i]), 0.0) for i in range(3)]
        round_ = [point[i] / self.half[:, i][index] for i in range(3)]
        radius = point[0] * point[0] + point[1] * point[1]
        side_seen = point[0] * ray[0] + point[1] * ray[1] < 0
        top_seen = point[2] * ray[2] < 0
        cap = top_seen & ((point[2] * point[2] > radius) | ~side_seen)
        tube = [np.where(cap, 0, round_[0]), np.where(cap, 0, round_[1])]
        tube.append(np.where(cap, np.sign(point[2]), 0.0))
        plane = [0.0, 0.0, -np.sign(ray[2])]
        shape = np.array([SHAPES.index(s.shape) for s in self.solids])[index]
        local = [np.choose(shape, [box[i], round_[i], tube[i], plane[i]]) for i in range(3)]
        normals = [
            local[0] * self.axes[:, 0, i][index]
            + local[1] * self.axes[:, 1, i][index]
            + local[2] * self.axes[:, 2, i][index]
            for i in range(3)
        ]
        length = np.sqrt(
            normals[0] * normals[0] + normals[1] * normals[1] + normals[2] * normals[2]
        )
        flat = np.abs(np.stack(local)).argmax(0)
        metres = [point[i] * self.half[:, i][index] for i in range(3)]
        u = np.choose(flat, [metres[1], metres[0], metres[0]])
        v = np.choose(flat, [metres[2], metres[2], metres[1]])
        return np.stack([n / length for n in normals], -1), (u, v)


def _slab(origin, ray):
    inverse = 1 / (ray + 1e-200)  # the tiny number matters only where the ray's is exactly 0
    middle, extent = -origin * inverse, np.abs(inverse)
    return middle - extent, middle + extent


def _box(origin, rays):
    slabs = [_slab(o, r) for o, r in zip(origin, rays, strict=True)]
    entry = np.maximum(np.maximum(slabs[0][0], slabs[1][0]), slabs[2][0])
    return entry, np.minimum(np.minimum(slabs[0][1], slabs[1][1]), slabs[2][1])


def _quadric(a, b, c):
    root = np.sqrt(b * b - a * c)
    return (-b - root) / a, (-b + root) / a


def _ellipsoid(origin, rays):
    (x, y, z), (p, q, r) = rays, origin
    return _quadric(x * x + y * y + z * z, p * x + q * y + r * z, p * p + q * q + r * r - 1)


def _cylinder(origin, rays):
    (x, y, z), (p, q, r) = rays, origin
    a = x * x + y * y
    tube = _quadric(a + 1e-200, p * x + q * y, p * p + q * q - 1)
    caps = _slab(r, z)
    return np.maximum(tube[0], caps[0]), np.minimum(tube[1], caps[1])


def _plane(origin, rays):
    return -origin[2] / (rays[2] + 1e-200), np.inf


_INTERVALS = {"box": _box, "ellipsoid": _ellipsoid, "cylinder": _cylinder, "plane": _plane}


def value_noise(u, v, seed):
    """Smooth noise in 0..1: random values on the integer grid, blended in between."""
    i, j = np.floor(u), np.floor(v)
    a, b = u - i, v - j
    a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
    i, j = i.astype(np.int64).astype(np.uint32), j.astype(np.int64).astype(np.uint32)

    def at(di, dj):
        h = (i + np.uint32(di)) * np.uint32(374761393) + (j + np.uint32(dj)) * np.uint32(668265263)
        h = (h ^ seed) * np.uint32(2246822519)
        h = (h ^ (h >> np.uint32(13))) * np.uint32(1274126177)
        return (h ^ (h >> np.uint32(16))) / 4294967296.0

    near = at(0, 0) * (1 - a) + at(1, 0) * a
    far = at(0, 1) * (1 - a) + at(1, 1) * a
    return near * (1 - b) + far * b


def _pattern(name, u, v, seed):
    if name == "noise":
        return 0.65 * value_noise(u, v, seed) + 0.35 * value_noise(3.1 * u, 3.1 * v, seed)
    if name == "grain":
        return value_noise(0.6 * u, 9 * v, seed)
    if name == "stripes":
        return np.floor(u) % 2
    if name == "checks":
        return (np.floor(u) + np.floor(v)) % 2
    a, b = u - np.floor(u), v - np.floor(v)
    if name == "tiles":
        return ((a < 0.06) | (b < 0.06)) * 1.0
    return ((a - 0.5) * (a - 0.5) + (b - 0.5) * (b - 0.5) < 0.08) * 1.0


def albedo(solids, index, texture):
    """Linear RGB colour of every pixel's surface, float64 (H, W, 3)."""
    paints = [s.paint for s in solids]
    kinds = np.array([PATTERNS.index(p.pattern) for p in paints])[index]
    scale = np.array([p.scale for p in paints])[index]
    seed = np.array([p.seed for p in paints], np.uint32)[index]
    u, v = texture[0] / scale, texture[1] / scale
    mix = np.zeros(index.shape)
    for kind, name in enumerate(PATTERNS[1:], 1):
        at = np.nonzero(kinds == kind)
        if len(at[0]):
            mix[at] = _pattern(name, u[at], v[at], seed[at])
    first = np.array([p.color for p in paints])[index]
    second = np.array([p.other_color for p in paints])[index]
    return first + (second - first) * mix[..., None]
