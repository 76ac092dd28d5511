"""Reference values of the compared systems: one `.npz` each, and what their tests do with it.

Arrays are channels first, kernels `(out, in, height, width)`; every weight has its published name.
Sizes, tasks and widths come from the file, so that the same test reads another one whose path is in
the environment variable GOLDEN_FILE.
"""

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.backbones import FeaturePyramid
from keras_mtl.tasks import Task

NO_LABEL = 255
AS_THEY_ARE = ((0, 0, 0), (1, 1, 1))  # image statistics that leave a golden input alone


class Golden:
    """One file.

    Args:
        system: what `meta` names it, such as `"pad_net"`.
    """

    def __init__(self, system):
        own = Path(__file__).parent / "golden" / f"golden_{system}.npz"
        with np.load(os.environ.get("GOLDEN_FILE", own)) as values:
            self.values = dict(values)
        self.meta = json.loads(str(self.values.pop("meta")))
        # Some files name the repository that they were measured on instead.
        named = self.meta.get("system", self.meta.get("source", system))
        if system not in named.lower():
            pytest.skip(f"GOLDEN_FILE is of {named}")

    def __getitem__(self, key):
        return self.values[key]

    def under(self, prefix):
        """`{name: array}` of what lies under a prefix such as `"state/"`."""
        found = {k.removeprefix(prefix): v for k, v in self.values.items() if k.startswith(prefix)}
        return found

    def maps(self, key):
        """An array `(B, c, h, w)` with its channels last."""
        return np.ascontiguousarray(np.moveaxis(self[key], 1, -1))

    @property
    def tasks(self):
        return [GivenTask(name, channels) for name, channels in self.meta["tasks"].items()]

    def main_and_other_tasks(self, initial):
        """Tasks that are predicted in the end, and those that are predicted initially only.

        Args:
            initial: str that the names of the layers which predict initially begin with.
        """
        state = self.under("state/")
        main = {name.split(".")[1] for name in state if name.startswith("heads.")}
        supervised = [
            GivenTask(name.removeprefix(initial).removesuffix(".weight"), len(value))
            for name, value in state.items()
            if name.startswith(initial) and name.endswith(".weight")
        ]
        others = [task for task in supervised if task.name not in main]
        return [task for task in supervised if task.name in main], others

    @property
    def image_shape(self):
        return (*self.meta["image"], 3)

    # === What it says of a model ===

    def check_maps(self, found, prefix):
        """Every array under a prefix, in `found` (channels last) under the rest of its name."""
        expected = self.under(prefix)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            assert_close(ops.convert_to_numpy(found[name]), np.moveaxis(value, 1, -1), name)

    def losses(self, outputs, auxiliary=()):
        """Each unweighted loss by its golden name, and the total.

        Args:
            outputs: dict by name of tensors `(B, H, W, c)`.
            auxiliary: pairs of an auxiliary output of a task (`"{}/initial"`) and the name of its
                loss (`"deepsup_{}"`).
        """
        found, total = {}, 0.0
        for output, loss in (("{}", "{}"), *auxiliary):
            for task, weight in self.meta["loss_weights"].items():
                if output.format(task) in outputs:
                    value = golden_loss(task, self[f"label/{task}"], outputs[output.format(task)])
                    found[loss.format(task)] = value
                    total = total + weight * value
        return {**found, "total": total}

    def check_step(self, step, model, images, parts, losses=None):
        """One training step: its losses and the norms of its gradients.

        Args:
            step: the fixture `training_step`.
            model: with the file's weights; its running statistics change.
            images: its input.
            parts: dict of `Part` by published name.
            losses: function of the outputs, as `losses` above.

        Returns:
            The outputs of the model, as arrays.
        """
        losses = losses or self.losses
        _, outputs, gradients = step(model, images, lambda found: losses(found)["total"])
        expected = self.under("train/loss/")
        found = {name: float(ops.convert_to_numpy(x)) for name, x in losses(outputs).items()}
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name] == pytest.approx(float(value), rel=1e-5), name

        names, norms = self.meta["grad_names"], self["train/grad_norms"]
        norm_of = {
            name: np.linalg.norm(gradients[id(parts[name].variable)][parts[name].index])
            for name in names
        }
        # A bias before a batch normalization has none but for rounding.
        least = 1e-3 * norms.max()
        for name, norm in zip(names, norms, strict=True):
            assert abs(norm_of[name] - norm) < 2e-3 * max(norm, least), name
        trained = {id(parts[name].variable) for name in names}
        for variable in model.trainable_variables:  # the file leaves none out, but biases of ours
            assert id(variable) in trained or variable.path.endswith("/bias"), variable.path
        together = np.sqrt(sum(norm**2 for norm in norm_of.values()))
        assert together == pytest.approx(float(self["train/grad_norm_total"]), rel=2e-3)
        return outputs

    def check_statistics(self, parts, count, momentum=lambda name: 0.9):
        """The running statistics after the step.

        The file's take the variance of n values as their sum of squares over n - 1, Keras' over n.

        Args:
            parts: dict of `Part` by published name.
            count: function of a normalization's name; how many values a channel had.
            momentum: function of the same; the share that a step keeps.
        """
        after = self.under("train/after/")
        assert after
        for name, expected in after.items():
            layer, kind = name.rsplit(".", 1)
            if kind == "running_var":
                kept = momentum(layer) * self[f"state/{name}"]
                expected = kept + (expected - kept) * (count(layer) - 1) / count(layer)
            variable, index = parts[name]
            assert_close(ops.convert_to_numpy(variable)[index], expected, name)


class GivenTask(Task):
    """A map of so many channels; its loss is the file's."""

    headline, higher_is_better, ignore = "none", True, NO_LABEL


class GivenFeatures(FeaturePyramid):
    """A backbone whose answer is known, whatever the image.

    Args:
        image_shape: `(height, width, 3)`.
        maps: dict `{stride: array (B, h, w, c)}`.
    """

    def __init__(self, image_shape, maps, **kwargs):
        super().__init__(image_shape, **kwargs)
        self.arrays = list(maps.values())
        self.channels = {stride: array.shape[-1] for stride, array in maps.items()}
        self.sizes = [array.shape[1:3] for array in self.arrays]

    def build(self, images_shape):
        pass

    def call(self, images, training=False):
        return dict(zip(self.channels, map(ops.convert_to_tensor, self.arrays), strict=True))

    def compute_output_spec(self, images, training=None):
        return {
            stride: keras.KerasTensor((images.shape[0], *size, channels), self.compute_dtype)
            for (stride, channels), size in zip(self.channels.items(), self.sizes, strict=True)
        }

    def images(self):
        """A batch as large as the maps' for it."""
        return np.zeros((len(self.arrays[0]), *self.image_shape), "float32")


def assert_close(found, expected, name, tolerance=1e-4):
    assert found.shape == expected.shape, name
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max(), name


# === Weights by their published names ===


class Part(NamedTuple):
    """What one published weight is of a variable of ours; `index` where we keep several in one."""

    variable: keras.Variable
    index: tuple = (...,)


KINDS = {
    "kernel": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def parts_of(name, layer):
    """`{published name: Part}` of a convolution, a dense layer or a batch normalization."""
    return {f"{name}.{KINDS[variable.name]}": Part(variable) for variable in layer.weights}


def block_parts(name, block):
    """`{published name: Part}` of a residual block."""
    parts = {}
    for n, (kernel, norm) in enumerate(zip(block.kernels, block.norms, strict=True), start=1):
        parts |= parts_of(f"{name}.conv{n}", kernel) | parts_of(f"{name}.bn{n}", norm)
    if block.projection is not None:
        parts |= parts_of(f"{name}.downsample.0", block.projection)
        parts |= parts_of(f"{name}.downsample.1", block.projection_norm)
    return parts


def load(parts, state):
    """Gives variables their published values; a bias that the published layer lacks is zero."""
    assert state.keys() <= parts.keys(), sorted(state.keys() - parts.keys())
    filled, arrays = defaultdict(int), {}
    for name, (variable, index) in parts.items():
        array = arrays.setdefault(
            id(variable), (variable, np.zeros(tuple(variable.shape), "float32"))
        )[1]
        if name in state:
            value = as_ours(state[name], array[index].ndim)
            assert array[index].shape == value.shape, name
            array[index] = value
            filled[id(variable)] += value.size
        else:
            assert name.endswith(".bias"), name
            filled[id(variable)] += array[index].size
    for variable, array in arrays.values():
        assert filled[id(variable)] == array.size, variable.path
        variable.assign(array)


def as_ours(value, dimensions):
    """A published weight as Keras keeps it, in so many dimensions."""
    if value.ndim == 4:
        value = value.transpose(2, 3, 1, 0)
        return value[0, 0] if dimensions == 2 else value
    return value.T


# === The losses of the files ===


def golden_loss(task, label, raw):
    """As the files have it for a kind of task, whose names are the papers'."""
    label, raw = np.moveaxis(label, 1, -1), ops.cast(raw, "float32")

    def constant(x):
        return ops.convert_to_tensor(x.astype("float32"))

    known = label != NO_LABEL
    count = max(int(known.sum()), 1)
    if task in ("semseg", "human_parts", "parts", "sal", "saliency"):
        one_hot = constant(label == np.arange(raw.shape[-1]))  # nowhere if unknown
        return -ops.sum(ops.log_softmax(raw, axis=-1) * one_hot) / count
    if task == "edge":
        positive = label >= 0.5
        weights = np.where(positive, 0.95, 0.05) * known / label.size
        logistic = ops.softplus(raw) - raw * constant(positive)
        return ops.sum(logistic * constant(weights))
    if task == "normals":
        raw = raw / (ops.sqrt(ops.sum(ops.square(raw), axis=-1, keepdims=True)) + 1e-12)
    elif task != "depth":
        raise ValueError(f"The page of the golden files has no loss for {task!r}.")
    error = ops.abs(raw - constant(np.where(known, label, 0)))
    return ops.sum(error * constant(known)) / count
