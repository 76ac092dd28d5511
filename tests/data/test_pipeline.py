"""From a folder that TensorFlow Datasets wrote to batches."""

import itertools
import json
import types
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_mtl import rooms
from keras_mtl.data import load, tasks_of
from keras_mtl.images import IMAGE_MEAN
from keras_mtl.tasks import (
    DepthEstimation,
    SemanticSegmentation,
    cityscapes_3d,
    nyud,
    pascal_context,
)
from tests.data.stored import colours_of_normals, run_script

tf = pytest.importorskip("tensorflow")
tfds = pytest.importorskip("tensorflow_datasets")

TASKS = nyud()
SIZE = (20, 30)
COUNT = 7  # training images

once = pytest.mark.once("tensorflow", "tf.data is the same under every backend")


def example(number):
    """An image of its own size; its number is the class in its left half."""
    rng = np.random.default_rng(number)
    height, width = 18 + number % 3, 26 + 2 * (number % 4)
    classes = np.full((height, width, 1), 39, "uint8")
    classes[:, : width // 2] = number
    return {
        "image": rng.integers(0, 256, (height, width, 3)).astype("uint8"),
        "semseg": classes,
        "depth": rng.uniform(0.5, 9, (height, width, 1)).astype("float32"),
        "normals": colours_of_normals(rng, height, width),
        "edge": rng.integers(0, 2, (height, width, 1)).astype("uint8"),
    }


def picture(channels):
    return tfds.features.Image(shape=(None, None, channels), encoding_format="png")


FEATURES = {
    "image": picture(3),
    "semseg": picture(1),
    "depth": tfds.features.Tensor(shape=(None, None, 1), dtype=np.float32, encoding="zlib"),
    "normals": picture(3),
    "edge": picture(1),
}


def store(data_dir, splits, features=FEATURES, version="1.0.0", name="tiny"):
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version=version,
        data_dir=data_dir,
        features=tfds.features.FeaturesDict(features),
        split_datasets={split: list(enumerate(examples)) for split, examples in splits.items()},
        disable_shuffling=True,
    )
    return Path(data_dir) / name / version


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    splits = {"train": range(COUNT), "val": range(20, 25)}
    splits = {name: [example(i) for i in numbers] for name, numbers in splits.items()}
    return store(tmp_path_factory.mktemp("tfds"), splits)


def read(folder, split="train", size=SIZE, tasks=TASKS, **arguments):
    return load(folder, split, tasks=tasks, image_size=size, **arguments)


def first(dataset, count):
    return [tf.nest.map_structure(np.array, batch) for batch in dataset.take(count)]


def assert_equal(one, other):
    for a, b in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
        np.testing.assert_array_equal(a, b)


def differ(one, other):
    pairs = zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True)
    return any(not np.array_equal(a, b) for a, b in pairs)


def numbers(batches):
    """Which images they are, by the only class below 39."""
    return [int(np.min(label)) for _, labels in batches for label in labels["semseg"]]


# === Evaluation ===


@once
@pytest.mark.parametrize("cache", [True, False])
def test_evaluation_as_stored_in_the_middle(folder, cache):
    batches = first(read(folder, "val", (22, 34), batch_size=2, cache=cache), 9)
    assert [len(images) for images, _ in batches] == [2, 2, 1]
    assert numbers(batches) == [20, 21, 22, 23, 24]
    for k, (images, labels) in enumerate(batches):
        for task in TASKS:
            assert labels[task.name].dtype == task.label_dtype
            task.check_labels(labels[task.name], 22, 34)
        stored = example(20 + 2 * k)
        height, width = stored["image"].shape[:2]
        top, left = (22 - height) // 2, (34 - width) // 2
        inside = slice(top, top + height), slice(left, left + width)
        np.testing.assert_array_equal(images[0][inside], stored["image"])
        np.testing.assert_array_equal(labels["depth"][0][inside], stored["depth"])
        np.testing.assert_array_equal(labels["edge"][0][inside], stored["edge"])
        normals = 2.0 * stored["normals"] / 255 - 1
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        np.testing.assert_allclose(labels["normals"][0][inside], normals, atol=1e-5)
        around = np.ones((22, 34), bool)
        around[inside] = False
        np.testing.assert_allclose(images[0][around], np.tile(IMAGE_MEAN, (around.sum(), 1)))
        assert all((labels[task.name][0][around] == task.ignore).all() for task in TASKS)


@once
def test_evaluation_comes_again_and_knows_its_length(folder):
    dataset = read(folder, "val", batch_size=2)
    assert len(dataset) == 3
    assert_equal(first(dataset, 9), first(dataset, 9))


@once
def test_labels_without_channel_axis_and_float_normals(tmp_path):
    """What older folders hold: fixed sizes, tensors, no channel axis."""
    stored = example(0)
    normals = np.random.default_rng(0).normal(size=stored["normals"].shape).astype("float32")
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    height, width = normals.shape[:2]
    tensor = tfds.features.Tensor
    features = {
        "image": tfds.features.Image(shape=(height, width, 3)),
        "semseg": tensor(shape=(height, width), dtype=np.uint8),
        "depth": tensor(shape=(height, width), dtype=np.float32),
        "normals": tensor(shape=(height, width, 3), dtype=np.float32),
    }
    flat = {"image": stored["image"], "normals": normals}
    flat |= {name: stored[name][..., 0] for name in ("semseg", "depth")}
    where = store(tmp_path, {"val": [flat]}, features)
    tasks = nyud("semseg", "depth", "normals")
    ((_, labels),) = first(read(where, "val", (height, width), tasks), 2)
    np.testing.assert_array_equal(labels["semseg"][0], flat["semseg"])
    np.testing.assert_array_equal(labels["depth"][0], stored["depth"])
    np.testing.assert_array_equal(labels["normals"][0], normals)


# === Training ===


@once
def test_every_image_once_an_epoch_in_changing_orders(folder):
    batches = first(read(folder, batch_size=2, training=True), 21)
    assert {len(images) for images, _ in batches} == {2}
    found = numbers(batches)
    epochs = [found[k : k + COUNT] for k in range(0, 6 * COUNT, COUNT)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


@once
def test_the_seed_settles_order_and_augmentation(folder):
    dataset = read(folder, batch_size=2, training=True, seed=3)
    expected = first(dataset, 15)
    for _, labels in expected:
        for task in TASKS:
            task.check_labels(labels[task.name], *SIZE)
    assert_equal(first(dataset, 15), expected)  # again, now from memory
    tf.random.set_seed(123)  # nothing of ours
    # Decoded in each epoch instead; with other threads.
    uncached = read(folder, batch_size=2, training=True, seed=3, cache=False)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 5
    assert_equal(first(uncached.with_options(options), 15), expected)
    other = first(read(folder, batch_size=2, training=True, seed=4), 15)
    assert differ(other, expected) and numbers(other) != numbers(expected)


@once
@pytest.mark.parametrize(("step", "shard"), [(3, None), (4, None), (14, None), (4, (1, 2))])
def test_training_begins_at_any_step(folder, step, shard):
    """Two images a step of seven (or, in this shard, three): within an epoch and between them."""
    arguments = {"batch_size": 2, "training": True, "seed": 3, "shard": shard}
    expected = first(read(folder, **arguments), step + 9)[step:]
    for cache in (True, False):
        dataset = read(folder, first_step=step, cache=cache, **arguments)
        assert_equal(first(dataset, 9), expected)
    assert_equal(first(dataset, 2), expected[:2])  # again


@once
def test_what_came_before_is_not_augmented(folder, monkeypatch):
    from keras_mtl.data import transforms

    move, calls = transforms.move, []

    def counted(image, *rest):
        tf.py_function(lambda: calls.append(1), [], [])
        return move(image, *rest)

    monkeypatch.setattr(transforms, "move", counted)
    first(read(folder, batch_size=1, training=True, first_step=1000 * COUNT, cache=False), 1)
    assert 0 < len(calls) < 100  # those ahead are counted, not the thousands before


class Flow(DepthEstimation):
    """A task of somebody's own: pixels to the right and down, stored in other numbers."""

    label_channels = 2

    def scaled_label(self, label, factor):
        return label * factor

    def flipped_label(self, label):
        return label * np.array([-1, 1], "float32")


@once
def test_batches_are_augmented_examples_with_a_task_of_ones_own(tmp_path):
    from keras_mtl.data import pipeline, transforms

    rng = np.random.default_rng(0)
    flow = [rng.integers(-9, 9, (18 + n % 3, 26 + 2 * (n % 4), 2), "int16") for n in range(3)]
    stored = [{**example(number), "flow": flow[number]} for number in range(3)]
    tensor = tfds.features.Tensor(shape=(None, None, 2), dtype=np.int16, encoding="zlib")
    where = store(tmp_path, {"train": stored}, {**FEATURES, "flow": tensor})
    tasks = [*TASKS, Flow("flow", 2)]
    batches = first(read(where, tasks=tasks, batch_size=3, training=True, seed=5), 2)
    for epoch, (images, labels) in enumerate(batches):
        assert sorted(numbers([(images, labels)])) == [0, 1, 2]
        for k, number in enumerate(numbers([(images, labels)])):
            key = pipeline._seed(5, 2, *tf.constant([number, epoch], tf.int64))
            image, expected = transforms.augment(
                stored[number]["image"], stored[number], tasks, SIZE, key
            )
            np.testing.assert_allclose(images[k], image, atol=1e-3)
            for name, label in expected.items():
                assert labels[name].dtype == label.dtype
                np.testing.assert_allclose(labels[name][k], label, rtol=1e-5, atol=1e-6)


@once
def test_epochs_augment_anew(folder):
    images = {}
    for image, labels in first(read(folder, batch_size=1, training=True), 4 * COUNT):
        images.setdefault(int(labels["semseg"].min()), []).append(image)
    for versions in images.values():
        assert len(versions) == 4
        assert all(differ(a, b) for a, b in itertools.combinations(versions, 2))


@once
def test_a_stopped_first_epoch_loses_nothing(folder):
    dataset = read(folder, batch_size=2, training=True)
    first(dataset, 1)
    assert sorted(numbers(first(dataset, 7))[:COUNT]) == list(range(COUNT))


@once
def test_memory_bounds_what_is_cached(folder):
    from keras_mtl.data import pipeline, sources

    source, *_ = sources.prepared(folder, "train", TASKS, 0, 1, None)
    pixels = [np.prod(example(i)["image"].shape[:2]) for i in range(4)]
    size = np.mean(pixels) * (3 + 1 + 4 + 3 + 1) * COUNT / 2**30
    found = [pipeline._fits(source, c) for c in (1.01 * size, 0.99 * size, 0, True, False)]
    assert found == [True, False, False, True, False]


@once
@pytest.mark.parametrize(("free", "cached"), [(2.1, True), (1.9, False)])
def test_half_of_the_free_memory_is_the_default(folder, monkeypatch, free, cached):
    import psutil

    from keras_mtl.data import pipeline, sources

    source, *_ = sources.prepared(folder, "train", TASKS, 0, 1, None)
    pixels = [np.prod(example(i)["image"].shape[:2]) for i in range(4)]
    size = np.mean(pixels) * (3 + 1 + 4 + 3 + 1) * COUNT
    memory = types.SimpleNamespace(available=free * size)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert pipeline._fits(source, None) == cached


# === Some of the labels ===


@once
@pytest.mark.parametrize("count", [2])
def test_labels_per_image_are_fixed(folder, count):
    kept = {}
    dataset = read(folder, "train[:100%]", training=True, batch_size=1, labels_per_image=count)
    plain = read(folder, "train[:100%]", training=True, batch_size=1)
    # The same images in the same order, and all labels.
    for (_, labels), (_, full) in zip(first(dataset, 28), first(plain, 28), strict=True):
        names = {t.name for t in TASKS if (labels[t.name] != t.ignore).any()}
        assert len(names) == count
        number = int(full["semseg"].min())
        assert kept.setdefault(number, names) == names
    assert len(kept) == COUNT and len(set(map(frozenset, kept.values()))) > 1
    shards = [read(folder, labels_per_image=count, shard=(k, 2), batch_size=1) for k in range(2)]
    for number, (_, labels) in enumerate(first(shards[0], 9) + first(shards[1], 3)):
        assert {t.name for t in TASKS if (labels[t.name] != t.ignore).any()} == kept[number]


# === Shards ===


@once
@pytest.mark.parametrize("count", [2, 3])
def test_shards_of_training(folder, count):
    found = []
    for index in range(count):
        dataset = read(folder, training=True, batch_size=1, shard=(index, count))
        epoch = numbers(first(dataset, COUNT // count + (index < COUNT % count)))
        assert len(set(epoch)) == len(epoch)
        found += epoch
    assert sorted(found) == list(range(COUNT))


@once
@pytest.mark.parametrize("count", [2, 3])
def test_shards_of_evaluation(folder, count):
    shards = [first(read(folder, "val", batch_size=2, shard=(k, count)), 9) for k in range(count)]
    lengths = [[len(images) for images, _ in batches] for batches in shards]
    assert all(each == lengths[0] for each in lengths)
    found = [n for batches in shards for n in numbers(batches)]
    fillers = found.count(255)
    assert fillers == sum(lengths[0]) * count - 5
    assert [n for n in found if n != 255] == [20, 21, 22, 23, 24]
    if fillers:
        images, labels = shards[-1][-1]
        np.testing.assert_allclose(images[-1], np.tile(IMAGE_MEAN, (*SIZE, 1)))
        assert all((labels[task.name][-1] == task.ignore).all() for task in TASKS)


# === Names and versions ===


@once
def test_the_newest_version_is_found(tmp_path):
    versions = {"1.9.0": 1, "1.10.0": 2}
    for version, number in versions.items():
        store(tmp_path, {"val": [example(number)]}, version=version)
    (tmp_path / "tiny" / "2.0.0").mkdir()  # nothing was written there
    for dataset, data_dir in (("tiny", tmp_path), (tmp_path / "tiny", None)):
        assert numbers(read(dataset, "val", data_dir=data_dir)) == [2]
    assert numbers(read("tiny/1.9.0", "val", data_dir=str(tmp_path))) == [1]


# === Rooms ===


@once
def test_rooms():
    dataset = read("rooms", "val", (24, 32), pascal_context(), count=3, batch_size=2)
    (images, labels), (rest, _) = first(dataset, 9)
    expected, expected_labels = rooms.arrays(pascal_context(), 3, (24, 32), seed=1)
    np.testing.assert_array_equal(np.concatenate([images, rest]), expected)
    for name, label in labels.items():
        np.testing.assert_array_equal(label, expected_labels[name][:2])
    assert len(dataset) == 2
    shards = [read("rooms", "val", (24, 32), count=3, shard=(k, 2)) for k in range(2)]
    depth = [label for shard in shards for _, labels in shard for label in labels["depth"].numpy()]
    depth = [label for label in depth if label.any()]
    whole = rooms.arrays(nyud("depth"), 3, (24, 32), seed=1)[1]["depth"]
    np.testing.assert_array_equal(depth, whole)


@once
def test_rooms_in_training_are_augmented():
    expected, _ = rooms.arrays(nyud(), 3, (24, 32), seed=0)
    dataset = read("rooms", "train", (24, 32), count=3, batch_size=3, training=True)
    batches = first(dataset, 3)
    assert differ(batches[0][0], batches[1][0])
    assert not any(np.array_equal(image, e) for image in batches[0][0] for e in expected)
    assert_equal(
        first(read("rooms", "train", (24, 32), count=3, batch_size=3, training=True), 3), batches
    )


@once
def test_streets():
    tasks = cityscapes_3d()
    ((images, labels),) = first(read("streets", "val", (32, 64), tasks, count=2, batch_size=2), 9)
    expected, expected_labels = rooms.streets.arrays(tasks, 2, (32, 64), seed=1)
    np.testing.assert_array_equal(images, expected)
    near = expected_labels["depth"] < 80
    np.testing.assert_array_equal(labels["depth"], np.where(near, expected_labels["depth"], 0))
    for name, values in labels["detection3d"].items():
        np.testing.assert_array_equal(values, expected_labels["detection3d"][name])
    # In training boxes and their camera move with the image.
    ((_, moved),) = first(read("streets", "train", (32, 64), tasks, count=2, batch_size=2,
                               training=True), 1)  # fmt: skip
    assert moved["detection3d"]["camera"].shape == (2, 3, 3)


# === Errors ===


@once
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"dataset": "nowhere"}, ["nowhere", "dataset_info.json", "nyud_v2/1.0.0", "rooms"]),
        ({"split": "test"}, ["'test'", "train (7), val (5)", "train[:80%]"]),
        ({"split": "test[:80%]"}, ["'test[:80%]'", "train (7), val (5)"]),
        ({"tasks": pascal_context()}, ["human_parts, sal", "semseg"]),
        ({"tasks": []}, ["tasks is []"]),
        ({"image_size": 448}, ["448", "(height, width)"]),
        ({"image_size": (0, 4)}, ["(0, 4)", "positive"]),
        ({"batch_size": 0}, ["batch_size is 0", ">= 1"]),
        ({"seed": -1}, ["seed is -1"]),
        ({"seed": 0.5}, ["seed is 0.5"]),
        ({"labels_per_image": 5}, ["labels_per_image is 5", "from 1 to 4"]),
        ({"cache": "much"}, ["cache is 'much'", "GiB"]),
        ({"cache": -1}, ["cache is -1", "GiB"]),
        ({"shard": (2, 2)}, ["(2, 2)", "(index, count)"]),
        ({"shard": 3}, ["3", "(index, count)"]),
        ({"shard": (0, 9)}, ["5 examples", "9 shards"]),
        ({"split": "val[:0]"}, ["0 examples"]),
        ({"first_step": -1}, ["first_step is -1", ">= 0"]),
        ({"first_step": 2}, ["first_step is 2", "training=True"]),
        ({"dataset": "rooms", "split": "test"}, ["'test'", "'train' or 'val'"]),
        ({"dataset": "rooms", "count": 0}, ["count is 0"]),
        ({"dataset": "rooms", "count": 1, "shard": (0, 2)}, ["1 examples", "2 shards"]),
        (
            {"dataset": "rooms", "tasks": [SemanticSegmentation(channels=3)]},
            ["3 channels", "40 (NYUD) or 21"],
        ),
    ],
    ids=str,
)
def test_errors(folder, change, parts):
    arguments = {"dataset": folder, "split": "val", "tasks": TASKS, "image_size": SIZE}
    with pytest.raises(ValueError) as error:
        load(**{**arguments, **change})
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and all(part in text for part in parts), text


@once
def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="No prepared dataset"):
        read(tmp_path, "val")


@once
def test_labels_that_the_archive_lacked(tmp_path):
    where = store(tmp_path, {"val": [example(0)]})
    (where / "metadata.json").write_text(json.dumps({"lacking": ["normals", "edge"]}))
    with pytest.raises(ValueError, match="without labels for edge, normals; leave them out"):
        read(where, "val")
    ((_, labels),) = first(read(where, "val", tasks=nyud("semseg", "depth")), 2)
    assert set(labels) == {"semseg", "depth"}


@once
def test_maps_of_the_wrong_shape(tmp_path):
    wrong = {**example(0), "depth": np.ones((18, 26, 3), "float32")}
    depth = tfds.features.Tensor(shape=(None, None, 3), dtype=np.float32, encoding="zlib")
    where = store(tmp_path / "a", {"val": [wrong]}, {**FEATURES, "depth": depth})
    with pytest.raises(ValueError, match=r"'depth'.*\(None, None, 3\).*\(height, width, 1\)"):
        read(where, "val")
    smaller = {**example(0), "depth": np.ones((9, 13, 1), "float32")}
    where = store(tmp_path / "b", {"val": [smaller]})
    with pytest.raises(tf.errors.InvalidArgumentError, match="'depth'.*another size"):
        first(read(where, "val"), 1)


# === With a model, and from a folder of files ===


@once
def test_labels_that_are_stored_otherwise(tmp_path):
    """As in datasets that others wrote: palettes, pictures of few bits, other formats."""
    from PIL import Image

    ids = np.array([[0, 1], [2, 255]], "uint8")
    palette = Image.fromarray(ids, "P")
    palette.putpalette([20 * (i // 3) % 256 for i in range(768)])
    palette.save(tmp_path / "palette.png")
    Image.fromarray(ids == 1).save(tmp_path / "bits.png")
    Image.fromarray(ids).save(tmp_path / "grey.png")
    Image.fromarray(ids).save(tmp_path / "label.jpg")
    image = np.zeros((2, 2, 3), "uint8")

    def stored(name, *files):
        examples = [{"image": image, "semseg": str(tmp_path / file)} for file in files]
        features = {"image": picture(3), "semseg": tfds.features.Image(shape=(None, None, 1))}
        return store(tmp_path, {"val": examples}, features, name=name)

    tasks = [SemanticSegmentation(channels=3)]
    folder = stored("pngs", "palette.png", "bits.png", "grey.png")
    ((_, labels),) = first(read(folder, "val", (2, 2), tasks), 9)
    assert_equal(list(labels["semseg"]), [ids, (ids == 1).astype("int32"), ids])
    folder = stored("jpegs", "label.jpg")
    with pytest.raises(ValueError, match="A label of 'semseg' in .* is a JPEG picture, which"):
        read(folder, "val", (2, 2), tasks, cache=False)


@once
def test_a_format_of_which_there_is_no_pipeline(tmp_path):
    pytest.importorskip("array_record")
    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny",
        version="1.0.0",
        data_dir=tmp_path,
        features=tfds.features.FeaturesDict(FEATURES),
        split_datasets={"val": [(0, example(0))]},
        file_format="array_record",
    )
    with pytest.raises(ValueError, match="is stored as array_record, .* tfds convert_format"):
        read(tmp_path / "tiny", "val")


@once
def test_classes_of_a_dataset(tmp_path):
    """Number and names, of a dataset and of the tasks that read it."""
    image, label = np.zeros((2, 2, 3), "uint8"), np.zeros((2, 2, 1), "uint8")

    def stored(name, names):
        labelled = tfds.features.LabeledImage(labels=names, shape=(None, None, 1))
        features = {"image": picture(3), "semseg": labelled}
        return store(tmp_path, {"val": [{"image": image, "semseg": label}]}, features, name=name)

    def named(*names):
        return [SemanticSegmentation(channels=len(names), labels=list(names))]

    folder = stored("named", ["soil", "crop"])
    (task,) = tasks_of(folder, nyud("semseg"))
    assert task.channels == 2 and task.labels == ["soil", "crop"]
    for tasks in (nyud("semseg"), named("soil"), named("crop", "soil")):
        with pytest.raises(ValueError, match=r"soil, crop .*task.*; pass keras_mtl.data.tasks_of"):
            read(folder, "val", tasks=tasks)
    for tasks in ([task], named("Boden", "Pflanze"), [SemanticSegmentation(channels=2)]):
        read(folder, "val", tasks=tasks)
    folder = stored("counted", ["0", "1"])  # as many as there were ids
    with pytest.warns(UserWarning, match="has 2 classes of task 'semseg' .* but the task has 40"):
        read(folder, "val", tasks=nyud("semseg"))
    folder = stored("unknown", None)
    assert tasks_of(folder, nyud("semseg"))[0].channels == 40
    read(folder, "val", tasks=nyud("semseg"))


def test_feeds_fit(folder):
    image = keras.Input((16, 32, 3))
    depth = keras.layers.Conv2D(1, 1, name="depth")(image)
    model = keras.Model(image, {"depth": depth})
    model.compile("sgd", {task.name: task.loss() for task in nyud("depth")})
    few = {"size": (16, 32), "tasks": nyud("depth"), "batch_size": 2}
    history = model.fit(
        read(folder, training=True, **few),
        steps_per_epoch=2,
        epochs=2,
        validation_data=read(folder, "val", **few),
        verbose=0,
    ).history
    assert np.isfinite(history["loss"] + history["val_loss"]).all()


@once
def test_prepare_folder(tmp_path, capsys):
    """Images and labels as files, some missing, to a dataset."""
    from PIL import Image

    source = tmp_path / "mine"
    for name in ("images", "semseg", "depth", "normals"):
        (source / name).mkdir(parents=True)
    for i in range(4):
        stored = example(i)
        Image.fromarray(stored["image"]).save(source / "images" / f"{i}.png")
        palette = Image.fromarray(stored["semseg"][..., 0], "P")
        palette.putpalette(list(range(255, -1, -1)) * 3)
        palette.save(source / "semseg" / f"{i}.png")
        Image.fromarray(stored["normals"]).save(source / "normals" / f"{i}.png")
        if i != 2:
            np.save(source / "depth" / f"{i}.npy", stored["depth"][..., 0])
    (tmp_path / "val.txt").write_text("3\n")

    def run(*more):
        arguments = [source, "--name", "mine", "--output", tmp_path / "out", *more]
        run_script(*arguments)

    run("--val-list", tmp_path / "val.txt")
    assert "depth: 3 of 4 images have a label" in capsys.readouterr().out
    tasks = nyud("semseg", "depth", "normals")
    batches = first(read(tmp_path / "out/mine", tasks=tasks, batch_size=1), 9)
    assert sorted(numbers(batches)) == [0, 1, 2]
    for _, labels in batches:
        assert (labels["depth"] > 0).any() == (labels["semseg"].min() != 2)
    ((images, labels),) = first(read(tmp_path / "out/mine", "val", (18, 32), tasks), 9)
    assert numbers([(images, labels)]) == [3]
    np.testing.assert_array_equal(labels["depth"][0], example(3)["depth"])
    np.testing.assert_array_equal(images[0], example(3)["image"])

    np.save(source / "depth" / "2.npy", np.ones((5, 5)))
    with pytest.raises(SystemExit, match=r"2\.npy has shape \(5, 5\); expected \(20, 30, 1\)"):
        run("--version", "1.0.1")
