import numpy as np
import pytest

from keras_mtl.rooms import textures

pytestmark = pytest.mark.once("torch", "rooms are made of NumPy arrays")


def tile(name, level=0):
    first = textures.NAMES.index(name) * textures._TILE
    for above in range(level):
        first += (textures.SIZE >> above) ** 2
    side = textures.SIZE >> level
    return textures.atlas()[first : first + side * side].reshape(side, side).astype(float) / 255


def test_noise_is_smooth_spread_out_and_repeats():
    u, v = np.meshgrid(np.linspace(-5, 5, 801), np.linspace(-5, 5, 801))
    noise = textures.value_noise(u, v, 3, (100, 100))
    assert 0 <= noise.min() < 0.1 and 0.9 < noise.max() <= 1
    assert np.abs(np.diff(noise, axis=0)).max() < 0.03
    assert not np.array_equal(noise, textures.value_noise(u, v, 4, (100, 100)))
    noise = textures.value_noise(u, v, 3, (4, 2))
    np.testing.assert_allclose(noise[:, :400], textures.value_noise(u, v + 2, 3, (4, 2))[:, :400])
    np.testing.assert_allclose(noise, textures.value_noise(u + 4, v, 3, (4, 2)), atol=1e-9)


@pytest.mark.parametrize("name", textures.NAMES)
def test_a_tile_is_seen_as_large_as_it_is_and_far_away_as_its_mean(name):
    number = np.full((textures.SIZE, textures.SIZE), textures.NAMES.index(name), np.int32)
    v, u = np.mgrid[: textures.SIZE, : textures.SIZE].astype(np.float32) / textures.SIZE
    near = textures.mixed(number, u + 3, v - 2, np.ones_like(u))
    np.testing.assert_allclose(near, tile(name), atol=1e-6)
    far = textures.mixed(number, u, v, np.full_like(u, 1e9))
    assert len(np.unique(far)) <= 16
    np.testing.assert_allclose(far.mean(), near.mean(), atol=0.01)
    for level in (1, 3):
        some = textures.mixed(number, u, v, np.full_like(u, 4.0**level * 1.5))
        step = 1 << level
        np.testing.assert_allclose(some[::step, ::step], tile(name, level), atol=1e-6)
