"""From a prepared dataset to batches.

A prepared dataset is a folder that TensorFlow Datasets wrote, with a feature `image` and one
feature for each task; it is read without the code that built it. Everything random is settled by
the seed: the order by (seed, epoch), an augmentation by (seed, epoch, number of the image).
Caching and threads change the speed, never an example.
"""

import math
import numbers
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_mtl.arguments import check_integer, checked_size
from keras_mtl.data import transforms
from keras_mtl.data.sources import GENERATED, generated, leave_gpu_to_keras, prepared
from keras_mtl.tasks import Task, check_tasks

# GiB of records, as they are stored, to draw the next one from: all of NYUD or PASCAL-Context.
SHUFFLE_MEMORY = 2.0


def load(
    dataset: str | Path,
    split: str,
    *,
    tasks: Sequence[Task],
    image_size: tuple[int, int],
    batch_size: int = 4,
    training: bool = False,
    seed: int = 0,
    labels_per_image: int | None = None,
    data_dir: str | Path | None = None,
    cache: bool | float | None = None,
    shard: tuple[int, int] | None = None,
    count: int = 100,
    first_step: int = 0,
    mirror: bool = True,
):
    """Batches of images and labels for `fit`, `evaluate` and `predict`, on every backend.

    For training, examples are shuffled, repeated without end and augmented as in the published
    recipes (`keras_mtl.data.transforms`); pass `steps_per_epoch` to `fit`. For evaluation every
    example comes once, in the order stored, padded around (or cropped at the centre) to the image
    size with the mean colour and no labels; the last batch holds what is left.

    Args:
        dataset: a prepared folder (of one version, or the folder of all versions); or a name
            such as `"nyud_v2"`, whose newest version below `data_dir` is taken; or `"rooms"`
            or `"streets"`, generated scenes, which need no download.
        split: for instance `"train"`, `"val"` or `"train[:80%]"`.
        tasks: list of tasks; each one's name is a feature of the dataset.
        image_size: `(height, width)` in pixels.
        batch_size: int. Images in a batch (of one shard).
        training: bool. Shuffle, repeat and augment.
        seed: int >= 0. Of the order, the augmentation and the labels kept. The same seed gives
            the same batches, however often the dataset is iterated.
        labels_per_image: int or None. For how many tasks, drawn at random, an image keeps its
            label; the same ones in every epoch. None: all.
        data_dir: folder of prepared datasets; default: where TensorFlow Datasets keeps its own.
        cache: bool or float. Decoded examples stay in memory if all of them (of this split and
            shard) take at most this many GiB; True: always, False: never. NYUD takes 2 GiB,
            PASCAL-Context 9. Training needs up to 2 GiB more for records to shuffle.
        shard: `(index, count)` or None. This process's part of the split: parts are disjoint and
            complete. In evaluation all of them have the same number of batches of the same sizes:
            a part with an example less gets one without labels.
        count: int. Generated scenes in a split; they are rendered when they are first needed.
        first_step: int >= 0. Training begins with this batch, as if those before had come: what a
            run that goes on needs (`keras_mtl.resume`). They are not augmented for that.
        mirror: bool. Whether augmentation mirrors half of the images left to right; tasks whose
            classes are the left and the right of something say which change places
            (`mirrored_pairs`), and where more depends on the side, such as writing, it is wrong.

    Returns:
        `tf.data.Dataset` of `(images, labels)`: images float32 `(B, H, W, 3)` in 0..255, labels
        a dict by task name.

    Raises:
        ValueError: if the dataset is not found, or lacks the split or a task, or an argument is
            out of its range.

    Example:

    >>> tasks = keras_mtl.tasks.nyud()
    >>> batches = load("rooms", "train", tasks=tasks, image_size=(32, 48), training=True, count=3)
    >>> images, labels = next(iter(batches))
    >>> images.shape.as_list(), labels["depth"].shape.as_list()
    ([4, 32, 48, 3], [4, 32, 48, 1])
    """
    tasks = check_tasks(tasks)
    size = checked_size(image_size)
    check_integer("batch_size", batch_size, 1)
    check_integer("seed", seed, 0)
    check_integer("count", count, 1)
    check_integer("first_step", first_step, 0)
    if first_step and not training:
        raise ValueError(
            f"first_step is {first_step}, but evaluation begins with the first batch; pass "
            "training=True or leave it out."
        )
    if labels_per_image is not None:
        check_integer("labels_per_image", labels_per_image, 1, len(tasks))
    index, shards = _checked_shard(shard)
    leave_gpu_to_keras()
    import tensorflow as tf

    if str(dataset) in GENERATED:
        source, total, first = generated(str(dataset), split, tasks, index, shards, size, count)
    else:
        source, total, first = prepared(dataset, split, tasks, index, shards, data_dir)
    cached = _fits(source, cache)

    def chosen(number, example):
        if labels_per_image is None:
            return example
        labels = transforms.keep_some(
            example, tasks, labels_per_image, _seed(seed, 1, number + first)
        )
        return {"image": example["image"], **labels}

    def ready(number, encoded):
        example = chosen(number, source.decode(encoded))
        return example["image"], transforms.prepare_labels(example, tasks)

    def moved(epoch, number, image, labels):
        key = _seed(seed, 2, number + first, epoch)
        return transforms.move(image, labels, tasks, size, key, mirror)

    # Compiled, this is one pass over the labels of a batch instead of dozens.
    @tf.function(jit_compile=True)
    def finished(labels, adjustment):
        return tf.vectorized_map(
            lambda each: transforms.finish_labels(*each, tasks), (labels, adjustment)
        )

    def in_the_middle(number, example):
        example = chosen(number, example)
        return transforms.centred(example["image"], example, tasks, size)

    if training:
        batches = _epochs(source, cached, seed, ready, moved, first_step * batch_size)
        batches = batches.batch(batch_size, drop_remainder=True)
        batches = batches.map(
            lambda image, labels, adjustment: (image, finished(labels, adjustment)),
            tf.data.AUTOTUNE,
        )
        unlimited = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        return batches.apply(unlimited).prefetch(tf.data.AUTOTUNE)
    examples = source.records
    if cached:
        examples = examples.map(_decoded(source), tf.data.AUTOTUNE).cache()
        examples = examples.map(in_the_middle, tf.data.AUTOTUNE)
    else:
        examples = examples.map(
            lambda number, encoded: in_the_middle(number, source.decode(encoded)),
            tf.data.AUTOTUNE,
        )
    missing = math.ceil(total / shards) - source.count
    if missing:
        nothing = {task.name: task.no_label(*size) for task in tasks}
        filler = transforms.centred(tf.zeros([0, 0, 3], tf.uint8), {}, [], size)[0], nothing
        examples = examples.concatenate(tf.data.Dataset.from_tensors(filler))
    return examples.batch(batch_size).prefetch(tf.data.AUTOTUNE)


# === Order, memory, seeds ===


def _epochs(source, cached, seed, decode, augment, begin=0):
    """Augmented examples, epoch after epoch, each in an order of its own.

    Args:
        decode: from `(number, encoded)` to an example, a tuple, the same in every epoch.
        augment: from `(epoch, number, *example)` to what is new in every epoch.
        begin: how many examples, of this and earlier epochs, to leave out at the beginning.
    """
    import tensorflow as tf

    buffer = max(1, min(source.count, int(SHUFFLE_MEMORY * 2**30 / source.record_bytes)))
    # Records are shuffled before they are decoded: that is quick and takes little memory. What is
    # decoded comes in the order of the first epoch, cached or not, and is shuffled again for each
    # later one.
    first = tf.data.Dataset.range(1).flat_map(
        lambda epoch: _shuffled(source.records, buffer, seed, epoch)
    )
    if cached:
        first = first.map(lambda n, x: (n, decode(n, x)), tf.data.AUTOTUNE).cache()

    first_epoch, done = divmod(begin, source.count)

    def of_epoch(epoch):
        again = _shuffled(first, tf.where(epoch == 0, 1, buffer), seed, epoch)
        again = again.skip(tf.where(epoch == first_epoch, tf.constant(done, tf.int64), 0))
        return again.map(lambda number, example: (epoch, number, example))

    def finish(epoch, number, example):
        return augment(epoch, number, *(example if cached else decode(number, example)))

    epochs = tf.data.Dataset.counter(first_epoch)
    return epochs.flat_map(of_epoch).map(finish, tf.data.AUTOTUNE)


def _shuffled(records, buffer, seed, epoch):
    """Called while a function is traced: the global seed that it sets is that function's."""
    import tensorflow as tf

    tf.random.set_seed(1)  # whatever the program's is: only `seed` counts here
    key = _seed(seed, 0, epoch)
    number = tf.random.stateless_uniform([], key, minval=None, maxval=None, dtype=tf.int64)
    return records.shuffle(tf.cast(buffer, tf.int64), seed=number, reshuffle_each_iteration=False)


def _seed(seed, *numbers):
    """A seed for the stateless random operations, another one for all other numbers."""
    import tensorflow as tf

    key = tf.constant([seed, 0], tf.int64)
    for number in numbers:
        key = tf.random.fold_in(key, number)
    return key


def _decoded(source):
    return lambda number, encoded: (number, source.decode(encoded))


def _fits(source, cache):
    """Whether all examples, decoded, fit into the memory allowed."""
    import tensorflow as tf

    if isinstance(cache, bool):
        return cache
    if cache is None:
        import psutil  # TensorFlow Datasets brings it

        cache = psutil.virtual_memory().available / 2**30 / 2
    if not isinstance(cache, numbers.Real) or not cache >= 0:
        raise ValueError(
            f"cache is {cache!r}, expected True, False or a number of GiB >= 0; pass cache=4.0."
        )
    _, fixed = source.records.map(_decoded(source)).element_spec
    if all(x.shape.is_fully_defined() for x in tf.nest.flatten(fixed)):
        few = [fixed]
    else:
        few = [source.decode(encoded) for _, encoded in source.records.take(4)]
    sizes = [
        sum(x.dtype.size * x.shape.num_elements() for x in tf.nest.flatten(each)) for each in few
    ]
    return np.mean(sizes) * source.count <= cache * 2**30


# === Checks ===


def _checked_shard(shard):
    if shard is None:
        return 0, 1
    try:
        index, count = shard
        good = all(isinstance(n, numbers.Integral) for n in (index, count)) and 0 <= index < count
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError(
            f"shard is {shard!r}, expected (index, count) with 0 <= index < count; pass (0, 2) in "
            "the first of two processes."
        )
    return int(index), int(count)
