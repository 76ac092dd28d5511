"""MTAN against values measured on a published code base with a toy ResNet."""

import keras
import pytest

import keras_mtl
from tests.golden_files import AS_THEY_ARE, Golden, load, parts_of
from tests.models.test_cross_stitch_golden import head_parts
from tests.models.toy_backbones import ToyResNet

golden = pytest.fixture(lambda: Golden("mtan"), scope="module")


def toy_resnet(golden):
    stages = list(golden.meta["channels"])
    coarser = [0, *(stage in golden.meta["downsample_after"] for stage in stages[:-1])]
    names = golden.under("state/backbone.")
    return ToyResNet(
        golden.image_shape,
        stem=len(names["conv1.weight"]),
        planes=[width // 4 for width in golden.meta["channels"].values()],
        blocks=[
            len({name.split(".")[1] for name in names if name.startswith(f"{stage}.")})
            for stage in stages
        ],
        strides=[1 + int(each) for each in coarser],
        name="toy",
    )


def bottleneck_parts(prefix, block):
    found = {}
    for n, (kernel, norm) in enumerate(zip(block.kernels, block.norms, strict=True), start=1):
        found |= parts_of(f"{prefix}.conv{n}", kernel) | parts_of(f"{prefix}.bn{n}", norm)
    if block.projection is not None:
        found |= parts_of(f"{prefix}.downsample.0", block.projection)
        found |= parts_of(f"{prefix}.downsample.1", block.projection_norm)
    return found


@pytest.fixture(scope="module")
def network(golden):
    """The model with the file's weights, and these by their published names."""
    tasks = list(golden.meta["tasks"])
    pyramid = toy_resnet(golden)
    width = golden[f"state/heads.{tasks[0]}.0.weight"].shape[0]
    model = keras_mtl.MTAN(pyramid, golden.tasks, head_width=width, image_statistics=AS_THEY_ARE)
    parts = pyramid.parts()
    for number in range(1, len(golden.meta["channels"]) + 1):
        for task in tasks:
            mask, prefix = model.get_layer(f"{task}_mask_{number}"), f"attention_{number}.{task}"
            for n, layer in zip(
                (0, 1, 3, 4),
                (mask.reduce, mask.reduce_norm, mask.widen, mask.widen_norm),
                strict=True,
            ):
                parts |= parts_of(f"{prefix}.{n}", layer)
        if number < len(golden.meta["channels"]):
            block = model.get_layer(f"refine_{number}").block
            parts |= bottleneck_parts(f"refine_{number}.0", block)
    for task in tasks:
        parts |= head_parts(f"heads.{task}", model.get_layer(f"{task}_head"))
    load(parts, golden.under("state/"))
    return model, parts


def test_features_masks_and_outputs(golden, network):
    model, _ = network
    wanted = {}
    for number in range(1, len(golden.meta["channels"]) + 1):
        before, last = (
            model.get_layer(f"toy_stage_{2 * number - offset}").output for offset in (1, 0)
        )
        wanted[f"u{number}_before_last_block"], wanted[f"u{number}_last_block"] = before, last
        for task in golden.meta["tasks"]:
            wanted[f"mask{number}_{task}"] = model.get_layer(f"{task}_mask_{number}").output
    found = keras.Model(model.input, [wanted, model.output]).predict_on_batch(
        golden.maps("input/image")
    )
    golden.check_maps(found[0], "eval/mid/")
    golden.check_maps(found[1], "eval/out/")


def test_a_training_step(golden, network, training_step):
    model, parts = network
    outputs = golden.check_step(training_step, model, golden.maps("input/image"), parts)
    golden.check_maps(outputs, "train/out/")
    stages = list(golden.meta["channels"])

    def size(number):
        batch, _, height, width = golden[f"eval/mid/u{number}_last_block"].shape
        return batch * height * width

    def count(layer):
        kind, *names = layer.split(".")
        if kind == "backbone" and names == ["bn1"]:
            batch, _, height, width = golden["input/image"].shape
            return batch * -(-height // 2) * -(-width // 2)
        if kind == "heads":
            return size(len(stages))
        if kind != "backbone":
            return size(int(kind.split("_")[1]))
        number = stages.index(names[0]) + 1
        enters = names[1:] == ["0", "bn1"] and number > 1  # before the 3x3 convolution's stride
        return size(number - 1 if enters else number)

    tasks = len(golden.meta["tasks"])  # one after the other they move a shared block's statistics
    golden.check_statistics(
        parts, count, lambda layer: 0.9**tasks if layer.startswith("refine") else 0.9
    )
