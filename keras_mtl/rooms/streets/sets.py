"""Sets of streets with the labels of some tasks."""

from collections.abc import Sequence

import numpy as np

from keras_mtl.arguments import check_integer, checked_size
from keras_mtl.rooms.sets import stacked
from keras_mtl.rooms.streets.scenes import render
from keras_mtl.tasks import Task, check_tasks


def arrays(
    tasks: Sequence[Task],
    count: int,
    image_size: tuple[int, int] = (128, 256),
    seed: int = 0,
    progress: bool = False,
) -> tuple[np.ndarray, dict]:
    """Images and the labels of some tasks as NumPy arrays.

    Street i is `render(seed, image_size, index=i)`, whatever `count` is.

    Args:
        tasks: list of tasks, each of which takes its label from the street (`Task.label_of`).
        count: number of streets.
        image_size: (height, width) in pixels.
        seed: integer >= 0; different seeds share no street.
        progress: whether to show a progress bar.

    Returns:
        (images, labels): uint8 (count, H, W, 3), and a dict from task name to the stacked labels.

    Raises:
        ValueError: if a task has no label here, or `count` or `image_size` is not positive.

    Example:

    >>> tasks = [keras_mtl.tasks.SemanticSegmentation(channels=19)]
    >>> images, labels = arrays(tasks, count=2, image_size=(24, 48))
    >>> images.shape, labels["semseg"].shape
    ((2, 24, 48, 3), (2, 24, 48))
    """
    tasks = check_tasks(tasks)
    size = checked_size(image_size)
    check_integer("count", count, 1)
    check_integer("seed", seed, 0)
    found = (render(int(seed), size, index) for index in range(count))
    return stacked(found, tasks, count, progress, "streets")
