import io

import numpy as np
import pytest
from PIL import Image

from keras_mtl.rooms.jpeg import compressed

pytestmark = pytest.mark.once("torch", "rooms are made of NumPy arrays")


@pytest.mark.parametrize("quality, coarseness", [(50, 1.0), (75, 0.5), (90, 0.2)])
def test_it_loses_what_a_codec_loses(quality, coarseness):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :64]
    waves = 120 + 50 * np.sin(y / 5) * np.cos(x / 9) + 30 * (x > 40)
    grey = np.round(waves + rng.normal(0, 5, waves.shape)).astype(np.uint8)
    with io.BytesIO() as file:
        Image.fromarray(grey).save(file, "jpeg", quality=quality)
        codec = np.asarray(Image.open(file)).astype(float)
    found = compressed(np.stack([grey.astype(np.float32)] * 3), coarseness)
    np.testing.assert_allclose(found[0], found[2], atol=1e-3)
    assert np.abs(codec - grey).mean() > 1
    # A codec rounds pixels; a coefficient between two steps may fall to either and moves a block.
    wrong = np.abs(np.clip(found[0], 0, 255) - codec).reshape(6, 8, 8, 8).max((1, 3))
    assert np.median(wrong) < 0.6


def test_it_loses_more_of_colors():
    rng = np.random.default_rng(0)
    brightness = np.repeat(rng.uniform(100, 150, (1, 16, 16)), 3, 0).astype(np.float32)
    color = brightness + rng.uniform(-20, 20, (3, 16, 16)).astype(np.float32)
    lost = [np.abs(compressed(each, 0.1) - each).mean() for each in (brightness, color)]
    assert lost[1] > 3 * lost[0]


def test_a_size_that_no_block_divides():
    grey = np.full((3, 5, 19), 130.0, np.float32)
    np.testing.assert_allclose(compressed(grey, 0.1), grey, atol=0.6)
