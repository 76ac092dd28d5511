"""Surface normals."""

import keras
import numpy as np
from keras import ops

from keras_mtl import losses, metrics
from keras_mtl.losses.maps import SHORTEST_NORMAL, labelled_vectors
from keras_mtl.tasks import encodings
from keras_mtl.tasks.task import Task


@keras.saving.register_keras_serializable(package="keras_mtl")
class SurfaceNormals(Task):
    """Unit surface normals in the camera frame: L1 of unit vectors, mean angular error.

    The frame is x right, y down, z forward, so that what the camera sees points towards it: z is
    below 0.

    Args:
        name: str.
        channels: int. Always 3.
        loss_weight: float.

    Example:

    >>> task = keras_mtl.tasks.SurfaceNormals()
    >>> np.array(task.decode(np.array([[[0.0, 3.0, -4.0]]])), float).round(3).tolist()
    [[[0.0, 0.6, -0.8]]]
    """

    headline = "mErr"
    higher_is_better = False
    ignore = 0
    unit = "degrees"
    label_dtype = "float32"
    label_channels = 3
    stores = "unit vectors"
    encodings = encodings.NORMALS
    only_channels = 3

    def __init__(self, name: str = "normals", channels: int = 3, loss_weight: float = 10.0):
        super().__init__(name, channels, loss_weight)

    def loss(self):
        return losses.NormalsLoss(ignore=self.ignore)

    def discretization(self):
        loss = losses.NormalsCentroidsLoss(ignore=self.ignore)
        return loss.num_classes, loss

    def metrics(self):
        return [metrics.NormalsMeanError(ignore=self.ignore)]

    def evaluation_metrics(self):
        known = {"ignore": self.ignore}
        within = [metrics.NormalsWithin(degrees, **known) for degrees in (11.25, 22.5, 30)]
        return [*self.metrics(), metrics.NormalsMedianError(**known), *within]

    def target_affinity(self, labels):
        labels = ops.cast(labels, "float32")
        labelled = labelled_vectors(labels, self.ignore)
        normals = ops.where(labelled[..., None], labels, 0.0)
        return ops.relu(ops.matmul(normals, ops.swapaxes(normals, 1, 2))), labelled

    def decode(self, raw):
        return ops.normalize(raw, axis=-1)

    def labelled_pixels(self, label):
        length = encodings.lengths(np.asarray(label))
        long_enough = (length >= SHORTEST_NORMAL) & np.isfinite(length)
        return super().labelled_pixels(label) & long_enough

    def constants(self, labels):
        guess = direction_of_least_angle(labels[self.labelled_pixels(labels)])
        return {f"({', '.join(f'{each:.2f}' for each in guess)})": guess}

    def without_voids(self, label):
        return np.where(self.labelled_pixels(label)[..., None], label, np.float32(self.ignore))

    def flipped_label(self, label):
        return label * np.array([-1, 1, 1], "float32")  # x points to the right

    def label_of(self, scene):
        return scene["normals"]

    def unpack(self, stored):
        import tensorflow as tf

        label = tf.convert_to_tensor(stored)
        if label.dtype != tf.uint8:
            return super().unpack(label)
        vectors = unit_vectors(label)  # zero where there is none
        if self.ignore != 0:
            none = tf.reduce_all(vectors == 0, axis=-1, keepdims=True)
            vectors = tf.where(none, float(self.ignore), vectors)
        return super().unpack(vectors)

    def difference(self, raw, found, decoded):
        errors, scale = super().difference(raw, found, decoded)
        if not decoded:
            return errors, scale
        return errors * np.linalg.norm(raw, axis=-1, keepdims=True), np.abs(raw).max()

    def picture(self, final):
        normals = np.asarray(final)
        colours = np.round((normals + 1) * 127.5)
        colours[~self.labelled_pixels(normals)] = 255
        return colours.clip(0, 255).astype("uint8")

    def colours(self):
        return {"from": -1, "to": 1}

    def wrong_label(self, labels):
        length = encodings.lengths(labels)
        said = (np.asarray(labels) != self.ignore).any(axis=-1)
        wrong = labels[said & ~(np.abs(length - 1) < 0.05)]
        if wrong.size:
            return wrong[0].tolist(), "vectors of length 1"
        return None


def unit_vectors(colours):
    """Normals from 8-bit colours: n = 2 v / 255 - 1, of length 1; black and grey are (0, 0, 0).

    Args:
        colours: uint8 TensorFlow tensor `(..., 3)`.

    Example:

    >>> x, y, z = unit_vectors(np.array([255, 128, 0], "uint8")).numpy()
    >>> f"{x:.1f} {y:.1f} {z:.1f}"
    '0.7 0.0 -0.7'
    """
    import tensorflow as tf

    # Channel after channel, not interleaved, takes a quarter of the time.
    vectors = tf.transpose(tf.reshape(tf.cast(colours, tf.float32), [-1, 3])) * (2 / 255) - 1
    x, y, z = tf.unstack(vectors)
    square = x * x + y * y + z * z
    # Black has the square 3, grey next to 0, and unit vectors 1 but for the rounding to 8 bits.
    none = tf.logical_or(square > 2.9, square < SHORTEST_NORMAL**2)
    vectors *= tf.where(none, 0.0, tf.math.rsqrt(square))
    return tf.reshape(tf.transpose(vectors), tf.shape(colours))


def direction_of_least_angle(normals: np.ndarray) -> np.ndarray:
    """The direction whose mean angle to normals is least, float32 `(3,)`; forward if none is there.

    Args:
        normals: `(N, 3)`, unit vectors.

    Example:

    >>> normals = np.array([[0, 0, -1.0]] * 3 + [[1.0, 0, 0]] * 2)  # their mean lies between
    >>> direction_of_least_angle(normals).round(2).tolist()
    [0.0, 0.0, -1.0]
    """
    best = np.array([0.0, 0.0, -1.0])
    if not len(normals):
        return best.astype("float32")
    seen = normals[:: -(-len(normals) // 10_000)].astype("float64")
    rng = np.random.default_rng(0)
    # Directions all around, those that are labels among them, then ever closer to the best one.
    around = np.concatenate([rng.normal(size=(300, 3)), seen[:: -(-len(seen) // 300)]])
    for spread in (None, 0.2, 0.05, 0.01):
        if spread is not None:
            around = best + spread * rng.normal(size=(100, 3))
        directions = np.concatenate([best[None], around])
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        angles = np.arccos(np.clip(directions @ seen.T, -1, 1)).mean(axis=1)
        best = directions[angles.argmin()]
    return best.astype("float32")
