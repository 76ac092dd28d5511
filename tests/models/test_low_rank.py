"""Low-rank updates and adapters: a frozen backbone at first, few trained weights, and files."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl import rooms
from keras_mtl.backbones.trunk import trunk_of
from keras_mtl.layers import PromptedEncoderBlock
from keras_mtl.models import low_rank
from tests import small

SIZE = (16, 24)
TASKS = keras_mtl.tasks.nyud("semseg", "depth")


def task_prompter(**arguments):
    how = {"channel_windows": (1, 1), "prompting_levels": 1, "decode_dim": 4, **arguments}
    return keras_mtl.TaskPrompter(small.dinov3(SIZE, use_gated_mlp=False), TASKS, **how)


def baseline():
    return keras_mtl.MultiTaskBaseline(small.dinov2(SIZE), TASKS, head_width=4)


def predicted(model, images):
    return {name: ops.convert_to_numpy(x) for name, x in model(images, training=False).items()}


def assert_same(found, expected, atol=1e-5):
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=atol)


@pytest.fixture(scope="module")
def scenes():
    return rooms.arrays(TASKS, 2, SIZE, seed=2)


def train(model, scenes):
    eager = keras.backend.backend() == "tensorflow"  # tracing takes longer than the step
    model.compile(keras.optimizers.Adam(0.05), metrics=None, run_eagerly=eager)
    model.train_on_batch(*scenes)
    model.train_on_batch(*scenes)


@pytest.mark.parametrize("build", [task_prompter, baseline])
def test_updates_of_low_rank(build, scenes, tmp_path):
    model = build()
    images = scenes[0]
    backbone = list(model.backbone_variables)
    before, count = predicted(model, images), model.count_params()
    model.enable_lora(rank=1, alpha=2)
    assert_same(predicted(model, images), before, atol=0)
    assert not {id(w) for w in backbone} & {id(w) for w in model.trainable_weights}
    maps = low_rank.updated_maps(model)
    assert len(maps) == 2 * (4 + 2)  # of two blocks
    assert model.trained_parameters < count < model.count_params()
    kept = [ops.convert_to_numpy(w) + 0 for w in backbone]

    train(model, scenes)
    for weight, values in zip(backbone, kept, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(weight), values)
    for layer in maps:
        assert np.abs(ops.convert_to_numpy(layer.lora_kernel_b)).max() > 1e-3, layer.path
    moments = [v for v in model.optimizer.variables if len(v.shape)]
    assert sum(np.prod(v.shape) for v in moments) <= 2 * model.trained_parameters + 8

    expected = predicted(model, images)
    assert np.abs(expected["depth"] - before["depth"]).max() > 1e-3
    merged = model.merged()
    assert merged is not model and merged.count_params() == count and merged.merged() is merged
    assert_same(predicted(merged, images), expected)
    model.save(tmp_path / "model.keras")
    loaded = keras_mtl.load_model(tmp_path / "model.keras", compile=True)
    assert not loaded.compiled and loaded.frozen_weights == merged.frozen_weights
    assert loaded.frozen_weights and not low_rank.updated_maps(loaded)
    assert_same(predicted(loaded, images), expected)
    model.load_weights(tmp_path / "model.keras")
    assert_same(predicted(model, images), expected)
    assert all(np.abs(ops.convert_to_numpy(x.lora_kernel_a)).max() > 0 for x in maps)
    loaded.enable_lora(rank=1)  # and on from there
    assert_same(predicted(loaded, images), expected)


def test_adapters(scenes, tmp_path):
    model, images = task_prompter(adapter_width=2), scenes[0]
    plain = task_prompter()
    inside = {
        id(w) for x in model.layers for a in [getattr(x, "adapter", None)] if a for w in a.weights
    }
    assert len(inside) == 2 * 4
    others = [w for w in model.weights if id(w) not in inside]
    for new, old in zip(plain.weights, others, strict=True):
        new.assign(old)
    before = predicted(model, images)
    assert_same(predicted(plain, images), before, atol=0)
    model.freeze_backbone()
    assert inside < {id(w) for w in model.trainable_weights}
    train(model, scenes)
    after = predicted(model, images)
    (first, *_) = [x.adapter for x in model.layers if getattr(x, "adapter", None)]
    assert np.abs(ops.convert_to_numpy(first.layers[-1].kernel)).max() > 0
    model.save(tmp_path / "model.keras")
    assert_same(predicted(keras_mtl.load_model(tmp_path / "model.keras"), images), after)


@pytest.mark.once("torch", "the gradient is PyTorch's; every backend has the formula")
def test_a_perceptrons_updates_get_its_gradient():
    """The block keeps less of the perceptron in training, and has the same gradient."""
    backbone = small.vit(SIZE, num_heads=2)
    trunk = trunk_of(backbone)
    layer = PromptedEncoderBlock(trunk.blocks[0], trunk.grid)
    rng = np.random.default_rng(0)
    inputs = [
        ops.convert_to_tensor(rng.normal(size=s).astype("float32")) for s in ((1, 2, 8), (1, 6, 8))
    ]
    layer(*inputs)
    low_rank.add_updates([layer], 2, 3.0)
    for weight in layer.weights:
        weight.assign(rng.normal(0, 0.5, weight.shape))
    factors = [
        each for x in low_rank.updated_maps(layer) for each in (x.lora_kernel_a, x.lora_kernel_b)
    ]
    assert len(factors) == 2 * 6
    found = []
    for training in (False, True):
        layer.zero_grad()
        out = layer(*inputs, training=training)
        ops.sum(out["patches"] ** 2).backward()
        found.append([ops.convert_to_numpy(each.value.grad) for each in factors])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.once("torch", "messages know no backend")
def test_what_has_no_updates():
    convolutional = keras_mtl.MultiTaskBaseline(small.resnet(SIZE), TASKS, head_width=4)
    with pytest.raises(ValueError, match="no linear maps, which low-rank updates are of; use"):
        convolutional.enable_lora(rank=2)
    model = baseline()
    for wrong in (0, 1.5):
        with pytest.raises(ValueError, match="rank"):
            model.enable_lora(rank=wrong)
    model.enable_lora(rank=1)
    with pytest.raises(ValueError, match="has low-rank updates already; call merged"):
        model.enable_lora(rank=1)


@pytest.mark.once("torch", "weights are listed alike on every backend")
@pytest.mark.parametrize("freeze", ["freeze_backbone", "enable_lora"])
def test_a_rules_weights_are_not_the_networks(freeze, scenes, tmp_path):
    """A file says which weights are frozen by their numbers, and a loaded model has no rule."""
    model = baseline()
    getattr(model, freeze)(1)
    model.compile(balancing=keras_mtl.balancing.PCGrad(), metrics=None)
    model.train_on_batch(*scenes)
    assert model.balancing.weights
    model.save(tmp_path / "model.keras")
    loaded = keras_mtl.load_model(tmp_path / "model.keras")
    assert loaded.frozen_weights == model.frozen_weights != []
    expected = predicted(model, scenes[0])
    assert_same(predicted(loaded, scenes[0]), expected)
    assert_same(predicted(model.merged(), scenes[0]), expected)
    model.load_weights(tmp_path / "model.keras")
    assert_same(predicted(model, scenes[0]), expected)


@pytest.mark.once("torch", "a checkpoint stores all variables, whatever they are")
def test_a_run_goes_on_with_its_updates(scenes, tmp_path):
    how = {"batch_size": 2, "shuffle": False, "verbose": 0}

    def run(folder, epochs):
        keras.utils.set_random_seed(0)
        model = baseline()
        model.enable_lora(rank=1)
        model.compile(keras.optimizers.Adam(0.05), metrics=None)
        checkpoint = keras_mtl.resume.Checkpoint(tmp_path / folder)
        epoch = checkpoint.restore(model)
        model.fit(*scenes, epochs=epochs, initial_epoch=epoch, callbacks=[checkpoint], **how)
        return epoch, model.get_weights()

    _, whole = run("whole", 2)
    run("parts", 1)
    epoch, parts = run("parts", 2)
    assert epoch == 1
    for one, other in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.once("tensorflow", "it writes the file on every backend")
def test_an_exported_model_has_its_updates_merged(scenes, tmp_path):
    model = baseline()
    model.enable_lora(rank=1)
    train(model, scenes)
    keras_mtl.export.export_model(model, tmp_path / "saved", verbose=False)  # which compares maps
    import tensorflow as tf

    saved = tf.saved_model.load(str(tmp_path / "saved"))
    found = saved.serve(scenes[0].astype("float32"))
    expected = predicted(model, scenes[0])
    assert_same({name: np.array(x) for name, x in found.items()}, expected, atol=1e-4)
