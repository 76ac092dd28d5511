"""The tasks that a command's `--tasks` names: a dataset's, another dataset's, or a user's own."""

import importlib
import os
import sys
from collections.abc import Sequence

from keras_mtl.arguments import did_you_mean
from keras_mtl.tasks import DATASETS, Task, check_tasks


def tasks_named(names: Sequence[str] | None, tasks: Sequence[Task]) -> list[Task]:
    """The tasks of these names.

    Args:
        names: of the tasks, or of those of other datasets that commands know, or `MODULE:NAME` of a
            task in a module of a user's own, which is looked for in the working folder, too; there
            it is a `keras_mtl.tasks.Task`, or a function that makes one. `None` means all.
        tasks: the command's.

    Raises:
        ValueError: if there is no such task.

    Example:

    >>> [task.name for task in tasks_named(["depth", "sal"], keras_mtl.tasks.nyud())]
    ['depth', 'sal']
    """
    if names is None:
        return list(tasks)
    known = {
        task.name: task
        for dataset in DATASETS.values()
        for task in (*dataset.make_others(), *dataset.tasks())
    }
    known |= {task.name: task for task in tasks}
    unknown = [name for name in names if name not in known and ":" not in name]
    if unknown:
        raise ValueError(
            f"--tasks names {unknown[0]!r}; expected some of {', '.join(known)}, or MODULE:NAME of "
            f"a task of your own{did_you_mean(unknown, known)}."
        )
    return check_tasks([_own(name) if ":" in name else known[name] for name in names])


def _own(address: str) -> Task:
    module, _, name = address.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"--tasks names {address!r}, which is not found ({error}).") from None
    try:
        task = found() if callable(found) else found
        check_tasks([task])
    except (TypeError, ValueError) as error:  # TypeError: it wants arguments
        raise ValueError(f"--tasks names {address!r}: {error}") from None
    return task
