"""MQTransformer against values measured on the published network: outputs, one training step.

The published network attends over the batch where it means to attend over positions; `token_axis`
is the same with the same weights over positions.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from tests.golden_files import AS_THEY_ARE, Part, assert_close, load, parts_of
from tests.golden_transformers import (
    LOSS_WEIGHTS,
    TrainableFeatures,
    TransformerGolden,
    assert_all_close,
    channels_first,
    compiled,
)

STRIDES = (4, 8, 16, 32)
BLOCK = "parts_query_encoder_decoder_blocks.0"
THREE = ("query", "key", "value")


@pytest.fixture(scope="module")
def golden_file():
    return TransformerGolden("mqtransformer", "MQTransformer")


@pytest.fixture(scope="module")
def state(golden_file):
    """The file's weights: what it has in one split in three, and as `load` turns it."""
    found = golden_file.under("state/")
    for name in [name for name in found if ".in_proj_" in name]:
        kind = name.rsplit("_", 1)[1]
        for part, value in zip(THREE, np.split(found.pop(name), 3), strict=True):
            found[f"{name.removesuffix(f'_{kind}')}.{part}.{kind}"] = value
    for name, value in found.items():
        layer = name.rsplit(".", 1)[0]
        if name.endswith(".reason.linear.weight"):
            found[name] = value[..., 0]
        elif layer.endswith(".rpn_tokens"):
            found[name] = value.T
        elif layer.endswith((".rpn_qpos", ".rpn_kpos")):
            found[name] = value.transpose(3, 2, 0, 1)
    return found


@pytest.fixture(scope="module")
def build(golden_file, state):
    """`build(axis)`: the model with the file's weights, where they are, and its features."""
    meta = golden_file.meta

    def of(axis):
        maps = {s: golden_file.maps(f"in/feature{n}") for n, s in enumerate(STRIDES)}
        given = TrainableFeatures(golden_file.image_shape, maps)
        model = keras_mtl.MQTransformer(
            given,
            golden_file.tasks_by_head("state/final_logits.{}.bias"),
            width=meta["dim"],
            num_queries=meta["queries_per_task"],
            num_heads=meta["heads"],
            head_width=len(state[f"bottleneck.{meta['tasks'][0]}.bn.bias"]),
            attention_axis=axis,
            dropout=0,
            stochastic_depth=0,
            cross_task_stochastic_depth=0,
            image_statistics=AS_THEY_ARE,
        )
        parts = parts_of_model(model)
        load(parts, state)
        return model, parts, given

    return of


@pytest.fixture(scope="module")
def published(build):
    return build("batch")


@pytest.fixture(scope="module")
def over_positions(build):
    return build("positions")


def parts_of_unit(name, unit):
    found = parts_of(f"{name}.proj", unit.output_dense)
    for letter, norm, dense in zip("qkv", unit.norms, unit.maps, strict=True):
        found |= parts_of(f"{name}.norm_{letter}", norm) | parts_of(f"{name}.to_{letter}", dense)
    return found


def parts_of_mlp(name, mlp):
    found = parts_of(f"{name}.norm", mlp.norm)
    return found | parts_of(f"{name}.fc1", mlp.dense_1) | parts_of(f"{name}.fc2", mlp.dense_2)


def parts_of_model(model):
    layer = model.get_layer("multi_query_transformer")
    encoder, decoder = f"{BLOCK}.encoder1", f"{BLOCK}.decoder1"
    found = parts_of_unit(f"{encoder}.enc_attn", layer.encoder_attention)
    found |= parts_of(f"{encoder}.reason.norm", layer.reason_norm)
    found |= parts_of(f"{encoder}.reason.linear", layer.reason)
    found |= parts_of_mlp(f"{encoder}.enc_ffn", layer.encoder_mlp)
    found |= parts_of(f"{BLOCK}.norm_layer", layer.cross_task_norm)
    found |= parts_of_mlp(f"{BLOCK}.ffn_mlp", layer.cross_task_mlp)
    found |= parts_of_unit(f"{decoder}.attn1", layer.decoder_attention)
    for n, mlp in enumerate(layer.decoder_mlps, start=1):
        found |= parts_of_mlp(f"{decoder}.ffn{n}", mlp)
    for name, attention in (
        (f"{BLOCK}.mhsa_1", layer.cross_task_attention),
        (f"{decoder}.mhsa", layer.position_attention),
    ):
        found |= parts_of(f"{name}.out_proj", attention.output_dense)
        for part in THREE:
            found |= parts_of(f"{name}.in_proj.{part}", getattr(attention, f"{part}_dense"))
    for t, task in enumerate(model.tasks):
        found[f"{BLOCK}.rpn_tokens.{t}"] = Part(layer.queries[t])
        found[f"{BLOCK}.rpn_qpos.{t}"] = Part(layer.query_positions[t])
        found[f"{BLOCK}.rpn_kpos.{t}"] = Part(layer.key_positions[t])
        found |= parts_of(f"linears.{t}", model.get_layer(f"{task.name}_features"))
        found |= parts_of(
            f"bottleneck.{task.name}.conv", model.get_layer(f"{task.name}_head_convolution")
        )
        found |= parts_of(f"bottleneck.{task.name}.bn", model.get_layer(f"{task.name}_head_norm"))
        found |= parts_of(f"final_logits.{task.name}", model.get_layer(f"{task.name}_prediction"))
    return found


def scores_and_weights(query, key):
    scores = ops.einsum("bqhd,bkhd->bhqk", query, key) * query.shape[-1] ** -0.5
    return {"scores": scores, "attention": ops.softmax(scores, axis=-1)}


def inside(layer, over_positions, names, features):
    """What lies within the exchange, by the ends of the files' names, as arrays are there."""
    found, encoded = {}, []
    flat = [ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3])) for x in features]
    for t, (name, x) in enumerate(zip(names, flat, strict=True)):
        _, asking = layer.asking(t, x)
        query, key, _ = layer.encoder_attention.project(asking, x, x)
        encoded.append(layer.encode(t, x))
        found |= {f"encoder/{name}/{k}": v for k, v in scores_and_weights(query, key).items()}
        found[f"encoder/{name}/attn_out"] = layer.encoder_attention(asking, x, x)
        found[f"encoder/{name}/query_out"] = encoded[-1]
    q = found["cross_task/query_in"] = ops.concatenate(encoded, axis=1)
    found["cross_task/mha_out"] = layer.cross_task_attention(q)
    exchanged = layer.exchange(encoded)
    found["cross_task/query_out"] = ops.concatenate(exchanged, axis=1)
    for t, (name, x, queries) in enumerate(zip(names, flat, exchanged, strict=True)):
        keys = layer.with_position(queries, layer.key_positions[t])
        query, key, _ = layer.decoder_attention.project(x, keys, queries)
        written = layer.written(t, x, queries)
        found |= {f"decoder/{name}/{k}": v for k, v in scores_and_weights(query, key).items()}
        found |= {
            f"decoder/{name}/attn_out": layer.decoder_attention(x, keys, queries),
            f"decoder/{name}/self_attn_in": written,
            f"decoder/{name}/self_attn_out_batch_axis": layer.position_attention(written),
            f"decoder/{name}/self_attn_out_token_axis": over_positions(written),
            f"decoder/{name}/out": layer.decode(t, x, queries),
        }
    return found


def test_outputs_and_what_lies_between(published, over_positions, golden_file):
    model, _, given = published
    names, layer = golden_file.meta["tasks"], model.get_layer("multi_query_transformer")
    symbols = {
        "maps": {"concat": model.get_layer("concatenated_features").output},
        "features": [model.get_layer(f"{name}_features").output for name in names],
        "out": model.output,
    }
    for name, x in zip(names, layer.output, strict=True):
        symbols["maps"][f"refined/{name}"] = x
        symbols["maps"][f"bottleneck/{name}"] = model.get_layer(f"{name}_head").output
    everything = keras.Model(model.input, symbols)
    images = ops.convert_to_tensor(given.images())
    found = compiled(lambda x: everything(x, training=False))(images)
    attend = over_positions[0].get_layer("multi_query_transformer").position_attention
    mid = compiled(lambda x: inside(layer, attend, names, x))(found["features"])
    mid = {name: ops.convert_to_numpy(x) for name, x in mid.items()}
    mid |= {name: channels_first(x) for name, x in found["maps"].items()}
    for name, x in zip(names, found["features"], strict=True):
        mid[f"task_feature/{name}"] = ops.convert_to_numpy(x)
    assert_all_close(mid, golden_file.under("mid/"))

    whole = over_positions[0]
    over_tokens = compiled(lambda x: whole(x, training=False))(images)
    known = golden_file.under("out/")
    out = {f"final/{name}": channels_first(found["out"][name]) for name in names}
    out |= {f"final_token_axis/{name}": channels_first(over_tokens[name]) for name in names}
    alone = [name for name in known if name.startswith("final_sample0_alone/")]
    for name in alone:
        out[name] = known[name]  # of one image: below
    assert_all_close(out, known)


def test_of_one_image_alone(published, over_positions, golden_file):
    """The published form gives another answer for it, over positions it is the same."""
    outputs = {}
    for axis, (model, _, given) in (("batch", published), ("positions", over_positions)):
        images = ops.convert_to_tensor(given.images()[:1])
        outputs[axis] = compiled(lambda x, model=model: model(x, training=False))(images)
    for name, expected in golden_file.under("out/final_sample0_alone/").items():
        assert_close(channels_first(outputs["batch"][name]), expected, name)
        leak = np.abs(expected - golden_file[f"out/final/{name}"][:1]).max()
        assert leak == pytest.approx(golden_file.meta["leak_sample0"][name], rel=1e-3)
    for name, expected in golden_file.under("out/final_token_axis/").items():
        assert_close(channels_first(outputs["positions"][name]), expected[:1], name)


def test_one_training_step(published, golden_file, training_step):
    model, parts, given = published
    weights = LOSS_WEIGHTS | golden_file.meta.get("loss_weights", {})

    def losses(outputs):
        return {f"{n}_final": weights[n] * golden_file.loss(n, outputs[n]) for n in outputs}

    loss, outputs, gradients = training_step(
        model, given.images(), lambda outputs: sum(losses(outputs).values())
    )
    assert loss == pytest.approx(float(golden_file["train/loss/total"]), rel=1e-5)
    found = {name: float(ops.convert_to_numpy(x)) for name, x in losses(outputs).items()}
    expected = golden_file.under("train/loss_weighted/")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(float(value), rel=1e-5), name

    names, unused = {}, golden_file.meta["parameters_never_used"]
    for name in map(str, golden_file["train/gradnorm/names"]):
        if name in unused:
            continue
        layer, packed, kind = name.partition(".in_proj_")
        names[name] = [f"{layer}.in_proj.{part}.{kind}" for part in THREE] if packed else [name]
    golden_file.check_gradients(gradients, parts, names)
    trained = {id(parts[each].variable) for own in names.values() for each in own}
    features = {id(variable) for variable in given.maps}
    for variable in model.trainable_variables:  # the file leaves none out
        assert id(variable) in trained | features, variable.path
    for n, variable in enumerate(given.maps):
        expected = golden_file.maps(f"train/grad_in/feature{n}")
        assert_close(gradients[id(variable)], expected, f"feature{n}", 2e-3)
