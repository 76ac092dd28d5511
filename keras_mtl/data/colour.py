"""Photometric distortion of float32 images in 0..255, in TensorFlow."""

BRIGHTNESS = 32.0  # of 255
CONTRAST = SATURATION = (0.5, 1.5)
HUE = 18 / 180  # of the colour circle


def distorted(image, seed):
    """Brightness, contrast, saturation and hue, each changed with probability one half.

    Contrast comes before or after saturation and hue, at random.

    Args:
        image: float32 `(H, W, 3)` in 0..255.
        seed: two integers.

    Returns:
        float32 `(H, W, 3)` in 0..255.
    """
    import tensorflow as tf

    draws = tf.random.stateless_uniform([9], seed)

    def perhaps(change, image, k, low, high, condition=True):
        amount = low + (high - low) * draws[4 + k]
        wanted = tf.logical_and(draws[k] < 0.5, condition)
        return tf.cond(wanted, lambda: change(image, amount), lambda: image)

    contrast_first = draws[8] < 0.5
    image = perhaps(brightness, image, 0, -BRIGHTNESS, BRIGHTNESS)
    image = perhaps(contrast, image, 1, *CONTRAST, contrast_first)
    image = perhaps(saturation, image, 2, *SATURATION)
    image = perhaps(hue, image, 3, -HUE, HUE)
    return perhaps(contrast, image, 1, *CONTRAST, tf.logical_not(contrast_first))


def brightness(image, delta):
    """Adds `delta` to every value."""
    import tensorflow as tf

    return tf.clip_by_value(image + delta, 0.0, 255.0)


def contrast(image, factor):
    """Multiplies every value by `factor`."""
    import tensorflow as tf

    return tf.clip_by_value(image * factor, 0.0, 255.0)


def saturation(image, factor):
    """Multiplies the saturation (of hue, saturation, value) by `factor`, up to pure colours."""
    import tensorflow as tf

    # Value and hue stay if every channel moves away from the largest by the same factor.
    channels, value, spread = _channels(image)
    factor = tf.minimum(factor, tf.math.divide_no_nan(value, spread))
    return _image([value - (value - channel) * factor for channel in channels])


def hue(image, turn):
    """Turns the hue (of hue, saturation, value) by a share of the colour circle."""
    import tensorflow as tf

    # In sixths of the colour circle, red, green and blue fall off from their maximum as the same
    # tent does, around 0 (or 6), 2 and 4.
    (red, green, blue), value, spread = _channels(image)
    per_sixth = tf.math.divide_no_nan(1.0, spread)
    sixths = 6 * turn + tf.where(
        value == red,
        (green - blue) * per_sixth,
        tf.where(value == green, 2 + (blue - red) * per_sixth, 4 + (red - green) * per_sixth),
    )
    sixths -= 6 * tf.floor(sixths / 6)
    falls = [2 - tf.abs(sixths - 3), tf.abs(sixths - 2) - 1, tf.abs(sixths - 4) - 1]
    return _image([value - spread * tf.clip_by_value(fall, 0.0, 1.0) for fall in falls])


# One channel after the other, not interleaved: in less than half the time of tf.image.adjust_hue
# and tf.image.adjust_saturation.


def _channels(image):
    """Red, green and blue, the largest of them, and how far it is from the smallest."""
    import tensorflow as tf

    red, green, blue = tf.unstack(tf.transpose(image, [2, 0, 1]))
    value = tf.maximum(tf.maximum(red, green), blue)
    return (red, green, blue), value, value - tf.minimum(tf.minimum(red, green), blue)


def _image(channels):
    import tensorflow as tf

    # Rounding may leave the range.
    return tf.nn.relu(tf.transpose(tf.stack(channels), [1, 2, 0]))
