"""ATRC as a model: genotypes, backbones, what the backbone learns; and the search with `fit`."""

import json

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl import rooms
from keras_mtl.layers.atrc.architecture_weights import ArchitectureWeights
from keras_mtl.models.genotypes import SHIPPED, checked_genotype
from keras_mtl.tasks import nyud, pascal_context
from tests import small

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")

SIZE = (32, 48)
NAMES = ["depth", "normals"]


# === Genotypes ===


@pytest.mark.once("torch", "a genotype knows no backend")
def test_published_genotypes():
    codes = dict(zip(("none", "global", "local", "t-label", "s-label"), "01234", strict=True))
    found = {
        name: " ".join("".join(codes[c] for c in row.values()) for row in genotype.values())
        for name, genotype in SHIPPED.items()
    }
    assert found == {
        "nyud_hrnet18": "3344 4344 4334 3313",
        "nyud_hrnet48": "3004 4114 4114 3333",
        "pascal_hrnet18": "33404 33434 33343 33334 33313",
    }
    names = {"nyud": nyud(), "pascal": pascal_context()}
    for name, genotype in SHIPPED.items():
        assert list(genotype) == [task.name for task in names[name.split("_")[0]]]


@pytest.mark.once("torch", "a genotype knows no backend")
@pytest.mark.parametrize(
    "given",
    [
        [[1, 0], [3, 2]],
        ["10", "32"],
        np.array([[1, 0], [3, 2]]),
        {"normals": ["t-label", "local"], "depth": {"normals": "none", "depth": 1}},
    ],
)
def test_ways_to_say_a_genotype(given):
    expected = {
        "depth": {"depth": "global", "normals": "none"},
        "normals": {"depth": "t-label", "normals": "local"},
    }
    found = checked_genotype(given, NAMES)
    assert found == expected and list(found) == list(found["depth"]) == NAMES
    assert checked_genotype(json.loads(json.dumps(found)), NAMES) == expected
    assert checked_genotype("local", NAMES)["depth"] == dict.fromkeys(NAMES, "local")
    assert checked_genotype("nyud_hrnet18", NAMES)["normals"] == {
        "depth": "t-label", "normals": "t-label"
    }  # fmt: skip


@pytest.mark.once("torch", "a refusal knows no backend")
@pytest.mark.parametrize(
    "given, said",
    [
        ("lokal", "genotype is 'lokal'; expected one of 'global', .* .did you mean 'local'"),
        ("pascal_hrnet18", "genotype is 'pascal_hrnet18', which is one of .* has no 'depth'"),
        ([[1, 0]], "genotype is .*; expected a row for each target, of depth, normals"),
        ([[1, 0], [1]], "The row of 'normals' of genotype is .*; expected a context for each"),
        ([[1, 5], [1, 1]], "genotype has 5 for 'depth' from 'normals'; expected 0 to 4, or one"),
        ([[1, 1.5], [1, 1]], "genotype has 1.5 for 'depth' from 'normals'"),
        ([[True, 1], [1, 1]], "genotype has True for 'depth' from 'depth'"),
        ({"depth": [1, 1], "edge": [1, 1]}, "genotype is depth, edge; expected a row for each"),
        ({"depth": [1, 1], "normals": {"depth": 1}}, "The row of 'normals' of genotype is depth;"),
        (3, "genotype is 3; expected a row for each target"),
        (None, "genotype is None; expected a row for each target"),
    ],
)
def test_what_is_no_genotype(given, said):
    with pytest.raises(ValueError, match=said) as error:
        checked_genotype(given, NAMES)
    assert "\n" not in str(error.value)


# === Models ===


@pytest.mark.once("torch", "what is built knows no backend")
def test_only_classes_that_are_read_are_predicted():
    tasks = nyud("depth", "normals", "edge")
    for genotype, read in (
        ("global", []),
        ("local", []),
        ([[0, 0, 4], [0, 0, 0], [1, 0, 2]], ["edge"]),
        ([[3, 0, 0], [4, 0, 0], [0, 0, 0]], ["depth"]),
        ("t-label", ["depth", "normals", "edge"]),
    ):
        model = keras_mtl.ATRC(small.resnet(SIZE), tasks, genotype=genotype)
        assert list(model.auxiliary) == [f"{name}/classes" for name in read]
    bare = keras_mtl.ATRC(small.resnet(SIZE), tasks, genotype=np.zeros((3, 3), int), dropout=0)
    assert not any("context" in layer.name or "dropout" in layer.name for layer in bare.layers)


def test_a_network_begins_without_context():
    """Its gamma and beta are 0, so that at first context changes nothing."""
    tasks = nyud("depth", "normals")
    images = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), "uint8")
    model = keras_mtl.ATRC(small.resnet(SIZE), tasks)
    before = model.predict_on_batch(images)
    for layer in model.layers:
        if layer.name.startswith("context_depth_from"):
            for weight in layer.trainable_weights:
                weight.assign(ops.zeros(weight.shape))
    after = model.predict_on_batch(images)
    for name, each in before.items():
        np.testing.assert_array_equal(after[name], each)
    # Each image by itself: none of another's in its batch.
    alone = model.predict_on_batch(images[1:])
    for name, each in before.items():
        assert np.abs(alone[name] - each[1:]).max() < 1e-5 * np.abs(each).max()


def test_the_backbone_learns_nothing_by_predicted_classes(training_step):
    """Only by the final maps, also through the contexts; the classes' layers learn by both."""
    tasks = nyud("depth", "normals")
    backbone = small.resnet(SIZE)
    model = keras_mtl.ATRC(backbone, tasks, genotype="s-label", dropout=0)
    gamma = model.get_layer("context_normals_norm").gamma
    gamma.assign(ops.ones(gamma.shape))
    images = np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 3)).astype("float32")

    def squares(*names):
        def loss(outputs):
            return sum(ops.mean(ops.square(outputs[name])) for name in names)

        gradients = training_step(model, images, loss)[2]
        own = {id(variable) for variable in model.backbone_variables}
        predicts = id(model.get_layer("depth_classes_prediction").kernel)
        size = {k: np.abs(gradient).max() for k, gradient in gradients.items()}
        return max(size[k] for k in own & set(size)), size[predicts]

    of_backbone, of_classes = squares("depth/classes")
    assert of_backbone == 0 and of_classes > 0
    of_backbone, of_classes = squares("normals")  # its context attends to depth's classes
    assert of_backbone > 0 and of_classes > 0


def test_whole_channels_are_dropped():
    tasks = nyud("depth")
    model = keras_mtl.ATRC(small.resnet(SIZE), tasks, genotype="global", dropout=0.5)
    x = np.ones((4, 3, 5, 32), "float32")
    found = ops.convert_to_numpy(model.get_layer("depth_dropout")(x, training=True))
    assert set(np.unique(found)) == {0.0, 2.0}
    assert (found == found[:, :1, :1]).all() and 0 < found[:, 0, 0].mean() < 2
    with pytest.raises(ValueError, match="dropout is 1, expected a number from 0 to below 1"):
        keras_mtl.ATRC(small.resnet(SIZE), tasks, dropout=1)
    default = keras_mtl.ATRC(small.resnet(SIZE), tasks, genotype="global")
    assert default.get_layer("depth_dropout").rate == 0.05


@pytest.mark.once("torch", "what is built knows no backend")
def test_on_vision_transformers():
    plain = small.vit(SIZE, num_layers=4, hidden_dim=32, mlp_dim=8)
    model = keras_mtl.ATRC(plain, nyud("depth"), genotype="global")
    assert model.get_layer("concatenated_features").output.shape == (None, 8, 12, 4 * 10)
    assert model.get_layer("depth_features").output.shape == (None, 8, 12, 10)
    with_token = small.vit(SIZE, num_layers=2, use_class_token=True, hidden_dim=32)
    model = keras_mtl.ATRC(with_token, nyud("depth"), genotype="local")
    assert model.predict_on_batch(np.zeros((1, *SIZE, 3), "uint8"))["depth"].shape[1:3] == SIZE


# === The search ===


def test_weights_of_the_architecture():
    """Schedules, and pairs that are settled for good."""
    keras.utils.set_random_seed(0)
    layer = ArchitectureWeights(tasks=2, steps=4)
    layer.build((1, 1))
    anything = ops.zeros((1, 1))

    def run():
        weights = ops.convert_to_numpy(ops.stop_gradient(layer(anything, training=True)))
        return weights, float(ops.convert_to_numpy(ops.stop_gradient(layer.losses[-1])))

    weights, loss = run()
    assert weights.shape == (2, 2, 5)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
    assert (weights[0, 0, 4], weights[1, 1, 4]) == (0, 0) and (weights[0, 1] > 0).all()
    # Of five types, and for a task with itself of four.
    entropy = (np.log(4) + np.log(5)) / 2
    assert loss == pytest.approx(-0.02 * entropy, rel=1e-5)
    _, loss = run()
    assert loss == pytest.approx(0.0 * entropy, abs=1e-7)  # a quarter of the way from -0.02 to 0.06
    run()

    settled = np.zeros((2, 2, 5), "float32")
    settled[0, 1, 2] = 2.0  # its share is 0.65, and the others' 0.09
    layer.architecture.assign(settled)
    weights, _ = run()
    np.testing.assert_array_equal(weights[0, 1], [0, 0, 1, 0, 0])
    assert weights[1, 0].max() < 1
    settled[0, 1] = 0, 0, 0, 5, 0
    layer.architecture.assign(settled)
    weights, _ = run()
    np.testing.assert_array_equal(weights[0, 1], [0, 0, 1, 0, 0])  # for good
    found = ops.convert_to_numpy(layer(anything, training=False))
    np.testing.assert_array_equal(found[0, 1], [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(found[1, 0], [1, 0, 0, 0, 0])
    # At the end the others are nearly drawn: a temperature of 0.05.
    drawn = np.concatenate([run()[0][1, :1] for _ in range(20)])
    assert np.median(drawn.max(axis=-1)) > 0.99


@pytest.mark.parametrize("tasks", [nyud("depth", "normals")], ids=["depth normals"])
def test_search_and_what_it_found(tasks, tmp_path):
    keras.utils.set_random_seed(0)
    images, labels = rooms.arrays(tasks, 2, SIZE)
    search = keras_mtl.ATRCSearch(small.resnet(SIZE), tasks, steps=3)
    search.compile(metrics=None, run_eagerly=keras.backend.backend() == "tensorflow")
    own = search.get_layer("architecture_weights")
    logs = search.fit(images, labels, batch_size=2, epochs=3, verbose=0).history
    assert all(np.isfinite(values).all() for values in logs.values())
    assert {"depth/classes_loss", "normals/classes_loss"} < set(logs)
    assert int(own.step.numpy() if hasattr(own.step, "numpy") else own.step) == 3
    # Adam moves by about its rate at each step; a task with itself has no s-label.
    moved = np.abs(ops.convert_to_numpy(own.architecture))
    assert 0 < moved.max() <= 3 * 5e-4 * 1.01
    assert moved[0, 0, 4] == moved[1, 1, 4] == 0

    wanted = [[2, 3], [0, 1]]
    architecture = np.zeros((2, 2, 5), "float32")
    for t, s in np.ndindex(2, 2):
        architecture[t, s, wanted[t][s]] = 1.0
    own.architecture.assign(architecture)
    assert search.genotype == checked_genotype(wanted, ["depth", "normals"])
    search.save(tmp_path / "search.keras")
    loaded = keras_mtl.load_model(tmp_path / "search.keras")
    assert loaded.genotype == search.genotype
    model = keras_mtl.ATRC(small.resnet(SIZE), tasks, genotype=loaded.genotype)
    assert model.genotype == search.genotype and list(model.auxiliary) == ["depth/classes"]
    assert type(model).from_config(model.get_config()).genotype == search.genotype
