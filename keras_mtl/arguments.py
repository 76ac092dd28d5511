"""Checks of what functions are given: one sentence for what does not fit."""

import numbers

import numpy as np


def check_integer(name: str, value, least: int, most: int | None = None) -> None:
    """Refuses what is no integer from `least` on, up to `most`."""
    good = isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= least
    if not good or (most is not None and value > most):
        span = f">= {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} is {value!r}, expected an integer {span}; pass {name}={least}.")


def checked_size(image_size) -> tuple[int, int]:
    """Height and width as integers, after refusing anything else."""
    try:
        height, width = image_size
        good = all(isinstance(s, (int, np.integer)) and s > 0 for s in (height, width))
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError(
            f"image_size is {image_size!r}, expected two positive integers; pass (height, width)."
        )
    return int(height), int(width)
