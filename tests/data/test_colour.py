"""Photometric distortion against independent references in NumPy."""

import colorsys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mtl.data import colour

pytestmark = pytest.mark.once("tensorflow", "tf.data is the same under every backend")

FEW = settings(max_examples=25, deadline=None)


def hsv(change):
    """A NumPy version of a change in (hue, saturation, value), pixel by pixel."""

    def apply(image, amount):
        flat = [
            colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel), amount))
            for pixel in (image / 255).reshape(-1, 3).tolist()
        ]
        return 255 * np.array(flat).reshape(image.shape)

    return apply


REFERENCES = {
    "brightness": (lambda x, amount: np.clip(x + amount, 0, 255), -32, 32),
    "contrast": (lambda x, amount: np.clip(x * amount, 0, 255), 0.5, 1.5),
    "saturation": (hsv(lambda h, s, v, amount: (h, min(s * amount, 1), v)), 0.5, 1.5),
    "hue": (hsv(lambda h, s, v, amount: ((h + amount) % 1, s, v)), -0.1, 0.1),
}


@FEW
@given(st.sampled_from(list(REFERENCES)), st.floats(0, 1), st.integers(0, 2**31))
def test_each_distortion(name, where, seed):
    reference, low, high = REFERENCES[name]
    amount = low + where * (high - low)
    image = np.random.default_rng(seed).uniform(0, 255, (5, 7, 3)).astype("float32")
    image[0, 0], image[0, 1], image[0, 2], image[0, 3] = 0, 255, (255, 0, 0), 80
    found = getattr(colour, name)(tf.constant(image), tf.constant(amount, tf.float32))
    np.testing.assert_allclose(found, reference(image.astype(float), amount), atol=0.02)


def test_distortions_come_as_often_as_published():
    """Which of the four were applied, and with what, from what they leave of two colours."""
    image = np.zeros((1, 2, 3), "float32")
    image[0, 0], image[0, 1] = (120, 100, 110), (90, 90, 90)
    run = tf.function(colour.distorted)
    results = np.array([run(tf.constant(image), tf.constant([3, k])) for k in range(400)])
    assert results.min() >= 0 and results.max() <= 255
    grey = results[:, 0, 1, 0] / 90  # neither saturation nor hue changes grey
    np.testing.assert_allclose(results[:, 0, 1], results[:, 0, 1, :1].repeat(3, 1), atol=1e-3)
    assert abs((np.abs(grey - 1) < 1e-5).mean() - 1 / 4) < 0.07
    assert (
        abs(grey.min() - 0.5 * (1 - 32 / 90)) < 0.2 and abs(grey.max() - 1.5 * (1 + 32 / 90)) < 0.3
    )
    color = results[:, 0, 0]
    spread = (color.max(-1) - color.min(-1)) / color.max(-1)
    turned = (color.argmin(-1) != 1) | (
        np.abs((color[:, 2] - color[:, 1]) / np.ptp(color, axis=-1) - 0.5) > 1e-3
    )
    assert abs(turned.mean() - 1 / 2) < 0.08
    assert (np.abs(results - image).max((1, 2, 3)) < 1e-4).mean() == pytest.approx(1 / 16, abs=0.04)
    assert spread.min() > 0.05 and spread.max() < 0.45


def test_distorted_is_one_of_the_two_orders(monkeypatch):
    """All coins heads: brightness, contrast, saturation, hue; or with contrast at the end."""
    image = np.random.default_rng(0).uniform(0, 255, (4, 5, 3)).astype("float32")
    for contrast_first in (True, False):
        draws = [0.1, 0.1, 0.1, 0.1, 0.9, 0.8, 0.95, 0.2, 0.1 if contrast_first else 0.9]
        monkeypatch.setattr(
            tf.random, "stateless_uniform", lambda shape, seed, draws=draws: tf.constant(draws)
        )
        found = colour.distorted(tf.constant(image), (0, 0))
        names = ["saturation", "hue"]
        names = ["contrast", *names] if contrast_first else [*names, "contrast"]
        amounts = {"brightness": 0.9, "contrast": 0.8, "saturation": 0.95, "hue": 0.2}
        expected = image.astype(float)
        for name in ["brightness", *names]:
            reference, low, high = REFERENCES[name]
            expected = reference(expected, low + (high - low) * amounts[name])
        np.testing.assert_allclose(found, expected, atol=0.05)
