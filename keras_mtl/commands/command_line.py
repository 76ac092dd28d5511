"""What the commands share: how they refuse, and numbers among their arguments."""

import argparse
import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def refusals(*kinds: type[Exception], advice: str = "") -> Iterator[None]:
    """What the block refuses ends the command with the sentence of its error, and status 1.

    Args:
        *kinds: the errors that are refusals; `ValueError` without any.
        advice: what to add for somebody at a command line.

    Raises:
        SystemExit: with the name of the script and the error's sentence.

    Example:

    >>> with refusals():
    ...     keras_mtl.tasks.nyud("sal")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    SystemExit: ...
    """
    kinds = kinds or (ValueError,)
    try:
        yield
    except kinds as error:
        raise SystemExit(f"{script()}: {error}{advice}") from None


def say(sentence: object) -> None:
    """Writes a sentence to standard error, as of the running script.

    Args:
        sentence: what is wrong, without ending the script.
    """
    print(f"{script()}: {sentence}", file=sys.stderr)


def script() -> str:
    """The name of the running script."""
    return Path(sys.argv[0]).name


SEEDS = (0, 2**32 - 1)  # of NumPy's generators


def whole_number(least: int, most: float = math.inf) -> Callable[[str], int]:
    """A type of arguments for argparse: whole numbers.

    Args:
        least: the smallest.
        most: the largest.

    Example:

    >>> whole_number(1)("12")
    12
    """

    def parse(text: str) -> int:
        with contextlib.suppress(ValueError):
            if least <= int(text) <= most:
                return int(text)
        span = f"of {least} or more" if most == math.inf else f"from {least} to {most}"
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number {span}")

    return parse


def number(text: str) -> float:
    """A type of arguments for argparse: numbers from 0 on.

    Example:

    >>> number("1e-3")
    0.001
    """
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
