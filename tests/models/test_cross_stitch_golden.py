"""Cross-stitch networks against values measured on a published code base with toy stages."""

import keras
import pytest

import keras_mtl
from tests.golden_files import AS_THEY_ARE, GivenFeatures, Golden, Part, load, parts_of
from tests.models.toy_backbones import ToyStages, strides_of

golden = pytest.fixture(lambda: Golden("cross_stitch"), scope="module")


def unit_parts(prefix, unit, tasks):
    """Published: a vector for each pair of tasks."""
    return {
        f"{prefix}.cross_stitch_unit.{to}.{of}.param": Part(unit.shares, (t, u))
        for t, to in enumerate(tasks)
        for u, of in enumerate(tasks)
    }


@pytest.fixture(scope="module")
def network(golden):
    """The encoder-level model with the file's weights, and these by their published names."""
    stages, tasks = golden.meta["stages"], list(golden.meta["tasks"])
    strides = strides_of(golden, [f"eval/mid/stage_{tasks[0]}_{stage}" for stage in stages])
    widths = [golden.meta["channels"][stage] for stage in stages]
    width = golden[f"state/heads.{tasks[0]}.0.weight"].shape[0]
    model = keras_mtl.CrossStitch(
        ToyStages(golden.image_shape, widths, strides),
        golden.tasks,
        level="encoder",
        width=width,
        image_statistics=AS_THEY_ARE,
    )
    parts = {}
    for task in tasks:
        encoder = model.get_layer(f"{task}_backbone_stage_1").whole()
        parts |= encoder.parts(f"backbone.{task}", stages)
        parts |= head_parts(f"heads.{task}", model.get_layer(f"{task}_head"))
    for number, stage in enumerate(stages, start=1):
        unit = model.get_layer(f"cross_stitch_stage_{number}")
        parts |= unit_parts(f"cross_stitch.{stage}", unit, tasks)
    load(parts, golden.under("state/"))
    return model, parts


def head_parts(prefix, head):
    _, convolution, norm, _, out = head.body.layers
    return {
        **parts_of(f"{prefix}.0", convolution),
        **parts_of(f"{prefix}.1", norm),
        **parts_of(f"{prefix}.3", out),
    }


def test_stages_units_and_outputs(golden, network):
    model, _ = network
    wanted = {}
    for number, stage in enumerate(golden.meta["stages"], start=1):
        mixed = keras.tree.flatten(model.get_layer(f"cross_stitch_stage_{number}").output)
        for task, each in zip(golden.meta["tasks"], mixed, strict=True):
            wanted[f"stitch_{stage}/{task}"] = each
            part = model.get_layer(f"{task}_backbone_stage_{number}")
            wanted[f"stage_{task}_{stage}"] = part.output
    found = keras.Model(model.input, [wanted, model.output]).predict_on_batch(
        golden.maps("input/image")
    )
    golden.check_maps(found[0], "eval/mid/")
    golden.check_maps(found[1], "eval/out/")


def test_a_training_step(golden, network, training_step):
    model, parts = network
    outputs = golden.check_step(training_step, model, golden.maps("input/image"), parts)
    golden.check_maps(outputs, "train/out/")

    def count(layer):  # where its map is; a head's is the last stage's
        kind, task, *stage = layer.split(".")
        stage = stage[0] if kind == "backbone" else golden.meta["stages"][-1]
        batch, _, height, width = golden[f"eval/mid/stage_{task}_{stage}"].shape
        return batch * height * width

    golden.check_statistics(parts, count)


def test_decoder_level(golden):
    check_decoder_level(golden, keras_mtl.CrossStitch, "cross_stitch_decoder", unit_parts)


def check_decoder_level(golden, architecture, exchange, exchange_parts):
    """The whole model of the file's `decoder/`, from its fused features on.

    Args:
        golden: `Golden`.
        architecture: class of the model.
        exchange: name of the layer between its tasks' features.
        exchange_parts: function of a published prefix, this layer and the tasks' names, which
            gives `{published name: Part}`.
    """
    features = golden.maps("decoder/input/features")
    tasks = golden.tasks
    size = golden[f"decoder/out/{tasks[0].name}"].shape[2:]
    pyramid = GivenFeatures((*size, 3), {4: features})
    own = golden[f"decoder/state/final.{tasks[0].name}.weight"].shape[1]
    model = architecture(pyramid, tasks, width=own)
    layer = model.get_layer(exchange)
    parts = exchange_parts("unit", layer, golden.meta["tasks"])
    wanted = {}
    for task, mixed in zip(golden.meta["tasks"], keras.tree.flatten(layer.output), strict=True):
        parts |= decoder_parts(model, task)
        wanted[f"task_{task}"] = model.get_layer(f"{task}_features").output
        wanted[f"mixed_{task}"] = mixed
    load(parts, golden.under("decoder/state/"))
    found = keras.Model(model.input, [wanted, model.output]).predict_on_batch(pyramid.images())
    golden.check_maps(found[0], "decoder/mid/")
    golden.check_maps(found[1], "decoder/out/")


def decoder_parts(model, task):
    return {
        **parts_of(f"task_conv.{task}.0", model.get_layer(f"{task}_features_convolution")),
        **parts_of(f"task_conv.{task}.1", model.get_layer(f"{task}_features_norm")),
        **parts_of(f"final.{task}", model.get_layer(f"{task}_prediction")),
    }
