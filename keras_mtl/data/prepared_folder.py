"""Where prepared datasets are written: inside their folder, by one process, whole or not at all."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_mtl.files import NotWritten, alone, whole_folder

# What TensorFlow says of a disk, in the system's words.
_REFUSALS = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)


def folder_of(output: str | Path, name: str, version: str) -> Path:
    """The folder of a version of a dataset, inside the one for all.

    Args:
        output: folder of prepared datasets.
        name: of the dataset: one part of a path.
        version: of the dataset: three numbers.

    Raises:
        ValueError: if the name would lead elsewhere, or the version is none.

    Example:

    >>> folder_of("prepared", "my_rooms", "1.0.0").as_posix()
    'prepared/my_rooms/1.0.0'
    >>> folder_of("prepared", "../mine", "1.0.0")
    Traceback (most recent call last):
    ValueError: The name is '../mine'; expected letters, digits and _ - . that begin with a letter \
or digit, such as my_rooms.
    """
    if not re.fullmatch(r"\w[\w .-]*", str(name)):
        raise ValueError(
            f"The name is {name!r}; expected letters, digits and _ - . that begin with a letter or "
            "digit, such as my_rooms."
        )
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", str(version)):
        raise ValueError(f"The version is {version!r}; expected three numbers, such as 1.0.0.")
    return Path(output) / name / version


@contextmanager
def written(target: Path, replace: bool) -> Iterator[Path]:
    """A path for a dataset that the block writes, which becomes `target` when it is through.

    Args:
        target: of `folder_of`.
        replace: whether a version that is there is replaced.

    Raises:
        NotWritten: if another process writes this dataset, or the system refuses; an `OSError`.
    """
    try:
        with alone(target.parent), whole_folder(target, replace=replace) as fresh:
            yield fresh
    except Exception as error:
        reason = said_of_disk(error)
        if reason is None or isinstance(error, NotWritten):
            raise
        raise NotWritten(errno.EIO, reason, str(target)) from error


def said_of_disk(error: BaseException) -> str | None:
    """What the system said, if a disk is why a dataset was not written.

    TensorFlow has its own kinds of error for a disk that is full or may not be written, and
    TensorFlow Datasets wraps them.

    Args:
        error: whatever was raised.

    Returns:
        In the system's words, or `None` if it is something else.

    Example:

    >>> said_of_disk(OSError(28, "No space left on device"))
    'No space left on device'
    """
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    if not any(isinstance(each, OSError) or hasattr(each, "error_code") for each in causes):
        return None
    text = " ".join(str(error).split())
    return next((os.strerror(n) for n in _REFUSALS if os.strerror(n) in text), text)
