"""Where examples come from: prepared folders and generated scenes, as numbered records."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_mtl import rooms
from keras_mtl.arguments import check_path
from keras_mtl.commands.quiet import find_devices
from keras_mtl.data.class_names import check_classes, with_stored_classes
from keras_mtl.data.label_files import read_picture
from keras_mtl.data.stored_images import decode_image
from keras_mtl.tasks import Task, check_tasks

SEEDS = {"train": 0, "val": 1}  # of generated scenes; different ones share none
# Scenes that need no data: what renders one of a seed, a size and a number.
GENERATED: dict[str, Callable] = {
    "rooms": lambda *which: rooms.render(*which),
    "streets": lambda *which: rooms.streets.render(*which),
}


@dataclass
class Source:
    """Where examples come from: numbered records, each decoded on its own.

    A record is `(number, encoded)`; decoded it is a dict of `image` and one label for each task.
    """

    records: object  # tf.data.Dataset
    decode: Callable
    count: int
    record_bytes: float


def leave_gpu_to_keras():
    """Keeps TensorFlow, which only reads data here, from taking the GPU's memory from JAX or
    PyTorch."""
    if keras.backend.backend() == "tensorflow":
        return
    import tensorflow as tf

    find_devices()
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError:
        pass  # TensorFlow is in use already, by the user's own decision.


# === Prepared folders ===


def tasks_of(
    dataset: str | Path, tasks: Sequence[Task], data_dir: str | Path | None = None
) -> list[Task]:
    """Tasks with the classes that a prepared dataset stores: their number and names.

    Args:
        dataset, data_dir: as for `keras_mtl.data.load`.
        tasks: list of tasks with whatever classes; one of which the dataset stores none stays.

    Raises:
        ValueError: if the dataset is not found.

    Example:

    ```python
    tasks = keras_mtl.data.tasks_of("prepared/my_rooms", keras_mtl.tasks.nyud("semseg", "depth"))
    batches = keras_mtl.data.load("prepared/my_rooms", "train", tasks=tasks, image_size=(448, 576))
    ```
    """
    tasks = check_tasks(tasks)
    if str(dataset) in GENERATED:
        return tasks
    leave_gpu_to_keras()
    import tensorflow_datasets as tfds

    info = tfds.builder_from_directory(str(_folder(dataset, data_dir))).info
    return with_stored_classes(info, tasks)


def prepared(dataset, split, tasks, index=0, shards=1, data_dir=None, besides=()):
    """Examples of a prepared folder.

    Args:
        dataset, split, tasks, data_dir: see `keras_mtl.data.load`.
        index, shards: which part of the split, of how many.
        besides: features to read besides image and labels, where the dataset has them.

    Returns:
        `(source, total, first)`: the part, how many examples the split has, and the number of the
        part's first.

    Raises:
        ValueError: if the dataset is not found, or lacks the split or a task.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    folder = _folder(dataset, data_dir)
    builder = tfds.builder_from_directory(str(folder))
    info = builder.info
    if info.file_format not in tfds.core.FileFormat.with_tf_data():
        raise ValueError(
            f"{folder} is stored as {info.file_format.value}, of which TensorFlow makes no "
            "pipeline; prepare it with file_format='tfrecord', or convert it: tfds convert_format "
            f"--dataset_version_dir {folder} --out_file_format tfrecord --out_dir ANOTHER."
        )
    names = ["image", *(task.name for task in tasks)]
    _check_features(folder, info, names, tasks)
    names += [name for name in besides if name in info.features]
    try:
        total = info.splits[split].num_examples
    except (KeyError, ValueError, AssertionError):
        known = ", ".join(f"{name} ({each.num_examples})" for name, each in info.splits.items())
        raise ValueError(
            f"{folder} has no split {split!r}; it has {known}: pass one of them, or a part that is "
            f"in it, such as '{next(iter(info.splits), 'train')}[:80%]'."
        ) from None
    _check_total(f"Split {split!r} of {folder}", total, shards)
    parts = tfds.even_splits(split, shards)
    first = sum(info.splits[part].num_examples for part in parts[:index])
    skip = {name: _skipped(info.features[name]) for name in names}
    stored = builder.as_dataset(
        split=parts[index],
        decoders=tfds.decode.PartialDecoding(dict.fromkeys(names, True), decoders=skip),
        # One file after the other is the order stored. A dataset that was stored in order may be
        # shuffled all the same.
        read_config=tfds.ReadConfig(
            interleave_cycle_length=1, enable_ordering_guard=False, try_autocache=False
        ),
    )

    def labels(encoded):
        return {
            name: _label(info.features[name], encoded[name], f"A label of {name!r} in {folder}")
            for name in names[1:]
        }

    for encoded in stored.take(1):  # here an error is one sentence
        labels(encoded)

    def decode(encoded):
        example = labels(encoded)
        image = example["image"] = decode_image(encoded["image"])
        size = tf.shape(image)[:2]
        for task in tasks:
            if task.output != "map":
                continue
            tf.debugging.assert_equal(
                tf.shape(example[task.name])[:2],
                size,
                f"A label of task {task.name!r} in {folder} has another size than its image; "
                "prepare the dataset with labels of the image's height and width.",
            )
            if task.class_ids is not None:  # a loss would go beyond them
                ids = tf.cast(example[task.name], tf.int32)
                tf.debugging.assert_less(
                    tf.where(ids == task.ignore, 0, ids),
                    len(task.class_ids),
                    f"A label of task {task.name!r} in {folder} holds a class id above "
                    f"{task.class_ids[-1]} that is not {task.ignore}; give the task as many "
                    "channels as the dataset has classes.",
                    summarize=1,
                )
        return example

    mean = sum(each.num_bytes for each in info.splits.values()) / info.splits.total_num_examples
    count = info.splits[parts[index]].num_examples
    return Source(stored.enumerate(), decode, count, max(mean, 1)), total, first


def _skipped(feature):
    """What leaves a feature, or each of a dict of them, as it is stored."""
    import tensorflow_datasets as tfds

    if isinstance(feature, tfds.features.FeaturesDict):
        return {name: _skipped(each) for name, each in feature.items()}
    return tfds.decode.SkipDecoding()


def _label(feature, encoded, what):
    """A stored label: of a PNG with a palette the indices, and of less than 8 bits the numbers.

    TensorFlow would make grey levels of them, such as 20 of class 1.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    ids = isinstance(feature, tfds.features.Image) and feature.shape[2:] == (1,)
    if not ids or feature.np_dtype != np.uint8:
        return feature.decode_example(encoded)
    begin = tf.io.decode_raw(tf.strings.substr(encoded, 0, 26), tf.uint8)
    png, bits, kind = begin[0] == 0x89, begin[24], begin[25]

    def numbers(data):
        return read_picture(io.BytesIO(data.tobytes()), what)[..., None]

    def read():
        data = tf.io.decode_raw(encoded, tf.uint8)
        label = tf.numpy_function(numbers, [data], tf.uint8, stateful=False)
        return tf.ensure_shape(label, feature.shape)

    as_it_is = png & (kind != 3) & (bits >= 8)
    return tf.cond(as_it_is, lambda: feature.decode_example(encoded), read)


def _folder(dataset, data_dir):
    """The folder of a version, by a path or by a name below `data_dir`."""
    import tensorflow_datasets as tfds

    data_dir = Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
    given = check_path("dataset", dataset).expanduser()
    for folder in (given, data_dir / given):
        versions = [path.parent for path in folder.glob("*/dataset_info.json")]
        versions = [path for path in versions if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
        if (folder / "dataset_info.json").is_file():
            return folder
        if versions:
            return max(versions, key=lambda path: [int(n) for n in path.name.split(".")])
    raise ValueError(
        f"No prepared dataset {str(dataset)!r}: neither {given} nor {data_dir / given} holds a "
        "dataset_info.json; pass the folder of one version, such as nyud_v2/1.0.0, or a name and "
        "data_dir, or 'rooms' or 'streets'."
    )


def _check_features(folder, info, names, tasks):
    lacking = set((info.metadata or {}).get("lacking", ())) & set(names)
    if lacking:
        lacking = ", ".join(sorted(lacking))
        raise ValueError(
            f"{folder} was prepared from an archive without labels for {lacking}; leave them out "
            "of tasks, or prepare it again from an archive that has them."
        )
    missing = [name for name in names if name not in info.features]
    if missing:
        raise ValueError(
            f"{folder} has no feature {', '.join(missing)}; it has {', '.join(info.features)}: "
            "pass tasks with these names."
        )
    for task in tasks:
        check_classes(folder, info, task)
    maps = [(task.name, task.label_channels) for task in tasks if task.output == "map"]
    for name, channels in [("image", 3), *maps]:
        shape, channels = tuple(info.features[name].shape), channels or 1
        good = [(channels,)] if channels > 1 else [(), (1,)]
        if len(shape) < 2 or shape[2:] not in good:
            raise ValueError(
                f"Feature {name!r} of {folder} has shape {shape}, expected (height, width, "
                f"{channels}); prepare the dataset with such maps."
            )


# === Generated scenes ===


def generated(dataset, split, tasks, index, shards, size, total):
    """Scenes as examples whose record is their number; see `prepared`."""
    import tensorflow as tf

    if split not in SEEDS:
        raise ValueError(f"{dataset.capitalize()} have no split {split!r}; pass 'train' or 'val'.")
    _check_total("The generated split", total, shards)
    first, last = (total * part // shards for part in (index, index + 1))

    def example(number):
        scene = GENERATED[dataset](SEEDS[split], size, int(number))
        labels = {task.name: task.label_of(scene) for task in tasks}
        for task in tasks:
            if task.class_ids is not None or task.label_values is not None:  # as they are stored
                labels[task.name] = labels[task.name].astype(np.uint8)
        return {"image": scene["image"], **labels}

    specs = tf.nest.map_structure(
        lambda x: tf.TensorSpec(np.shape(x), np.asarray(x).dtype), example(first)
    )

    def render(number):
        return [np.asarray(x) for x in tf.nest.flatten(example(number))]

    def decode(number):
        kinds = [spec.dtype for spec in tf.nest.flatten(specs)]
        values = tf.numpy_function(render, [number], kinds, stateful=False)
        found = tf.nest.pack_sequence_as(specs, values)
        return tf.nest.map_structure(lambda x, spec: tf.ensure_shape(x, spec.shape), found, specs)

    records = tf.data.Dataset.range(first, last).enumerate()
    return Source(records, decode, last - first, 8), total, first


def _check_total(what, total, shards):
    if total < shards:
        raise ValueError(
            f"{what} has {total} examples for {shards} shards, expected one for each at least; "
            "pass fewer shards or a larger split."
        )
