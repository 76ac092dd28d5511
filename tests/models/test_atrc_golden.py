"""ATRC against values measured on the published network: outputs, one training step, the search."""

import math
import re

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl import losses, tasks
from keras_mtl.models.genotypes import CONTEXTS
from keras_mtl.training.objective import Objective
from tests.golden_files import (
    AS_THEY_ARE,
    NO_LABEL,
    GivenFeatures,
    Golden,
    Part,
    assert_close,
    load,
    parts_of,
)


class Normals(tasks.SurfaceNormals):
    """With the file's centroids, which lie along the axes of its labels."""

    centroids = None

    def discretization(self):
        loss = losses.NormalsCentroidsLoss(self.centroids)
        return loss.num_classes, loss


class LearnedFeatures(GivenFeatures):
    """A backbone whose answer are variables: their gradients are those of features."""

    def __init__(self, image_shape, maps, **kwargs):
        super().__init__(image_shape, maps, **kwargs)
        self.maps = [
            self.add_weight(
                shape=each.shape, initializer=lambda shape, dtype, each=each: each, name=f"map_{n}"
            )
            for n, each in enumerate(self.arrays)
        ]

    def call(self, images, training=False):
        return dict(zip(self.channels, [each.value for each in self.maps], strict=True))


@pytest.fixture(scope="module")
def golden():
    return Golden("atrc")


def tasks_of(golden):
    def made(name):
        channels = golden.values[f"state/final_logits.{name}.weight"].shape[0]
        if name in ("semseg", "parts", "human_parts"):
            return tasks.SemanticSegmentation(name, channels, 2.0 if "parts" in name else 1.0)
        if name == "edge":
            return tasks.BoundaryDetection(positive_weight=golden.meta["edge_pos_weight"])
        return {
            "depth": tasks.DepthEstimation,
            "normals": Normals,
            "sal": tasks.SaliencyDetection,
            "saliency": tasks.SaliencyDetection,
        }[name](name)

    Normals.centroids = golden.values.get("centroids")
    return [made(name) for name in golden.meta["tasks"]]


def label_of(task, label):
    """A label of the file, with "no label" as the task says it."""
    label = np.moveaxis(label, 1, -1)
    label = np.where(label == NO_LABEL, task.ignore, label).astype(task.label_dtype)
    return label if task.label_channels else label[..., 0]


def features_of(golden):
    maps = [golden.maps(key) for key in golden.values if key.startswith("in/feature")]
    return {4 << n: each for n, each in enumerate(maps)}


def windows_of(golden):
    """The side of the local window, and every which row and column has its scores: `"3rd"`."""
    for key, each in golden.values.items():
        if found := re.search(r"/attention_every(\d+[a-z]+)", key):
            return math.isqrt(each.shape[-1]), found[1]
    return 9, "1st"


@pytest.fixture(scope="module")
def model(golden):
    return keras_mtl.ATRC(
        LearnedFeatures(golden.image_shape, features_of(golden)),
        tasks_of(golden),
        genotype=golden.meta["genotype"],
        window=windows_of(golden)[0],
        dropout=0,
        padding=NO_LABEL,
        image_statistics=AS_THEY_ARE,
    )


def layer_parts(name, model, ours, conv="convolution", norm="norm"):
    found = parts_of(f"{name}.conv", model.get_layer(f"{ours}_{conv}"))
    return found | parts_of(f"{name}.bn", model.get_layer(f"{ours}_{norm}"))


def pooling_parts(name, layer):
    """Of a `ContextPooling`."""
    found = {}
    for ours, theirs in (
        (layer.queries, ["query_project.0", "query_project.1"]),
        (layer.keys, ["key_project.0", "key_project.1"]),
        (layer.values, ["value_project"]),
    ):
        for (kernel, norm), each in zip(ours, theirs, strict=True):
            found |= parts_of(f"{name}.{each}.conv", kernel) | parts_of(f"{name}.{each}.bn", norm)
    return found


def task_parts(model, bottleneck):
    """Of all but the context blocks."""
    found = {}
    for name in (task.name for task in model.tasks):
        found |= layer_parts(f"bottleneck.{name}", model, f"{name}_features")
        found |= layer_parts(f"atrc_module.{bottleneck.format(name)}", model, f"{name}_refined")
        found |= parts_of(f"final_logits.{name}", model.get_layer(f"{name}_prediction"))
        if f"{name}/classes" in model.auxiliary:
            found |= layer_parts(f"aux_conv.{name}", model, f"{name}_classes")
            predict = model.get_layer(f"{name}_classes_prediction")
            found |= parts_of(f"aux_logits.{name}", predict)
        if f"{name}_with_context" in {layer.name for layer in model.layers}:
            found |= layer_parts(f"atrc_module.out_proj.{name}", model, f"context_{name}")
    return found


def pairs_of(model):
    """`(target, source, layer)` of each pair that has context."""
    for target, row in model.genotype.items():
        for source, context in row.items():
            if context != "none":
                yield target, source, model.get_layer(f"context_{target}_from_{source}")


@pytest.fixture(scope="module")
def parts(model):
    found = task_parts(model, "bottleneck.{}.0")
    for target, source, layer in pairs_of(model):
        found |= pooling_parts(f"atrc_module.cp_blocks.{target}.{source}", layer)
    return found


@pytest.fixture
def loaded(model, parts, golden):
    load(parts, golden.under("state/"))
    return model


def images_of(golden):
    return golden.maps("in/image")


def as_golden(found, context, every):
    """What `ContextPooling.pooled` says, by the file's names and in its shapes."""
    found = {name: ops.convert_to_numpy(each) for name, each in found.items()}
    names = dict.fromkeys(found)
    turned = {"out": (0, 3, 1, 2)}
    if context == "local":
        names["scores"] = f"scores_presoftmax_unscaled_every{every}_row_col"
        names["attention"] = f"attention_every{every}_row_col"
        n = int(re.match(r"\d+", every)[0])
        turned |= dict.fromkeys(("query", "key", "value"), (0, 3, 1, 2))
        for name in ("scores", "attention"):
            found[name] = found[name][:, ::n, ::n]
    elif context == "global":
        turned |= dict.fromkeys(("query", "key", "value", "denominator"), (0, 2, 1))
    else:
        names["scores"] = "scores_scaled"
        turned["key"] = (0, 2, 1)
        found["context"] = np.moveaxis(found["context"], 1, 2)[..., None]
    return {
        names[name] or name: each.transpose(turned[name]) if name in turned else each
        for name, each in found.items()
    }


def compiled(function):
    """JAX would compile every operation by itself."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def test_inference(loaded, golden):
    get = loaded.get_layer
    inner = {"concat": get("concatenated_features").output}
    for name in (task.name for task in loaded.tasks):
        inner[f"task_feature/{name}"] = get(f"{name}_features").output
        inner[f"refined/{name}"] = get(f"{name}_refined").output
        if f"{name}/classes" in loaded.auxiliary:
            inner[f"aux_logits_lowres/{name}"] = get(f"{name}_classes_prediction").output
            inner[f"aux_spatial_softmax/{name}"] = get(f"{name}_regions").output
    given = {f"{t}<-{s}": layer.input for t, s, layer in pairs_of(loaded)}
    everything = compiled(keras.Function(loaded.input, [dict(loaded.all_outputs), inner, given]))
    outputs, inner, given = everything(ops.convert_to_tensor(images_of(golden)))

    found = {}
    for key, each in inner.items():
        each = ops.convert_to_numpy(each)
        found[key] = np.moveaxis(each, -1, 1)
    for target, source, layer in pairs_of(loaded):
        pair = f"{target}<-{source}"
        inside = layer.pooled(*given[pair])
        for key, each in as_golden(inside, layer.context, windows_of(golden)[1]).items():
            found[f"cp/{pair}/{key}"] = each
    expected = golden.under("mid/")
    assert found.keys() == expected.keys()
    for key, each in expected.items():
        assert_close(found[key], each, key)
    names = [task.name for task in loaded.tasks]
    golden.check_maps({name: outputs[name] for name in names}, "out/final/")
    classes = {name.split("/")[0]: outputs[name] for name in loaded.auxiliary}
    golden.check_maps(classes, "out/aux/")


def test_masked_pixels(loaded, golden):
    """Pixels that are none have no share, and the logits stay as they are."""
    if not golden.under("mask/"):
        pytest.skip("this file has no masked pixels")
    images = images_of(golden).copy()
    images[:, : int(golden["mask/in_image_rows_set_to_255"])] = NO_LABEL
    expected = golden.under("mask/aux_spatial_softmax/")
    regions = {name: loaded.get_layer(f"{name}_regions").output for name in expected}
    logits = {name: loaded.all_outputs[f"{name}/classes"] for name in expected}
    found, logits = keras.Function(loaded.input, [regions, logits])(images)
    for name, each in expected.items():
        shares = np.moveaxis(ops.convert_to_numpy(found[name]), -1, 1)
        assert_close(shares, each, name)
        assert (each == 0).any()
        assert_close(ops.convert_to_numpy(logits[name]), golden.maps(f"out/aux/{name}"), name)


def check_some(found, expected, name):
    """Of a map at the image's size the file has every n-th row and column."""
    every = round(found.shape[1] / expected.shape[1])
    assert_close(ops.convert_to_numpy(found)[:, ::every, ::every], expected, name)


def terms_and_total(model, golden, outputs):
    objective = Objective(model.tasks, auxiliary=model.auxiliary)
    labels = {task.name: label_of(task, golden[f"label/{task.name}"]) for task in model.tasks}
    return objective.terms(labels, outputs), objective(labels, outputs)


def check_gradients(parts, gradients, names, norms):
    # A gamma of a sum that the next normalization divides by has none but for rounding.
    least = 1e-3 * norms.max()
    for name, norm in zip(names, norms, strict=True):
        found = np.linalg.norm(gradients[id(parts[name].variable)][parts[name].index])
        assert abs(found - norm) < 2e-3 * max(norm, least), (name, found, norm)


def test_training_step(loaded, parts, golden, training_step):
    total, outputs, gradients = training_step(
        loaded, images_of(golden), lambda found: terms_and_total(loaded, golden, found)[1]
    )
    assert total == pytest.approx(float(golden["train/loss/total"]), rel=1e-5)
    terms, _ = terms_and_total(loaded, golden, outputs)
    weights = {task.name: task.loss_weight for task in loaded.tasks}
    found = {
        f"{name.removesuffix('/classes')}_{'aux' if '/' in name else 'final'}": value
        * weights[name.removesuffix("/classes")]
        for name, value in terms.items()
    }
    expected = golden.under("train/loss_weighted/")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-5), name
    for task in loaded.tasks:
        check_some(outputs[task.name], golden.maps(f"train/out/final/{task.name}"), task.name)

    check_gradients(
        parts, gradients, golden["train/gradnorm/names"], golden["train/gradnorm/values"]
    )
    (maps,) = (each.maps for each in loaded.layers if isinstance(each, LearnedFeatures))
    for n, variable in enumerate(maps):
        expected = golden.maps(f"train/grad_in/feature{n}")
        assert_close(gradients[id(variable)], expected, f"feature{n}", tolerance=2e-3)
    trained = {id(parts[name].variable) for name in golden["train/gradnorm/names"]}
    trained |= {id(variable) for variable in maps}
    assert trained == {id(variable) for variable in loaded.trainable_variables}


def test_losses_alone(golden, gradient):
    alone = golden.under("loss_alone/")
    keys = {key.rsplit("/", 1)[0] for key in alone}
    for task in tasks_of(golden):
        for kind, loss in (("final", task.loss()), ("aux", task.discretization()[1])):
            key = f"loss_alone/{task.name}/{kind}"
            if f"{key}/label" not in golden.values:
                continue
            keys.remove(key.removeprefix("loss_alone/"))
            label = label_of(task, golden[f"{key}/label"])
            raw = golden.maps(f"{key}/pred")
            value = float(golden[f"{key}/value_unweighted"])
            assert float(loss(label, raw)) == pytest.approx(value, rel=1e-5), key
            found = gradient(lambda raw, loss=loss, label=label: loss(label, raw), raw)
            assert_close(found, golden.maps(f"{key}/grad_pred"), key)
    assert not keys


# === The search ===


@pytest.fixture(scope="module")
def search(golden):
    if not golden.under("search/"):
        pytest.skip("this file has no search")
    how = golden.meta["search"]
    found = keras_mtl.ATRCSearch(
        LearnedFeatures(golden.image_shape, features_of(golden)),
        tasks_of(golden),
        window=windows_of(golden)[0],
        temperature=[how["gumbel_temp"]] * 2,
        entropy_weight=[how["entropy_weight"]] * 2,
        gap=2,  # no pair is settled
        image_statistics=AS_THEY_ARE,
    )
    return found


def search_pairs(model):
    for t, target in enumerate(model.genotype):
        for s, source in enumerate(model.genotype):
            layer = model.get_layer(f"context_{target}_from_{source}")
            yield target, source, (t, s), layer


@pytest.fixture(scope="module")
def search_parts(search):
    found = task_parts(search, "bottleneck.{}")
    architecture = search.get_layer("architecture_weights").architecture
    for target, source, (t, s), layer in search_pairs(search):
        name = f"atrc_module.cp_blocks.{target}.{source}"
        types = 1 + len(layer.blocks)
        found[f"{name}.arch_param"] = Part(architecture, (t, s, slice(types)))
        for n, block in enumerate(layer.blocks):
            found |= pooling_parts(f"{name}.op_list.{n}", block)
    return found


@pytest.fixture
def searching(search, search_parts, golden):
    state, own = golden.under("search/state/"), search.get_layer("architecture_weights")
    architecture = np.zeros(own.architecture.shape, "float32")
    for name in [name for name in state if name.endswith("arch_param")]:
        architecture[search_parts[name].index] = state.pop(name)
    own.architecture.assign(architecture)
    layers = {k: part for k, part in search_parts.items() if not k.endswith("arch_param")}
    load(layers, state)
    return search


@pytest.fixture
def given_noise(searching, golden, monkeypatch):
    noise = np.zeros(searching.get_layer("architecture_weights").architecture.shape, "float32")
    for target, source, place, _ in search_pairs(searching):
        given = golden[f"search/gumbel_noise/{target}<-{source}"]
        noise[place][: len(given)] = given
    module = "keras_mtl.layers.atrc.architecture_weights.gumbel_noise"
    monkeypatch.setattr(module, lambda *_: ops.convert_to_tensor(noise))


def test_search_with_given_weights(searching, golden, given_noise):
    """Those of the noise, and in inference of the largest numbers."""
    own = searching.get_layer("architecture_weights")
    drawn = ops.convert_to_numpy(ops.stop_gradient(own(ops.zeros((1, 1)), training=True)))
    for target, source, place, _ in search_pairs(searching):
        expected = golden[f"search/mixing_weights/{target}<-{source}"]
        assert_close(drawn[place][: len(expected)], expected, f"{target}<-{source}")
        assert (drawn[place][len(expected) :] == 0).all()
        known = golden[f"search/state/atrc_module.cp_blocks.{target}.{source}.arch_param"]
        assert CONTEXTS.index(searching.genotype[target][source]) == known.argmax()
    largest = ops.convert_to_numpy(own(ops.zeros((1, 1)), training=False))
    mix = compiled(keras.Function([searching.input, own.output], dict(searching.output)))
    for kind, weights in (("gumbel", drawn), ("argmax", largest)):
        found = mix([images_of(golden), weights])  # normalised by running statistics
        for task in searching.tasks:
            key = f"search/out_{kind}/final/{task.name}"
            check_some(found[task.name], golden.maps(key), task.name)


def test_search_in_training(searching, search_parts, golden, given_noise, training_step):
    own = searching.get_layer("architecture_weights")

    def loss(outputs):
        return terms_and_total(searching, golden, outputs)[1]

    total, _, gradients = training_step(searching, images_of(golden), loss)
    weight = golden.meta["search"]["entropy_weight"]
    expected = golden[f"search/train/total_with_entropy_weight_{weight:g}"]
    assert total == pytest.approx(float(expected), rel=1e-5)
    entropy = float(ops.convert_to_numpy(own.entropy(ops.stop_gradient(own.shares()))))
    assert entropy == pytest.approx(float(golden["search/train/entropy_mean"]), rel=1e-5)
    found = total - weight * entropy
    assert found == pytest.approx(float(golden["search/train/task_loss"]), rel=1e-5)
    for target, source, place, _ in search_pairs(searching):
        pair = f"{target}<-{source}"
        expected = golden[f"search/train/arch_grad/{pair}"]
        found = gradients[id(own.architecture)][place][: len(expected)]
        assert_close(found, expected, pair, tolerance=2e-3)
    names, norms = (golden[f"search/train/gradnorm/{what}"] for what in ("names", "values"))
    check_gradients(search_parts, gradients, names, norms)
