"""TaskPrompter as a whole: its switches, gradients, stochastic depth and wrong arguments.

The numbers are checked elsewhere: layer by layer against the equations in tests/layers, and the
released network against the published one in test_task_prompter_golden.py.
"""

import re

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.images import IMAGE_MEAN, IMAGE_STD
from keras_mtl.layers import PromptedEncoderBlock
from keras_mtl.tasks import DepthEstimation, SemanticSegmentation

HEIGHT, WIDTH, PATCH, WINDOWS = 32, 48, 8, (2, 3)
T, N, C, HEADS, D, DEPTH = 2, 24, 8, 2, 4, 2  # D: decode_dim


def vit(depth=DEPTH, image_shape=(HEIGHT, WIDTH, 3), **arguments):
    config = {"num_layers": depth, "num_heads": HEADS, "hidden_dim": C, "mlp_dim": 16}
    return keras_mtl.backbones.vision_transformer(
        "tiny", image_shape, patch_size=PATCH, **{**config, **arguments}
    )


def tiny(backbone=None, tasks=None, **arguments):
    """A network with every layer it can have, in a fraction of a second."""
    backbone = backbone or vit()
    defaults = {"channel_windows": WINDOWS, "decode_dim": D}
    defaults["prompting_levels"] = min(4, getattr(backbone, "num_layers", 4))
    tasks = [SemanticSegmentation(channels=3), DepthEstimation()] if tasks is None else tasks
    return keras_mtl.TaskPrompter(backbone, tasks, **{**defaults, **arguments})


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 255, (2, HEIGHT, WIDTH, 3)).astype("float32")


def layer_names(model, prefix):
    return [layer.name for layer in model.layers if layer.name.startswith(prefix)]


def trainable(model):
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


# === The switches of the ablations (Tables 1 and 7, Fig. 7, A.8) ===

DECODING_OF_ONE_PROMPT_KIND = (C * D + D) + 9 * D * D  # 1x1, and its half of the 3x3 convolution
DECODING = 2 * DECODING_OF_ONE_PROMPT_KIND + D + 2 * D  # and bias, batch normalization
REWEIGHTING = HEADS * HEADS + HEADS + HEADS + 1
CHANNEL_AFFINITY = (C * N + N + N * N + N) + N * N + C * C  # Eq. 2; W_q^c, W_k^c of Eq. 4
CHANNEL_UPDATE = C * C + (N * N + N) + (N * C + C + C * C + C)  # W_v^c; linear; Eq. 5
CHANNEL = DEPTH * CHANNEL_AFFINITY + (DEPTH - 1) * CHANNEL_UPDATE  # the last block updates nothing
ENCODER = (3 * PATCH**2 * C + C + N * C) + DEPTH * (4 * (C * C + C) + 4 * C + 2 * 16 * C + 16 + C)
ENCODER += 2 * C  # the final LayerNorm

PARAMETERS_LESS = {
    "spatial_prompts": DEPTH * (T * DECODING_OF_ONE_PROMPT_KIND + REWEIGHTING),
    "channel_prompts": CHANNEL + DEPTH * T * DECODING_OF_ONE_PROMPT_KIND,
    "cross_task_reweighting": DEPTH * REWEIGHTING,
}


@pytest.fixture(scope="module")
def full():
    return tiny()


@pytest.mark.parametrize("switch", PARAMETERS_LESS)
def test_parameters_without(switch, full):
    assert trainable(full) - trainable(tiny(**{switch: False})) == PARAMETERS_LESS[switch]


def test_parameters_with_fewer_levels(full):
    assert trainable(full) - trainable(tiny(prompting_levels=1)) == T * DECODING + REWEIGHTING


def test_parameters_with_task_specific_encoders(full):
    more = (T - 1) * (ENCODER + CHANNEL) - DEPTH * REWEIGHTING
    assert trainable(tiny(task_specific_encoders=True)) - trainable(full) == more


def test_outputs_are_raw_maps_at_the_images_size(full, images):
    outputs = full.predict_on_batch(images)
    assert {name: array.shape for name, array in outputs.items()} == {
        "semseg": (2, HEIGHT, WIDTH, 3),
        "depth": (2, HEIGHT, WIDTH, 1),
    }


def test_without_spatial_prompts_the_patches_are_the_plain_vits(images):
    backbone = vit()
    model = tiny(backbone, spatial_prompts=False)
    assert not layer_names(model, "reweighting")  # there is no affinity among the prompts
    tokens = keras.Model(model.input, model.get_layer("ln").output)
    normalised = (images - np.float32(IMAGE_MEAN)) / np.float32(IMAGE_STD)
    expected = backbone.predict_on_batch(normalised)
    np.testing.assert_allclose(tokens.predict_on_batch(images), expected, atol=2e-5)


def test_without_channel_prompts_there_is_no_channel_attention():
    model = tiny(channel_prompts=False, channel_windows=(5, 5))  # which then need not divide
    assert layer_names(model, "reweighting")
    assert not [w.path for w in model.variables if "channel" in w.path]


def test_without_reweighting(full):
    assert len(layer_names(full, "reweighting")) == DEPTH
    assert not layer_names(tiny(cross_task_reweighting=False), "reweighting")


@pytest.mark.parametrize(
    "depth, levels, after",
    [(4, 1, [4]), (4, 2, [2, 4]), (6, 3, [2, 4, 6]), (4, 4, [1, 2, 3, 4]), (8, 4, [2, 4, 6, 8])],
)
def test_levels_are_spread_evenly(depth, levels, after):
    model = tiny(vit(depth), prompting_levels=levels, tasks=[DepthEstimation()])
    assert layer_names(model, "decoding") == [f"decoding_after_block_{i}" for i in after]
    for i in after:
        patches, spatial, channel = model.get_layer(f"decoding_after_block_{i}").input
        outputs = model.get_layer(f"prompted_block_{i}").output
        last = model.get_layer("ln").output  # after the last block: after the final LayerNorm
        assert any(patches is output for output in ([last] if i == depth else outputs))
        assert spatial.shape == (None, HEADS, 1, N)
        assert any(channel is output for output in outputs)


def test_levels_are_added(images):
    model = tiny()
    outputs = {
        name: model.get_layer(name).output for name in layer_names(model, "reweighting_after")
    }
    outputs["fused"] = model.get_layer("depth_head").input
    found = keras.Model(model.input, outputs).predict_on_batch(images)
    fused = found.pop("fused")
    assert len(found) == DEPTH
    np.testing.assert_allclose(fused, sum(found.values())[:, 1], rtol=1e-4, atol=1e-4)


def changed_outputs(model, images, variable, rows=slice(None)):
    """The tasks whose outputs change when (rows of) a variable does."""
    before = model.predict_on_batch(images)
    value = ops.convert_to_numpy(variable).copy()
    kept = value.copy()
    value[rows] += np.random.default_rng(1).normal(0, 1, value[rows].shape)
    variable.assign(value)
    after = model.predict_on_batch(images)
    variable.assign(kept)
    return {name for name in before if np.abs(after[name] - before[name]).max() > 1e-4}


def test_tasks_influence_each_other(full, images):
    prompts = full.get_layer("task_prompts").prompts
    assert changed_outputs(full, images, prompts, rows=0) == {"semseg", "depth"}


def test_task_specific_encoders_keep_the_tasks_apart(images):
    model = tiny(task_specific_encoders=True)
    assert not layer_names(model, "reweighting")
    for name in ("semseg", "depth"):
        prompts = model.get_layer(f"{name}_task_prompts").prompts
        assert tuple(prompts.shape) == (1, C)
        bias = model.get_layer(f"{name}_prompted_block_1").block.mlp.dense_2.bias
        for variable in (prompts, bias):
            assert changed_outputs(model, images, variable) == {name}


# === Gradients ===


def prompted_blocks(model):
    return [layer for layer in model.layers if "prompted_block_" in layer.name]


def without_gradient(model):
    """Weights that one loss over all tasks cannot move, and why."""
    biases = []
    for layer in model.layers:  # a batch normalization subtracts the bias before it
        for body in [getattr(layer, "body", None), *getattr(layer, "fuse", [])]:
            parts = body.layers if body else []
            for convolution, norm in zip(parts, parts[1:], strict=False):
                if isinstance(norm, keras.layers.BatchNormalization):
                    biases.append(convolution.bias)
    for layer in prompted_blocks(model):
        # The softmax over the keys takes a shift of all keys out again; where a level is decoded,
        # the raw affinity of the prompts feels it.
        decoded = layer.name.replace("prompted_block", "decoding_after_block")
        if not layer.spatial_prompts or decoded not in [other.name for other in model.layers]:
            biases.append(layer.block.mha.key_dense.bias)
    last = prompted_blocks(model)[-1]
    if last.variant == "released":  # nothing reads the prompts after the last block
        biases += last.channel.to_channels.weights
    return {id(variable) for variable in biases}


CONFIGURATIONS = {
    "paper": {},
    "released": {"variant": "released"},
    "no channel prompts, no reweighting, one level": {
        "channel_prompts": False,
        "cross_task_reweighting": False,
        "prompting_levels": 1,
    },
    "task-specific encoders, no spatial prompts": {
        "task_specific_encoders": True,
        "spatial_prompts": False,
    },
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_gradients(name, images, training_step):
    model = tiny(vit(use_class_token=True), stochastic_depth=0.0, **CONFIGURATIONS[name])
    rng = np.random.default_rng(2)
    labels = {
        "semseg": rng.integers(0, 3, (2, HEIGHT, WIDTH)),
        "depth": rng.uniform(1, 5, (2, HEIGHT, WIDTH, 1)).astype("float32"),
    }

    def loss(outputs):
        return sum(task.loss()(labels[task.name], outputs[task.name]) for task in model.tasks)

    total, _, gradients = training_step(model, images, loss)
    assert np.isfinite(total)
    assert len(gradients) == len(model.trainable_variables)
    largest = max(np.abs(gradient).max() for gradient in gradients.values())
    unmoved = without_gradient(model)
    assert unmoved <= gradients.keys()
    for variable in model.trainable_variables:
        gradient = gradients[id(variable)]
        assert np.isfinite(gradient).all()
        relative = np.abs(gradient).max() / largest
        if id(variable) in unmoved:
            assert relative < 1e-4, variable.path  # rounding
        else:
            assert relative > 1e-5, variable.path
        if "position_embedding" in variable.path:
            assert gradient.shape == (1 + N, C)
            assert (gradient[0] == 0).all()  # the class token's entry is never read
            assert (np.abs(gradient[1:]).max(-1) > 0).all()
        if variable.path.endswith("prompts"):
            assert (np.abs(gradient).max(-1) > 0).all()  # every task's


# === Stochastic depth ===


def test_rates_rise_linearly():
    model = tiny(vit(4), tasks=[DepthEstimation()], stochastic_depth=0.15, prompting_levels=1)
    rates = [layer.stochastic_depth for layer in prompted_blocks(model)]
    np.testing.assert_allclose(rates, [0, 0.05, 0.1, 0.15])
    assert [layer.drop_path.rate for layer in prompted_blocks(model)] == rates


def test_only_training_is_random(images):
    model = tiny(tasks=[DepthEstimation()], stochastic_depth=0.5, prompting_levels=1)
    tokens = keras.Model(model.input, model.get_layer("ln").output)
    draws = [ops.convert_to_numpy(tokens(images, training=True)) for _ in range(8)]
    assert any((draw != draws[0]).any() for draw in draws)
    inference = [tokens.predict_on_batch(images) for _ in range(2)]
    np.testing.assert_array_equal(*inference)


# === Prediction ===


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_a_prediction_does_not_depend_on_the_rest_of_the_batch(variant, images):
    model = tiny(variant=variant)
    together = model.predict_on_batch(images)
    beside_another = model.predict_on_batch(np.stack([images[0], 255 - images[1]]))
    swapped = model.predict_on_batch(images[::-1])
    for name in together:
        np.testing.assert_allclose(beside_another[name][0], together[name][0], atol=1e-5)
        np.testing.assert_allclose(swapped[name][::-1], together[name], atol=1e-5)
        assert np.abs(beside_another[name][1] - together[name][1]).max() > 1e-3


# === Wrong arguments ===

WRONG = {  # arguments, what the error says
    "backbone": (
        lambda: {"backbone": keras.Sequential(name="s")},
        r"needs a plain Transformer .* or a Swin Transformer, but got Sequential; build",
    ),
    "dropout": (
        lambda: {"backbone": vit(dropout_rate=0.1)},
        "dropout_rate=0.1 and attention_dropout=0.0; .* build it with both at 0",
    ),
    "attention dropout": (
        lambda: {"backbone": vit(attention_dropout=0.2)},
        "dropout_rate=0.0 and attention_dropout=0.2; .* build it with both at 0",
    ),
    "no task": (lambda: {"tasks": []}, r"tasks is \[\]; expected a list of keras_mtl.tasks.Task"),
    "not a task": (lambda: {"tasks": ["depth"]}, r"tasks is \['depth'\]; expected a list of"),
    "one name twice": (
        lambda: {"tasks": [DepthEstimation(), DepthEstimation()]},
        r"Task names are \['depth', 'depth'\]; give every task a name of its own",
    ),
    "variant": (
        lambda: {"variant": "best"},
        "variant is 'best'; choose one of paper, released",
    ),
    "no prompts": (
        lambda: {"spatial_prompts": False, "channel_prompts": False},
        "spatial_prompts and channel_prompts are both off.* turn one of them on",
    ),
    "no level": (
        lambda: {"prompting_levels": 0},
        "prompting_levels is 0, expected an integer from 1 to 2",
    ),
    "levels beyond the blocks": (
        lambda: {"prompting_levels": 3},
        "prompting_levels is 3, expected an integer from 1 to 2",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(name):
    arguments, message = WRONG[name]
    with pytest.raises(ValueError, match=message) as error:
        tiny(**arguments())
    assert is_one_sentence(str(error.value))


def test_no_more_than_four_levels():
    with pytest.raises(ValueError, match="prompting_levels is 5, expected an integer from 1 to 4"):
        tiny(vit(6), prompting_levels=5)


def is_one_sentence(text):
    return text.endswith(".") and ". " not in text and "\n" not in text


@pytest.mark.parametrize("windows", [(0, 3), (2,), (-2, 3), (1.0, 3)])
def test_windows_that_are_none(windows):
    with pytest.raises(
        ValueError, match="channel_windows is .* expected 2 positive integers"
    ) as error:
        tiny(channel_windows=windows)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "windows, axis, count, patches, works",
    [
        ((3, 3), "height", 3, 4, (24, 48)),
        ((2, 4), "width", 4, 6, (32, 64)),
        ((5, 3), "height", 5, 4, (40, 80)),
    ],
)
def test_windows_that_do_not_divide_the_patches(windows, axis, count, patches, works):
    with pytest.raises(ValueError) as error:
        tiny(channel_windows=windows)
    text = str(error.value)
    assert is_one_sentence(text)
    assert text.startswith(f"{count} channel windows do not divide the {patches} patches")
    named = re.search(rf"use an image {axis} of (\d+) or (\d+),", text)
    assert tuple(map(int, named.groups())) == works
    for length in works:
        shape = (length, WIDTH, 3) if axis == "height" else (HEIGHT, length, 3)
        model = tiny(
            vit(1, shape), channel_windows=windows, tasks=[DepthEstimation()], prompting_levels=1
        )
        assert model.image_size == shape[:2]


# === Rematerialisation ===


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_remat_changes_no_output_and_no_gradient(variant, policy, images, training_step):
    images = np.concatenate([images, 255 - images])  # 4 of them
    # A compiler may round an intermediate result of the one computation and not of the other.
    exact = policy == "float32"
    output, gradient = (1e-5, 1e-4) if exact else (4 * 2**-7, 16 * 2**-7)
    found = []
    for remat in (False, True):
        keras.utils.set_random_seed(3)  # the same weights and the same dropped branches
        model = tiny(variant=variant, stochastic_depth=0.4, remat=remat)
        assert model.get_config()["remat"] is remat
        blocks = [layer for layer in model.layers if layer.name.startswith("prompted_block_")]
        assert [block.remat for block in blocks] == [remat] * DEPTH
        total, outputs, gradients = training_step(
            model, images, lambda raw: sum(ops.mean(ops.square(x)) for x in raw.values())
        )
        found.append((total, outputs, list(gradients.values())))
    (total, outputs, gradients), (total_again, outputs_again, gradients_again) = found
    assert total_again == pytest.approx(total, rel=output)
    for name, raw in outputs.items():
        np.testing.assert_allclose(outputs_again[name], raw, atol=output * np.abs(raw).max())
    largest = max(np.abs(gradient).max() for gradient in gradients)
    assert largest > 0.01
    for first, second in zip(gradients, gradients_again, strict=True):
        atol = gradient * np.abs(first).max() + (1e-6 if exact else 2**-7) * largest
        np.testing.assert_allclose(second, first, atol=atol)


def test_remat_computes_blocks_again(monkeypatch, images, training_step):
    """Twice in a training step of PyTorch; JAX and TensorFlow trace what they will compute."""
    computed = []
    compute = PromptedEncoderBlock._compute

    def counted(self, *inputs, **how):
        computed.append(self.name)
        return compute(self, *inputs, **how)

    model = tiny(remat=True)
    monkeypatch.setattr(PromptedEncoderBlock, "_compute", counted)
    model(images)
    assert len(computed) == DEPTH  # at inference there is nothing to keep
    if keras.backend.backend() == "jax":
        return  # JAX repeats the traced block
    computed.clear()
    training_step(model, images, lambda raw: sum(ops.mean(x) for x in raw.values()))
    assert len(computed) == 2 * DEPTH
