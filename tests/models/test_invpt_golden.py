"""InvPT against values measured on the published network: outputs, and one training step.

`vit/` is the released network on the tokens of a Vision Transformer, `swin_adapted/` the same on a
pyramid of maps, of which nothing is published.
"""

from functools import partial

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.models.invpt import STRIDES
from tests.golden_files import AS_THEY_ARE, Part, load, parts_of
from tests.golden_transformers import (
    TrainableFeatures,
    TransformerGolden,
    assert_all_close,
    channels_first,
    compiled,
    tokens,
)

STAGES = 3
ON_TOKENS = "vit"
PREFIX = "multi_task_decoder."
TOKENS = ("tokens0", "tokens1", "tokens2", "tokens3")
LEVELS = ("tokens0", "tokens1", "tokens3")  # of a pyramid; the other is the unused skip's alone


class GivenTokens(TrainableFeatures):
    """In place of a Vision Transformer: its maps after each quarter of its blocks."""


@pytest.fixture(scope="module", params=[ON_TOKENS, "swin_adapted"])
def case(request):
    """One of the file's."""
    file = TransformerGolden("invpt", "InvPT")
    if request.param not in file.sections():
        pytest.skip(f"The file has no {request.param}/")
    part = file.section(f"{request.param}/")
    part.name = request.param
    return part


@pytest.fixture(scope="module")
def arrays(case):
    """Maps `(B, h, w, c)` of the tokens."""
    own = case.meta[case.name]
    grids = own["token_grids"] if "token_grids" in own else [own["token_grid"]] * len(TOKENS)
    return {
        key: case[f"in/{key}"].reshape(-1, *grid, case[f"in/{key}"].shape[-1])
        for key, grid in zip(TOKENS, grids, strict=True)
    }


@pytest.fixture(scope="module")
def given(case, arrays):
    if case.name == ON_TOKENS:
        return GivenTokens(case.image_shape, dict(enumerate(arrays.values(), start=1)))
    maps = dict(zip(STRIDES, (arrays[key] for key in LEVELS), strict=True))
    return TrainableFeatures(case.image_shape, maps)


@pytest.fixture(scope="module")
def model(case, given):
    state = case.under("state/")
    width = len(state[f"preliminary_decoder.{case.meta['tasks'][0]}.1.conv.weight"])
    mixed = len(state[f"invpt.mix_proj.{case.meta['tasks'][0]}.0.weight"])
    heads = len(state["invpt.invpt_stages.0.blocks.0.attn.fuse_attn.weight"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_mtl.models.invpt.PatchMap", GivenTokens)
        patch.setattr("keras_mtl.models.invpt.patch_maps", lambda x, y: list(x(y).values()))
        return keras_mtl.InvPT(
            given,
            case.tasks_by_head("state_heads/{}.linear_pred.bias"),
            width=width,
            prediction_width=mixed - width,
            num_heads=heads,
            unused_weights=True,
            image_statistics=AS_THEY_ARE,
        )


def parts_of_model(model):
    found, unused = {}, model.get_layer("unused_weights")
    names = [task.name for task in model.tasks]
    found |= parts_of("invpt.norm_mt", unused.norm)
    found |= parts_of("scale_embed.2", unused.skip)
    for stage in range(STAGES):
        attention = model.get_layer(f"stage_{stage}_attention")
        mlp = model.get_layer(f"stage_{stage}_mlp")
        block = f"invpt.invpt_stages.{stage}.blocks.0"
        found |= parts_of(f"{block}.norm1", model.get_layer(f"stage_{stage}_norm"))
        found |= parts_of(f"{block}.norm2", mlp.norm)
        found |= parts_of(f"{block}.mlp.fc1", mlp.dense_1)
        found |= parts_of(f"{block}.mlp.fc2", mlp.dense_2)
        found |= parts_of(f"{block}.attn.proj_q", attention.query_dense)
        found |= parts_of(f"{block}.attn.proj_k", attention.key_dense)
        found |= parts_of(f"{block}.attn.proj_v", attention.value_dense)
        found |= parts_of(f"{block}.attn.proj", attention.output_dense)
        found |= parts_of(f"{block}.attn.fuse_attn", (attention if stage else unused).fuse)
        found |= parts_of(f"invpt.norm_mts.{stage}", model.get_layer(f"stage_{stage}_norm_of_all"))
        if stage:
            found |= parts_of(
                f"scale_embed.{STAGES - 1 - stage}", model.get_layer(f"stage_{stage}_skip")
            )
        for t in range(len(names)):
            query = f"{block}.attn.conv_proj_q.{t}"
            found[f"{query}.conv.weight"] = Part(attention.query_convolutions[t].kernel)
            found |= parts_of(f"{query}.bn", attention.query_norms[t])
            reduction = model.get_layer(f"stage_{stage}_{t}_widened") if stage else None
            found |= parts_of(f"invpt.redu_chan.{stage}.{t}", reduction or unused.reductions[t])
            for k in (1, 2) if stage else ():
                enlarge = f"invpt.invpt_stages.{stage}.patch_embed.{t}.proj"
                layers = (
                    model.get_layer(f"stage_{stage}_{t}_convolution_{k}"),
                    model.get_layer(f"stage_{stage}_{t}_norm_{k}"),
                )
                for n, layer in enumerate(layers, start=3 * k - 2):
                    found |= parts_of(f"{enlarge}.{n}", layer)
    for name in names:
        for k in (0, 1):
            own = f"{name}_initial_{k + 1}"
            block = f"preliminary_decoder.{name}.{k}"
            found |= parts_of(f"{block}.conv", model.get_layer(f"{own}_convolution"))
            found |= parts_of(f"{block}.bn1", model.get_layer(f"{own}_norm"))
        last = model.get_layer(f"{name}_initial_prediction")
        found |= parts_of(f"intermediate_head.{name}", last)
        found |= parts_of(f"invpt.mix_proj.{name}.0", model.get_layer(f"{name}_mixed"))
        found |= parts_of(f"invpt.mt_proj.{name}.0", model.get_layer(f"{name}_convolution"))
        found |= parts_of(f"invpt.mt_proj.{name}.1", model.get_layer(f"{name}_norm"))
        found |= parts_of(f"{name}.linear_pred", model.get_layer(f"{name}_prediction"))
    return found


@pytest.fixture(scope="module")
def loaded(model, case):
    """The model with the file's weights, and where they are."""
    parts = parts_of_model(model)
    state = case.under("state/") | case.under("state_heads/")
    for name in state:
        if "conv_proj_q" in name and name.endswith(".conv.weight"):
            state[name] = state[name].swapaxes(0, 1)  # depthwise
    load(parts, state)
    return model, parts


def symbols(model):
    """Symbolic values by the files' names: maps, and those that `inside` goes on from."""
    names, layer = [task.name for task in model.tasks], model.get_layer
    maps = {f"out/final_upsampled/{name}": model.output[name] for name in names}
    for name in names:
        maps[f"mid/preliminary_feature/{name}"] = layer(f"{name}_initial_2").output
        maps[f"mid/mix_proj/{name}"] = layer(f"{name}_mixed").output
        maps[f"mid/task_feature/{name}"] = layer(f"{name}_features").output
        maps[f"out/intermediate_lowres/{name}"] = layer(f"{name}_initial_prediction").output
        maps[f"out/final_lowres/{name}"] = layer(f"{name}_prediction").output
    within = {}
    for stage in range(STAGES):
        attention, norm = layer(f"stage_{stage}_attention"), layer(f"stage_{stage}_norm_of_all")
        within[stage] = {
            "given": attention.input[: len(names)],
            "scores": attention.output[-1],
            "normed": norm.output,
        }
        for t, name in enumerate(names):
            maps[f"mid/stage{stage}/block_out/{name}"] = layer(f"stage_{stage}_{t}").output
            if stage:
                enlarged = layer(f"stage_{stage}_{t}_relu_2").output
                maps[f"mid/stage{stage}/upembed_before_skip/{name}"] = enlarged
        if stage:
            skips = [f"stage_{stage}_skip_cropped", f"stage_{stage}_skip"]
            known = {each.name for each in model.layers}
            skip = next(each for each in skips if each in known)
            maps[f"mid/scale_embed{STAGES - 1 - stage}"] = layer(skip).output
    return maps, within


def inside(attention, given, scores, normed):
    """Values inside of one stage, by the ends of the files' names."""
    query, key, value = attention.project(given)
    return {
        "attn_in_normed": tokens(given),
        "q_proj": query,
        "k_proj": key,
        "v_proj": value,
        "scores_presoftmax": scores,
        "attention": attention.attention(scores),
        "attn_out": attention.output_dense(attention.attend(scores, value)),
        "norm_all_tasks": tokens([normed]),
    }


def test_outputs_and_what_lies_between(loaded, case, arrays, given):
    model, _ = loaded
    everything = keras.Model(model.input, symbols(model))
    maps, within = compiled(lambda x: everything(x, training=False))(
        ops.convert_to_tensor(given.images())
    )
    found = {name: channels_first(x) for name, x in maps.items()}
    for stage, values in within.items():
        attention = model.get_layer(f"stage_{stage}_attention")
        for name, x in compiled(partial(inside, attention))(**values).items():
            found[f"mid/stage{stage}/{name}"] = ops.convert_to_numpy(x)
    unused = model.get_layer("unused_weights").skip(ops.convert_to_tensor(arrays["tokens2"]))
    found["mid/scale_embed2"] = channels_first(unused)
    known = case.under("mid/")
    assert_all_close({name[4:]: x for name, x in found.items() if name.startswith("mid/")}, known)
    known = case.under("out/")  # at the image's size not of all tasks
    assert {f"final_lowres/{task.name}" for task in model.tasks} <= known.keys()
    assert_all_close({name: found[f"out/{name}"] for name in known}, known)


def test_one_training_step(loaded, case, given, training_step):
    model, parts = loaded
    weights = case.meta["loss_weights"]

    def losses(outputs):
        found = {name: case.loss(name, outputs[name]) for name in weights}
        initial = {f"inter_{name}": case.loss(name, outputs[f"{name}/initial"]) for name in weights}
        return found | initial

    def total(outputs):
        found = losses(outputs)
        return sum(
            weight * (found[name] + found[f"inter_{name}"]) for name, weight in weights.items()
        )

    loss, outputs, gradients = training_step(model, given.images(), total)
    assert loss == pytest.approx(float(case["train/loss_total"]), rel=1e-5)
    found = {name: float(ops.convert_to_numpy(x)) for name, x in losses(outputs).items()}
    expected = case.under("train/loss_unweighted/")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(float(value), rel=1e-5), name
    published = {
        str(name): [str(name).removeprefix(PREFIX).removeprefix("heads.")]
        for name in case["train/gradnorm/names"]
    }
    case.check_gradients(gradients, parts, published)
    trained = {id(parts[name].variable) for (name,) in published.values()}
    keys = TOKENS if case.name == ON_TOKENS else LEVELS
    features = {id(variable): key for key, variable in zip(keys, given.maps, strict=True)}
    for variable in model.trainable_variables:  # the file leaves none out
        assert id(variable) in trained or id(variable) in features, variable.path
    norms = {key: np.linalg.norm(gradients[each]) for each, key in features.items()}
    for key, norm in case.under("train/grad_in_norm/").items():
        assert norms.get(key, 0) == pytest.approx(float(norm), rel=2e-3), key
