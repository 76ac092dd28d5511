"""Sets of rooms with the labels of some tasks.

from keras_mtl import rooms
images, labels = rooms.arrays(tasks, count=100)      # NumPy
batches = rooms.dataset(tasks, count=100)            # tf.data
"""

from collections.abc import Iterable, Sequence

import keras
import numpy as np

from keras_mtl.arguments import check_integer, checked_size
from keras_mtl.rooms.cores import scenes
from keras_mtl.tasks import Task, check_tasks


def arrays(
    tasks,
    count: int,
    image_size=(240, 320),
    seed: int = 0,
    progress: bool = False,
    keep: bool = False,
) -> tuple[np.ndarray, dict]:
    """Images and the labels of some tasks as NumPy arrays.

    Scene i is `render(seed, image_size, index=i)`, whatever `count` is. Where it pays, all cores
    render.

    Args:
        tasks: list of tasks, each of which takes its label from the scene (`Task.label_of`);
            segmentation with 40 channels gets NYUD classes, with 21 PASCAL classes.
        count: number of scenes.
        image_size: (height, width) in pixels.
        seed: integer >= 0; different seeds share no scene.
        progress: whether to show a progress bar.
        keep: whether to keep the scenes on disk, 26 bytes a pixel, and to read those that are
            there: in `keras_mtl/rooms` below `$XDG_CACHE_HOME`, or `~/.cache`. A file that is
            damaged is written anew.

    Returns:
        (images, labels): uint8 (count, H, W, 3), and a dict from task name to the stacked labels.

    Raises:
        ValueError: if a task has no label here, or `count` or `image_size` is not positive.

    Example:

    >>> images, labels = arrays(keras_mtl.tasks.nyud("depth"), count=2, image_size=(24, 32))
    >>> images.shape, labels["depth"].shape
    ((2, 24, 32, 3), (2, 24, 32, 1))
    """
    tasks = check_tasks(tasks)
    height, width = checked_size(image_size)
    check_integer("count", count, 1)
    check_integer("seed", seed, 0)
    return stacked(scenes(int(seed), (height, width), count, keep), tasks, count, progress, "rooms")


def stacked(
    found: Iterable[dict], tasks: Sequence[Task], count: int, progress: bool, what: str
) -> tuple[np.ndarray, dict]:
    """Scenes as arrays of images and labels.

    Args:
        found: the scenes.
        tasks: whose labels are taken.
        count: how many scenes there are, one or more.
        progress: whether to show a progress bar.
        what: they are, for the bar.
    """
    images: np.ndarray = np.empty(0)
    labels: dict = {}
    if progress:
        from tqdm import tqdm

        found = tqdm(found, desc=f"rendering {what}", unit="scene", total=count)
    for i, scene in enumerate(found):
        own = {task.name: task.label_of(scene) for task in tasks}
        if not labels:
            images = np.empty((count, *scene["image"].shape), np.uint8)
            labels = keras.tree.map_structure(
                lambda label: np.empty((count, *np.shape(label)), np.asarray(label).dtype), own
            )
        images[i] = scene["image"]
        keras.tree.map_structure(lambda stack, label, i=i: stack.__setitem__(i, label), labels, own)
    return images, labels


def dataset(
    tasks,
    count: int,
    image_size=(240, 320),
    seed: int = 0,
    batch_size: int = 4,
    shuffle: bool = False,
    repeat: bool = False,
    progress: bool = False,
    keep: bool = False,
):
    """Images and the labels of some tasks as a `tf.data.Dataset` of batches.

    The scenes are rendered once, here, and kept in memory (27 bytes a pixel for the NYUD tasks).

    Args:
        tasks, count, image_size, seed, progress, keep: see `arrays`.
        batch_size: scenes in a batch; the last batch holds what is left.
        shuffle: whether to mix the scenes anew in every epoch, in an order given by `seed`.
        repeat: whether to start over without end.

    Returns:
        A dataset of (images, labels), images uint8 (B, H, W, 3), labels a dict by task name.

    Raises:
        ValueError: see `arrays`.

    Example:

    >>> sal = keras_mtl.tasks.pascal_context("sal")
    >>> batches = dataset(sal, count=3, image_size=(24, 32), batch_size=2)
    >>> [tuple(labels["sal"].shape) for image, labels in batches]
    [(2, 24, 32), (1, 24, 32)]
    """
    import tensorflow as tf

    check_integer("batch_size", batch_size, 1)
    made = arrays(tasks, count, image_size, seed, progress, keep)
    examples = tf.data.Dataset.from_tensor_slices(made)
    if shuffle:
        examples = examples.shuffle(count, seed=seed)
    if repeat:
        examples = examples.repeat()
    return examples.batch(batch_size).prefetch(tf.data.AUTOTUNE)
