"""Training in float16 with a scaled loss, and what stays in float32.

What every model and layer gives in half precision is in test_contracts.py, attention in
layers/test_attention.py, and rematerialisation in models/test_task_prompter.py (float32).
"""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl import rooms
from keras_mtl.layers import ChannelTaskPromptLearning, SpatialTaskPromptLearning
from keras_mtl.tasks import nyud
from keras_mtl.training import Checkpoint, StopOnDivergence
from keras_mtl.training.balancing import DynamicWeightAverage, UncertaintyWeighting

SIZE = (16, 24)
TASKS = nyud("depth", "edge")
BEYOND_FLOAT16 = 2.0**100  # as a scale: the loss times it is a float32, its gradients no float16


@keras.saving.register_keras_serializable(package="tests.mixed_precision")
class Tiny(keras_mtl.MultiTaskModel):
    def __init__(self, **kwargs):
        image = keras.Input((*SIZE, 3))
        x = keras.layers.Conv2D(4, 3, padding="same")(image / 255)
        x = keras_mtl.layers.ResidualMLP(8)(x)
        raw = {task.name: keras.layers.Conv2D(task.channels, 1)(x) for task in TASKS}
        super().__init__(image, raw, TASKS, **kwargs)
        self._config = {}


@pytest.fixture
def policy():
    """Sets the dtype policy for the rest of a test."""
    before = keras.config.dtype_policy()
    keras.utils.set_random_seed(0)
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


@pytest.fixture
def float16(policy):
    policy("mixed_float16")


@pytest.fixture(scope="module")
def scenes():
    return rooms.arrays(TASKS, 2, SIZE)


def tiny(optimizer=None, scale=2.0**8, **arguments):
    model = Tiny()
    model.compile(optimizer or keras.optimizers.SGD(0.01, momentum=0.9), metrics=None, **arguments)
    model.optimizer.build(model.trainable_variables)
    model.optimizer.dynamic_scale.assign(scale)
    return model


def scale_of(model):
    return float(ops.convert_to_numpy(model.optimizer.dynamic_scale))


def state_of(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]


def loss_of_step(model, scenes):
    return float(np.ravel(model.train_on_batch(*scenes))[0])


# === Loss scaling ===


@pytest.mark.parametrize("name", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_float16_alone_scales_the_loss(policy, name):
    policy(name)
    model = Tiny()
    for optimizer in ("auto", keras.optimizers.SGD(0.01)):
        for loss_weights in ("auto", UncertaintyWeighting()):
            model.compile(optimizer, loss_weights=loss_weights)
            scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
            assert scaled == (name == "mixed_float16")


def test_a_step_that_overflows_is_skipped(float16, scenes):
    model = tiny(scale=BEYOND_FLOAT16)
    before = model.get_weights()
    loss = loss_of_step(model, scenes)
    assert np.isfinite(loss) and loss < 1000  # of the loss as it is, unscaled
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert scale_of(model) == BEYOND_FLOAT16 / 2
    assert int(model.optimizer.iterations) == 0  # nor does a schedule go on
    model.optimizer.dynamic_scale.assign(2.0**8)
    loss_of_step(model, scenes)
    assert int(model.optimizer.iterations) == 1 and scale_of(model) == 2.0**8
    moved = [not np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True)]
    assert np.mean(moved) > 0.7


def update_of_step(scenes, scale, clip):
    """What one step of plain gradient descent subtracts from the weights."""
    keras.utils.set_random_seed(0)
    model = tiny(keras.optimizers.SGD(1.0, global_clipnorm=clip), scale)
    before = model.get_weights()
    loss_of_step(model, scenes)
    pairs = zip(before, model.get_weights(), strict=True)
    return np.concatenate([(a - b).ravel() for a, b in pairs])


def test_clipping_is_of_unscaled_gradients(float16, scenes):
    free = update_of_step(scenes, scale=2.0**8, clip=None)
    norm = np.linalg.norm(free)
    assert norm > 1
    # The scaled gradients are far above this.
    np.testing.assert_allclose(update_of_step(scenes, 2.0**8, clip=2 * norm), free, rtol=1e-5)
    clipped = update_of_step(scenes, 2.0**8, clip=norm / 4)
    np.testing.assert_allclose(clipped, free / 4, rtol=1e-3, atol=1e-5 * norm)


def test_the_scale_changes_no_update(float16, scenes):
    small, large = (update_of_step(scenes, 2.0**power, clip=None) for power in (5, 9))
    # Powers of two round nothing, but what would be too small for float16.
    assert np.linalg.norm(large - small) < 2**-10 * np.linalg.norm(small)


def test_the_scale_grows_after_good_steps(float16, scenes):
    inner = keras.optimizers.SGD(1e-4)
    model = tiny(keras.optimizers.LossScaleOptimizer(inner, dynamic_growth_steps=2))
    scales = []
    for _ in range(4):
        loss_of_step(model, scenes)
        scales.append(scale_of(model))
    assert scales == [2.0**8, 2.0**9, 2.0**9, 2.0**10]


# === With what surrounds training ===


def test_saved_and_loaded(float16, scenes, tmp_path):
    model = tiny()
    for _ in range(2):
        loss_of_step(model, scenes)
    model.save(tmp_path / "model.keras")
    loaded = keras_mtl.load_model(tmp_path / "model.keras", compile=True)
    assert isinstance(loaded.optimizer, keras.optimizers.LossScaleOptimizer)
    assert isinstance(loaded.optimizer.inner_optimizer, keras.optimizers.SGD)
    assert scale_of(loaded) == 2.0**8
    assert int(ops.convert_to_numpy(loaded.optimizer.step_counter)) == 2
    for a, b in zip(state_of(loaded), state_of(model), strict=True):
        np.testing.assert_array_equal(a, b)
    loss_of_step(model, scenes), loss_of_step(loaded, scenes)
    for a, b in zip(state_of(loaded), state_of(model), strict=True):
        np.testing.assert_allclose(a, b, rtol=2**-10, atol=1e-6)


def test_a_run_goes_on_with_its_scale(float16, scenes, tmp_path):
    def run(folder, epochs):
        keras.utils.set_random_seed(0)
        model = tiny(scale=2.0**40)  # halved in one step after another
        checkpoint = Checkpoint(tmp_path / folder)
        epoch = checkpoint.restore(model)
        how = {"epochs": epochs, "initial_epoch": epoch, "shuffle": False, "verbose": 0}
        model.fit(*scenes, batch_size=1, callbacks=[StopOnDivergence(), checkpoint], **how)
        return model, epoch

    run("interrupted", 2)
    found, epoch = run("interrupted", 4)
    expected, _ = run("whole", 4)
    assert epoch == 2 and scale_of(expected) <= 2.0**34
    for a, b in zip(state_of(found), state_of(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_skipped_step_is_no_divergence(float16, scenes):
    model = tiny(scale=BEYOND_FLOAT16)
    before = model.get_weights()
    model.fit(*scenes, batch_size=1, epochs=2, verbose=0, callbacks=[StopOnDivergence()])
    assert scale_of(model) == BEYOND_FLOAT16 / 2**4  # every step was one
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("balancing", [UncertaintyWeighting, DynamicWeightAverage])
def test_with_balanced_losses(float16, scenes, balancing):
    model = tiny(loss_weights=balancing())
    history = model.fit(*scenes, epochs=3, batch_size=2, verbose=0).history
    assert np.isfinite(history["loss"]).all() and history["loss"][-1] < history["loss"][0]
    assert int(model.optimizer.iterations) == 3
    weights, start = model.balancing.weights_by_task(), {t.name: t.loss_weight for t in TASKS}
    assert all(np.isfinite(weights[name]) and weights[name] != start[name] for name in start)
    assert {v.dtype for v in model.balancing.variables} == {"float32"}


# === Softmax in float32 ===


def test_softmax_over_channels(policy, monkeypatch):
    policy("mixed_bfloat16")
    dtypes, softmax = [], ops.softmax

    def seen(x, axis=-1):
        dtypes.append(keras.backend.standardize_dtype(x.dtype))
        return softmax(x, axis=axis)

    monkeypatch.setattr(ops, "softmax", seen)
    layer = ChannelTaskPromptLearning((2, 3), (2, 3))
    layer(np.ones((1, 3, 16), "float32"), np.ones((1, 6, 16), "float32"))
    assert dtypes == ["float32"]


def test_softmax_over_thousands_of_patches(policy):
    """Weights of 5000 equal keys add up to 1; added up in bfloat16, ones would stay at 256."""
    policy("mixed_bfloat16")
    layer = SpatialTaskPromptLearning(keras.layers.MultiHeadAttention(num_heads=2, key_dim=2))
    prompts, patches = np.ones((1, 2, 4), "float32"), np.ones((1, 4998, 4), "float32")
    layer(prompts, patches)
    identity = np.eye(4, dtype="float32")
    for weight in layer.weights:
        weight.assign(
            np.zeros(weight.shape)
            if weight.path.endswith("bias")
            else np.reshape(identity, weight.shape)
        )
    found = ops.convert_to_numpy(ops.cast(layer(prompts, patches)["prompts"], "float32"))
    np.testing.assert_allclose(found, 1, atol=2**-7)


# === The training script ===


def test_the_script_refuses_what_cannot_run(tmp_path):
    if keras.backend.backend() != "jax":
        pytest.skip("only JAX on a CPU lacks float16")
    import jax

    if jax.default_backend() != "cpu":
        pytest.skip("JAX has float16 on a GPU")
    script = Path(__file__).parents[2] / "examples" / "train_nyud.py"
    done = subprocess.run(
        [sys.executable, str(script), "--mixed-precision", "float16", "--output", tmp_path / "run"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(script.parents[1])},
    )
    assert done.returncode == 1 and not (tmp_path / "run").exists()
    assert done.stderr.strip().splitlines()[-1] == (
        "train_nyud.py: JAX cannot compile attention in float16 for a CPU; pass --mixed-precision "
        "bfloat16, or set KERAS_BACKEND to tensorflow or torch."
    )
