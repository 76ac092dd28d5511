"""What tasks of one map share."""

import warnings

import numpy as np

from keras_mtl.tasks.task import Task


def first_not_binary(task: Task, labels: np.ndarray) -> tuple[float, str] | None:
    wrong = labels[~np.isin(labels, (0, 1, task.ignore))]
    if wrong.size:
        return wrong.flat[0], "0 or 1"
    if (labels == task.ignore).any() and (labels == 0).any() and not (labels == 1).any():
        warnings.warn(
            f"Labels of task {task.name!r} hold 0 and {task.ignore} and never 1; {task.ignore} "
            "means 'no label here': divide by 255 if it should mean yes.",
            stacklevel=5,
        )
