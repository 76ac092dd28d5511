"""Which part of the work is this process's, and what all processes must agree on."""

import math
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_mtl.distribution.replicas import replicas


def process() -> tuple[int, int]:
    """The number of this process, from 0, and how many train one model.

    Example:

    >>> process()
    (0, 1)
    """
    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def first_process() -> bool:
    """Whether this process writes files, where several train one model.

    Example:

    >>> first_process()
    True
    """
    return process()[0] == 0


def shard() -> tuple[int, int] | None:
    """What `keras_mtl.data.load` takes as `shard`: this process's part of a dataset.

    Example:

    >>> shard() is None  # there is one process
    True
    """
    return process() if process()[1] > 1 else None


def batch_size_here(batch_size: int) -> int:
    """Images that this process brings to a batch.

    Args:
        batch_size: int. Images of a batch, in all processes together.

    Raises:
        ValueError: if they do not divide by the devices that split it.

    Example:

    >>> batch_size_here(8)
    8
    """
    parts = replicas()
    if batch_size % parts:
        raise ValueError(
            f"A batch of {batch_size} does not divide by {parts} devices; choose a multiple of "
            f"{parts}, such as {math.ceil(batch_size / parts) * parts}."
        )
    return batch_size // process()[1]


def of_this_process(batches, tasks: Sequence):
    """This process's part of every batch of a dataset that is the same in all processes.

    Args:
        batches: `tf.data.Dataset` of `(images, labels)`.
        tasks: list of `keras_mtl.tasks.Task`, the labels'.

    Returns:
        `tf.data.Dataset`. A batch that does not divide by the devices is filled up (`fill_up`).
    """
    index, count = process()
    if count == 1:
        return batches
    import tensorflow as tf

    def part(images, labels):
        length = (images.shape[0] or tf.shape(images)[0]) // count
        return tf.nest.map_structure(
            lambda x: x[index * length : (index + 1) * length], (images, labels)
        )

    return fill_up(batches, tasks, replicas()).map(part)


def copy_from_first_process(folder: str | Path) -> None:
    """Gives every process the files that the first one has in a folder; folders in it are left out.

    Args:
        folder: path, of another folder in each process.
    """
    if process()[1] == 1:
        return
    folder = Path(folder)
    paths = sorted(path for path in folder.glob("*") if path.is_file()) if first_process() else []
    for number in range(_number_from_first_process(len(paths))):
        path = paths[number] if first_process() else None
        name = from_first_process(path.name.encode() if path else b"").decode()
        content = from_first_process(path.read_bytes() if path else b"")
        if not first_process():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


def from_first_process(content: bytes, chunk: int = 2**26) -> bytes:
    """What the first process has, in every process.

    Args:
        content: bytes; only the first process's count.
        chunk: int. Bytes sent at a time.

    Example:

    >>> from_first_process(b"there is only one")
    b'there is only one'
    """
    if process()[1] == 1:
        return content
    from jax.experimental import multihost_utils

    # The length goes as two numbers: JAX has no 64-bit integers.
    chunks, rest = (_number_from_first_process(n) for n in divmod(len(content), chunk))
    received = []
    for number in range(chunks + 1):
        part = np.zeros(chunk if number < chunks else rest, "uint8")
        if first_process():
            part[:] = np.frombuffer(content, "uint8", len(part), number * chunk)
        if len(part):
            received.append(np.asarray(multihost_utils.broadcast_one_to_all(part)).tobytes())
    return b"".join(received)


def _number_from_first_process(value) -> int:
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


# === Batches that divide ===


def fill_up(data, tasks: Sequence, parts: int):
    """Batches made to divide, by black images without labels, which no metric counts.

    Args:
        data: `tf.data.Dataset` of `(images, labels)`, or such a pair of arrays.
        tasks: list of `keras_mtl.tasks.Task`, the labels'.
        parts: int. What the number of images must divide by.

    Returns:
        The same kind as `data`.

    Example:

    >>> task = keras_mtl.tasks.DepthEstimation()
    >>> images, labels = np.ones((3, 2, 2, 3)), {"depth": np.ones((3, 2, 2, 1))}
    >>> images, labels = fill_up((images, labels), [task], parts=4)
    >>> images.shape, float(labels["depth"][3].sum())
    ((4, 2, 2, 3), 0.0)
    """
    if isinstance(data, tuple):
        images, labels = data
        missing = -len(images) % parts
        nothing = {task.name: task.no_label(*images.shape[1:3]) for task in tasks}
        labels = keras.tree.map_structure(
            lambda label, none: np.concatenate([label, np.repeat(none[None], missing, axis=0)]),
            labels,
            nothing,
        )
        black = np.zeros((missing, *images.shape[1:]), images.dtype)
        return np.concatenate([images, black]), labels
    import tensorflow as tf

    count, *size, _ = data.element_spec[0].shape
    if count is not None and count % parts == 0:
        return data
    nothing = {task.name: task.no_label(*size) for task in tasks}

    def fill(images, labels):
        missing = -tf.shape(images)[0] % parts
        black = tf.zeros([missing, *images.shape[1:]], images.dtype)

        def longer(label, none):
            none = tf.cast(none[None], label.dtype)
            return tf.concat([label, tf.repeat(none, missing, axis=0)], axis=0)

        labels = tf.nest.map_structure(longer, labels, nothing)
        return tf.concat([images, black], axis=0), labels

    return data.map(fill)
