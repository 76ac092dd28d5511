"""NDDR-CNN against values measured on a published code base with toy stages."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from tests.golden_files import AS_THEY_ARE, Golden, Part, load
from tests.models.test_cross_stitch_golden import check_decoder_level, head_parts
from tests.models.toy_backbones import ToyStages, strides_of

golden = pytest.fixture(lambda: Golden("nddr_cnn"), scope="module")


def layer_parts(prefix, layer, tasks):
    """Published: a convolution and a normalization for each task, which are parts of ours."""
    found, (channels,) = {}, {x.shape[-1] for x in keras.tree.flatten(layer.output)}
    statistics = {
        "1.weight": layer.norm.gamma,
        "1.bias": layer.norm.beta,
        "1.running_mean": layer.norm.moving_mean,
        "1.running_var": layer.norm.moving_variance,
    }
    for t, task in enumerate(tasks):
        own = (..., slice(t * channels, (t + 1) * channels))
        for name, variable in {"0.weight": layer.reduce.kernel, **statistics}.items():
            found[f"{prefix}.layer.{task}.{name}"] = Part(variable, own)
    return found


@pytest.fixture(scope="module")
def network(golden):
    """The encoder-level model, fresh, its weights by their published names, and its layers."""
    meta, tasks = golden.meta, list(golden.meta["tasks"])
    stages = meta["stages"]
    strides = strides_of(golden, [f"eval/mid/stage_{tasks[0]}_{stage}" for stage in stages])
    model = keras_mtl.NDDRCNN(
        ToyStages(golden.image_shape, [meta["channels"][stage] for stage in stages], strides),
        golden.tasks,
        level="encoder",
        width=golden[f"state/heads.{tasks[0]}.0.weight"].shape[0],
        **meta["init"],
        stages=[stages.index(stage) + 1 for stage in meta["nddr_stages"]],
        image_statistics=AS_THEY_ARE,
    )
    parts, layers = {}, {}
    for task in tasks:
        encoder = model.get_layer(f"{task}_backbone_stage_1").whole()
        parts |= encoder.parts(f"backbone.{task}", stages)
        parts |= head_parts(f"heads.{task}", model.get_layer(f"{task}_head"))
    for stage in meta["nddr_stages"]:
        layers[stage] = model.get_layer(f"nddr_stage_{stages.index(stage) + 1}")
        parts |= layer_parts(f"nddr.{stage}", layers[stage], tasks)
    for name, value in golden.under("fresh/").items():
        variable, index = parts[f"nddr.{name}"]
        found = ops.convert_to_numpy(variable)[index]
        np.testing.assert_allclose(found, value.transpose(2, 3, 1, 0), atol=1e-6, err_msg=name)
    load(parts, golden.under("state/"))
    return model, parts, layers


def test_stages_layers_and_outputs(golden, network):
    model, _, layers = network
    wanted = {}
    for number, stage in enumerate(golden.meta["stages"], start=1):
        for t, task in enumerate(golden.meta["tasks"]):
            part = model.get_layer(f"{task}_backbone_stage_{number}")
            wanted[f"stage_{task}_{stage}"] = part.output
            if stage in layers:
                wanted[f"nddr_{stage}/{task}"] = keras.tree.flatten(layers[stage].output)[t]
    found = keras.Model(model.input, [wanted, model.output]).predict_on_batch(
        golden.maps("input/image")
    )
    golden.check_maps(found[0], "eval/mid/")
    golden.check_maps(found[1], "eval/out/")


def test_a_training_step(golden, network, training_step):
    model, parts, _ = network
    outputs = golden.check_step(training_step, model, golden.maps("input/image"), parts)
    golden.check_maps(outputs, "train/out/")

    def count(layer):  # where its map is; a head's is the last stage's
        kind, *names = layer.split(".")
        stage = {"backbone": names[1], "nddr": names[0]}.get(kind, golden.meta["stages"][-1])
        task = next(iter(golden.meta["tasks"]))
        batch, _, height, width = golden[f"eval/mid/stage_{task}_{stage}"].shape
        return batch * height * width

    kept = 1 - golden.meta["bn_momentum_torch"]
    golden.check_statistics(parts, count, lambda name: kept if name.startswith("nddr") else 0.9)


def test_decoder_level(golden):
    check_decoder_level(golden, keras_mtl.NDDRCNN, "nddr_decoder", layer_parts)
