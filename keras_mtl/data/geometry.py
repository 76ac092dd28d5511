"""What is done to an image and its labels: scaled, cropped, mirrored, put into a frame.

Everything stays together to the pixel: the centre of pixel i of the scaled image lies at
(i + 0.5) / scale in the original, for the image and for every label.
"""

from typing import Any, NamedTuple

import numpy as np

from keras_mtl.images import IMAGE_MEAN


class Adjustment(NamedTuple):
    """What a `Change` means for the values of a label.

    Args:
        factor: float. 2 makes everything appear twice as large.
        mirrored: bool. Left to right.
    """

    factor: Any
    mirrored: Any


class Change:
    """One image scaled, cropped, mirrored and centred in a frame; it moves what belongs to it.

    Numbers are TensorFlow tensors in a pipeline; with NumPy arrays, points and cameras move too.

    Args:
        source: int `(2,)`, height and width of the image.
        scaled: int `(2,)`, its size once scaled.
        corner: int `(2,)`, first row and column of the crop in the scaled image.
        window: int `(2,)`, height and width of the crop.
        size: `(height, width)` of the frame, in the middle of which the crop lies.
        factor: float. By how much the image was scaled, before rounding to pixels.
        mirrored: bool. Whether the crop was mirrored left to right.

    Example:

    >>> change = Change(
    ...     np.array([10, 20]), np.array([20, 40]), np.array([0, 10]), np.array([20, 30]), (24, 32),
    ...     factor=2.0, mirrored=True,
    ... )
    >>> change.points(np.array([[5.0, 0.0], [20.0, 10.0]])).tolist()  # x and y of two corners
    [[31.0, 2.0], [1.0, 22.0]]
    """

    def __init__(self, source, scaled, corner, window, size, factor=1.0, mirrored=False):
        self.source, self.scaled, self.corner, self.window = source, scaled, corner, window
        self.size, self.factor, self.mirrored = size, factor, mirrored
        self._places = None

    @property
    def adjustment(self) -> Adjustment:
        """What labels need to know once they have been moved."""
        return Adjustment(self.factor, self.mirrored)

    def resample(self, planes):
        """Rows and columns of planes, nearest neighbours, in the middle of a frame of no label.

        Args:
            planes: tensor `(c, W + 1, H + 1)`, no label in the last column and row.

        Returns:
            Tensor `(c, height, width)` of the same numbers.
        """
        import tensorflow as tf

        if self._places is None:
            self._places = self._sources()
        rows, columns = self._places
        end = tf.shape(planes) - 1
        planes = tf.gather(planes, _framed(columns, end[1], self.size[1]), axis=1)
        planes = tf.transpose(planes, [0, 2, 1])
        return tf.gather(planes, _framed(rows, end[2], self.size[0]), axis=1)

    def _sources(self):
        import tensorflow as tf

        rows, columns = sources(self.source, self.scaled, self.corner, self.window)
        if self.mirrored is not False:
            columns = tf.cond(self.mirrored, lambda: tf.reverse(columns, [0]), lambda: columns)
        return rows, columns

    def points(self, points):
        """Points of the image in the frame, both in pixels from the upper left corner.

        Args:
            points: float32 array or tensor `(..., 2)`, x and y; the middle of the first pixel is
                (0.5, 0.5).
        """
        gain, shift = self._affine()
        return points * gain + shift

    def camera(self, matrix):
        """The camera that would have taken the frame's image of the (mirrored) scene.

        Args:
            matrix: float32 array or tensor `(3, 3)`, from points of the scene to `(x, y, 1)` in
                pixels, the middle of the first pixel being (0.5, 0.5). Its focal lengths stay above
                0: where the image was mirrored, x of the scene is -x.
        """
        gain, shift = self._affine()
        axes = np.eye(3, dtype="float32")
        # Row by row: x' = gain x + shift; the mirrored x axis of the scene turns the sign back.
        moved = [gain[k] * matrix[k] + shift[k] * axes[2] for k in range(2)]
        moved[0] = moved[0] * (1.0 + (_sign(gain[0]) - 1.0) * axes[0])
        rows = [moved[0], moved[1], axes[2]]
        return sum(axes[k][:, None] * rows[k][None] for k in range(3))

    def _affine(self):
        """What points are multiplied by, and what is added: `(2,)` each, for x and y."""
        scaled, source, corner, window = (
            _as_float(x)[::-1] for x in (self.scaled, self.source, self.corner, self.window)
        )
        gain = scaled / source
        across = np.array([1.0, 0.0], "float32")
        mirrored = _as_float(self.mirrored) * across
        size = np.array(self.size[::-1], "float32")
        margin = (size - window - _odd(size - window)) / 2.0
        shift = margin - corner + mirrored * (window + 2.0 * corner)
        return gain * (1.0 - 2.0 * mirrored), shift


def _as_float(x):
    if type(x).__module__.startswith("tensorflow"):
        import tensorflow as tf

        return tf.cast(x, tf.float32)
    return np.asarray(x, "float32")


def _odd(x):
    return x % 2.0


def _sign(x):
    return 2.0 * _as_float(x > 0) - 1.0


def scaled_size(image, factor):
    """Height and width of an image scaled by a factor, in whole pixels: an int32 tensor `(2,)`."""
    import tensorflow as tf

    size = tf.cast(tf.shape(image)[:2], tf.float32)
    return tf.maximum(tf.cast(tf.round(size * factor), tf.int32), 1)


def resized(image, scaled, corner, window):
    """The pixels, bilinear, that lie in a window of the scaled image.

    Args:
        image: tensor `(H, W, 3)`.
        scaled: height and width of the scaled image.
        corner: the window's first row and column in it.
        window: height and width of the window.

    Returns:
        float32 `(*window, 3)`, equal to this part of the whole image, resized.
    """
    import tensorflow as tf

    size = tf.shape(image)[:2]

    def whole():
        return cut(tf.image.resize(image, scaled), corner, window)

    def only_the_window():
        return tf.raw_ops.ScaleAndTranslate(
            images=image[None],
            size=window,
            scale=tf.cast(scaled, tf.float32) / tf.cast(size, tf.float32),
            translation=-tf.cast(corner, tf.float32),
            kernel_type="triangle",
            antialias=False,
        )[0]

    # The quicker kernel makes up for what is cut off again, unless that is most of the image.
    mostly_cut = tf.reduce_prod(scaled) > 5 * tf.reduce_prod(window)
    return tf.cond(mostly_cut, only_the_window, whole)


def cut(image, corner, window):
    return image[corner[0] : corner[0] + window[0], corner[1] : corner[1] + window[1]]


def sources(size, scaled, corner, window):
    """For each row and each column of a window of the scaled image the nearest one in the image."""
    import tensorflow as tf

    # floor((i + 0.5) * size / scaled), in whole numbers.
    size, scaled = tf.cast(size, tf.int64), tf.cast(scaled, tf.int64)
    corner, window = tf.cast(corner, tf.int64), tf.cast(window, tf.int64)

    def nearest(k):
        numbers = tf.range(window[k]) + corner[k]
        return tf.cast((2 * numbers + 1) * size[k] // (2 * scaled[k]), tf.int32)

    return nearest(0), nearest(1)


def _framed(places, nothing, length):
    """Places in the middle of others that all lie where there is no label."""
    import tensorflow as tf

    before, after = _margins(tf.size(places), length)
    return tf.ensure_shape(tf.pad(places, [[before, after]], constant_values=nothing), [length])


def _margins(inner, outer):
    before = (outer - inner) // 2
    return before, outer - inner - before


def padded(image, size: tuple[int, int]):
    """Centres a float32 image, no larger than `size`, in a frame of the mean colour."""
    import tensorflow as tf

    height, width = size
    inner = tf.shape(image)
    top, bottom = _margins(inner[0], height)
    left, right = _margins(inner[1], width)

    def strip(rows, columns):
        return tf.broadcast_to(tf.constant(IMAGE_MEAN, image.dtype), [rows, columns, 3])

    image = tf.concat([strip(top, inner[1]), image, strip(bottom, inner[1])], 0)
    image = tf.concat([strip(height, left), image, strip(height, right)], 1)
    return tf.ensure_shape(image, [height, width, 3])
