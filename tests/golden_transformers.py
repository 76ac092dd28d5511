"""Reference values of the compared transformers: files of sections, and the losses they share."""

import copy
import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from tests.golden_files import NO_LABEL, GivenFeatures, GivenTask, Golden

EDGE_WEIGHT = 0.95
LOSS_WEIGHTS = {  # published, by the papers' names; for files that say none
    **{"semseg": 1, "human_parts": 2, "parts": 2, "sal": 5, "saliency": 5},
    **{"normals": 10, "depth": 1, "edge": 50},
}


class TransformerGolden(Golden):
    """One file, or a section of it.

    Args:
        system: of its name, such as `"invpt"`.
        source: what `meta` says of the published code, in part.
    """

    def __init__(self, system, source):
        own = Path(__file__).parent / "golden" / f"golden_{system}.npz"
        with np.load(os.environ.get("GOLDEN_FILE", own)) as values:
            self.values = dict(values)
        self.meta = json.loads(str(self.values.pop("meta")))
        if source not in self.meta["source"]:
            pytest.skip(f"GOLDEN_FILE is of {self.meta['source']}")

    def section(self, prefix):
        """What lies under a prefix, as a file by itself."""
        part = copy.copy(self)
        part.values = self.under(prefix)
        return part

    def sections(self):
        """The names before the first slash of all keys."""
        return sorted({key.split("/")[0] for key in self.values})

    def tasks_by_head(self, head):
        """The tasks, of as many channels as their last biases, named `head.format(task)`."""
        return [GivenTask(task, len(self[head.format(task)])) for task in self.meta["tasks"]]

    def loss(self, task, raw):
        weight = self.meta.get("edge_pos_weight", EDGE_WEIGHT)
        return loss_of(task, self[f"label/{task}"].astype("float32"), raw, weight)

    def check_gradients(self, gradients, parts, published):
        """The norms of one training step's gradients.

        Args:
            gradients: as the fixture `training_step` gives them.
            parts: dict of `Part`.
            published: dict by published name of the names in `parts` that are it together; without
                what nothing reads.
        """
        names, norms = self["train/gradnorm/names"], self["train/gradnorm/values"]
        unused = [name not in published for name in map(str, names)]
        assert not norms[unused].any()
        names, norms = (x[np.logical_not(unused)] for x in (names, norms))

        def norm_of(name):
            own = [parts[each] for each in published[name]]
            return np.linalg.norm(
                np.concatenate([gradients[id(v)][index].ravel() for v, index in own])
            )

        found = [norm_of(name) for name in map(str, names)]
        # A bias before a batch normalization has none but for rounding.
        least = 1e-3 * norms.max()
        for name, own, norm in zip(names, found, norms, strict=True):
            assert abs(own - norm) < 2e-3 * max(norm, least), name


class TrainableFeatures(GivenFeatures):
    """Features that are weights, so that a training step gives their gradients, too."""

    def build(self, images_shape):
        self.maps = [
            self.add_weight(shape=array.shape, name=f"features_{n}")
            for n, array in enumerate(self.arrays)
        ]
        for weight, array in zip(self.maps, self.arrays, strict=True):
            weight.assign(array)

    def call(self, images, training=False):
        count = images.shape[0]  # the first ones of its batch
        maps = (ops.convert_to_tensor(weight)[:count] for weight in self.maps)
        return dict(zip(self.channels, maps, strict=True))


def assert_all_close(found, expected, tolerance=1e-4):
    """Every array of one dict and no other; both as the file has them, relative to their scale."""
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    for name, value in expected.items():
        own = ops.convert_to_numpy(found[name])
        assert own.shape == value.shape, name
        assert np.abs(own - value).max() <= tolerance * np.abs(value).max(), name


def compiled(function):
    """The function; under JAX, which would compile every operation by itself, as a whole."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def channels_first(x):
    """An array `(B, c, h, w)` of a tensor `(B, h, w, c)`."""
    return np.moveaxis(np.asarray(ops.convert_to_numpy(x)), -1, 1)


def tokens(maps):
    """The positions of maps `(B, h, w, c)` one after the other, `(B, N, c)`."""
    return ops.concatenate(
        [ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[-1])) for x in maps], axis=1
    )


def loss_of(task, label, raw, edge_weight):
    """As the published code has it for a kind of task, whose names are the papers'.

    Args:
        task: str.
        label: array `(B, c, H, W)`; `NO_LABEL` is none.
        raw: tensor `(B, H, W, channels)`.
        edge_weight: of boundary pixels.
    """
    label, raw = np.moveaxis(label, 1, -1), ops.cast(raw, "float32")
    if task == "depth":
        label = np.where(label == 0, NO_LABEL, label)
    known = label != NO_LABEL
    pixels = max(int(known[..., :1].sum()), 1)

    def constant(x):
        return ops.convert_to_tensor(np.asarray(x, "float32"))

    if task in ("semseg", "human_parts", "parts", "sal", "saliency"):
        weights = np.ones(raw.shape[-1])
        if task.startswith("sal"):
            negatives = (known & (label == 0)).sum() / pixels
            weights = np.array([1 - negatives, negatives])
        of_class = (label == np.arange(raw.shape[-1])) * weights  # nowhere if unknown
        return -ops.sum(ops.log_softmax(raw, axis=-1) * constant(of_class)) / pixels
    if task == "edge":
        positive = known & (label >= 0.5)
        weights = np.where(positive, edge_weight, 1 - edge_weight) * known
        logistic = ops.softplus(raw) - raw * constant(positive)
        return ops.sum(logistic * constant(weights)) / pixels
    if task == "normals":
        raw = raw / (ops.sqrt(ops.sum(ops.square(raw), axis=-1, keepdims=True)) + 1e-12)
    elif task != "depth":
        raise ValueError(f"The page of the golden files has no loss for {task!r}.")
    error = ops.abs(raw - constant(np.where(known, label, 0)))
    return ops.sum(error * constant(known)) / pixels
