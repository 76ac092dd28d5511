"""Where prepared datasets are written: inside their folder, by one process, whole or not at all."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_mtl.files import alone, whole_folder


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
    with alone(target.parent), whole_folder(target, replace=replace) as fresh:
        yield fresh
