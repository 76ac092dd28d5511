"""Networks whose tasks exchange features: where, on which backbones, and what they start from."""

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.backbones import copy_backbone, hrnet, vision_transformer
from keras_mtl.tasks import nyud
from tests import small

pytestmark = [
    pytest.mark.usefixtures("drawn_by_numpy"),
    pytest.mark.once("torch", "where layers lie; the layers are tested by themselves"),
]

SIZE = (32, 48)
TASKS = nyud("depth", "edge")


def tiny_hrnet():
    return hrnet("18_small", (*SIZE, 3), width=4, bottlenecks=1, modules=(1, 1, 1), blocks=1)


def places(model, kind):
    layers = [layer for layer in model.layers if type(layer).__name__ == kind]
    return {layer.name: keras.tree.flatten(layer.output)[0].shape[1:] for layer in layers}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda: small.resnet(SIZE),
            {"stage_1": (8, 12, 64), "stage_2": (4, 6, 8)},
        ),
        (
            lambda: small.vit(SIZE, num_layers=2),
            {"stage_1": (4, 6, 8), "stage_2": (4, 6, 8)},
        ),
        (
            tiny_hrnet,
            {
                "stage_1": (8, 12, 256),
                "stage_2_stride_4": (8, 12, 4),
                "stage_2_stride_8": (4, 6, 8),
                "stage_3_stride_4": (8, 12, 4),
                "stage_3_stride_8": (4, 6, 8),
                "stage_3_stride_16": (2, 3, 16),
                "stage_4_stride_4": (8, 12, 4),
                "stage_4_stride_8": (4, 6, 8),
                "stage_4_stride_16": (2, 3, 16),
                "stage_4_stride_32": (1, 2, 32),
            },
        ),
    ],
    ids=["ResNet", "ViT", "HRNet"],
)
def test_a_backbone_for_each_task_and_an_exchange_after_each_stage(make, expected):
    backbone = make()
    model = keras_mtl.CrossStitch(backbone, TASKS, level="encoder", width=4)
    assert places(model, "CrossStitchUnit") == {f"cross_stitch_{k}": v for k, v in expected.items()}
    assert len(model.backbone_variables) == len(TASKS) * len(backbone.weights)
    head = {v.path for v in model.weights if v.path.startswith("depth_head")}
    own = {v.path for v in model.task_variables("depth")}
    assert head <= own and {path.split("/")[1] for path in own - head} <= {"ln"}  # a ViT's last
    assert all(output.shape[1:3] == SIZE for output in model.output.values())


def test_one_backbone_and_an_exchange_behind_it():
    model = keras_mtl.CrossStitch(small.resnet(SIZE), TASKS)
    assert places(model, "CrossStitchUnit") == {"cross_stitch_decoder": (8, 12, 18)}  # 72 / 4
    one = keras_mtl.NDDRCNN(small.vit(SIZE), TASKS[:1], width=5)
    assert places(one, "NDDR") == {"nddr_decoder": (4, 6, 5)}


def test_stages_without_a_layer():
    model = keras_mtl.NDDRCNN(small.vit(SIZE, num_layers=2), TASKS, "encoder", stages=[2])
    assert list(places(model, "NDDR")) == ["nddr_stage_2"]
    assert model.get_config()["stages"] == [2]


def singles(**arguments):
    backbone = small.vit(SIZE)
    return [keras_mtl.MultiTaskBaseline(copy_backbone(backbone), [t], **arguments) for t in TASKS]


def test_start_from_single_task_models():
    """Where a task keeps all of its own features, it then predicts what its model does."""
    known = singles(head_width=4)
    known[1].set_weights([0.5 * weight for weight in known[1].get_weights()])
    model = keras_mtl.CrossStitch(small.vit(SIZE), TASKS, "encoder", width=4, alpha=1, beta=0)
    model.start_from(known)
    images = np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 3)).astype("float32")
    found = model.predict_on_batch(images)
    for task, single in zip(TASKS, known, strict=True):
        expected = single.predict_on_batch(images)[task.name]
        np.testing.assert_allclose(found[task.name], expected, atol=1e-5)


def test_what_is_no_start():
    model = keras_mtl.CrossStitch(small.vit(SIZE), TASKS, "encoder", width=4)
    before = model.get_weights()
    with pytest.raises(ValueError, match="singles are of depth; expected a model of one task for"):
        model.start_from(singles(head_width=4)[:1])
    with pytest.raises(ValueError, match="of 'depth' has another backbone or head than this model"):
        model.start_from(singles(head_width=5))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    with pytest.raises(ValueError, match="one backbone for all tasks, .* with level='encoder'"):
        keras_mtl.CrossStitch(small.vit(SIZE), TASKS).start_from(singles())


@pytest.mark.parametrize(
    ("architecture", "arguments", "message"),
    [
        ("CrossStitch", {"level": "both"}, "level is 'both', expected one of 'decoder', 'encoder'"),
        ("CrossStitch", {"width": 0}, "width is 0, expected an integer >= 1"),
        ("CrossStitch", {"alpha": "much"}, "alpha is 'much', expected a number"),
        ("NDDRCNN", {"beta": -1}, "beta is -1, expected a number"),
        ("NDDRCNN", {"stages": [1]}, "stages is .*, but only level='encoder' has layers there"),
        ("NDDRCNN", {"stages": [2], "level": "encoder"}, "but this backbone has 1 stages"),
        ("MTAN", {"head_width": 0}, "head_width is 0, expected an integer >= 1"),
    ],
)
def test_arguments_that_do_not_fit(architecture, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(keras_mtl, architecture)(small.vit(SIZE), TASKS, **arguments)


@pytest.mark.parametrize(
    ("architecture", "arguments"), [("CrossStitch", {"level": "encoder"}), ("MTAN", {})]
)
def test_a_backbone_that_runs_only_as_a_whole(architecture, arguments):
    sizes = {"num_layers": 1, "num_heads": 1, "hidden_dim": 8, "mlp_dim": 8}
    vit = vision_transformer("nano", (*SIZE, 3), 16, use_class_token=True, **sizes)
    with pytest.raises(ValueError, match="runs only as a whole; use"):
        getattr(keras_mtl, architecture)(vit, TASKS, **arguments)


# === MTAN ===


def test_masks_between_stages():
    """Of the coarsest branch of each stage; what is passed on is pooled to the next one's size."""
    backbone = hrnet("18_small", (*SIZE, 3), width=4, bottlenecks=2, modules=(1, 1, 1), blocks=1)
    model = keras_mtl.MTAN(backbone, TASKS, head_width=4)
    shapes = [(8, 12, 256), (4, 6, 8), (2, 3, 16), (1, 2, 32)]
    for number, shape in enumerate(shapes, start=1):
        mask = model.get_layer(f"edge_mask_{number}")
        assert mask.output.shape[1:] == shape
        if number > 1:  # beside what enters the last block, what comes from the stage before
            assert mask.input.shape[1:] == (*shape[:2], 2 * shape[2])
    assert len(model.backbone_variables) == len(backbone.weights)


def test_masks_of_a_plain_vision_transformer():
    model = keras_mtl.MTAN(small.vit(SIZE, num_layers=2), TASKS, head_width=4)
    assert [model.get_layer(f"depth_mask_{n}").output.shape[1:] for n in (1, 2)] == [(4, 6, 8)] * 2


def test_a_stage_of_one_block():
    with pytest.raises(ValueError, match="Stage 1 of this backbone has one block only"):
        keras_mtl.MTAN(tiny_hrnet(), TASKS)
