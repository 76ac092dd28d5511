"""MTI-Net against values measured on the published network: outputs, one training step, statistics.

`eval/` and `train/` are of the published masks, `task_axis/` of the paper's, with the same weights.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from tests.golden_files import (
    AS_THEY_ARE,
    GivenFeatures,
    Golden,
    Part,
    block_parts,
    load,
    parts_of,
)

STRIDES = (4, 8, 16, 32)


@pytest.fixture(scope="module")
def golden_file():
    return Golden("mti_net")


@pytest.fixture(scope="module")
def tasks(golden_file):
    """Main ones, and others."""
    return golden_file.main_and_other_tasks("scale_0.decoders.")


@pytest.fixture(scope="module")
def names(tasks):
    """Of all tasks, as the model has them, and of the main ones."""
    main, others = ([task.name for task in some] for some in tasks)
    return [*main, *others], main


@pytest.fixture(scope="module")
def given(golden_file):
    maps = {stride: golden_file.maps(f"input/features_{i}") for i, stride in enumerate(STRIDES)}
    return GivenFeatures(golden_file.image_shape, maps)


@pytest.fixture(scope="module")
def concatenated(golden_file, names):
    """`concatenated(c)`: where ours has the file's channels, if c are of each task."""
    supervised, _ = names
    place = [supervised.index(name) for name in golden_file.meta["tasks"]]
    return lambda channels: np.ravel([np.arange(channels) + channels * t for t in place])


@pytest.fixture(scope="module")
def build(golden_file, tasks, names, given, concatenated):
    def of(mask_grouping):
        if mask_grouping == "adjacent" and names[0] != list(golden_file.meta["tasks"]):
            pytest.skip("adjacent channels are of other tasks where main ones do not come first")
        model = keras_mtl.MTINet(
            given, *tasks, mask_grouping=mask_grouping, image_statistics=AS_THEY_ARE
        )
        parts = parts_of_model(model, *names, concatenated)
        load(parts, golden_file.under("state/"))
        return model, parts

    return of


def parts_of_model(model, supervised, main, concatenated):
    found = {}
    for i, stride in enumerate(STRIDES):
        for name in supervised:
            for n in (0, 1):
                block = model.get_layer(f"{name}_stride_{stride}_block_{n + 1}")
                found |= block_parts(f"scale_{i}.refinement.{name}.{n}", block)
            last = model.get_layer(f"{name}_initial_stride_{stride}_prediction")
            found |= parts_of(f"scale_{i}.decoders.{name}", last)
        distillation = model.get_layer(f"distillation_stride_{stride}")
        for t, name in enumerate(main):
            for u, other in enumerate(supervised):
                if t != u:
                    pair = f"distillation_scale_{i}.self_attention.{name}.{other}"
                    found |= parts_of(f"{pair}.attention.0", distillation.gates[f"{t}_{u}"])
                    found |= parts_of(f"{pair}.conv", distillation.messages[f"{t}_{u}"])
        if i == 0:
            continue
        scale, propagate = f"fpm_scale_{i}", model.get_layer(f"propagation_stride_{stride}")
        for n in (0, 1):
            found |= block_parts(f"{scale}.non_linear.{n}", propagate.mask_blocks[n])
        found |= parts_of(f"{scale}.non_linear.2", propagate.mask_logits)
        found |= block_parts(f"{scale}.dimensionality_reduction", propagate.reduction)
        own = concatenated(model.get_layer(f"{main[0]}_stride_{stride}_block_2").output.shape[-1])
        for name in ("non_linear.0.conv1", "non_linear.0.downsample.0"):
            found |= reordered(found, f"{scale}.{name}.weight", -2, own)
        for name in ("conv1", "downsample.0"):
            found |= reordered(found, f"{scale}.dimensionality_reduction.{name}.weight", -2, own)
        for name in ("weight", "bias"):
            found |= reordered(found, f"{scale}.non_linear.2.{name}", -1, own)
        for t, name in enumerate(supervised):
            found |= parts_of(f"{scale}.se.{name}.squeeze.0", propagate.squeezes[t])
            found |= parts_of(f"{scale}.se.{name}.squeeze.2", propagate.excitations[t])
    for name in main:
        head = f"heads.{name}.last_layer"
        found |= parts_of(f"{head}.0", model.get_layer(f"{name}_head_convolution"))
        found |= parts_of(f"{head}.1", model.get_layer(f"{name}_head_norm"))
        found |= parts_of(f"{head}.3", model.get_layer(f"{name}_prediction"))
    return found


def reordered(parts, name, axis, places):
    """A weight whose channels along an axis are the file's where ours are at these places."""
    variable, axes = parts[name].variable, len(parts[name].variable.shape)
    index = [slice(None)] * axes
    index[axis] = places
    return {name: Part(variable, tuple(index))}


def outputs_of(model, names, inner):
    """Symbolic outputs by the files' names."""
    supervised, main = names
    initial = {
        f"deep_supervision/scale_{i}/{name}": inner[f"scale_{i}/{name}"]
        for i in range(len(STRIDES))
        for name in supervised
    }
    return {**initial, **{name: model.output[name] for name in main}}


def inner_of(model, names):
    """Symbolic values between, by the files' names."""
    (supervised, main), inner = names, {}
    for i, stride in enumerate(STRIDES):
        for name in supervised:
            block = model.get_layer(f"{name}_stride_{stride}_block_2")
            inner[f"scale_{i}/features_{name}"] = block.output
            last = model.get_layer(f"{name}_initial_stride_{stride}_prediction")
            inner[f"scale_{i}/{name}"] = last.output
        distilled = keras.tree.flatten(model.get_layer(f"distillation_stride_{stride}").output)
        inner |= {f"distilled_scale_{i}/{n}": x for n, x in zip(main, distilled, strict=True)}
        if i > 0:
            propagated = keras.tree.flatten(model.get_layer(f"propagation_stride_{stride}").output)
            inner |= {f"fpm_scale_{i}/{n}": x for n, x in zip(supervised, propagated, strict=True)}
    return inner


def test_outputs_and_what_lies_between(build, golden_file, names, given):
    model, _ = build("adjacent")
    inner = inner_of(model, names)
    outputs = outputs_of(model, names, inner)
    found = keras.Model(model.input, [inner, outputs])(
        ops.convert_to_tensor(given.images()), training=False
    )
    # The mask of the coarsest scale and the reduced features lie within a layer.
    supervised, _ = names
    propagate = model.get_layer(f"propagation_stride_{STRIDES[-1]}")
    scale = len(STRIDES) - 1
    x = ops.concatenate(
        [found[0][f"scale_{scale}/features_{name}"] for name in supervised], axis=-1
    )
    found[0][f"fpm_scale_{scale}_mask_logits"] = propagate.logits(x)
    found[0][f"fpm_scale_{scale}_reduced"] = propagate.reduction(
        propagate.mask(propagate.logits(x)) * x
    )
    golden_file.check_maps(found[0], "eval/mid/")
    golden_file.check_maps(found[1], "eval/out/")


def test_masks_of_the_paper(build, golden_file, names, given):
    model, _ = build("task")
    outputs = outputs_of(model, names, inner_of(model, names))
    found = keras.Model(model.input, outputs)(ops.convert_to_tensor(given.images()), training=False)
    known = golden_file.under("task_axis/out/")  # not of all tasks
    golden_file.check_maps({name: found[name] for name in known}, "task_axis/out/")


def test_one_training_step(build, golden_file, given, training_step):
    model, parts = build("adjacent")
    auxiliary = [
        (f"{{}}/initial_stride_{stride}", f"scale_{i}_{{}}") for i, stride in enumerate(STRIDES)
    ]

    def losses(outputs):
        return golden_file.losses(outputs, auxiliary)

    golden_file.check_step(training_step, model, given.images(), parts, losses)

    def count(layer):
        """Values of a channel of a normalization of scale i."""
        scale = layer.removeprefix("fpm_").removeprefix("scale_").split(".")[0]
        shape = golden_file[f"input/features_{scale if scale.isdigit() else 0}"].shape
        return shape[0] * shape[2] * shape[3]

    golden_file.check_statistics(parts, count)
