"""The command that trains what comes with the package, on a network of one block."""

import numpy as np
import pytest

import keras_mtl
from keras_mtl.runs import run, shipped
from tests import small

pytestmark = pytest.mark.once("torch", "a run is the same on every backend: tests/test_examples.py")

TINY = shipped.Shipped(
    trunk="vit_tiny_rooms",
    arguments="--image-size 32 48 --scenes 4 --held-out 2 --steps 20 --epochs 2 --batch-size 2",
)


@pytest.fixture
def command(monkeypatch, tmp_path):
    monkeypatch.setitem(shipped.NETWORKS, "taskprompter_tiny_rooms", TINY)
    run_folder, into = str(tmp_path / "run"), str(tmp_path / "stored")
    return ["taskprompter_tiny_rooms", "--output", run_folder, "--into", into]


def test_what_is_trained(monkeypatch, command, tmp_path):
    given = []
    monkeypatch.setattr(run, "main", lambda tasks, *rest: given.extend([tasks, rest[-1]]))
    with pytest.raises(SystemExit, match="There is no file .*run/model.keras"):
        shipped.main([*command, "--steps", "7"])
    tasks, arguments = given
    assert [task.name for task in tasks] == "semseg depth normals edge human_parts sal".split()
    assert arguments == [*TINY.arguments.split(), *command[1:3], "--steps", "7"]


def task_prompter(tasks):
    backbone = small.vit((32, 48), patch_size=16)
    return keras_mtl.TaskPrompter(
        backbone, tasks, channel_windows=(1, 1), prompting_levels=1, decode_dim=4
    )


def baseline_on_hrnet(tasks):
    sizes = {"width": 2, "bottlenecks": 1, "modules": (1, 1, 1), "blocks": 1}
    return keras_mtl.MultiTaskBaseline(
        keras_mtl.backbones.hrnet("18_small", (32, 48, 3), **sizes), tasks, head_width=4
    )


@pytest.mark.parametrize("network", [task_prompter, baseline_on_hrnet])
def test_a_finished_run_is_stored(monkeypatch, command, tmp_path, network):
    monkeypatch.setattr(run, "main", None)
    out, stored = tmp_path / "run", tmp_path / "stored"
    out.mkdir()
    model = network(shipped.nyud_and_people())
    model.save(out / "model.keras")
    (out / "log.csv").write_text("epoch,val_loss\n0,2.5\n1,3.5\n")
    (out / "results.json").write_text("{}")
    shipped.main(command)

    whole = type(model).from_preset(stored / "taskprompter_tiny_rooms")
    for theirs, ours in zip(whole.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=2**-11, atol=2**-25)
    trunk = keras_mtl.backbones.from_preset(stored / "vit_tiny_rooms")
    for ours, trained in zip(trunk.weights, whole.backbone_variables, strict=True):
        assert ours.dtype == "float32" and (ours.numpy() == trained.numpy()).all(), ours.path
    larger = keras_mtl.backbones.from_preset(stored / "vit_tiny_rooms", (48, 64, 3))
    assert larger.image_shape == (48, 64, 3)
    for folder in stored.iterdir():
        card = (folder / "README.md").read_text()
        assert card.startswith(f"# {folder.name}\n") and "| normals" in card
        assert "20 images in 10 of 20 planned steps of 2" in card  # of the best epoch


def test_what_is_too_large_is_not_stored(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "LARGEST", 10)
    (tmp_path / "weights").write_text("more than that")
    with pytest.raises(ValueError, match="x takes 0.0 MB, expected 0 at most; train a smaller net"):
        shipped._write_card(tmp_path, {}, name="x")
