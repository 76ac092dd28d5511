"""What the commands share: how they refuse, and whole numbers among their arguments."""

import argparse
import contextlib
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


def whole_number(least: int) -> Callable[[str], int]:
    """A type of arguments for argparse: whole numbers.

    Args:
        least: the smallest.

    Example:

    >>> whole_number(1)("12")
    12
    """

    def parse(text: str) -> int:
        with contextlib.suppress(ValueError):
            if int(text) >= least:
                return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of {least} or more")

    return parse
