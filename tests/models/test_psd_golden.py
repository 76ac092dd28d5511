"""PSD against values of our reading of its paper's abstract."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from tests.golden_files import AS_THEY_ARE, GivenFeatures, Golden, assert_close, load, parts_of


@pytest.fixture(scope="module")
def golden():
    return Golden("psd")


@pytest.fixture(scope="module")
def images(golden):
    return np.zeros((len(golden["input/features"]), *golden.image_shape), "float32")


@pytest.fixture(scope="module")
def model(golden):
    meta = golden.meta
    return keras_mtl.PSD(
        GivenFeatures(golden.image_shape, {4: golden.maps("input/features")}),
        golden.tasks,
        width=meta["width"],
        window=meta["window"],
        steps=meta["steps"],
        image_statistics=AS_THEY_ARE,
    )


@pytest.fixture(scope="module")
def parts(model, golden):
    found, get = {}, model.get_layer
    for task in (task.name for task in model.tasks):
        for name, ours in (
            ("task_conv", "features"),
            ("psd.embed", "embedding"),
            ("psd.fuse", "fusion"),
        ):
            found |= parts_of(f"{name}.{task}.0", get(f"{task}_{ours}_convolution"))
            found |= parts_of(f"{name}.{task}.1", get(f"{task}_{ours}_norm"))
        found |= parts_of(f"initial.{task}", get(f"{task}_initial_prediction"))
        found |= parts_of(f"final.{task}", get(f"{task}_prediction"))
    load(found, golden.under("state/"))
    return found


def test_inference(model, parts, golden, images):
    diffuse, inner = model.get_layer("pattern_structure_diffusion"), {}
    structures = diffuse.structures(diffuse.input)
    match = diffuse.matches(structures)
    width = diffuse.input.shape[-1]
    outputs = dict(model.output)
    for t, task in enumerate(task.name for task in model.tasks):
        outputs[f"initial_{task}"] = model.get_layer(f"{task}_initial_prediction").output
        inner |= {
            f"task_{task}": model.get_layer(f"{task}_features").output,
            f"diffused_{task}": model.get_layer(f"{task}_fusion").output,
            f"embed_{task}": diffuse.input[:, :, :, t],
            f"A_{task}": structures[:, :, :, t],
            f"intra_{task}": diffuse.output[:, :, :, t, :width],
            f"inter_{task}": diffuse.output[:, :, :, t, width:],
        }
        if match is not None:
            inner[f"match_{task}"] = match[:, :, :, t]
    found, inside = keras.Function(model.input, [outputs, inner])(images)
    golden.check_maps(found, "eval/out/")
    golden.check_maps(inside, "eval/mid/")


def test_training_step(model, parts, golden, images, training_step):
    load(parts, golden.under("state/"))

    def losses(outputs):
        return golden.losses(outputs, [("{}/initial", "deepsup_{}")])

    outputs = golden.check_step(training_step, model, images, parts, losses)
    for task in (task.name for task in model.tasks):
        assert_close(outputs[task], golden.maps(f"train/out/{task}"), task)
        # The file's are not at the images' size yet.
        initial = golden.maps(f"train/out/initial_{task}")
        initial = ops.image.resize(initial, model.image_size, interpolation="bilinear")
        assert_close(outputs[f"{task}/initial"], ops.convert_to_numpy(initial), task)
    values = golden["input/features"][:, 0].size
    golden.check_statistics(parts, lambda layer: values)
