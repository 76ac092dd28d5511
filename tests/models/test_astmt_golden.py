"""ASTMT against values measured on the published network: each task's pass, and its training step.

A step is taken by plain gradient descent of a known rate, so that weights tell their gradients; the
labels of the other tasks are empty, so that only one pass is updated, and from the file's weights.
"""

import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.backbones import SEResNet
from tests.golden_files import (
    AS_THEY_ARE,
    NO_LABEL,
    GivenTask,
    Golden,
    assert_close,
    load,
    parts_of,
)

RATE = 16.0
# By a slip the published losses of these overwrite labels before the discriminator's mask is made.
OVERWRITTEN = ("normals", "depth")


class ASTMTGolden(Golden):
    def __init__(self):
        own = Path(__file__).parents[1] / "golden" / "golden_astmt.npz"
        with np.load(os.environ.get("GOLDEN_FILE", own)) as values:
            self.values = dict(values)
        self.meta = json.loads(str(self.values.pop("meta")))
        if "astmt" not in self.meta["source"]:
            pytest.skip(f"GOLDEN_FILE is of {self.meta['source']}")

    @property
    def tasks(self):
        channels, weights = self.meta["out_channels"], self.meta["loss_mult"]
        edge = self.meta["edge_pos_weight"]
        return [LearnedTask(t, channels[t], float(weights[t]), edge) for t in self.meta["tasks"]]

    def labels(self, of):
        """Those of one task; the others are empty."""
        found = {}
        for name in self.meta["tasks"]:
            label = self.maps(f"label/{name}").astype("float32")
            found[name] = label if name == of else np.full_like(label, NO_LABEL)
        return found


class PublishedLoss(keras.losses.Loss):
    """As the page of the golden files has it for a kind of task."""

    def __init__(self, kind, edge_weight):
        super().__init__(name=kind)
        self.kind, self.edge_weight = kind, edge_weight

    def __call__(self, y_true, y_pred, sample_weight=None):
        label = ops.convert_to_tensor(y_true, "float32")
        if self.kind in ("edge", "sal", "saliency"):
            positive = ops.cast(label >= 0.5, "float32")
            share = self.edge_weight if self.kind == "edge" else 1 - ops.mean(positive)
            weights = share * positive + (1 - share) * (1 - positive)
            return ops.mean(weights * (ops.softplus(y_pred) - y_pred * positive))
        known = ops.cast(label != NO_LABEL, "float32")
        count = ops.maximum(ops.sum(known), 1.0)
        if self.kind in ("semseg", "human_parts", "parts"):
            one_hot = ops.cast(label == ops.arange(y_pred.shape[-1], dtype="float32"), "float32")
            return -ops.sum(ops.log_softmax(y_pred, axis=-1) * one_hot) / count
        if self.kind == "normals":
            length = ops.sqrt(ops.sum(ops.square(y_pred), axis=-1, keepdims=True))
            return ops.sum(ops.abs(y_pred / (length + 1e-12) - label) * known) / count
        if self.kind == "depth":  # its gradients are those of the prediction everywhere
            changes = ops.abs(sobel(y_pred) - sobel(label * known))
            return (ops.sum(ops.abs(y_pred - label) * known) + ops.sum(changes)) / count
        raise ValueError(f"The page of the golden files has no loss for {self.kind!r}.")


def sobel(x):
    """Sobel's derivatives of maps `(B, h, w, 1)` along both axes, with zeros around."""
    x = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    across, along = x[:, :, :-2] - x[:, :, 2:], x[:, :-2] - x[:, 2:]
    across = across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]
    along = along[:, :, :-2] + 2 * along[:, :, 1:-1] + along[:, :, 2:]
    return ops.concatenate([across, along], axis=-1)


class LearnedTask(GivenTask):
    """A given map, and the loss of the kind of its name."""

    label_dtype = "float32"

    def __init__(self, name, channels, loss_weight, edge_weight):
        super().__init__(name, channels, loss_weight)
        self.edge_weight = edge_weight

    @property
    def label_channels(self):
        return 3 if self.name == "normals" else 1

    def loss(self):
        return PublishedLoss(self.name, self.edge_weight)

    def metrics(self):
        return []

    def get_config(self):
        return {**super().get_config(), "edge_weight": self.edge_weight}


class OnGivenImage(SEResNet):
    """Sees a weight instead of the image, which so has a gradient."""

    given = None

    def build(self, images_shape):
        super().build(images_shape)
        self.image = self.add_weight(shape=self.given.shape, name="image")
        self.image.assign(self.given)

    def call(self, images, task=0, training=False):
        return super().call(ops.convert_to_tensor(self.image), task=task, training=training)


@pytest.fixture(scope="module")
def golden():
    return ASTMTGolden()


@pytest.fixture(scope="module")
def model(golden):
    meta = golden.meta
    backbone = OnGivenImage(
        golden.image_shape,
        blocks=meta["blocks"],
        planes=meta["bottleneck_widths"],
        stem=meta["stem"],
        output_stride=meta["output_stride"],
    )
    backbone.given = golden.maps("in/image")
    model = keras_mtl.ASTMT(
        backbone,
        golden.tasks,
        width=meta["decoder_width"],
        discriminator=meta["discriminator_weight"],
        discriminator_kernel=meta["discriminator_kernel"],
        all_pixels=[name for name in meta["tasks"] if name in OVERWRITTEN],
        image_statistics=AS_THEY_ARE,
    )
    eager = keras.backend.backend() == "tensorflow"  # tracing takes longer than the steps
    model.compile(keras.optimizers.SGD(RATE), metrics=None, run_eagerly=eager)
    return model


def encoder_of(model):
    (found,) = [layer for layer in model.layers if isinstance(layer, SEResNet)]
    return found


def own_of(model, name, kinds):
    """`{published name: Part}` of the parts of each task: `kinds` from name to list of layers."""
    parts = {}
    for kind, layers in kinds.items():
        for task, layer in zip(model.tasks, layers, strict=True):
            if kind == "se":
                parts |= parts_of(f"{name}.se.fc.{task.name}.0", layer.squeeze)
                parts |= parts_of(f"{name}.se.fc.{task.name}.2", layer.excite)
            else:
                parts |= parts_of(f"{name}.{kind}.{task.name}", layer)
    return parts


def unit_of(model, name, unit, process="process.0"):
    parts = parts_of(f"{name}.{process}", unit.convolution)
    kinds = {"norm": unit.norms, "se": unit.gates}
    return parts | own_of(
        model, name, {**kinds, **({"adapt": unit.adapters} if unit.adapter else {})}
    )


@pytest.fixture(scope="module")
def parts(model):
    encoder, get = encoder_of(model), model.get_layer
    found = parts_of("conv1", encoder.stem_convolution) | parts_of("bn1", encoder.stem_norm)
    for n, stage in enumerate(encoder.stages, start=1):
        for b, block in enumerate(stage):
            name = f"layer{n}.{b}"
            for c in (1, 2, 3):
                found |= parts_of(f"{name}.conv{c}", getattr(block, f"convolution_{c}"))
            kinds = {f"bn{c}": getattr(block, f"norms_{c}") for c in (1, 2, 3)}
            found |= own_of(model, name, {**kinds, "adapt": block.adapters, "se": block.gates})
            if block.project:
                found |= parts_of(f"{name}.downsample.process", block.projection)
                shortcut = {"norm": block.projection_norms}
                found |= own_of(model, f"{name}.downsample", shortcut)
    aspp = "decoder.layer5"
    for n in range(4):
        found |= unit_of(model, f"{aspp}.conv2d_list.{n}", get(f"branch_{n + 1}"))
    found |= unit_of(model, f"{aspp}.conv2d_list.4", get("pooled_branch"), "process.1")
    found |= unit_of(model, f"{aspp}.conv2d_final", get("joined_branches"))
    found |= unit_of(model, "decoder.low_level_reduce", get("low_level"))
    found |= unit_of(model, "decoder.conv_concat", get("fusion_1"))
    found |= unit_of(model, "decoder.conv_process", get("fusion_2"))
    for task in (task.name for task in model.tasks):
        found |= parts_of(f"decoder.conv_predict.{task}", get(f"{task}_prediction"))
    found |= parts_of("discriminator.model.0", get("discriminator").hidden)
    return found | parts_of("discriminator.model.2", get("discriminator").out)


@pytest.fixture
def loaded(model, parts, golden):
    load(parts, golden.under("state/"))
    encoder_of(model).image.assign(golden.maps("in/image"))
    model.get_layer("discriminator").alpha.assign(golden.meta["alpha"])
    return model


def images_of(golden):
    return np.zeros_like(golden.maps("in/image"))


def test_outputs_and_what_lies_between(loaded, golden):
    encoder, get = encoder_of(loaded), loaded.get_layer
    found = {
        f"out/final/{name}": x for name, x in loaded(images_of(golden), training=False).items()
    }
    for k, task in enumerate(task.name for task in loaded.tasks):
        mid, x = f"mid/{task}", encoder.stem_of(ops.convert_to_tensor(encoder.image))
        block = encoder.stages[0][0]
        inside = ops.relu(block.norms_1[k](block.convolution_1(x)))
        found[f"{mid}/adapter_l1"] = block.adapters[k](inside)
        inside = block.convolution_2(inside) + found[f"{mid}/adapter_l1"]
        inside = block.norms_3[k](block.convolution_3(ops.relu(block.norms_2[k](inside))))
        found[f"{mid}/se_in"] = ops.mean(inside, axis=(1, 2))
        found[f"{mid}/se_gate"] = block.gates[k].gate(inside)
        found[f"{mid}/layer1_block0"] = block(x, task=k)
        for n, stage in enumerate(encoder.stages, start=1):
            for block in stage:
                x = block(x, task=k)
            found[f"{mid}/layer{n}"] = x
        low = get("low_level")(found[f"{mid}/layer1"], task=k)
        branches = [get(f"branch_{n}")(x, task=k) for n in (1, 2, 3, 4)]
        branches.append(get("pooled_branch")(ops.mean(x, axis=(1, 2), keepdims=True), task=k))
        found |= {f"{mid}/aspp_branch{n}": each for n, each in enumerate(branches)}
        branches[-1] = ops.broadcast_to(branches[-1], branches[0].shape)
        aspp = get("joined_branches")(ops.concatenate(branches, axis=-1), task=k)
        enlarged = ops.image.resize(aspp, low.shape[1:3], interpolation="bilinear")
        joined = get("fusion_1")(ops.concatenate([enlarged, low], axis=-1), task=k)
        features = get("fusion_2")(joined, task=k)
        found |= {f"{mid}/dec_low": low, f"{mid}/aspp": aspp, f"{mid}/dec_concat": joined}
        found[f"{mid}/features"] = features
        found[f"out/lowres/{task}"] = get(f"{task}_prediction")(features)
    assert found.keys() == {key for key in golden.values if key.startswith(("mid/", "out/"))}
    for key, value in found.items():
        assert_close(ops.convert_to_numpy(value), np.moveaxis(golden[key], 1, -1), key)


def test_gradients_that_the_discriminator_sees(loaded, golden):
    for task in (task.name for task in loaded.tasks):
        features = loaded.run_pass(task, images_of(golden))[f"{task}/discriminator"]
        loss = loaded.auxiliary[f"{task}/discriminator"].loss
        label = ops.convert_to_tensor(golden.labels(task)[task])
        gradient, expected = loss.gradient(label, features), f"train/{task}/grad_wrt_features"
        scores, logits = loss.scores(gradient), f"train/{task}/discriminator_logits"
        for value, key in ((gradient, expected), (scores, logits)):
            value = ops.convert_to_numpy(ops.stop_gradient(value))
            assert_close(value, golden.maps(key), key, 1e-3)
        _, known = loss.loss_map(label, features)
        wanted = golden[f"train/{task}/discriminator_labels"] != NO_LABEL
        np.testing.assert_array_equal(ops.convert_to_numpy(known), wanted)


@pytest.fixture
def step(model, parts, golden):
    """`step(task, factor)`: logs, and the norm of each gradient by published name, of a step whose
    image is multiplied by a factor."""
    encoder, variables = encoder_of(model), model.trainable_variables

    def take(task, factor):
        load(parts, golden.under("state/"))
        encoder.image.assign(golden.maps("in/image") * np.float32(factor))
        before = [np.array(ops.convert_to_numpy(v)) for v in variables]
        logs = model.fit(
            images_of(golden),
            golden.labels(task),
            batch_size=len(images_of(golden)),
            shuffle=False,
            callbacks=[Reversal(golden.meta["alpha"])],
            verbose=0,
        ).history
        gradients = {
            id(v): (old - ops.convert_to_numpy(v)) / RATE
            for v, old in zip(variables, before, strict=True)
        }
        used = {id(encoder.image), *(id(v) for v in model.pass_variables(task))}
        assert all((gradient == 0).all() for n, gradient in gradients.items() if n not in used)
        norms = {
            name: np.linalg.norm(gradients[id(part.variable)])
            for name, part in parts.items()
            if id(part.variable) in gradients
        }
        return logs, norms | {"in/image": np.linalg.norm(gradients[id(encoder.image)])}

    return take


def test_training_steps(step, golden):
    """One of each task, from the same weights.

    The network normalises two values here and there, and divides by short normals: some of its
    gradients jump by more than the tolerance when the image changes in the sixth digit, either way.
    By as much as they do they may differ.
    """
    share = golden.meta["discriminator_weight"]
    for task, weight in ((name, golden.meta["loss_mult"][name]) for name in golden.meta["tasks"]):
        prefix, (logs, norms) = f"train/{task}", step(task, 1)
        own, other = weight * logs[f"{task}_loss"][0], logs[f"{task}/discriminator_loss"][0]
        for value, key in (
            (own, "task_loss_times_mult"),
            (other, "discriminator_loss"),
            ((1 - share) * own + share * other, "total"),
        ):
            assert value == pytest.approx(golden[f"{prefix}/{key}"], rel=1e-5), (task, key)

        nearby = [step(task, factor)[1] for factor in (1 - 1e-6, 1 + 1e-6)]
        names, values = golden[f"{prefix}/gradnorm/names"], golden[f"{prefix}/gradnorm/values"]
        expected = dict(zip(map(str, names), values, strict=True))
        least = 1e-3 * max(expected.values())
        expected["in/image"] = golden[f"{prefix}/grad_in_image_norm"]
        assert expected.keys() == norms.keys()
        for name, norm in expected.items():
            change = max(abs(each[name] - norms[name]) for each in nearby)
            tolerance = 2e-3 * max(norm, least) + change
            assert abs(norms[name] - norm) < tolerance, (task, name)


class Reversal(keras.callbacks.Callback):
    """The file's, instead of the epoch's."""

    def __init__(self, alpha):
        super().__init__()
        self.alpha = alpha

    def on_epoch_begin(self, epoch, logs=None):
        self.model.get_layer("discriminator").alpha.assign(self.alpha)
