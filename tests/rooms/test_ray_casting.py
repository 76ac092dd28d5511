import numpy as np
import pytest

from keras_mtl.rooms.ray_casting import Camera, Paint, Solid, View, rotation

pytestmark = pytest.mark.once("torch", "rooms are made of NumPy arrays")

PLAIN = Paint("plain", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 1.0)
# At the world's origin, looking along y: camera x = world x, camera y = -world z.
AHEAD = Camera((0.0, 0.0, 0.0), ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)), 1.0)


def cast(*solids, size=(41, 41)):
    view = View(list(solids), AHEAD, size)
    depth, face = view.nearest()
    normals = view.surface(view.points(depth), face)[0] if (face >= 0).all() else None
    return view, depth, face >> 2, normals


def test_a_sphere_is_hit_where_the_formula_says():
    wall = Solid("plane", (0, 9, 0), (9, 9, 1), PLAIN, 0, ((1, 0, 0), (0, 0, 1), (0, 1, 0)))
    view, depth, index, normals = cast(Solid("ellipsoid", (0.5, 4, 0.2), (1, 1, 1), PLAIN), wall)
    x, y = np.meshgrid(view.x, view.y)
    ray, center = np.stack([x, y, np.ones_like(x)], -1), np.array([0.5, -0.2, 4])
    a, b, c = (ray**2).sum(-1), ray @ center, (center**2).sum() - 1
    hit = b * b > a * c
    np.testing.assert_array_equal(index == 0, hit)
    expected = (b - np.sqrt(np.where(hit, b * b - a * c, 0))) / a
    np.testing.assert_allclose(depth[hit], expected[hit])
    np.testing.assert_allclose(normals[hit], (depth[..., None] * ray - center)[hit], atol=1e-5)
    np.testing.assert_allclose(depth[~hit], 9)
    np.testing.assert_allclose(normals[~hit], np.tile((0, 0, -1), ((~hit).sum(), 1)), atol=1e-12)


@pytest.mark.parametrize("shape", ["box", "cylinder"])
def test_the_top_of_a_box_and_of_a_cylinder(shape):
    floor = Solid("plane", (0, 0, -3), (9, 9, 1), PLAIN)
    back = Solid("plane", (0, 9, 0), (9, 9, 1), PLAIN, 0, ((1, 0, 0), (0, 0, 1), (0, 1, 0)))
    above = Solid("plane", (0, 0, 9), (9, 9, 1), PLAIN)
    solid = Solid(shape, (0, 3, -1.5), (1, 1, 0.5), PLAIN)
    view, depth, index, normals = cast(solid, floor, back, above, size=(81, 81))
    top = (index == 0) & (normals[..., 1] < -0.9)
    side = (index == 0) & ~top
    assert top.sum() > 50 and side.sum() > 50
    y = np.broadcast_to(view.y[:, None], depth.shape)
    np.testing.assert_allclose((depth * y)[top], 1.0)  # 1 m below the camera
    np.testing.assert_allclose(normals[top], np.tile((0, -1, 0), (top.sum(), 1)), atol=1e-12)
    np.testing.assert_allclose(normals[side][:, 1], 0, atol=1e-12)
    if shape == "box":
        np.testing.assert_allclose(depth[side], 2.0)


def test_the_pixel_rectangles_hide_nothing():
    """Solids that reach behind the camera, out of the picture or over each other are all seen."""
    solids = [
        Solid("box", (0.3 * k - 1, 0.5 + 0.4 * k, 0.4 - 0.2 * k), (0.9, 0.3, 0.1), PLAIN)
        for k in range(6)
    ]
    solids = [s.moved(0, 0, 0, rotation(0.1 * k)) for k, s in enumerate(solids)]
    view, depth, index, _ = cast(*solids)
    view.rectangles = lambda: [(0, 41, 0, 41)] * len(solids)
    everywhere, faces = view.nearest()
    np.testing.assert_array_equal(depth, everywhere)
    np.testing.assert_array_equal(index, faces >> 2)
    assert len(np.unique(index)) > 4


@pytest.mark.parametrize("half_tangent", [-3.0, -0.2, 0.0, 0.7])
def test_rotation_is_one(half_tangent):
    angle = 2 * np.arctan(half_tangent)
    np.testing.assert_allclose(rotation(half_tangent), (np.cos(angle), np.sin(angle)), atol=1e-15)
