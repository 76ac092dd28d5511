"""PAD-Net against values measured on the published network: outputs, one training step, statistics.

`light/` has the distillation whose gates are the receiving task's.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.layers import MultiModalDistillation
from tests.golden_files import (
    AS_THEY_ARE,
    GivenFeatures,
    Golden,
    assert_close,
    block_parts,
    load,
    parts_of,
)

STRIDE = 4


@pytest.fixture(scope="module")
def golden_file():
    return Golden("pad_net")


@pytest.fixture(scope="module")
def tasks(golden_file):
    """Main ones, and others."""
    return golden_file.main_and_other_tasks("initial_task_prediction_heads.conv_out.")


@pytest.fixture(scope="module")
def names(tasks):
    """Of all tasks, as the model has them, and of the main ones."""
    main, others = ([task.name for task in some] for some in tasks)
    return [*main, *others], main


@pytest.fixture(scope="module")
def model(golden_file, tasks):
    """Without the 1x1 convolution of HRNet's features: the file begins behind it."""
    given = GivenFeatures(golden_file.image_shape, {STRIDE: golden_file.maps("input/features")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_mtl.models.pad_net.conv_norm_relu", lambda x, *_, **__: x)
        return keras_mtl.PADNet(
            given, *tasks, width=golden_file.meta["width"], image_statistics=AS_THEY_ARE
        )


@pytest.fixture(scope="module")
def parts(model, names):
    (supervised, main), found = names, {}
    distillation = model.get_layer("distillation")
    for t, name in enumerate(supervised):
        for n in (0, 1):
            block = model.get_layer(f"{name}_initial_bottleneck_{n + 1}")
            found |= block_parts(f"initial_task_prediction_heads.layers.{name}.{n}", block)
        last = model.get_layer(f"{name}_initial_prediction")
        found |= parts_of(f"initial_task_prediction_heads.conv_out.{name}", last)
        for u, other in enumerate(supervised):
            if name in main and t != u:
                pair = f"multi_modal_distillation.self_attention.{name}.{other}"
                found |= parts_of(f"{pair}.attention.0", distillation.gates[f"{t}_{u}"])
                found |= parts_of(f"{pair}.conv", distillation.messages[f"{t}_{u}"])
    for name in main:
        for n in (0, 1):
            block = model.get_layer(f"{name}_final_bottleneck_{n + 1}")
            found |= block_parts(f"heads.{name}.{n}", block)
        found |= parts_of(f"heads.{name}.2", model.get_layer(f"{name}_prediction"))
    return found


@pytest.fixture
def loaded(model, parts, golden_file):
    load(parts, golden_file.under("state/"))
    return model


@pytest.fixture(scope="module")
def images(golden_file):
    return np.zeros((len(golden_file["input/features"]), *golden_file.image_shape), "float32")


def test_outputs_and_what_lies_between(loaded, golden_file, names, images):
    supervised, main = names
    between = {}
    for name in supervised:
        between[f"initial/features_{name}"] = f"{name}_initial_bottleneck_2"
        between[f"initial/{name}"] = f"{name}_initial_prediction"
    inner = {key: loaded.get_layer(layer).output for key, layer in between.items()}
    distilled = keras.tree.flatten(loaded.get_layer("distillation").output)
    inner |= {f"distilled/{name}": x for name, x in zip(main, distilled, strict=True)}
    everything = keras.Model(loaded.input, {**inner, **loaded.output})
    found = everything(ops.convert_to_tensor(images), training=False)
    golden_file.check_maps({key: found[key] for key in inner}, "eval/mid/")
    outputs = {name: found[name] for name in main}
    outputs |= {f"initial_{name}": found[f"initial/{name}"] for name in supervised}
    golden_file.check_maps(outputs, "eval/out/")


def test_one_training_step(loaded, parts, golden_file, names, images, training_step, resized):
    supervised, main = names

    def losses(outputs):
        return golden_file.losses(outputs, auxiliary=[("{}/initial", "deepsup_{}")])

    outputs = golden_file.check_step(training_step, loaded, images, parts, losses)
    for name in main:
        assert_close(outputs[name], golden_file.maps(f"train/out/{name}"), name)
    for name in supervised:  # ours are at the image's size
        initial = resized(golden_file.maps(f"train/out/initial_{name}"), golden_file.meta["image"])
        assert_close(outputs[f"{name}/initial"], initial, name)
    batch, _, height, width = golden_file["input/features"].shape
    golden_file.check_statistics(parts, lambda layer: batch * height * width)


def test_gates_of_the_receiver(golden_file):
    inputs = {
        name: golden_file.maps(f"light/input/{name}") for name in golden_file.under("light/input/")
    }
    order = list(inputs)
    layer = MultiModalDistillation(gate="target")
    layer.build([each.shape for each in inputs.values()])
    found = {}
    for t, name in enumerate(order):
        found |= parts_of(f"gate.{name}", layer.gates[f"{t}"])
        for u, other in enumerate(order):
            if t != u:
                found |= parts_of(f"message.{name}.{other}", layer.messages[f"{t}_{u}"])
    load(found, golden_file.under("light/state/"))
    distilled = layer([ops.convert_to_tensor(each) for each in inputs.values()])
    golden_file.check_maps(dict(zip(order, distilled, strict=True)), "light/out/")
