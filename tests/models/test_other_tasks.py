"""A trained network is moved to other tasks, with the weights that fit."""

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.models import with_tasks
from keras_mtl.tasks import nyud, pascal_context
from tests import small

SIZE = (16, 24)


def arrays(variables):
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def assert_same(found, wanted):
    for ours, theirs in zip(arrays(found), arrays(wanted), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_baseline_from_a_folder(tmp_path):
    model = keras_mtl.MultiTaskBaseline(small.vit(SIZE), nyud("depth", "semseg"), head_width=4)
    model.set_weights([np.random.default_rng(0).uniform(size=w.shape) for w in model.weights])
    model.freeze_backbone()
    model.save_to_preset(tmp_path / "trained")
    tasks = [*nyud("depth"), *pascal_context("sal"), keras_mtl.tasks.SemanticSegmentation("rooms")]
    moved = keras_mtl.MultiTaskModel.from_preset(tmp_path / "trained", tasks=tasks)
    assert [task.name for task in moved.tasks] == ["depth", "sal", "rooms"]
    assert_same(moved.backbone_variables, model.backbone_variables)
    assert_same(moved.task_variables("depth"), model.task_variables("depth"))
    assert not any(layer.trainable for layer in moved.backbone_layers)
    images = np.full((1, *SIZE, 3), 127.0, "float32")
    wanted = model.predict_on_batch(images)["depth"]
    found = moved.predict_on_batch(images)
    np.testing.assert_allclose(found["depth"], wanted, rtol=1e-5, atol=1e-6)
    assert found["sal"].shape == (1, *SIZE, 2)

    fewer = with_tasks(moved, nyud("depth"))
    np.testing.assert_allclose(
        fewer.predict_on_batch(images)["depth"], wanted, rtol=1e-5, atol=1e-6
    )
    with pytest.raises(ValueError, match="whose image_size cannot change"):
        keras_mtl.MultiTaskModel.from_preset(tmp_path / "trained", tasks=tasks, image_size=SIZE)


def test_a_task_prompter():
    """Its prompts are as many as its tasks, and start anew; the ViT around them does not."""
    how = {"prompting_levels": 1, "channel_windows": (1, 1), "decode_dim": 4}
    model = keras_mtl.TaskPrompter(small.vit(SIZE), nyud("depth"), **how)
    model.set_weights([np.random.default_rng(0).uniform(size=w.shape) for w in model.weights])
    moved = with_tasks(model, nyud("depth", "edge"))
    assert_same(moved.backbone_variables, model.backbone_variables)
    assert_same(moved.task_variables("depth"), model.get_layer("depth_head").weights)
    assert moved.count_params() > model.count_params()


@pytest.mark.parametrize("others", [("edge", "depth"), ("normals", "edge", "depth")])
def test_a_backbone_for_each_task(others):
    """A task that stays keeps its own; that of a task more starts anew."""
    model = keras_mtl.CrossStitch(small.vit(SIZE), nyud("depth", "edge"), "encoder", width=4)
    model.set_weights([np.random.default_rng(0).uniform(size=w.shape) for w in model.weights])
    tasks = [nyud(name)[0] for name in others]
    moved = with_tasks(model, tasks)
    assert [task.name for task in moved.tasks] == list(others)
    for name in ("depth", "edge"):
        for layer in ("backbone_stage_1", "head"):
            ours, theirs = (each.get_layer(f"{name}_{layer}") for each in (moved, model))
            assert_same(ours.weights, theirs.weights)
