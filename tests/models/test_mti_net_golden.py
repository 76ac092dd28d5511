"""MTI-Net against values measured on the published network: outputs, one training step, statistics.

`eval/` and `train/` are of the published masks, `task_axis/` of the paper's, with the same weights.
"""

import keras
import pytest
from keras import ops

import keras_mtl
from tests.golden_files import (
    AS_THEY_ARE,
    GivenFeatures,
    GivenTask,
    Golden,
    block_parts,
    load,
    parts_of,
)

STRIDES = (4, 8, 16, 32)


@pytest.fixture(scope="module")
def golden_file():
    return Golden("mti_net")


@pytest.fixture(scope="module")
def names(golden_file):
    """Of all tasks that are predicted initially, and of those that are predicted in the end."""
    state = golden_file.under("state/")
    initial = "scale_0.decoders."
    supervised = {
        key.removeprefix(initial).removesuffix(".weight"): len(value)
        for key, value in state.items()
        if key.startswith(initial) and key.endswith(".weight")
    }
    main = {key.split(".")[1] for key in state if key.startswith("heads.")}
    return supervised, [name for name in supervised if name in main]


@pytest.fixture(scope="module")
def given(golden_file):
    maps = {stride: golden_file.maps(f"input/features_{i}") for i, stride in enumerate(STRIDES)}
    return GivenFeatures(golden_file.image_shape, maps)


@pytest.fixture(scope="module")
def build(golden_file, names, given):
    supervised, main = names
    tasks = {name: GivenTask(name, channels) for name, channels in supervised.items()}
    others = [task for name, task in tasks.items() if name not in main]

    def of(mask_grouping):
        model = keras_mtl.MTINet(
            given,
            [tasks[name] for name in main],
            others,
            mask_grouping=mask_grouping,
            image_statistics=AS_THEY_ARE,
        )
        parts = parts_of_model(model, supervised, main)
        load(parts, golden_file.under("state/"))
        return model, parts

    return of


def parts_of_model(model, supervised, main):
    found, order = {}, [*main, *(name for name in supervised if name not in main)]
    for i, stride in enumerate(STRIDES):
        for name in order:
            for n in (0, 1):
                block = model.get_layer(f"{name}_stride_{stride}_block_{n + 1}")
                found |= block_parts(f"scale_{i}.refinement.{name}.{n}", block)
            last = model.get_layer(f"{name}_initial_stride_{stride}_prediction")
            found |= parts_of(f"scale_{i}.decoders.{name}", last)
        distillation = model.get_layer(f"distillation_stride_{stride}")
        for t, name in enumerate(main):
            for u, other in enumerate(order):
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
        for t, name in enumerate(order):
            found |= parts_of(f"{scale}.se.{name}.squeeze.0", propagate.squeezes[t])
            found |= parts_of(f"{scale}.se.{name}.squeeze.2", propagate.excitations[t])
    for name in main:
        head = f"heads.{name}.last_layer"
        found |= parts_of(f"{head}.0", model.get_layer(f"{name}_head_convolution"))
        found |= parts_of(f"{head}.1", model.get_layer(f"{name}_head_norm"))
        found |= parts_of(f"{head}.3", model.get_layer(f"{name}_prediction"))
    return found


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
    supervised, main = names
    order, inner = [*main, *(name for name in supervised if name not in main)], {}
    for i, stride in enumerate(STRIDES):
        for name in order:
            block = model.get_layer(f"{name}_stride_{stride}_block_2")
            inner[f"scale_{i}/features_{name}"] = block.output
            last = model.get_layer(f"{name}_initial_stride_{stride}_prediction")
            inner[f"scale_{i}/{name}"] = last.output
        distilled = model.get_layer(f"distillation_stride_{stride}").output
        inner |= {f"distilled_scale_{i}/{n}": x for n, x in zip(main, distilled, strict=True)}
        if i > 0:
            propagated = model.get_layer(f"propagation_stride_{stride}").output
            inner |= {f"fpm_scale_{i}/{n}": x for n, x in zip(order, propagated, strict=True)}
    return inner


def test_outputs_and_what_lies_between(build, golden_file, names, given):
    model, _ = build("adjacent")
    inner = inner_of(model, names)
    outputs = outputs_of(model, names, inner)
    found = keras.Model(model.input, [inner, outputs])(
        ops.convert_to_tensor(given.images()), training=False
    )
    # The mask of the coarsest scale and the reduced features lie within a layer.
    supervised, main = names
    order = [*main, *(name for name in supervised if name not in main)]
    propagate = model.get_layer(f"propagation_stride_{STRIDES[-1]}")
    scale = len(STRIDES) - 1
    x = ops.concatenate([found[0][f"scale_{scale}/features_{name}"] for name in order], axis=-1)
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
