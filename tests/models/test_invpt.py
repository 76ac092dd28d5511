"""InvPT as a model: sizes, backbones, forms."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.tasks import nyud, pascal_context
from tests import small

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")

TASKS = nyud("depth", "edge")
NARROW = {"width": 12, "prediction_width": 4}


def build(backbone, tasks=TASKS, **arguments):
    return keras_mtl.InvPT(backbone, tasks, **NARROW | arguments)


@pytest.fixture(scope="module")
def on_tokens():
    keras.utils.set_random_seed(0)
    return build(small.vit((32, 64), num_layers=4))


def test_images_do_not_know_of_each_other(on_tokens):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 32, 64, 3))
    together = on_tokens.predict_on_batch(images)
    alone = on_tokens.predict_on_batch(images[1:2])
    for task in TASKS:
        np.testing.assert_allclose(alone[task.name][0], together[task.name][1], atol=1e-5)


@pytest.mark.once("torch", "sizes know no backend")
def test_sizes():
    refused = {
        (425, 560): "Images are 425x560, but .* multiples of 64 pixels .* for 448x576, the nearest",
        (64, 20): ".* 64x20, .* for 64x64, the nearest",
    }
    for size, words in refused.items():
        with pytest.raises(ValueError, match=words):
            build(small.resnet(size, stages=4))
    with pytest.raises(ValueError, match="multiples of 32 pixels on this backbone; .* for 32x64"):
        build(small.vit((32, 56)))
    with pytest.raises(ValueError, match=r"prediction_width is 15, .* 2 heads; .* multiple of 8\."):
        build(small.vit((32, 32)), prediction_width=3)
    with pytest.raises(ValueError, match="gives features at strides 4, 8, but the model needs 8, "):
        build(small.resnet((64, 64)))


@pytest.mark.once("torch", "the forms are the same on every backend")
def test_which_maps_a_stage_takes_up(on_tokens):
    """Of a Vision Transformer those after a half and a quarter, of few blocks and others the last;
    the third one, of the finer strides."""
    skips = [on_tokens.get_layer(f"stage_{n}_skip").input for n in (1, 2)]
    stages = [each.output for each in on_tokens.layers if "_stage_" in each.name]
    assert len(stages) == 4
    sources = [stages[1], stages[0]]
    for skip, source in zip(skips, sources, strict=True):
        assert skip is keras.tree.flatten(source)[0]
    pyramid = build(small.resnet((64, 64), stages=4))
    sizes = [pyramid.get_layer(f"stage_{n}_skip").input.shape[1:3] for n in (1, 2)]
    assert sizes == [(4, 4), (8, 8)]


@pytest.mark.once("torch", "the forms are the same on every backend")
def test_weights_that_nothing_reads():
    plain, released = (build(small.vit((32, 32)), unused_weights=each) for each in (False, True))
    assert released.count_params() - plain.count_params() == (
        3 * 3 * 8 * 16 + 16 + (4 + 1) * 2 + 2 * (16 + 1) * 16 + 2 * (2 * 4)
    )
    ours = [layer for layer in released.layers if layer.name != "unused_weights"]
    for layer, own in zip(ours, plain.layers, strict=True):
        layer.set_weights(own.get_weights())
    images = np.full((1, 32, 32, 3), 90.0)
    found, expected = (each(images, training=False) for each in (released, plain))
    for task in TASKS:
        np.testing.assert_array_equal(
            *(ops.convert_to_numpy(x[task.name]) for x in (found, expected))
        )


@pytest.mark.once("torch", "the log knows no backend")
def test_initial_predictions_weigh_as_much_as_the_final_ones():
    tasks = pascal_context("sal", "normals")
    model = build(small.vit((32, 32)), tasks)
    assert set(model.output) == {"sal", "normals"}
    model.compile(keras.optimizers.SGD(0.0), metrics=None)
    images, labels = keras_mtl.rooms.arrays(tasks, 2, (32, 32), seed=2)
    logs = model.fit(images, labels, batch_size=2, verbose=0).history
    losses = ("sal_loss", "sal/initial_loss", "normals_loss", "normals/initial_loss")
    assert set(logs) == {"loss", *losses}
    weights = (5, 5, 10, 10)
    total = sum(w * logs[name][0] for w, name in zip(weights, losses, strict=True))
    assert logs["loss"] == [pytest.approx(total, rel=1e-5)]
