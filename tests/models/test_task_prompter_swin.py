"""TaskPrompter on a Swin Transformer: which weights fit which image, levels, wrong arguments.

The numbers are checked elsewhere: layer by layer in tests/layers/task_prompter, and the released
network against the published one in test_task_prompter_swin_golden.py.
"""

import re

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.tasks import DepthEstimation, SemanticSegmentation, Task
from tests import small

SIZE = (32, 48)


def tiny(image_size=SIZE, tasks=None, backbone=None, **arguments):
    tasks = [SemanticSegmentation(channels=3), DepthEstimation()] if tasks is None else tasks
    arguments = {"channel_dim": 4, "decode_dim": 4, **arguments}
    return keras_mtl.TaskPrompter(backbone or small.swin(image_size), tasks, **arguments)


class Levels(Task):
    """Whose raw output is what its head is given."""

    headline, higher_is_better, ignore, output = "none", True, 255, "levels"

    def head(self, name=None, **arguments):
        def pooled(features):
            flat = {
                f"stride {stride:g} {n}": x
                for stride, each in features.items()
                for n, x in enumerate(each if isinstance(each, list) else [each])
            }
            return flat

        return pooled

    def check_output(self, spec):
        assert isinstance(spec, dict)


@pytest.mark.once("torch", "shapes know no backend")
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("variant", ["paper", "released"])
def test_a_task_of_levels_gets_each_at_its_stride(variant, scale):
    tasks = [DepthEstimation(), Levels("boxes", channels=1)]
    model = tiny((64, 96), tasks, variant=variant, image_scale=scale, cross_task_reweighting=False)
    assert model.output["depth"].shape == (None, 64, 96, 1)
    strides = [(4, 0), (8, 0), (16, 0), (32, 0)] if variant == "paper" else [
        (8, 0), (16, 0), (32, 0), (32, 1)
    ]  # fmt: skip
    sizes = {f"stride {s / scale:g} {n}": (-(-64 * scale // s), -(-96 * scale // s))
             for s, n in strides}  # fmt: skip
    assert {key: x.shape[1:3] for key, x in model.output["boxes"].items()} == sizes


@pytest.mark.once("torch", "files know no backend")
def test_weights_of_the_paper_fit_any_image_and_those_released_one_size(tmp_path):
    models = {variant: tiny(variant=variant) for variant in ("paper", "released")}
    for variant, model in models.items():
        model.save_weights(tmp_path / f"{variant}.weights.h5")
    larger = tiny((48, 80), variant="paper")
    larger.load_weights(tmp_path / "paper.weights.h5")
    for a, b in zip(larger.weights, models["paper"].weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))
    with pytest.raises(ValueError, match="built .* for images of the same size"):
        tiny((48, 80), variant="released").load_weights(tmp_path / "released.weights.h5")


@pytest.mark.once("torch", "objects know no backend")
@pytest.mark.parametrize("variant", ["paper", "released"])
def test_the_backbone_comes_along(variant):
    backbone = small.swin(SIZE)
    model = tiny(backbone=backbone, variant=variant)
    assert {id(v) for v in model.backbone_variables} == {id(v) for v in backbone.backbone.weights}
    hub = small.swin(SIZE).backbone  # keras-hub's own, of the size that it was built for
    assert tiny(backbone=hub, variant=variant).image_size == hub.image_shape[:2]


@pytest.mark.once("torch", "a layer's attributes know no backend")
def test_stochastic_depth_rises_and_the_backbones_own_is_left_aside():
    model = tiny(backbone=small.swin(SIZE, drop_path=0.9), stochastic_depth=0.3)
    blocks = [layer for layer in model.layers if layer.name.startswith("stage_")]
    np.testing.assert_allclose([x.drop_path.rate for x in blocks], [0, 0.1, 0.2, 0.3])


@pytest.mark.once("torch", "data know no backend")
def test_recipe():
    """A.6: Adam at 2e-5 without weight decay, batches of 2."""
    model = tiny()
    optimizer = keras_mtl.training.recipe_optimizer(model)
    assert type(optimizer).__name__ == "Adam" and optimizer.weight_decay is None
    assert float(optimizer.learning_rate) == pytest.approx(2e-5)
    assert (model.recipe["batch_size"], keras_mtl.TaskPrompter.recipe["batch_size"]) == (2, 4)


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_what_is_computed_a_second_time_has_the_same_gradient(variant, training_step):
    images = np.random.default_rng(0).uniform(0, 255, (1, *SIZE, 3)).astype("float32")
    model = tiny(variant=variant, remat=True)

    def loss(outputs):
        return sum(ops.mean(ops.square(x)) for x in outputs.values())

    found = []
    for remat in (True, False):
        for layer in model.layers:
            if layer.name.startswith("stage_"):
                layer.remat, layer.stochastic_depth = remat, 0.0
        total, _, gradients = training_step(model, images, loss)
        found.append((total, [gradients[id(v)] for v in model.trainable_variables]))
    (again, gradients), (once, expected) = found
    assert again == pytest.approx(once, rel=1e-4)
    # Where terms cancel, what is left is rounding, of what the largest gradients are made of.
    largest = max(np.abs(b).max() for b in expected)
    for a, b in zip(gradients, expected, strict=True):
        assert np.abs(a - b).max() <= 1e-3 * np.abs(b).max() + 1e-6 * largest


@pytest.mark.once("torch", "pictures know no backend")
@pytest.mark.parametrize("variant", ["paper", "released"])
def test_affinities_of_every_level(variant):
    model = tiny(variant=variant)
    photograph = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), "uint8")
    strides = (4, 8, 16, 32) if variant == "paper" else (8, 16, 32, 32)
    for level, (stride, heads) in enumerate(zip(strides, (1, 2, 2, 2), strict=True)):
        maps = keras_mtl.visualize.affinity_maps(model, photograph, level)
        for kind in ("spatial", "channel"):
            assert list(maps[kind]) == ["semseg", "depth"]
        rows, columns = -(-SIZE[0] // stride), -(-SIZE[1] // stride)
        assert maps["spatial"]["depth"].shape == (heads, rows, columns)
        assert maps["channel"]["depth"].shape == (1, stride)


WRONG = {
    "backbone's dropout": (
        lambda: {"backbone": small.swin(SIZE, dropout_rate=0.1)},
        "dropout_rate=0.1 and attention_dropout=0.0; TaskPrompter regularises by stochastic_depth",
    ),
    "ablation": (
        lambda: {"prompting_levels": 2},
        "prompting_levels is 2, which is an ablation of the paper on ViT",
    ),
    "released reweighting": (
        lambda: {"variant": "released", "cross_task_reweighting": True},
        "the released network on a Swin Transformer has none; turn it off",
    ),
    "channel dim": (lambda: {"channel_dim": 10}, "channel_dim=10 is no square whose side 1 x 1"),
    "windows": (
        lambda: {"channel_windows": (2, 2)},
        "2 x 2 channel windows do not divide the 2 x 3 patches at stride 16; use",
    ),
    "scale": (lambda: {"image_scale": 0}, "image_scale is 0, expected a positive number"),
    "scale on ViT": (
        lambda: {"backbone": small.vit(SIZE), "image_scale": 0.5, "channel_dim": None},
        "image_scale=0.5 are of a TaskPrompter on a Swin Transformer; on ViT leave them out",
    ),
}


@pytest.mark.once("torch", "arguments know no backend")
@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(name):
    arguments, message = WRONG[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        tiny(**arguments())


@pytest.mark.once("torch", "shapes know no backend")
def test_an_image_smaller_than_a_window():
    model = tiny((8, 12))
    assert keras.tree.map_structure(lambda x: x.shape[1:3], model.output)["depth"] == (8, 12)
