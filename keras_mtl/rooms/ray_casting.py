"""Exact ray casting of planes, boxes, ellipsoids and cylinders in pure NumPy.

World frame: x and y along the floor, z up, metres. Camera frame: x right, y down, z forward; the
ray of pixel (row i, column j) of an H x W image is ((j - (W - 1) / 2) / focal,
(i - (H - 1) / 2) / focal, 1), so a ray's parameter is the z-depth of the point it reaches.

Why the arithmetic looks the way it does: the same scene must give the same bytes on every machine.
IEEE 754 fixes the result of + - * / sqrt, floor and comparisons to the last bit, but not that of
sin, exp or pow, nor the summation order inside matmul, einsum, linalg or sum. So only the first
kind occurs here, sums are written out in order, and rotations come from `rotation`.
"""

from functools import reduce
from math import sqrt
from operator import add
from typing import NamedTuple

import numpy as np

from keras_mtl.rooms.paints import Paint

NEAR = 0.05  # metres; what is closer to the camera plane is not seen
UP = (0.0, 0.0, 1.0)
UPRIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
FLAT, ROUND = (0, 1, 2), 3  # a face: across which axis of its solid, or round


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

        cx, cy, cz = self.center
        cx, cy = c * cx - s * cy, s * cx + c * cy
        axes = self.axes
        if s or c != 1:
            axes = tuple((c * p - s * q, s * p + c * q, r) for p, q, r in axes)
        center = (cx + x, cy + y, cz + z)
        return Solid(self.shape, center, self.half, self.paint, self.part, axes)

    def reach(self):
        """Half extents of the enclosing box that is parallel to the world's axes."""
        (a, b, c), (h, i, j) = self.axes, self.half
        return (
            abs(a[0]) * h + abs(b[0]) * i + abs(c[0]) * j,
            abs(a[1]) * h + abs(b[1]) * i + abs(c[1]) * j,
            abs(a[2]) * h + abs(b[2]) * i + abs(c[2]) * j,
        )


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

    Along the rays of an image the inverse depth of a plane, and so of a box's side, is a linear
    function of the pixel; that of an ellipsoid or a tube is such a function plus the root of a
    quadratic one. So solids are compared by inverse depth, which needs no division.

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
        offset = np.array([s.center for s in solids]) - np.array(camera.position)
        axes = np.moveaxis(np.array([s.axes for s in solids]), 2, 0)
        # Columns are the camera's own axes.
        self.center = np.stack([dot(a, offset.T) for a in camera.axes], -1)
        self.axes = np.stack([dot(a, axes) for a in camera.axes], -1)
        # A ray in the coordinates of a unit solid is origin + depth * (slope . (x, y, 1)).
        self.slope = self.axes / self.half[:, :, None]
        self.origin = -dot(np.moveaxis(self.slope, 2, 0), self.center.T[:, :, None])

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
            face: int (H, W), 4 k + i on solid k's flat side across its axis i, 4 k + 3 on its
                round side; -1 where nothing is hit.
        """
        inverse = np.zeros((len(self.y), len(self.x)))
        face = np.full(inverse.shape, -1)
        windows = [
            (k, slice(top, bottom), slice(left, right))
            for k, (top, bottom, left, right) in enumerate(self.rectangles())
            if top < bottom and left < right
        ]
        seen = [k for k, _, _ in windows]
        slope, origin = self.slope[seen], self.origin[seen]
        # Inverse depths of flat sides: solid, axis, positive or negative side, (x, y, 1).
        with np.errstate(divide="ignore", invalid="ignore"):  # of a plane
            sides = slope[:, :, None] / (np.array([1.0, -1.0]) - origin[:, :, None])[..., None]
            across = sides[..., :1] * self.x
            down = sides[..., 1:2] * self.y + sides[..., 2:]
        where = origin.tolist()
        with np.errstate(invalid="ignore"):  # the root of a negative number: the ray misses
            for n, (k, rows, columns) in enumerate(windows):
                fronts, backs = [], []
                shape = self.solids[k].shape
                if shape == "plane":
                    rays = _Rays(self.x[columns], self.y[rows])
                    fronts = [(rays.linear(slope[n, 2] / -origin[n, 2]), 2)]
                elif shape != "box":
                    axes = 3 if shape == "ellipsoid" else 2
                    rays = _Rays(self.x[columns], self.y[rows])
                    fronts, backs = rays.quadric(slope[n, :axes], origin[n, :axes])
                flat = FLAT if shape == "box" else FLAT[2:] if shape == "cylinder" else ()
                for i in flat:
                    ends = [
                        down[n, i, side, rows, None] + across[n, i, side, columns]
                        for side in (0, 1)
                    ]
                    if where[n][i] > 1:
                        fronts.append((ends[0], i))
                        backs.append(ends[1])
                    elif where[n][i] < -1:
                        fronts.append((ends[1], i))
                        backs.append(ends[0])
                    else:
                        backs += ends
                if fronts:
                    _keep_nearer(inverse[rows, columns], face[rows, columns], 4 * k, fronts, backs)
        with np.errstate(divide="ignore"):
            return 1 / inverse, face

    def distances(self):
        """Metres from the camera to each flat side's plane or a round one's middle, (4 S,)."""
        flat = self.half * np.abs(np.abs(self.origin) - 1)
        round_ = np.sqrt(dot(self.center.T, self.center.T))
        return np.concatenate([flat, round_[:, None]], 1).ravel()

    def points(self, depth):
        """The points seen in the camera's frame, three float32 (H, W)."""
        z = depth.astype(np.float32)
        return self.x.astype(np.float32) * z, self.y.astype(np.float32)[:, None] * z, z

    def surface(self, points, face):
        """Normals and texture coordinates of the points that `nearest` found.

        Returns:
            normals: float32 (H, W, 3), unit, camera frame, pointing toward the camera.
            texture: two float32 (H, W) arrays, metres along the two solid axes that lie flattest.
        """
        # Of flat sides, by face: the normal and what turns points into coordinates.
        toward = np.sign(self.origin)[..., None] * self.axes
        normals = np.concatenate([toward, toward[:, :1]], 1).reshape(-1, 3).astype(np.float32)
        normals = normals.take(face, 0)
        shift = -dot(np.moveaxis(self.axes, 2, 0), self.center.T[:, :, None])
        texture = []
        for which in ((1, 0, 0, 0), (2, 2, 1, 1)):
            table = self.axes[:, which].reshape(-1, 3).T.astype(np.float32)
            start = shift[:, which].reshape(-1).astype(np.float32)
            texture.append(dot([axis.take(face) for axis in table], points) + start.take(face))
        round_ = np.nonzero(face & 3 == ROUND)
        if len(round_[0]):
            self._round(round_, points, face, normals, texture)
        return normals, texture

    def _round(self, where, points, face, normals, texture):
        """Sets normals and texture coordinates on round sides."""
        solid = face[where] >> 2
        p = [c[where].astype(float) - self.center.take(solid * 3 + k) for k, c in enumerate(points)]
        metres = [dot([self.axes[:, i, j].take(solid) for j in range(3)], p) for i in range(3)]
        local = [m / (h := self.half[:, i].take(solid)) / h for i, m in enumerate(metres)]
        tube = np.array([s.shape == "cylinder" for s in self.solids]).take(solid)
        local[2][tube] = 0.0
        found = [dot(local, [self.axes[:, i, k].take(solid) for i in range(3)]) for k in range(3)]
        length = np.sqrt(dot(found, found))
        normals[where] = np.stack([n / length for n in found], -1)
        flat = np.abs(np.stack(local)).argmax(0)
        texture[0][where] = np.choose(flat, [metres[1], metres[0], metres[0]])
        texture[1][where] = np.choose(flat, [metres[2], metres[2], metres[1]])


class _Rays:
    """Functions of the pixels of a window, by the x and y of its rays."""

    def __init__(self, x, y):
        self.x, self.y = x, y[:, None]

    def linear(self, c):
        """c[0] x + c[1] y + c[2]."""
        return c[0] * self.x + (c[1] * self.y + c[2])

    def quadric(self, slope, origin):
        """Fronts and backs (see `_keep_nearer`) of a unit sphere or, of two axes, a tube.

        With point = origin + slope / w on it, w solves c w^2 + 2 b w + a = 0, where b is linear
        in the pixel, a quadratic, and c a number: negative if the camera is inside.
        """
        c = reduce(add, origin * origin) - 1
        if c < 0 and len(origin) == 3:
            return [], []
        b = reduce(add, slope * origin[:, None]) / c
        # The root's square: b^2 - a / c.
        q = np.outer(b, b) - reduce(add, slope[:, :, None] * slope[:, None, :]) / c
        square = (2 * q[0, 1]) * self.y + 2 * q[0, 2] + q[0, 0] * self.x
        square *= self.x
        square += (q[1, 1] * self.y + 2 * q[1, 2]) * self.y + q[2, 2]
        root = np.sqrt(square, out=square)
        middle = self.linear(-b)
        if c < 0:
            return [], [middle + root]
        return [(middle + root, ROUND)], [middle - root] if len(origin) == 2 else []


def _keep_nearer(inverse, face, first, fronts, backs):
    """Notes in a window of the picture where a solid is nearer than what is there.

    Args:
        inverse, face: of the window, changed here.
        first: the solid's first face.
        fronts: list of (inverse depth, axis): a ray is outside at any larger one.
        backs: list of inverse depths: a ray is outside at any smaller one.
    """
    entry = fronts[0][0]
    if len(fronts) > 1:
        entry = np.minimum(entry, fronts[1][0])
    if len(fronts) > 2:
        np.minimum(entry, fronts[2][0], out=entry)
    leave = inverse
    for back in backs:
        leave = np.maximum(leave, back, out=back)
    nearer = entry > leave
    if not nearer.any():
        return
    nearer &= entry < 1 / NEAR
    np.copyto(inverse, entry, where=nearer)
    np.copyto(face, first + fronts[0][1], where=nearer)
    for front, axis in fronts[1:]:
        np.copyto(face, first + axis, where=nearer & (front == entry))
