"""Published checkpoints of TaskPrompter on Swin: the golden network, and what is refused."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl import presets
from keras_mtl.backbones.swin_transformer import SWIN_SIZES
from keras_mtl.models import published_checkpoints
from keras_mtl.tasks import (
    DepthEstimation,
    Detection3D,
    DisparityEstimation,
    SemanticSegmentation,
)
from tests.golden_files import AS_THEY_ARE

pytestmark = pytest.mark.once("torch", "what is read from files are NumPy arrays")

GOLDEN = Path(__file__).parents[1] / "golden" / "golden_taskprompter_swin_tiny.npz"
NAME = "taskprompter_swin_golden_nyud"


@pytest.fixture(scope="module")
def values():
    with np.load(GOLDEN) as found:
        return {k.removeprefix("pad/"): v for k, v in found.items() if k.startswith("pad/")}


@pytest.fixture(scope="module")
def state(values):
    """The network without its third task, whose head is not in the file."""
    found = {k.removeprefix("state/"): v for k, v in values.items() if k.startswith("state/")}
    found = {name: value for name, value in found.items() if ".3ddet." not in name}
    found["backbone.task_prompts"] = found["backbone.task_prompts"][:2]
    for stage in range(3):  # heads by tasks, mixed
        name, heads = f"backbone.layers.{stage}.downsample.spa_attn_ds", 2**stage
        kept = [3 * head + task for head in range(heads) for task in range(2)]
        found[f"{name}.weight"] = found[f"{name}.weight"][kept][:, kept]
        found[f"{name}.bias"] = found[f"{name}.bias"][kept]
    block = "backbone.layers.0.blocks.1"  # buffers that PyTorch keeps with the weights
    found[f"{block}.attn.relative_position_index"] = np.zeros((25, 25))
    found[f"{block}.attn_mask"] = np.zeros((20, 25, 25))
    found["backbone.fea_fuse.0.depth.2.num_batches_tracked"] = np.zeros(())
    return found


@pytest.fixture(scope="module", autouse=True)
def tiny_preset(values):
    """The golden network as a preset among the others."""
    config = json.loads(str(values["config/json"]))
    preset = {
        "model": "TaskPrompter",
        "backbone": "swin_golden",
        "image_size": tuple(config["img"]),
        "tasks": lambda: [SemanticSegmentation(channels=19), DepthEstimation()],
        "arguments": {
            "variant": "released",
            "decode_dim": config["level_dim"],
            "final_dim": config["final_dim"],
            "channel_dim": config["chan_dim"],
            "image_statistics": AS_THEY_ARE,
        },
    }
    size = {"embed_dim": config["embed"], "window_size": config["window"]}
    size |= {"depths": tuple(config["depths"]), "num_heads": tuple(config["heads"])}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SWIN_SIZES, "golden", size)
        patch.setitem(presets.BACKBONES, "swin_golden", ("swin_transformer", "golden"))
        patch.setitem(presets.PRESETS, NAME, preset)
        yield


def loaded(folder, state, **arguments):
    np.savez(folder / "checkpoint.npz", **{f"module.{k}": v for k, v in state.items()})
    return keras_mtl.TaskPrompter.from_published(
        folder / "checkpoint.npz", "nyud_swin_golden", **arguments
    )


def test_every_weight_finds_its_place(tmp_path, state, values):
    model = loaded(tmp_path, state)
    again = tmp_path / "model.keras"
    model.save(again)
    images = np.moveaxis(values["input"], 1, -1)
    found = model.predict_on_batch(images)
    patches = keras.Model(model.input, model.get_layer("stage_1_block_1").input[1])
    expected = values["inter/patch_embed"]
    difference = np.abs(patches.predict_on_batch(images) - expected).max()
    assert difference < 1e-4 * np.abs(expected).max()
    for task, value in keras_mtl.load_model(again).predict_on_batch(images).items():
        np.testing.assert_allclose(value, found[task], atol=1e-5)


def test_with_boxes_in_space(tmp_path, values):
    """The whole network, its tasks in another order; the third one's head is in another file."""
    with np.load(GOLDEN.parent / "golden_fcos3d.npz") as other:
        config = json.loads(str(other["head/config/json"]))
        head = {k: v for k, v in other.items() if k.startswith("head/state/")}
    state = {k.removeprefix("state/"): v for k, v in values.items() if k.startswith("state/")}
    state |= {k.replace("head/state/", "det_head.bbox."): v for k, v in head.items()}
    arguments = {"width": config["feat"], "class_branch": config["cls_branch"]}
    boxes = Detection3D(angles="published", groups=config["gn_groups"], **arguments)
    tasks = [boxes, SemanticSegmentation(channels=19), DisparityEstimation()]
    model = loaded(tmp_path, state, tasks=tasks)
    found = model.predict_on_batch(np.moveaxis(values["input"], 1, -1))
    levels = [np.moveaxis(values[f"out/3ddet_level{n}"], 1, -1) for n in range(4)]
    head = model.get_layer("detection3d_prediction")
    expected = head({8: levels[0], 16: levels[1], 32: levels[2:]})
    expected = keras.ops.convert_to_numpy(expected)
    assert np.abs(found["detection3d"] - expected).max() < 1e-4 * np.abs(expected).max()
    # The file's maps are half as large as the image.
    half = keras.layers.Resizing(64, 96, interpolation="bilinear")
    for name, published in (("semseg", "semseg"), ("disparity", "depth")):
        expected = half(np.moveaxis(values[f"out/{published}"], 1, -1))
        expected = keras.ops.convert_to_numpy(expected)
        assert np.abs(found[name] - expected).max() < 1e-4 * np.abs(expected).max()


def test_tasks_that_checkpoints_have_learned():
    semseg, disparity, boxes = published_checkpoints.published_tasks(
        published_checkpoints.preset_of("cityscapes3d_swin_base")
    )
    assert (semseg.channels, disparity.name, boxes.angles) == (19, "disparity", "published")


def without(state, part):
    return {name: array for name, array in state.items() if part not in name}


def of_other_patches(state):
    return {k: v[:, :300] if "layers.0" in k and "chan_kv.weight" in k else v
            for k, v in state.items()}  # fmt: skip


WRONG = {
    "a plain Swin": (
        lambda s: without(without(s, "task_prompts"), "fea_"),
        "holds no published TaskPrompter on a Swin Transformer: it has no backbone.task_prompts",
    ),
    "depth": (
        lambda s: without(s, "layers.2.blocks.1."),
        r"of \(2, 2, 1, 2\) blocks, the first 8 wide, but .* has \(2, 2, 2, 2\) blocks",
    ),
    "tasks": (
        lambda s: {k.replace(".depth.", ".3ddet."): v for k, v in s.items()},
        "predicts semseg, 3ddet with 2 prompts, but .* predicts semseg, depth",
    ),
    "image size": (of_other_patches, "images of 300 patches, but an image of 64x96 has 384"),
    "missing": (lambda s: without(s, "norm.bias"), r"it lacks backbone\.patch_embed\.norm\.bias"),
    "left over": (lambda s: {**s, "head.weight": np.ones(3)}, "head.weight that nobody takes"),
    "window": (
        lambda s: {
            k: v[:25] if "layers.0" in k and k.endswith("bias_table") else v for k, v in s.items()
        },
        r"bias_table \(25, 1\) does not fit the model's \(81, 1\)",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_another_network(tmp_path, state, wrong):
    change, sentence = WRONG[wrong]
    with pytest.raises(ValueError, match=sentence) as caught:
        loaded(tmp_path, change(state))
    text = str(caught.value)
    assert text.startswith(str(tmp_path / "checkpoint.npz")) and "\n" not in text


def test_another_image_size(tmp_path, state):
    with pytest.raises(ValueError, match="takes images of its training size only"):
        loaded(tmp_path, state, image_size=(64, 64))
