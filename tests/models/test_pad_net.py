"""PAD-Net and MTI-Net as models: auxiliary tasks, forms, backbones."""

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl import rooms
from keras_mtl.backbones import HRNet
from keras_mtl.tasks import nyud
from tests import small

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")

SIZE = (37, 50)
MAIN, OTHERS = nyud("depth", "normals"), nyud("edge")
BUILD = {
    "PADNet": lambda *tasks: keras_mtl.PADNet(small.resnet(SIZE), *tasks, width=8),
    "MTINet": lambda *tasks: keras_mtl.MTINet(hrnet(), *tasks),
}


def hrnet(width=8):
    return HRNet((*SIZE, 3), width=width, bottlenecks=1, modules=(1, 1, 1), blocks=1)


@pytest.fixture(scope="module")
def scenes():
    return rooms.arrays([*MAIN, *OTHERS], 2, SIZE)


@pytest.mark.parametrize("build", BUILD.values(), ids=list(BUILD))
def test_auxiliary_tasks(build, scenes, tmp_path):
    """Labels of theirs are taken in training and nowhere else, nor are they predicted."""
    model, (images, labels) = build(MAIN, OTHERS), scenes
    own = {task.name: labels[task.name] for task in MAIN}
    model.compile(keras.optimizers.SGD(1e-3), metrics=None, run_eagerly=True)
    logs = model.fit(images, labels, validation_data=(images, own), batch_size=2, verbose=0).history
    of_others = {f"{name}_loss" for name, each in model.auxiliary.items() if each.task == "edge"}
    assert {name for name in logs if name.startswith("edge")} == of_others
    weighed = sum(
        nyud(each.task)[0].loss_weight * logs[f"{name}_loss"][0]
        for name, each in model.auxiliary.items()
    )
    weighed += sum(task.loss_weight * logs[f"{task.name}_loss"][0] for task in MAIN)
    assert logs["loss"] == [pytest.approx(weighed, rel=1e-5)]
    scores = model.evaluate(images, own, verbose=0, return_dict=True)
    assert set(scores) == {"loss", "depth_loss", "normals_loss"}
    assert scores["loss"] == pytest.approx(logs["val_loss"][0], rel=1e-5)
    assert set(model.predict_on_batch(images)) == set(own)
    with pytest.raises(ValueError, match="There are no labels for edge among depth, normals"):
        model.fit(images, own, verbose=0)
    # Its last steps are its own; what they are made from goes to the other tasks, too.
    assert all("prediction" in variable.path for variable in model.task_variables("edge"))
    assert model.task_variables("edge")

    model.save(tmp_path / "model.keras")
    loaded = keras_mtl.load_model(tmp_path / "model.keras")
    assert [task.name for task in loaded.auxiliary_tasks] == ["edge"]
    found, expected = (each.predict_on_batch(images) for each in (loaded, model))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5 * np.abs(values).max())
    moved = keras_mtl.models.with_tasks(model, nyud("depth", "edge"))
    assert [task.name for task in moved.tasks] == ["depth", "edge"]
    assert not moved.auxiliary_tasks


def test_balancing_counts_an_auxiliary_task_too(scenes):
    model, (images, labels) = BUILD["PADNet"](MAIN, OTHERS), scenes
    rule = keras_mtl.balancing.DynamicWeightAverage()
    model.compile(keras.optimizers.SGD(0.0), loss_weights=rule, metrics=None, run_eagerly=True)
    model.fit(images, labels, batch_size=2, verbose=0)
    assert list(rule.weights_by_task()) == ["depth", "normals", "edge"]
    own = {task.name: labels[task.name] for task in MAIN}
    assert np.isfinite(model.evaluate(images, own, verbose=0, return_dict=True)["loss"])


@pytest.mark.once("torch", "what is built knows no backend")
def test_forms():
    light = keras_mtl.PADNet(small.resnet(SIZE), MAIN, gate="target", light=True, width=6)
    assert not light.auxiliary
    names = {layer.name for layer in light.layers}
    assert "depth_features" in names and "depth_initial_bottleneck_1" not in names
    assert light.recipe["learning_rate"] == keras_mtl.MTINet.recipe["weight_decay"] == 1e-4
    with pytest.raises(ValueError, match="light leaves the initial predictions out"):
        keras_mtl.PADNet(small.resnet(SIZE), MAIN, OTHERS, light=True)
    with pytest.raises(ValueError, match="use a multiple of 4, such as 8"):
        keras_mtl.PADNet(small.resnet(SIZE), MAIN, width=6)


@pytest.mark.once("torch", "what is built knows no backend")
def test_backbones():
    size = (32, 48)
    plain = small.vit(size, num_layers=5)
    model = keras_mtl.PADNet(plain, MAIN, width=8)
    # After each quarter of the blocks, and the last one behind the norm.
    projections = [layer for layer in model.layers if layer.name.startswith("projection_")]
    assert len(projections) == 4
    assert model.get_layer("stride_4").output.shape == (None, 8, 12, 8)
    with_token = small.vit(size, num_layers=2, use_class_token=True)
    model = keras_mtl.PADNet(with_token, MAIN, width=8)
    assert sum(layer.name.startswith("projection_") for layer in model.layers) == 1
    model = keras_mtl.MTINet(small.vit(size, hidden_dim=64, mlp_dim=8), MAIN)
    assert model.get_layer("propagation_stride_8").output[0].shape == (None, 4, 6, 32)
    with pytest.raises(ValueError, match="a scale has 8; use a wider backbone"):
        keras_mtl.MTINet(hrnet(width=4), MAIN)
    with pytest.raises(ValueError, match="at strides 4, 8, but the model needs 4, 8, 16, 32"):
        keras_mtl.MTINet(small.resnet(SIZE), MAIN)
