"""Several small batches for one update: `gradient_accumulation_steps` of Keras' optimizers."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl import rooms
from keras_mtl.layers import PredictionHead
from keras_mtl.tasks import nyud
from keras_mtl.training.checkpoint import Checkpoint
from keras_mtl.training.schedules import PolynomialDecay

SIZE = (16, 24)
TASKS = nyud("semseg", "depth", "normals", "edge")
IMAGES, PARTS = 4, 2  # images of the large batch, and the small ones that it is cut into


@keras.saving.register_keras_serializable(package="tests.gradient_accumulation")
class Tiny(keras_mtl.MultiTaskModel):
    """All four losses on one small map. Its normalization is over channels, not over a batch."""

    def __init__(self, **kwargs):
        image = keras.Input((*SIZE, 3))
        x = keras.layers.Conv2D(4, 3, strides=4, padding="same")(image / 255)
        x = keras_mtl.layers.ResidualMLP(4)(x)
        raw = {task.name: keras.layers.Conv2D(task.channels, 1)(x) for task in TASKS}
        super().__init__(image, raw, TASKS, **kwargs)
        self._config = {}


def tiny(optimizer):
    keras.utils.set_random_seed(0)
    model = Tiny()
    model.compile(optimizer, metrics=None)
    return model


@pytest.fixture(scope="module")
def scenes():
    """Every pixel has a label of every task."""
    images, labels = rooms.arrays(TASKS, IMAGES, SIZE)
    labels["depth"] = np.maximum(labels["depth"], 0.1)
    labels["semseg"] = labels["semseg"] % 40
    labels["edge"] = np.where(labels["edge"] == 1, 1, 0).astype("float32")
    labels["normals"] = np.where(labels["normals"].any(-1, keepdims=True), labels["normals"], 1)
    return images, labels


def partly(scenes):
    """Of the second half of the images, only a quarter of each is labelled with boundaries."""
    images, labels = scenes
    edge = labels["edge"].copy()
    edge[IMAGES // 2 :, :, SIZE[1] // 4 :] = 255
    return images, {**labels, "edge": edge}


def fit(model, scenes, batch_size, epochs=1, **how):
    return model.fit(*scenes, batch_size=batch_size, epochs=epochs, shuffle=False, verbose=0, **how)


def weights_of(model):
    return np.concatenate([np.ravel(each) for each in model.get_weights()])


def optimizer_of(kind, accumulate=None, rate=0.01, clip=0.5):
    how = {"gradient_accumulation_steps": accumulate, "global_clipnorm": clip}
    return getattr(keras.optimizers, kind)(rate, weight_decay=1e-3, **how)


# === The same as one large batch ===


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_small_batches_give_the_weights_of_one_large_batch(kind, scenes):
    """Two updates, clipped, with weight decay: the gradients' mean is clipped, and that once."""
    small, large = tiny(optimizer_of(kind, PARTS)), tiny(optimizer_of(kind))
    start = weights_of(large)
    fit(small, scenes, IMAGES // PARTS, epochs=2)
    fit(large, scenes, IMAGES, epochs=2)
    moved = weights_of(large) - start
    assert np.linalg.norm(moved) > 1e-3
    # Adam divides by gradients' sizes; where one is all rounding, so is its step.
    error = np.linalg.norm(weights_of(small) - start - moved) / np.linalg.norm(moved)
    assert error < 1e-3
    assert int(small.optimizer.iterations) == int(large.optimizer.iterations) == 2  # updates


def test_clipping_took_part(scenes):
    """Otherwise the test above would say nothing about it."""
    start = weights_of(tiny(optimizer_of("SGD")))
    moved = []
    for clip in (0.5, None):
        model = tiny(optimizer_of("SGD", PARTS, clip=clip))
        fit(model, scenes, IMAGES // PARTS)
        moved.append(np.linalg.norm(weights_of(model) - start))
    assert moved[1] > 2 * moved[0]


def test_each_small_batch_counts_the_same_however_much_of_it_is_labelled(scenes):
    """Not each pixel: there the mean over small batches is not that over the large one."""
    scenes = partly(scenes)
    plain = {"kind": "SGD", "clip": None}
    start = weights_of(tiny(optimizer_of(**plain)))
    halves = [
        keras.tree.map_structure(lambda x, k=k: np.split(x, PARTS)[k], scenes) for k in (0, 1)
    ]
    steps = []
    for half in halves:
        model = tiny(optimizer_of(**plain))
        fit(model, half, IMAGES // PARTS)
        steps.append(weights_of(model) - start)
    together = tiny(optimizer_of(**plain, accumulate=PARTS))
    fit(together, scenes, IMAGES // PARTS)
    np.testing.assert_allclose(
        weights_of(together) - start, np.mean(steps, axis=0), atol=1e-4 * np.abs(steps).max()
    )
    large = tiny(optimizer_of(**plain))
    fit(large, scenes, IMAGES)
    difference = np.linalg.norm(weights_of(large) - weights_of(together))
    assert difference > 0.01 * np.linalg.norm(steps)  # a hundred times the tolerance above


def test_batch_normalization_sees_the_small_batches():
    """In a head, as in every model here: the large batch's statistics are not theirs."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4, 3, 3, 2)) + np.arange(4).reshape(-1, 1, 1, 1)
    means = []
    for batch_size, accumulate in ((2, 2), (4, None)):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((3, 3, 2))
        head = PredictionHead(1)
        model = keras.Model(inputs, head(inputs))
        model.compile(optimizer_of("SGD", accumulate), "mse")
        model.fit(features, np.zeros((4, 3, 3, 1)), batch_size=batch_size, shuffle=False, verbose=0)
        means.append(ops.convert_to_numpy(head.body.layers[2].moving_mean))
    assert np.abs(means[0] - means[1]).max() > 0.01


# === With what surrounds it ===


def test_a_schedule_counts_the_small_batches(scenes):
    """So over a run of as many images the rate falls to 0 in either case."""
    model = tiny(optimizer_of("SGD", PARTS, rate=PolynomialDecay(0.01, steps=6, power=1.0)))
    start, rates, moved = weights_of(model), [], []
    for _ in range(4):
        for half in (slice(0, 2), slice(2, 4)):
            rates.append(float(ops.convert_to_numpy(model.optimizer.learning_rate)))
            model.train_on_batch(*keras.tree.map_structure(lambda x, half=half: x[half], scenes))
        moved.append(np.linalg.norm(weights_of(model) - start))
        start = weights_of(model)
    expected = 0.01 * np.array([1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0, 0])
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    # Clipped to 0.5, each update is as long as its rate tells: that of the batch that completes it.
    np.testing.assert_allclose(moved, 0.5 * np.array([*rates[1:6:2], 0]), rtol=0.01, atol=1e-9)


def test_an_interrupted_run_goes_on_amid_an_accumulation(scenes, tmp_path):
    """An epoch is 3 steps and an update 2: the checkpoint holds half an update."""
    images, labels = keras.tree.map_structure(lambda x: x[:3], scenes)

    def run(folder, epochs):
        model = tiny(optimizer_of("Adam", 2))
        checkpoint = Checkpoint(tmp_path / folder)
        how = {"initial_epoch": checkpoint.restore(model), "callbacks": [checkpoint]}
        fit(model, (images, labels), batch_size=1, epochs=epochs, **how)
        return model

    run("interrupted", 1)
    found, expected = run("interrupted", 2), run("whole", 2)
    for a, b in zip(found.optimizer.variables, expected.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))
    np.testing.assert_array_equal(weights_of(found), weights_of(expected))


def test_with_a_scaled_loss(scenes):
    """A batch whose gradients overflow is left out, and the next one takes its place."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = tiny(optimizer_of("SGD", 2, clip=None))
        model.optimizer.build(model.trainable_variables)
        start = weights_of(model)
        half = keras.tree.map_structure(lambda x: x[:2], scenes)
        for scale, updates in ((2.0**8, 0), (2.0**100, 0), (2.0**8, 1)):
            model.optimizer.dynamic_scale.assign(scale)
            model.train_on_batch(*half)
            assert (np.linalg.norm(weights_of(model) - start) > 0) == bool(updates)
        assert int(model.optimizer.iterations) == 1  # updates
        found = weights_of(model) - start
        keras.config.set_dtype_policy("float32")
        whole = tiny(optimizer_of("SGD", clip=None))
        whole.train_on_batch(*half)
        expected = weights_of(whole) - start
        # Half of it if the batch that overflowed counted; float16 is off by less than 2 %.
        assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)
    finally:
        keras.config.set_dtype_policy(before)
