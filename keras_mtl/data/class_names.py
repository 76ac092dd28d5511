"""Names of classes: in a folder of labels, and in the dataset that is prepared from it.

Prepared datasets hold them as TensorFlow Datasets' own `LabeledImage` does.
"""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_mtl.tasks import Task

FILE = "classes.txt"  # in a folder of labels
_NO_LABEL = "no label"
_COLOUR = re.compile(r"\s+#([0-9a-fA-F]{6})$")
_NUMBER = re.compile(r"(\d+)\s*[:;,]?\s+(\S.*)")


class Classes(NamedTuple):
    """The classes of a task.

    Args:
        names: list of str, the first one of id 0.
        colours: dict from (red, green, blue) to class id, or to `None` where there is no label;
            empty where none are known.
    """

    names: list[str]
    colours: dict[tuple[int, int, int], int | None]


def read_classes(folder: Path) -> Classes | None:
    """What `classes.txt` in a folder of labels says, or `None` where there is none.

    Args:
        folder: of labels. A line of the file is the name of a class, the first one that of id 0,
            as in "floor", "1 floor" or "floor #00ff80"; "no label #000000" is no class.

    Raises:
        ValueError: if it says nothing of the kind.

    Example:

    >>> from pathlib import Path
    >>> _ = Path("classes.txt").write_text("wall #808080\\nfloor #00ff80\\nno label #000000")
    >>> read_classes(Path()).colours
    {(128, 128, 128): 0, (0, 255, 128): 1, (0, 0, 0): None}
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").strip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({error}); write a name in each line.") from None
    colours = [_COLOUR.search(line) for line in lines]
    names = _without_numbers(path, [_COLOUR.sub("", line) for line in lines])
    if not lines or not all(names) or len(set(names)) < len(names):
        raise ValueError(
            f"{path} has an empty line or the same name twice; write the name of one class in each "
            "line, the first one that of id 0."
        )
    if any(colours) and not all(colours):
        raise ValueError(f"{path} gives some classes a colour; give all of them one, or none.")
    found: dict[tuple[int, int, int], int | None] = {}
    for i, (name, colour) in enumerate(zip(names, colours, strict=True)):
        if colour:
            rgb = tuple(bytes.fromhex(colour[1]))
            if rgb in found:
                raise ValueError(f"{path} has the colour #{colour[1]} twice; give each its own.")
            found[rgb] = None if name.lower() == _NO_LABEL else i
    if any(name.lower() == _NO_LABEL for name in names[:-1]):
        raise ValueError(f"{path} has a class after {_NO_LABEL!r}; write that in the last line.")
    names = names[:-1] if names[-1].lower() == _NO_LABEL else names
    if not 0 < len(names) < 256:
        raise ValueError(f"{path} names {len(names)} classes; expected 1 to 255.")
    return Classes(names, found)


def _without_numbers(path: Path, names: list[str]) -> list[str]:
    """Names of which each stands after its id, by themselves."""
    numbered = [_NUMBER.fullmatch(name) for name in names]
    classes = [each for name, each in zip(names, numbered, strict=True) if name != _NO_LABEL]
    if not classes or not all(classes):
        return names
    ids = [int(each[1]) for each in classes]
    if ids != list(range(len(ids))):
        raise ValueError(
            f"{path} numbers classes {', '.join(map(str, ids[:3]))} ...; expected ids from 0 on, "
            "one after the other: number them so, in the labels too."
        )
    return [each[2] if each else name for name, each in zip(names, numbered, strict=True)]


def ids_of_colours(mask: np.ndarray, classes: Classes, ignore: float) -> np.ndarray:
    """Class ids of a mask in colours.

    Args:
        mask: uint8 `(H, W, 3)`.
        classes: with colours.
        ignore: id where there is no label.

    Returns:
        uint8 `(H, W)`.

    Raises:
        ValueError: if it has another colour.
    """
    rgb = mask.astype("int32")
    keys = (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]
    known = {(r << 16) | (g << 8) | b: i for (r, g, b), i in classes.colours.items()}
    ids = np.empty(keys.shape, "uint8")
    for key in np.unique(keys).tolist():
        if key not in known:
            raise ValueError(
                f"holds the colour #{key:06x} in {int((keys == key).sum())} pixels, which is none "
                f"of {FILE}; add it there, or correct the label"
            )
        ids[keys == key] = ignore if known[key] is None else known[key]
    return ids


# === In prepared datasets ===


def names_in(info: Any, task: Task) -> list[str] | None:
    """The names of a task's classes in a prepared dataset, or `None` where it holds none.

    Args:
        info: `tfds.core.DatasetInfo`.
        task: with class ids or not.
    """
    if task.class_ids is None or task.name not in info.features:
        return None
    feature = info.features[task.name]
    count = getattr(feature, "num_classes", None)
    return list(feature.names) if count else None


def check_classes(folder: Path, info: Any, task: Task) -> None:
    """Refuses a task of other classes than a prepared dataset has.

    Args:
        folder: of the dataset.
        info: of it.
        task: one of those to be read.

    Raises:
        ValueError: so.
    """
    names = names_in(info, task)
    if names is None or len(names) == len(task.class_ids or ()):
        own = list(getattr(task, "labels", ()))
        if names is not None and own != names and sorted(own) == sorted(names):
            raise ValueError(
                f"{folder} has the classes {', '.join(names[:4])} ... of task {task.name!r} in "
                f"another order than the task, {', '.join(own[:4])} ...; pass "
                "keras_mtl.data.tasks_of(dataset, tasks)."
            )
        return
    sentence = (
        f"{folder} has {len(names)} classes of task {task.name!r} ({', '.join(names[:4])} ...), "
        f"but the task has {len(task.class_ids or ())}; pass keras_mtl.data.tasks_of(dataset, "
        "tasks)."
    )
    counted = names == [str(i) for i in range(len(names))]  # as many as there were ids
    if counted and len(names) < len(task.class_ids or ()):
        warnings.warn(sentence, stacklevel=4)
    else:
        raise ValueError(sentence)


def with_stored_classes(info: Any, tasks: Sequence[Task]) -> list[Task]:
    """Tasks with the classes of a prepared dataset, where it has some.

    Args:
        info: of the dataset.
        tasks: with whatever classes.
    """
    known = [(task, names_in(info, task)) for task in tasks]
    return [task if names is None else task.with_classes(names) for task, names in known]
