"""The released variant on Swin against values measured on the published network.

`golden_taskprompter_swin_tiny.npz`: cases (`even/`, `pad/`) of a tiny network with random weights,
every weight under its published name, channels first; an input, every block's and level's
intermediate values, the outputs, and one training step. Sizes, windows and tasks come from the
file, or from another one whose path is in GOLDEN_FILE.
"""

import json
import os
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.backbones.keras_hub import parts_of
from keras_mtl.models.published_checkpoints import assign_published, published_entries
from keras_mtl.tasks import Task
from tests.golden_files import AS_THEY_ARE, GivenTask, assert_close, golden_loss

OWN = Path(__file__).parents[1] / "golden" / "golden_taskprompter_swin_tiny.npz"
WEIGHTS = {"semseg": 100}  # of the losses; 1 of others
# Biases of which a batch normalization takes the mean away.
BEFORE_NORMALIZATION = re.compile(r".*(mt_proj\.[03]|fea_fuse\.\d+\.\w+\.1)\.bias")
PARTS = ["channel_affinity", "patches", "prompts", "spatial_affinity"]  # as Keras orders a dict


class GivenLevels(Task):
    """What the published 3-D head is given: the maps of the levels as they are."""

    headline, higher_is_better, ignore, output = "none", True, 255, "levels"

    def head(self, name=None, **arguments):
        def maps(features):
            levels = keras.tree.flatten(list(features.values()))
            return {f"level{n}": each for n, each in enumerate(levels)}

        return maps

    def check_output(self, spec):
        assert isinstance(spec, dict)


class Case:
    """One network of the file."""

    def __init__(self, values, prefix):
        self.values = {
            key.removeprefix(prefix): value
            for key, value in values.items()
            if key.startswith(prefix)
        }
        self.config = json.loads(str(self.values["config/json"]))
        self.state = self.under("state/")
        self.tasks = [self.task(name) for name in self.config["tasks"]]
        self.images = np.moveaxis(self.values["input"], 1, -1)

    def under(self, prefix):
        return {k.removeprefix(prefix): v for k, v in self.values.items() if k.startswith(prefix)}

    def task(self, name):
        """One with a head in the file is a map."""
        last = self.state.get(f"heads.{name}.linear_pred.weight")
        if last is None:
            return GivenLevels("detection3d", channels=1)
        return GivenTask(name, len(last))

    def model(self):
        config = self.config
        backbone = keras_mtl.backbones.swin_transformer(
            "tiny",
            (*config["img"], 3),
            embed_dim=config["embed"],
            depths=tuple(config["depths"]),
            num_heads=tuple(config["heads"]),
            window_size=config["window"],
            mlp_ratio=config["mlp_ratio"],
        )
        model = keras_mtl.TaskPrompter(
            backbone,
            self.tasks,
            variant="released",
            channel_windows=(round(config["chan_nheads"] ** 0.5),) * 2,
            channel_dim=config["chan_dim"],
            image_scale=config["ratio"],
            decode_dim=config["level_dim"],
            final_dim=config["final_dim"],
            stochastic_depth=0.0,
            image_statistics=AS_THEY_ARE,
        )
        assign_published(model, self.state, "the golden file", config["tasks"])
        return model

    def entries(self, model):
        """What each published weight is of the model."""
        return published_entries(model, self.config["tasks"])


def read():
    with np.load(os.environ.get("GOLDEN_FILE", OWN)) as values:
        return dict(values)


def prefixes():
    """The cases of the file: `even/`, `pad/`."""
    with np.load(os.environ.get("GOLDEN_FILE", OWN)) as values:
        found = [key.removesuffix("config/json") for key in values if key.endswith("config/json")]
        kept = [prefix for prefix in found if f"{prefix}state/backbone.task_prompts" in values]
    return kept or [pytest.param("", marks=pytest.mark.skip("GOLDEN_FILE is of another network"))]


@pytest.fixture(scope="module", params=prefixes())
def case(request):
    return Case(read(), request.param)


@pytest.fixture(scope="module")
def model(case):
    return case.model()


def named(model):
    """Symbolic outputs of the network by the file's names, channels last."""
    layers, found = {layer.name: layer for layer in model.layers}, {}
    for name, layer in layers.items():
        kind, *numbers = name.rsplit("_block_", 1)
        if numbers and kind.startswith("stage_"):
            place = f"stage{int(kind[6:]) - 1}/block{int(numbers[0]) - 1}"
            parts = PARTS if len(layer.output) == len(PARTS) else PARTS[:2] + PARTS[3:]
            for key, value in zip(parts, layer.output, strict=True):
                found[f"{place}/{key}"] = value
        elif name.startswith("prompt_merging_"):
            stage = int(name.removeprefix("prompt_merging_")) - 1
            for key, value in zip(PARTS, layer.output, strict=True):
                found[f"stage{stage}/out_{key}"] = value
    found["patch_embed"] = layers["stage_1_block_1"].input[1]
    if "scaled_image" in layers:
        found["resized_input"] = layers["scaled_image"].output
    stages = [int(name.removeprefix("prompt_merging_")) for name in layers if "merging" in name]
    last = layers[f"{model.tasks[0].name}_level_{max(stages) + 1}"]
    found[f"stage{max(stages)}/out_patches"] = last.input[0]  # after the last norm
    for task in model.tasks:
        level = 0
        while layer := layers.get(f"{task.name}_level_{level + 1}"):
            found[f"level{level}/{task.name}"] = layer.output
            level += 1
        if task.output == "map":
            found[f"fused/{task.name}"] = layers[f"{task.name}_fused"].output
            found[f"head_lowres/{task.name}"] = layers[f"{task.name}_prediction"].output
    return found


@pytest.fixture(scope="module")
def found(case, model):
    symbols = named(model)
    return keras.Model(model.input, symbols).predict_on_batch(case.images)


def first(x):
    return np.moveaxis(x, -1, 1)


def test_every_intermediate(case, model, found):
    tasks, compared = len(case.tasks), 0
    resized = found.get("resized_input", case.images).astype("float64")
    for key, expected in case.under("inter/").items():
        *place, kind = key.split("/")
        place = "/".join(place)
        if key == "resized_input_sum":
            ours = resized.sum()
            scale = np.abs(resized).sum()
            assert abs(ours - expected) < 1e-6 * scale
            compared += 1
            continue
        if key == "patch_embed":
            ours = found[key]
        elif kind == "x":
            ours = found[f"{place}/patches"]
        elif kind == "prompts":
            if f"{place}/prompts" not in found:
                ours = unused_prompts(case, model, found, place)
            else:
                ours = found[f"{place}/prompts"]
        elif kind == "raw_spatial":
            ours = found[f"{place}/spatial_affinity"][..., tasks:].reshape(expected.shape)
        elif kind == "raw_channel":
            ours = as_published(found[f"{place}/channel_affinity"], expected)
        elif kind == "out_x":
            ours = found[f"{place}/out_patches"]
        elif kind == "out_spatial":
            ours = found[f"{place}/out_spatial_affinity"].reshape(expected.shape)
        elif kind == "out_channel":
            ours = as_published(found[f"{place}/out_channel_affinity"], expected)
        elif kind == "out_prompts":
            ours = found[f"{place}/out_prompts"]
        else:
            ours = first(found[key.replace("3ddet", "detection3d")])
        assert_close(ours, expected, key)
        compared += 1
    assert compared == len(case.under("inter/")) > 20


def as_published(affinity, expected):
    """`(B, windows, T, C)` as `(B, T, C, nh, nw)`."""
    return affinity.transpose(0, 2, 3, 1).reshape(expected.shape)


def unused_prompts(case, model, found, place):
    """Of the last block the attention's averaged output alone, which nobody reads."""
    stage, block = (int(part.strip("stageblock")) for part in place.split("/"))
    layer = model.get_layer(f"stage_{stage + 1}_block_{block + 1}")
    before = f"stage{stage}/block{block - 1}/" if block else f"stage{stage - 1}/out_"
    norm = parts_of(layer.block).norm1
    out = layer.spatial(*(norm(found[before + key]) for key in ("prompts", "patches")))
    return ops.convert_to_numpy(out["prompts"])


def test_outputs(case, model, found):
    raw, (high, wide) = model.predict_on_batch(case.images), case.config["label_size"]
    expected = case.under("out/")
    for task in case.tasks:
        if task.output != "map":
            for level, value in raw[task.name].items():
                assert_close(first(value), expected.pop(f"3ddet_{level}"), level)
            continue
        assert raw[task.name].shape[1:3] == tuple(case.config["img"])
        small = keras.layers.Resizing(high, wide, interpolation="bilinear")
        ours = first(ops.convert_to_numpy(small(found[f"head_lowres/{task.name}"])))
        if task.name in expected:
            assert_close(ours, expected.pop(task.name), task.name)
        else:  # some of it
            value = expected.pop(f"{task.name}_sample0_every2nd")
            assert_close(ours[:1, :, ::2, ::2], value, task.name)
    assert not expected


# === One training step: batch statistics, no stochastic depth, the tasks whose output is a map ===


@pytest.fixture(scope="module")
def step(case, training_step):
    """The model after one training step, its losses, and each gradient by variable."""
    if not case.under("train/"):
        pytest.skip("this case has no training step")
    model, size = case.model(), case.config["label_size"]
    maps = {
        task.name: keras.layers.Resizing(*size, interpolation="bilinear", dtype="float32")(
            model.get_layer(f"{task.name}_prediction").output
        )
        for task in case.tasks
        if task.output == "map"
    }
    labels = {name: case.values[f"train/label/{name}"] for name in maps}
    if "depth" in labels:
        labels["depth"] = np.where(labels["depth"] == -1, 255, labels["depth"])

    def losses(outputs):
        found = {name: golden_loss(name, labels[name], outputs[name]) for name in maps}
        return found, sum(WEIGHTS.get(name, 1) * loss for name, loss in found.items())

    of_maps = keras.Model(model.input, maps)
    total, outputs, gradients = training_step(of_maps, case.images, lambda x: losses(x)[1])
    each, _ = losses({name: ops.convert_to_tensor(x) for name, x in outputs.items()})
    each = {name: float(ops.convert_to_numpy(loss)) for name, loss in each.items()}
    return model, {**each, "total": total}, gradients


def test_training_losses(case, step):
    expected = case.under("train/loss/")
    assert expected.keys() == step[1].keys()
    for name, loss in step[1].items():
        assert loss == pytest.approx(float(expected[name]), rel=1e-5), name


def gradients_by_name(case, model, gradients):
    """`{published name: (entry, gradient)}` of the variables that the step reaches."""
    entries = {entry.names: entry for entry in case.entries(model)}
    reached = {n: e for n, e in entries.items() if id(e.variable) in gradients}
    return {n: (e, gradients[id(e.variable)]) for n, e in reached.items()}


def test_training_gradients(case, step):
    model, _, gradients = step
    ours, expected = gradients_by_name(case, model, gradients), case.under("train/grad/")
    assert expected
    for name, gradient in expected.items():
        if BEFORE_NORMALIZATION.fullmatch(name):  # below
            continue
        entry, found = ours[name]
        assert_close(found, entry.value({name: gradient}), name, 1e-3)
    norm = np.sqrt(sum((g.astype("float64") ** 2).sum() for _, g in ours.values()))
    assert norm == pytest.approx(float(case.values["train/grad_norm"]), rel=1e-3)


def test_training_gradients_mean_size(case, step):
    """Every weight of the network, by the mean absolute value of its gradient."""
    model, _, gradients = step
    ours = gradients_by_name(case, model, gradients)
    names, means = case.values["train/grad_names"], case.values["train/grad_absmeans"]
    assert len(names) > 100
    largest, mean_of = float(np.nanmax(means)), dict(zip(names, means, strict=True))
    for name, mean in mean_of.items():
        found = np.abs(ours[name][1]).sum() / case.state[name].size if name in ours else 0.0
        if BEFORE_NORMALIZATION.fullmatch(name):  # it has none but for rounding
            own = mean_of[name.replace(".bias", ".weight")]
            assert np.isnan(mean) or found < 1e-3 * own, name
            continue
        expected = 0.0 if np.isnan(mean) else float(mean)
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-6 * largest), name


def test_running_statistics(case, step):
    """The file's take the variance of n values as their sum of squares over n - 1."""
    model, _, _ = step
    entries = {entry.names: entry for entry in case.entries(model)}
    name = next(task.name for task in case.tasks if task.output == "map")
    height, width = model.get_layer(f"{name}_fused").output.shape[1:3]
    after = case.under("train/bn_after/")
    assert after
    for name, expected in after.items():
        if name.startswith("heads."):
            size = 4 * height * width
        else:
            _, _, level, task, *_ = name.split(".")
            size = np.prod(model.get_layer(f"{task}_level_{int(level) + 1}").output.shape[1:3])
        if name.endswith("running_var"):
            count, kept = len(case.images) * size, 0.9 * case.state[name]
            expected = kept + (expected - kept) * (count - 1) / count
        assert_close(ops.convert_to_numpy(entries[name].variable), expected, name)
