"""ASTMT as a model that is trained task by task."""

import math

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl import rooms
from keras_mtl.backbones import SEResNet
from keras_mtl.tasks import nyud
from tests import small

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")

SIZE = (32, 48)


def build(tasks, **how):
    backbone = SEResNet((*SIZE, 3), (1, 1, 1, 1), (4, 4, 4, 4), stem=4)
    return keras_mtl.ASTMT(backbone, tasks, width=8, **how)


def values(variables):
    return {v.path: np.array(ops.convert_to_numpy(v)) for v in variables}


def test_an_update_touches_what_its_pass_used():
    """Weights and their momentum; a task without labels has no update, nor decay."""
    tasks = nyud("depth", "edge")
    model = build(tasks)
    images, labels = rooms.arrays(tasks, 2, SIZE)
    eager = keras.backend.backend() == "tensorflow"
    model.compile(
        keras.optimizers.SGD(1e-3, momentum=0.9, weight_decay=1e-2),
        metrics=None,
        run_eagerly=eager,
    )
    model.fit(images, labels, verbose=0)  # all have momentum
    assert model.optimizer.iterations == model.updates_a_step == 2
    none = np.stack([tasks[1].no_label(*SIZE)] * 2)
    before = values([*model.trainable_variables, *model.optimizer.variables])
    logs = model.fit(images, {**labels, "edge": none}, verbose=0).history
    assert logs["edge_loss"] == logs["edge/discriminator_loss"] == [0.0]
    after = values([*model.trainable_variables, *model.optimizer.variables])
    used = {v.path for v in model.pass_variables("depth")}
    own = {v.path for v in model.trainable_variables} - used
    assert own and any("edge_prediction" in path for path in own)
    for variable, momentum in zip(
        model.trainable_variables, model.optimizer.momentums, strict=True
    ):
        moved = [not np.array_equal(before[v.path], after[v.path]) for v in (variable, momentum)]
        if variable.path not in used:
            assert not any(moved), variable.path
        elif variable.path.endswith("kernel"):  # which decays, in any case
            assert moved[0], variable.path


def test_reversal_grows():
    tasks = nyud("edge")
    model = build(tasks)
    images, labels = rooms.arrays(tasks, 1, SIZE)
    model.compile(keras.optimizers.SGD(1e-3), metrics=None, run_eagerly=True)
    seen = []
    alpha = model.get_layer("discriminator").alpha
    see = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(float(ops.convert_to_numpy(alpha)))
    )
    model.fit(images, labels, epochs=2, callbacks=[see], verbose=0)
    expected = [2 / (1 + math.exp(-10 * done)) - 1 for done in (0.5, 1.0)]
    assert seen == pytest.approx(expected, rel=1e-5)


def test_without_a_discriminator():
    model = build(nyud("depth"), discriminator=None)
    assert not model.auxiliary and set(model.run_pass("depth", np.ones((1, *SIZE, 3)))) == {"depth"}


@pytest.mark.once("torch", "what is refused depends on no backend")
def test_refusals():
    tasks = nyud("depth", "edge")
    with pytest.raises(ValueError, match=r"found a ResNetBackbone .*se_resnet\('50', image_shape"):
        keras_mtl.ASTMT(small.resnet(SIZE), tasks)
    with pytest.raises(ValueError, match="all_pixels has normals; the tasks are depth, edge"):
        build(tasks, all_pixels=["normals"])
    with pytest.raises(ValueError, match="discriminator is 1, expected a number from 0 to below 1"):
        build(tasks, discriminator=1)
    with pytest.raises(ValueError, match="gradient_accumulation_steps is 2, and ASTMT updates"):
        build(tasks).compile(keras.optimizers.SGD(1e-3, gradient_accumulation_steps=2))
