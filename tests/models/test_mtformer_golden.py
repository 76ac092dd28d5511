"""MTFormer against values measured on the published networks of three tasks and of two.

The published code's images have numbers, by which they find their rows in the memories: the file
says them. Its depth counts below 6.5535 m, and its saliency has one output.
"""

import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from tests.golden_files import (
    AS_THEY_ARE,
    NO_LABEL,
    GivenFeatures,
    GivenTask,
    Golden,
    Part,
    assert_close,
    golden_loss,
    load,
    parts_of,
)

FARTHEST = 6.5535
STRIDE = 8


class MeasuredTask(GivenTask):
    measured_in = "metres"


class PlainTask(GivenTask):
    label_values = (0, 1)


KINDS = {"depth": MeasuredTask, **dict.fromkeys(("sal", "edge", "normals"), PlainTask)}


class MTFormerGolden(Golden):
    def __init__(self, path):
        with np.load(path) as values:
            self.values = dict(values)
        self.meta = json.loads(str(self.values.pop("meta")))
        if "MTFormer" not in self.meta["source"]:
            pytest.skip(f"GOLDEN_FILE is of {self.meta['source']}")

    @property
    def tasks(self):
        channels = self.meta["out_channels"]
        return [KINDS.get(name, GivenTask)(name, channels[name]) for name in self.meta["tasks"]]

    @property
    def transformers(self):
        """The published names of each task's own transformer, and of its cross part."""
        names, numbered = self.meta["tasks"], "state/transformer4_1.norm0.weight" in self.values
        for t in range(len(names)):
            own, cross = (f"4_{t + 1}", f"5_{t + 1}") if numbered else (f"{4 + t}", f"{6 + t}")
            yield names[t], f"transformer{own}", f"transformer{cross}"

    @property
    def pairs(self):
        """`("12", first task, second task)` of each contrast."""
        names = self.meta["tasks"]
        for a in range(len(names)):
            for b in range(a + 1, len(names)):
                yield f"contrast{a + 1}{b + 1}", names[a], names[b]


class LearnedFeatures(GivenFeatures):
    """Features that are weights, so that a step knows their gradients."""

    def build(self, images_shape):
        self.maps = [
            self.add_weight(shape=each.shape, name=f"map_{n}") for n, each in enumerate(self.arrays)
        ]
        for weight, array in zip(self.maps, self.arrays, strict=True):
            weight.assign(array)

    def call(self, images, training=False):
        maps = (ops.convert_to_tensor(each) for each in self.maps)
        return dict(zip(self.channels, maps, strict=True))


FOLDER = Path(__file__).parents[1] / "golden"
OWN = [str(FOLDER / f"golden_mtformer{which}.npz") for which in ("", "_2task")]
FILES = [os.environ["GOLDEN_FILE"]] if os.environ.get("GOLDEN_FILE") else OWN


@pytest.fixture(scope="module", params=FILES, ids=lambda path: Path(path).stem)
def golden(request):
    return MTFormerGolden(request.param)


@pytest.fixture(scope="module")
def model(golden):
    meta = golden.meta
    found = keras_mtl.MTFormer(
        LearnedFeatures(golden.image_shape, {STRIDE: golden.maps("in/backbone_concat")}),
        golden.tasks,
        width=meta["dim"],
        window=meta["window"],
        num_heads=meta["heads"],
        memory_size=meta["n_data"],
        negatives=meta["K"],
        embedding_width=meta["embedding"],
        measured_width=meta.get("depth_hidden_channels", 32),
        image_statistics=AS_THEY_ARE,
    )
    for _, one, other in golden.pairs:
        memory = found.get_layer(f"contrast_{one}_{other}")
        memory.temperature, memory.momentum = meta["temperature"], meta["momentum"]
    return found


def block_of(name, block):
    """`{published name: Part}` of a block of either kind."""
    parts = parts_of(f"{name}.norm1", block.norm) | parts_of(f"{name}.norm2", block.mlp.norm)
    attention, cross = f"{name}.attn", hasattr(block, "fusions")
    mlp = f"{name}.mlp2" if cross else f"{name}.mlp"
    parts |= parts_of(f"{mlp}.fc1", block.mlp.dense_1) | parts_of(f"{mlp}.fc2", block.mlp.dense_2)
    if cross:
        attention += "1"
        parts |= parts_of(f"{attention}.qkv", block.query_key)
        parts |= parts_of(f"{attention}.qkv2", block.value)
        mlps = {f"mlp3{j}": each for j, each in enumerate(block.fusions, start=1)}
        for mlp, layers in {**mlps, "mlp3": block.last_fusion}.items():
            for n, layer in enumerate(layers, start=1):
                parts |= parts_of(f"{name}.{mlp}.fc{n}", layer)
    else:
        parts |= parts_of(f"{attention}.qkv", block.query_key_value)
    parts |= parts_of(f"{attention}.proj", block.project)
    return parts | {f"{attention}.relative_position_bias_table": Part(block.position_table)}


@pytest.fixture(scope="module")
def parts(model, golden):
    get = model.get_layer
    found = parts_of("decoder", get("reduction"))
    stages = {"transformer1": "shared_decoder"}
    for task, own, cross in golden.transformers:
        stages |= {own: f"{task}_self", cross: f"{task}_cross"}
    for theirs, ours in stages.items():
        for n in (0, 1):
            found |= block_of(f"{theirs}.layers.0.blocks.{n}", get(f"{ours}_block_{n + 1}"))
        found |= parts_of(f"{theirs}.norm0", get(ours))
    for t, task in enumerate(golden.meta["tasks"], start=1):
        layers = ("head_convolution", "head_norm", "prediction"), (0, 1, 3)
        if f"state/project{t}.1.weight" not in golden.values:
            layers = ("head_1", "head_2", "prediction"), (0, 2, 4)
        for layer, n in zip(*layers, strict=True):
            found |= parts_of(f"project{t}.{n}", get(f"{task}_{layer}"))
        found |= parts_of(f"mapping{t}.0", get(f"{task}_embedding_hidden"))
        found |= parts_of(f"mapping{t}.2", get(f"{task}_embedding"))
    return found


def state_of(golden):
    """The published weights; a table of positions is as ours, and no dense kernel."""
    state = golden.under("state/")
    state.pop("log_var_list")
    return {n: x.T if n.endswith("position_bias_table") else x for n, x in state.items()}


@pytest.fixture
def loaded(model, parts, golden):
    load(parts, state_of(golden))
    for contrast, one, other in golden.pairs:
        layer = model.get_layer(f"contrast_{one}_{other}")
        for memory, name in zip(layer.memories, ("memory_l", "memory_ab"), strict=True):
            memory.assign(golden[f"memory_before/{contrast}.{name}"])
        layer.constants.assign(np.zeros(2))
    return model


def images_of(golden):
    return np.zeros((len(golden["in/backbone_concat"]), *golden.image_shape), "float32")


def test_outputs_and_what_lies_between(loaded, golden):
    names, get = golden.meta["tasks"], loaded.get_layer
    outputs = {f"out/final/{name}": loaded.output[name] for name in names}
    outputs |= {"mid/reduce": get("reduction").output}
    outputs |= {"mid/shared_decoder": get("shared_decoder").output}
    ends = {name: f"{name}_lowres" for name in names}
    for name in names:
        ends[name] = ends[name] if ends[name] in {x.name for x in loaded.layers} else None
        outputs[f"out/lowres/{name}"] = get(ends[name] or f"{name}_prediction").output
        outputs[f"mid/self/{name}"] = get(f"{name}_self").output
        outputs[f"mid/cross/{name}/out"] = get(f"{name}_cross").output
    found = keras.Function(loaded.input, outputs)(images_of(golden))
    checked = set(found)
    for key, value in found.items():
        assert_close(ops.convert_to_numpy(value), golden.maps(key), key)

    own = {name: found[f"mid/self/{name}"] for name in names}
    for name in names:
        block, prefix = get(f"{name}_cross_block_1"), f"mid/cross/{name}/block0"
        order = [name, *(other for other in names if other != name)]
        features = [own[each] for each in order]
        inside, attended = {}, []
        for each, (scores, value) in zip(order, block.attentions(features), strict=True):
            attended.append(block.attend(scores, value))
            inside[f"scores_{each}"] = scores
            inside[f"attention_{each}"] = ops.softmax(scores, axis=-1)
            inside[f"attn_out_query_from_{each}"] = attended[-1]
        halves = block.halves(attended)
        inside |= {"fusion_in": halves, "fusion_out": block.fuse(halves)}
        flat = [ops.reshape(x, (x.shape[0], -1, x.shape[-1])) for x in features]
        flat[0] = ops.reshape(block(features), flat[0].shape)
        inside["out_all_channels"] = ops.concatenate(flat, axis=-1)
        for key, value in inside.items():
            assert_close(ops.convert_to_numpy(value), golden[f"{prefix}/{key}"], key)
            checked.add(f"{prefix}/{key}")
    assert checked == {key for key in golden.values if key.startswith(("mid/", "out/"))}


def losses_of(golden, outputs):
    """The published loss of each task."""
    found = {}
    for name in golden.meta["tasks"]:
        label, raw = golden[f"label/{name}"], ops.convert_to_tensor(outputs[name])
        if name == "sal":
            positive = np.moveaxis(label, 1, -1) >= 0.5
            share = 1 - positive.mean()
            weights = np.where(positive, share, 1 - share).astype("float32")
            logistic = ops.softplus(raw) - raw * ops.convert_to_tensor(positive.astype("float32"))
            found[name] = ops.mean(logistic * ops.convert_to_tensor(weights))
        else:
            if name == "depth":
                label = np.where(label < FARTHEST, label, NO_LABEL)
            found[name] = golden_loss(name, label, raw)
    return found


def contrasts_of(golden, model, embeddings, training=False):
    """By contrast the losses of both tasks for each image, and the sum over all, averaged."""
    rows = ops.convert_to_tensor(golden["in/sample_index"])
    found = {}
    for contrast, one, other in golden.pairs:
        index = golden[f"in/negative_index/{contrast}"]
        assert (index[:, 0] == golden["in/sample_index"]).all()
        found[contrast] = model.get_layer(f"contrast_{one}_{other}")(
            [embeddings[one], embeddings[other]],
            rows=rows,
            others=ops.convert_to_tensor(index[:, 1:]),
            training=training,
        )
    return found, sum(ops.mean(each) for pair in found.values() for each in pair)


@pytest.fixture(scope="module")
def embedder(model, golden):
    """All that a step needs, of a model without the memories' own turn."""
    names, get = golden.meta["tasks"], model.get_layer
    outputs = {name: model.output[name] for name in names}
    for name in names:
        outputs |= {f"pooled/{name}": get(f"{name}_pooled").output}
        outputs |= {f"embedding_before_l2/{name}": get(f"{name}_embedding").output}
    return keras.Model(model.input, outputs)


def embeddings_of(golden, outputs):
    return {name: outputs[f"embedding_before_l2/{name}"] for name in golden.meta["tasks"]}


def test_training_step(loaded, golden, embedder, parts, training_step, gradient):
    meta, names = golden.meta, golden.meta["tasks"]
    weights = {name: float(meta["loss_weights"][name]) for name in names}
    balancing = keras_mtl.balancing.UncertaintyWeighting(scale=10, penalty=1)
    balancing.prepare(weights)
    log_variance = np.array(meta["log_var"], "float32")
    balancing.log_variance.assign(log_variance)

    def total(outputs):
        found = losses_of(golden, outputs)
        balanced = balancing.total([weights[name] * found[name] for name in names])
        return balanced + 0.01 * contrasts_of(golden, loaded, embeddings_of(golden, outputs))[1]

    value, outputs, gradients = training_step(embedder, images_of(golden), total)
    assert value == pytest.approx(float(golden["train/loss/total"]), rel=1e-5)
    for name in names:
        for key in (f"pooled/{name}", f"embedding_before_l2/{name}"):
            assert_close(outputs[key], golden[f"train/{key}"], key)
    losses = losses_of(golden, outputs)
    losses = {name: np.array(ops.convert_to_numpy(x)) for name, x in losses.items()}
    for name in names:
        assert losses[name] == pytest.approx(golden[f"train/loss_unweighted/{name}"], rel=1e-5)
    embeddings = {n: ops.convert_to_tensor(x) for n, x in embeddings_of(golden, outputs).items()}
    contrastive = contrasts_of(golden, loaded, embeddings)[1]
    expected = golden["train/loss/contrastive_sum"].item()
    assert float(ops.convert_to_numpy(contrastive)) == pytest.approx(expected, rel=1e-5)

    def balanced(log_variance):
        with keras.StatelessScope(state_mapping=[(balancing.log_variance, log_variance)]):
            return balancing.total([float(weights[name] * losses[name]) for name in names])

    expected = golden["train/loss/uncertainty_total"]
    found = ops.convert_to_numpy(balanced(ops.convert_to_tensor(log_variance)))
    assert found == pytest.approx(expected, rel=1e-5)
    assert_close(gradient(balanced, log_variance), golden["train/grad_log_var"], "log_var", 1e-5)

    (features,) = (each for each in embedder.layers if isinstance(each, LearnedFeatures))
    expected = golden.maps("train/grad_in")
    assert_close(gradients[id(features.maps[0])], expected, "grad_in", 2e-3)
    unused = {*meta["unused_parameters"], "log_var_list"}
    names, norms = golden["train/gradnorm/names"], golden["train/gradnorm/values"]
    least, trained = 1e-3 * norms.max(), set()
    for name, norm in zip(map(str, names), norms, strict=True):
        if name not in unused:
            part = parts[name]
            own = np.linalg.norm(gradients[id(part.variable)][part.index])
            assert abs(own - norm) < 2e-3 * max(norm, least), name
            trained.add(id(part.variable))
    trained.add(id(features.maps[0]))
    left = [v.path for v in embedder.trainable_variables if id(v) not in trained]
    assert all(path.endswith("/bias") for path in left), left  # ours, where they have none


def test_memories(loaded, golden):
    """The scores of the first batch, and what becomes of the memories."""
    embeddings = {
        name: ops.convert_to_tensor(golden[f"train/embedding_before_l2/{name}"])
        for name in golden.meta["tasks"]
    }
    found, _ = contrasts_of(golden, loaded, embeddings, training=True)
    noise = golden.meta["K"] / golden.meta["n_data"]
    for contrast, one, other in golden.pairs:
        layer = loaded.get_layer(f"contrast_{one}_{other}")
        after = f"memory_after/{contrast}"
        for memory, name in zip(layer.memories, ("memory_l", "memory_ab"), strict=True):
            assert_close(ops.convert_to_numpy(memory), golden[f"{after}.{name}"], name)
        count, temperature, *constants, momentum = golden[f"{after}.params_K_T_Zl_Zab_momentum"]
        assert layer.negatives == count
        assert (layer.temperature, layer.momentum) == pytest.approx((temperature, momentum))
        assert_close(ops.convert_to_numpy(layer.constants), np.array(constants), "Z")
        for each, name in zip(found[contrast], ("out_l", "out_ab"), strict=True):
            scores = golden[f"train/nce/{contrast}/{name}"][..., 0].astype("float64")
            expected = -np.log(scores[:, 0] / (scores[:, 0] + noise + 1e-7))
            expected -= np.log(noise / (scores[:, 1:] + noise + 1e-7)).sum(axis=1)
            assert_close(ops.convert_to_numpy(each), expected, name)
