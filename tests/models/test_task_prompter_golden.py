"""The released variant against values measured on the published network, weight for weight.

`golden_taskprompter_tiny.npz`: a tiny network with random weights, every weight under its
published name, channels first; an input, every block's and level's intermediate values, the
outputs, and one training step.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl import tasks
from keras_mtl.models.published_checkpoints import assign_published, published_entries

TASKS = ("semseg", "sal", "normals")
DEPTH = 4


def published_weights(model, state):
    """Pairs of (variable of ours, value of the published state)."""
    return [(entry.variable, entry.value(state)) for entry in published_entries(model)]


def released(state, **arguments):
    backbone = keras_mtl.backbones.vision_transformer(
        "tiny",
        (64, 96, 3),
        num_layers=DEPTH,
        num_heads=3,
        hidden_dim=48,
        mlp_dim=192,
        use_class_token=True,
    )
    model = keras_mtl.TaskPrompter(
        backbone,
        [
            tasks.SemanticSegmentation(channels=21),
            tasks.SaliencyDetection(),
            tasks.SurfaceNormals(),
        ],
        variant="released",
        channel_windows=(2, 2),
        decode_dim=20,
        final_dim=24,
        **arguments,
    )
    if not arguments.get("cross_task_reweighting", True):
        state = {name: value for name, value in state.items() if "ctr_attn_conv" not in name}
    assign_published(model, state, "golden_taskprompter_tiny.npz")
    return model


@pytest.fixture(scope="module")
def values(golden):
    return golden("golden_taskprompter_tiny")


@pytest.fixture(scope="module")
def state(values):
    return {k.removeprefix("state/"): v for k, v in values.items() if k.startswith("state/")}


@pytest.fixture(scope="module")
def model(state):
    return released(state)


def raw_rgb(normalised):
    """The photograph whose normalised form is the golden input."""
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return (normalised.transpose(0, 2, 3, 1) * std + mean) * 255


def assert_close(ours, golden):
    ours = ops.convert_to_numpy(ours)
    assert ours.shape == golden.shape
    assert np.abs(ours - golden).max() < 1e-4 * np.abs(golden).max()


def channels_first(x):
    return np.moveaxis(ops.convert_to_numpy(x), -1, 1)


def test_every_intermediate(model, values):
    names = ["patch_tokens", "ln"]
    names += [f"prompted_block_{i}" for i in range(1, DEPTH + 1)]
    names += [f"reweighting_after_block_{i}" for i in range(1, DEPTH + 1)]
    names += [f"{task}_head" for task in TASKS]
    outputs = {name: model.get_layer(name).output for name in names}
    outputs["fused"] = {task: model.get_layer(f"{task}_head").input for task in TASKS}
    found = keras.Model(model.input, outputs).predict_on_batch(raw_rgb(values["input"]))

    positions = values["state/backbone.pos_embed"][:, 1:]  # the first entry is the class token's
    assert_close(found["patch_tokens"], values["inter/patch_embed"] + positions)
    for i in range(DEPTH):
        parts = ("channel_affinity", "patches", "prompts", "spatial_affinity")
        block = dict(zip(parts, found[f"prompted_block_{i + 1}"], strict=True))
        prefix = f"inter/block{i}"
        assert_close(block["patches"], values[f"{prefix}/x"])
        assert_close(block["prompts"], values[f"{prefix}/task_prompts"])
        assert_close(block["spatial_affinity"], values[f"{prefix}/raw_spatial"][:, :, : len(TASKS)])
        raw_channel = values[f"{prefix}/raw_channel"]  # (B, T, C, nh, nw)
        raw_channel = raw_channel.reshape(*raw_channel.shape[:3], -1).transpose(0, 3, 1, 2)
        assert_close(block["channel_affinity"], raw_channel)
        tokens = found["ln"] if i == DEPTH - 1 else block["patches"]
        assert_close(tokens, values[f"inter/level{i}/x_tokens"])
        level = found[f"reweighting_after_block_{i + 1}"]
        for t, task in enumerate(TASKS):
            assert_close(channels_first(level[:, t]), values[f"inter/level{i}/{task}"])
    for task in TASKS:
        upsampled = keras.layers.UpSampling2D(4, interpolation="bilinear")(found["fused"][task])
        assert_close(channels_first(upsampled), values[f"inter/fused_x4/{task}"])
        assert_close(channels_first(found[f"{task}_head"]), values[f"inter/head_lowres/{task}"])


def test_outputs(model, values):
    found = model.predict_on_batch(raw_rgb(values["input"]))
    for task in TASKS:
        assert_close(channels_first(found[task]), values[f"out/{task}"])


def test_without_reweighting(state, values):
    model = released(state, cross_task_reweighting=False)
    heads = {task: model.get_layer(f"{task}_head").output for task in TASKS}
    found = keras.Model(model.input, heads).predict_on_batch(raw_rgb(values["input"]))
    for task in TASKS:
        assert_close(channels_first(found[task]), values[f"out_noctr_head_lowres/{task}"])


# === One training step: batch statistics, no stochastic depth, PASCAL-Context's loss weights ===


def label_of(task, values):
    """The golden label of a task, in our convention where it differs."""
    label = np.moveaxis(values[f"train/label/{task}"], 1, -1)
    if task == "normals":
        return np.where(label == 255, 0, label)  # no label is the zero vector here
    return label[..., 0].astype("int32")


@pytest.fixture(scope="module")
def step(state, values, training_step):
    """The model, and its losses, outputs and gradients in one training step."""
    model = released(state, stochastic_depth=0.0)
    labels = {task: label_of(task, values) for task in TASKS}
    images = raw_rgb(values["input"])

    def losses(outputs):
        return {
            task.name: task.loss()(labels[task.name], outputs[task.name]) for task in model.tasks
        }

    def total(outputs):
        weights = {task.name: task.loss_weight for task in model.tasks}
        return sum(weights[name] * loss for name, loss in losses(outputs).items())

    loss, outputs, gradients = training_step(model, images, total)
    each = {name: float(loss) for name, loss in losses(outputs).items()}
    return model, {**each, "total": loss}, outputs, gradients


def test_training_outputs_and_losses(step, values):
    _, losses, outputs, _ = step
    for task in TASKS:  # every fourth pixel is kept in the file
        every_fourth = channels_first(outputs[task][:, ::4, ::4])
        assert_close(every_fourth, values[f"train/out_stride4/{task}"])
    for name, loss in losses.items():
        assert loss == pytest.approx(float(values[f"train/loss/{name}"]), rel=1e-5)


def test_training_gradients(step, state, values):
    model, _, _, gradients = step
    golden = {k: v for k, v in values.items() if k.startswith("train/grad/")}
    missing = {name: np.full(value.shape, np.nan) for name, value in state.items()}
    expected = missing | {k.removeprefix("train/grad/"): v for k, v in golden.items()}
    compared = 0
    for variable, gradient in published_weights(model, expected):
        if np.isfinite(gradient).all():
            found = gradients[id(variable)]
            assert np.abs(found - gradient).max() < 2e-4 * np.abs(gradient).max(), variable.path
            compared += 1
    assert compared == len(golden) + 2  # query, key and value are one published weight


def test_training_gradients_mean_size(step, state, values):
    """Every weight of the network, by the mean absolute value of its gradient."""
    model, _, _, gradients = step
    names = [name for name in state if f"train/grad_absmean/{name}" in values]
    numbered = {name: np.full_like(value, -1) for name, value in state.items()}
    numbered |= {name: np.full_like(state[name], i) for i, name in enumerate(names)}
    sizes = {}
    for variable, number in published_weights(model, numbered):
        if number.flat[0] >= 0:
            name = names[int(number.flat[0])]
            sizes.setdefault(name, []).append(np.abs(gradients[id(variable)]).ravel())
    assert sizes.keys() == set(names)
    compared = sum(len(parts) for parts in sizes.values())
    assert compared == len(model.trainable_variables) == len(gradients)
    for name, parts in sizes.items():
        found = np.concatenate(parts)
        # A single number is a sum over the whole image, the terms of which nearly cancel; a bias
        # before a batch normalization has no gradient but for rounding.
        tolerance = 1e-3 if found.size > 1 else 3e-3
        expected = float(values[f"train/grad_absmean/{name}"])
        assert found.mean() == pytest.approx(expected, rel=tolerance, abs=1e-6), name


def test_training_gradient_norm(step, values):
    squares = sum((gradient.astype("float64") ** 2).sum() for gradient in step[-1].values())
    assert np.sqrt(squares) == pytest.approx(float(values["train/grad_norm"]), rel=1e-4)
