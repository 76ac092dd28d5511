"""The batches of a run: of prepared data or generated scenes, in an order that a seed settles."""

import argparse
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_mtl import distribution, rooms
from keras_mtl.data import load
from keras_mtl.tasks import Task


@dataclass(frozen=True)
class Batches:
    """What a run reads, as `tf.data.Dataset`s of `(images, labels)`.

    Args:
        training: without end, this process's part.
        held_out: to validate on, this process's part.
        validation: to validate on, all of it.
        some: to train on, from the beginning, whatever was trained before.
    """

    training: Any
    held_out: Any
    validation: Any
    some: Any


def held_out_data(options: argparse.Namespace, tasks: Sequence[Task]):
    """The images of prepared data to validate on; quickly refused where they are not there.

    Args:
        options: of a run.
        tasks: whose labels are read.

    Raises:
        ValueError: if they cannot be read.
    """
    return _loaded(options, tasks, "val")


def of_data(options: argparse.Namespace, tasks: Sequence[Task], validation, begin: int) -> Batches:
    """Batches of prepared data.

    Args:
        options: of a run.
        tasks: whose labels are read.
        validation: of `held_out_data`.
        begin: training steps that are done.

    Raises:
        ValueError: if they cannot be read.
    """
    shard = distribution.shard()
    how = {"training": True, "seed": options.seed}
    return Batches(
        training=_loaded(options, tasks, "train", first_step=begin, shard=shard, **how),
        held_out=_loaded(options, tasks, "val", shard=shard) if shard else validation,
        validation=validation,
        some=_loaded(options, tasks, "train", cache=False, **how),
    )


def of_scenes(options: argparse.Namespace, tasks: Sequence[Task], begin: int) -> Batches:
    """Batches of generated scenes, which are rendered first, or read if they are kept.

    Args:
        options: of a run.
        tasks: whose labels are rendered.
        begin: training steps that are done.
    """
    import tensorflow as tf

    scenes = _tensors(_rendered(options, tasks, options.scenes, seed=0))
    held_out = _rendered(options, tasks, options.held_out, seed=1)
    validation = tf.data.Dataset.from_tensor_slices(held_out).batch(options.batch_size)
    validation = validation.prefetch(tf.data.AUTOTUNE)
    return Batches(
        training=distribution.of_this_process(_shuffled(scenes, options, begin), tasks),
        held_out=distribution.of_this_process(validation, tasks),
        validation=validation,
        some=_shuffled(scenes, options, 0),
    )


def _rendered(options, tasks, count, seed):
    """Images and labels of rooms or streets."""
    how: dict[str, Any] = {"seed": seed, "progress": True}
    if options.generated == "streets":
        return rooms.streets.arrays(tasks, count, tuple(options.image_size), **how)
    how["keep"] = not options.no_cache
    return rooms.arrays(tasks, count, tuple(options.image_size), **how)


def read(data: str, split: str, tasks: Sequence[Task], image_size: Sequence[int], **how):
    """`keras_mtl.data.load` for a command, whose `--tasks` can leave out what is not there.

    Args:
        data: name or folder of the dataset.
        split: such as `"train"`.
        tasks: whose labels are read.
        image_size: `(height, width)` in pixels.
        **how: further arguments of `keras_mtl.data.load`.

    Raises:
        ValueError: if they cannot be read, with the tasks that can.
    """
    height, width = image_size
    size = (height, width)
    try:
        return load(data, split, tasks=tasks, image_size=size, **how)
    except ValueError as error:
        there = []
        for task in tasks:
            with contextlib.suppress(ValueError):
                load(data, split, tasks=[task], image_size=size, cache=False)
                there.append(task.name)
        some = 0 < len(there) < len(tasks)
        advice = f" (--tasks {' '.join(there)} takes what is there.)" if some else ""
        raise ValueError(f"{error}{advice}") from None


def _loaded(options, tasks, split, **how):
    batch_size = distribution.batch_size_here(options.batch_size)
    return read(options.data, split, tasks, options.image_size, batch_size=batch_size, **how)


def _tensors(scenes):
    """Scenes as TensorFlow has them, once for all that draws from them."""
    import tensorflow as tf

    with tf.device("CPU"):
        return tf.nest.map_structure(tf.convert_to_tensor, scenes)


def _shuffled(scenes, options, first_step: int):
    """Batches without end, in an order that the seed and the epoch settle, as `load` does."""
    import tensorflow as tf

    count = len(scenes[0])
    epoch, done = divmod(first_step * options.batch_size, count)

    def order(epoch):
        seed = tf.stack([tf.constant(options.seed, tf.int64), epoch])
        numbers = tf.random.experimental.stateless_shuffle(tf.range(count), seed)
        return tf.data.Dataset.from_tensor_slices(numbers)

    def batch(numbers):
        return tf.nest.map_structure(lambda values: tf.gather(values, numbers), scenes)

    numbers = tf.data.Dataset.counter(epoch).flat_map(order).skip(done)
    numbers = numbers.batch(options.batch_size, drop_remainder=True)
    return numbers.map(batch).prefetch(tf.data.AUTOTUNE)
