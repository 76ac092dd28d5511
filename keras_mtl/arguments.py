"""Checks of what functions are given: one sentence for what does not fit.

What fits is returned as Python's own number, whichever library's it was, so that files can hold it.
"""

import difflib
import math
import numbers
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def check_integer(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Refuses what is no integer from `least` on, up to `most`.

    Example:

    >>> check_integer("epochs", np.int64(3), 0)
    3
    """
    if not _is_integer(value) or value < least or (most is not None and value > most):
        span = f">= {least}" if most is None else f"from {least} to {most}"
        whole = isinstance(value, numbers.Real) and value == value // 1 and value >= least
        such = int(value) if whole and (most is None or value <= most) else max(least, 1)
        raise ValueError(f"{name} is {value!r}, expected an integer {span}, such as {name}={such}.")
    return int(value)


def check_integers(
    name: str, values: Any, example: Sequence[int], exactly: bool = True
) -> tuple[int, ...]:
    """Refuses what are no positive integers, or not exactly as many as the example has."""
    good = not isinstance(values, str) and hasattr(values, "__len__") and len(values) > 0
    good = good and (len(values) == len(example) or not exactly)
    if not good or not all(_is_integer(value) and value > 0 for value in values):
        many = f"{len(example)} " if exactly else ""
        raise ValueError(
            f"{name} is {values!r}, expected {many}positive integers, such as {example}."
        )
    return tuple(int(value) for value in values)


def check_number(name: str, value: Any, below: float = math.inf) -> float:
    """Refuses what is no number from 0 to below a bound."""
    good = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not good or not 0 <= value < below:
        span = "from 0 on" if below == math.inf else f"from 0 to below {below:g}"
        raise ValueError(f"{name} is {value!r}, expected a number {span}.")
    return float(value)


def check_numbers(name: str, values: Any, example: Sequence[float]) -> tuple[float, ...]:
    """Refuses what are no finite numbers, of any sign, or not as many as the example has.

    Example:

    >>> check_numbers("temperature", [1, 0.5], (1.0, 0.05))
    (1.0, 0.5)
    """
    good = isinstance(values, Sequence) and len(values) == len(example)
    if not good or not all(isinstance(x, numbers.Real) and math.isfinite(x) for x in values):
        raise ValueError(
            f"{name} is {values!r}, expected {len(example)} numbers, such as {example}."
        )
    return tuple(map(float, values))


def check_switch(name: str, value: Any) -> bool:
    """Refuses what is neither true nor false; text such as "no" would count as true.

    Example:

    >>> check_switch("remat", np.True_)
    True
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} is {value!r}, expected True or False.")
    return bool(value)


def check_path(name: str, value: Any) -> Path:
    """Refuses what is no path, such as `None` where a file was not found, and what names no file.

    Example:

    >>> check_path("filepath", "model.keras").suffix
    '.keras'
    """
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError(f"{name} is {value!r}; expected a path, as text or a pathlib.Path.")
    path = Path(os.fsdecode(value))
    longest = max(map(len, map(os.fsencode, path.parts)), default=0)
    if "\0" in str(path) or longest > 255:
        what = "a zero byte" if "\0" in str(path) else f"a name of {longest} bytes"
        raise ValueError(f"{name} has {what}, which no file may have; give it another name.")
    return path


def did_you_mean(given: Iterable[str], known: Iterable[str]) -> str:
    """The end of a sentence on names that are not known, if one is like one that is.

    Example:

    >>> did_you_mean({"dpth": 2.0}, ["semseg", "depth"])
    " (did you mean 'depth'?)"
    """
    known = list(known)
    for name in given:
        near = difflib.get_close_matches(str(name), known, 1)
        if near and name not in known:
            return f" (did you mean {near[0]!r}?)"
    return ""


def checked_sizes(given: Mapping[str, Any], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """A network's sizes, some of them replaced by what a user has given.

    Args:
        given: the user's arguments; those that are no sizes stay as they are.
        sizes: dict by name of integers, or of tuples of such.

    Example:

    >>> checked_sizes({"num_layers": np.int64(2), "remat": True}, {"num_layers": 12})
    {'num_layers': 2, 'remat': True}
    """
    found = {**sizes, **given}
    for name, default in sizes.items():
        if isinstance(default, int):
            found[name] = check_integer(name, found[name], 1)
    return found


def checked_shape(image_shape: Any) -> tuple[int, int, int]:
    """The shape of images as integers, after refusing anything else."""
    height, width, channels = check_integers("image_shape", image_shape, (448, 576, 3))
    if channels != 3:
        raise ValueError(
            f"image_shape is {image_shape!r}, with {channels} channels; expected 3, RGB."
        )
    return height, width, channels


def checked_size(image_size: Any) -> tuple[int, int]:
    """Height and width as integers, after refusing anything else."""
    try:
        height, width = image_size
        good = all(_is_integer(length) and length > 0 for length in (height, width))
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError(
            f"image_size is {image_size!r}, expected two positive integers; pass (height, width)."
        )
    return int(height), int(width)


def _is_integer(value) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
