"""Batches from a folder that TensorFlow Datasets wrote, such as `tfds build datasets/nyud_v2`."""

import keras
import numpy as np
import pytest

from keras_mtl.data import prepared
from keras_mtl.models.multi_task_model import IMAGE_MEAN
from keras_mtl.tasks import nyud, pascal_context

tf = pytest.importorskip("tensorflow")
tfds = pytest.importorskip("tensorflow_datasets")

TASKS = nyud()
H, W = 20, 30


def example(i):
    rng = np.random.default_rng(i)
    normals = rng.normal(size=(H, W, 3))
    return {
        "image": rng.integers(0, 256, (H, W, 3)).astype("uint8"),
        "semseg": rng.integers(0, 40, (H, W, 1)).astype("uint8"),
        "depth": rng.uniform(0.5, 9, (H, W, 1)).astype("float32"),
        "normals": (normals / np.linalg.norm(normals, axis=-1, keepdims=True)).astype("float32"),
        "edge": rng.integers(0, 2, (H, W, 1)).astype("uint8"),
    }


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Five training images and one to validate on."""

    def split(numbers):
        examples = [example(i) for i in numbers]
        arrays = {key: np.stack([each[key] for each in examples]) for key in examples[0]}
        return tf.data.Dataset.from_tensor_slices(arrays)

    folder = tmp_path_factory.mktemp("tfds")
    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny_rooms",
        version="1.0.0",
        data_dir=folder,
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(H, W, 3), encoding_format="png"),
                "semseg": tfds.features.Image(shape=(H, W, 1), encoding_format="png"),
                "depth": tfds.features.Tensor(shape=(H, W, 1), dtype=np.float32),
                "normals": tfds.features.Tensor(shape=(H, W, 3), dtype=np.float32),
                "edge": tfds.features.Image(shape=(H, W, 1), encoding_format="png"),
            }
        ),
        split_datasets={"train": split(range(5)), "val": split([7])},
        disable_shuffling=True,
    )
    return folder / "tiny_rooms" / "1.0.0"


def only_batch(dataset):
    ((images, labels),) = [
        (images.numpy(), {name: label.numpy() for name, label in labels.items()})
        for images, labels in dataset
    ]
    return images, labels


def test_as_stored(directory):
    images, labels = only_batch(prepared.load(directory, "val", TASKS, (H, W)))
    stored = example(7)
    np.testing.assert_allclose(images[0], stored["image"], atol=1e-3)
    np.testing.assert_array_equal(labels["semseg"][0], stored["semseg"][..., 0])
    for name in ("depth", "normals", "edge"):
        np.testing.assert_array_equal(labels[name][0], stored[name])
    assert images.dtype == "float32"
    for task in TASKS:
        assert labels[task.name].shape == (1, *task.label_shape(H, W))
        assert labels[task.name].dtype == task.label_dtype
        task.check_labels(labels[task.name], H, W)


def test_padded_around(directory):
    images, labels = only_batch(prepared.load(directory, "val", TASKS, (H + 4, W + 6)))
    stored, inside = example(7), (slice(2, 2 + H), slice(3, 3 + W))
    np.testing.assert_allclose(images[0][inside], stored["image"], atol=1e-3)
    around = np.ones((H + 4, W + 6), bool)
    around[inside] = False
    np.testing.assert_allclose(images[0][around], np.tile(IMAGE_MEAN, (around.sum(), 1)), rtol=1e-6)
    for task in TASKS:
        label = labels[task.name][0]
        assert label.shape == task.label_shape(H + 4, W + 6)
        assert (label[around] == task.ignore).all()
        wanted = stored[task.name]
        np.testing.assert_array_equal(label[inside], wanted.reshape(label[inside].shape))
        task.check_labels(label[None], H + 4, W + 6)


def test_cropped_at_the_centre(directory):
    images, labels = only_batch(prepared.load(directory, "val", TASKS, (H - 8, W + 2)))
    stored = example(7)
    np.testing.assert_allclose(images[0, :, 1:-1], stored["image"][4:-4], atol=1e-3)
    np.testing.assert_array_equal(labels["depth"][0, :, 1:-1], stored["depth"][4:-4])
    assert (labels["semseg"][0, :, 0] == 255).all()


def test_order_and_batches(directory):
    dataset = prepared.load(directory, "train", TASKS, (H, W), batch_size=2)
    assert [len(images) for images, _ in dataset] == [2, 2, 1]
    found = np.concatenate([labels["depth"] for _, labels in dataset])
    np.testing.assert_array_equal(found, [example(i)["depth"] for i in range(5)])


def test_training_shuffles_and_repeats(directory):
    def first(seed):
        dataset = prepared.load(
            directory, "train", TASKS, (H, W), batch_size=2, training=True, seed=seed
        )
        return np.stack([labels["depth"][:, 0, 0, 0] for _, labels in dataset.take(10)])

    found = first(0)
    assert found.shape == (10, 2)  # two images a batch, without end
    in_order = np.array([example(i)["depth"][0, 0, 0] for i in range(5)])
    assert set(found.ravel()) == set(in_order)  # 20 draws: every image comes
    assert not np.array_equal(found.ravel()[:5], in_order)
    np.testing.assert_array_equal(first(0), found)
    assert not np.array_equal(first(1), found)


def test_some_of_the_tasks(directory):
    _, labels = only_batch(prepared.load(directory, "val", nyud("edge", "depth"), (H, W)))
    assert set(labels) == {"edge", "depth"}


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"directory": "nowhere"}, ["nowhere", "dataset_info.json", "nyud_v2/1.0.0"]),
        ({"split": "test"}, ["'test'", "train, val"]),
        ({"tasks": pascal_context()}, ["human_parts, sal", "semseg"]),
    ],
    ids=["folder", "split", "task"],
)
def test_errors(directory, change, parts):
    arguments = {"directory": directory, "split": "val", "tasks": TASKS, "image_size": (H, W)}
    with pytest.raises(ValueError) as error:
        prepared.load(**{**arguments, **change})
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and all(part in text for part in parts), text


def test_feeds_fit(directory):
    image = keras.Input((16, 32, 3))
    depth = keras.layers.Conv2D(1, 1, name="depth")(image)
    model = keras.Model(image, {"depth": depth})
    model.compile("sgd", {task.name: task.loss() for task in nyud("depth")})
    dataset = prepared.load(directory, "train", nyud("depth"), (16, 32), 2, training=True)
    history = model.fit(dataset, steps_per_epoch=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
