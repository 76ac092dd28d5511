"""Files and folders that are there as a whole or not at all.

What is written gets its name when it is complete: a reader never sees half of it, and what was
there before stays until then, also when the disk is full or the process is killed.
"""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_BESIDE = ".saving-"  # what is being written lies in a folder of this name, each writer's its own

_LOCK = ".lock"  # held by whoever writes in a folder; the system frees it if that is killed

# What TensorFlow says of a disk, in the system's words.
_REFUSALS = (
    *(errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS),
    *(errno.EACCES, errno.EIO, errno.ENOENT, errno.ENOTDIR),
)


class NotWritten(OSError):
    """What the system said when a file could not be written, in one sentence with its path."""

    def __str__(self):
        return f"{self.filename} cannot be written ({self.strerror})."


@contextmanager
def whole(path: str | Path, durable: bool = False, size: int = 0) -> Iterator[Path]:
    """A path for a file that the block writes, which becomes `path` when the block is through.

    It ends as `path` does, so libraries that look at endings or add them do as they would there.
    If the block raises, nothing is left of it. A link at `path` is replaced; what it leads to
    stays. Of several processes that write at the same time, the last one through counts.

    Args:
        path: file to write, new or not, in a folder that is there.
        durable: bool. Wait until the file is on the disk, so that it survives a power cut, too.
        size: int, bytes that there must be room for before the block begins: for libraries that do
            not survive a full disk.

    Raises:
        NotWritten: if the folder is missing or the system refuses; an `OSError`.

    Example:

    >>> from pathlib import Path
    >>> with whole("scores.txt") as fresh:
    ...     _ = fresh.write_text("78.6")
    ...     print(Path("scores.txt").exists())
    False
    >>> Path("scores.txt").read_text()
    '78.6'
    """
    path = Path(path)
    if path.is_dir():
        raise _refusal(errno.EISDIR, path)
    with _beside(path) as fresh:
        _look_for_room(fresh.parent, size)
        yield fresh
        if durable:
            with open(fresh, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(fresh, path)
        if durable:
            _settle(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """Writes a file of text as a whole, in UTF-8, and its folder if that is missing.

    Args:
        path: file to write, new or not.
        text: what it will hold; ends of lines stay as they are.

    Raises:
        NotWritten: if the system refuses; an `OSError`.
    """
    path = Path(path)
    try:
        make_folder(path.parent)
    except NotWritten as error:
        raise NotWritten(error.errno, error.strerror, str(path)) from error
    with whole(path) as fresh:
        fresh.write_text(text, encoding="utf-8", newline="")


def cache_folder() -> Path:
    """Where this package keeps what it can make again: below `$XDG_CACHE_HOME`, or `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keras_mtl"


def make_folder(path: str | Path) -> None:
    """Makes a folder to write into, and those around it, unless it is there.

    Args:
        path: of the folder.

    Raises:
        NotWritten: if the system refuses, or something else is there; an `OSError`.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        there = next((each for each in (path, *path.parents) if os.path.lexists(each)), path)
        reason = None
        if not there.exists():
            reason = f"{there} is a link that leads nowhere"
        elif not there.is_dir():
            reason = f"{there} is a file"
        raise _refusal(error.errno or errno.EIO, path, reason) from error


@contextmanager
def alone(folder: str | Path) -> Iterator[None]:
    """Makes a folder, and keeps it from other processes that ask for it, during the block.

    The system frees it when the process ends, also when it is killed. The process that has it may
    ask for it again. What killed writers have left in it is removed first.

    Args:
        folder: path. If it was made for the block and is empty afterwards, it is removed.

    Raises:
        NotWritten: if another process has it, or it cannot be written to; an `OSError`.

    Example:

    >>> from pathlib import Path
    >>> with alone("runs"):
    ...     _ = Path("runs/scores.txt").write_text("78.6")
    >>> [file.name for file in Path("runs").iterdir()]
    ['scores.txt']
    """
    folder = Path(folder)
    made = not folder.exists()
    make_folder(folder)
    lock = FileLock(folder.resolve() / _LOCK, timeout=0, thread_local=False, is_singleton=True)
    try:
        lock.acquire()
    except Timeout as error:
        reason = "another process writes there now; wait for it or name another folder"
        raise _refusal(errno.EBUSY, folder, reason) from error
    except OSError as error:
        raise _refusal(error.errno or errno.EIO, folder) from error
    try:
        if lock.lock_counter == 1:
            sweep(folder)
        yield
    finally:
        with suppress(OSError):  # the folder may be gone, and Windows removes no open file
            if lock.lock_counter == 1:
                Path(lock.lock_file).unlink()
        lock.release()
        if made and not lock.is_locked:
            with suppress(OSError):  # unless it is empty
                folder.rmdir()


@contextmanager
def whole_folder(path: str | Path, replace: bool = False) -> Iterator[Path]:
    """A path for a folder that the block makes, which becomes `path` when the block is through.

    If the block raises, nothing is left of it. Otherwise as `whole`.

    Args:
        path: folder to make, in a folder that is there.
        replace: bool. Whether a folder that is there is replaced, by renaming twice: if the
            process is killed in between, `put_back` or the next `whole_folder` undoes the first.

    Raises:
        NotWritten: if there is something at `path` which is not to be replaced or no folder, if
            the folder around it is missing, or if the system refuses; an `OSError`.

    Example:

    >>> from pathlib import Path
    >>> with whole_folder("maps") as fresh:
    ...     fresh.mkdir()
    ...     _ = (fresh / "depth.txt").write_text("1.2")
    >>> [file.name for file in Path("maps").iterdir()]
    ['depth.txt']
    """
    path = Path(path)
    put_back(path)
    if os.path.lexists(path) and not (replace and path.is_dir()):
        raise _refusal(errno.ENOTDIR if replace else errno.EEXIST, path)
    with _beside(path) as fresh:
        yield fresh
        if replace:
            with set_aside(path):
                os.replace(fresh, path)
        else:
            os.rename(fresh, path)  # refuses a folder that has come there meanwhile


@contextmanager
def set_aside(path: str | Path) -> Iterator[None]:
    """Gives a folder, if it is there, another name while the block makes one in its place.

    Args:
        path: the folder. If the block raises, it is what it was before; if the process is killed,
            `put_back` makes it so.
    """
    path = Path(path)
    put_back(path)
    aside = _aside(path)
    _remove(aside)
    if os.path.lexists(path):
        os.replace(path, aside)
    try:
        yield
    except BaseException:
        if os.path.lexists(aside):
            _remove(path)  # what the block made of it
            put_back(path)
        raise
    _remove(aside)


def put_back(path: str | Path) -> None:
    """Names a folder again as it was, if the process that set it aside was killed.

    Args:
        path: the folder, as it was called before `set_aside`.
    """
    aside = _aside(Path(path))
    if os.path.lexists(aside) and not os.path.lexists(path):
        os.replace(aside, path)


def _said_of_disk(error: BaseException) -> str | None:
    """What the system said, if a disk is why something was not written, or `None`.

    TensorFlow has its own kinds of error for a disk that is full or may not be written, and
    TensorFlow Datasets wraps them.
    """
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    text = " ".join(str(error).split())
    known = next((os.strerror(n) for n in _REFUSALS if os.strerror(n) in text), None)
    refused = next((each for each in causes if isinstance(each, OSError)), None)
    if refused is not None:
        return known or refused.strerror or text
    return known if any(hasattr(each, "error_code") for each in causes) else None


def sweep(folder: str | Path) -> None:
    """Removes what writers that were killed have left in a folder; what others write now stays.

    Args:
        folder: that is there or not.
    """
    for left in Path(folder).glob(f"{_BESIDE}*"):
        if left.is_symlink() or not left.is_dir():  # of no writer here
            _remove(left)
            continue
        with suppress(OSError, NotImplementedError):  # a writer has it
            with FileLock(left / _LOCK, timeout=0):
                pass
            _remove(left)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A path in a folder of its own, on the same disk, and gone after the block."""
    with in_words(path):
        parent = path.absolute().parent
        if not parent.is_dir():
            raise _refusal(errno.ENOENT, path, f"there is no folder {path.parent}")
        folder = tempfile.TemporaryDirectory(dir=parent, prefix=_BESIDE, ignore_cleanup_errors=True)
        # The folder is closed to others; what is made in it has the rights that the umask says.
        with folder as name, _held(Path(name)):
            yield Path(name) / path.name


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Says that what is in a folder is being written, so that `sweep` leaves it."""
    lock = FileLock(folder / _LOCK, timeout=1)
    with suppress(OSError, NotImplementedError):  # a disk without locks
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _look_for_room(folder: Path, size: int) -> None:
    """Asks the system for room on the disk, and gives it back."""
    if size and hasattr(os, "posix_fallocate"):
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """One sentence for what the system refuses a block, whichever library was refused.

    Args:
        path: what the block writes. What it says of other files stays as it is.

    Raises:
        NotWritten: if the system refuses; an `OSError`.

    Example:

    >>> from pathlib import Path
    >>> with in_words(Path("maps.npz")):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    keras_mtl.files.NotWritten: maps.npz cannot be written (No space left on device).
    """
    try:
        yield
    except (ConnectionError, TimeoutError):  # of no file
        raise
    except OSError as error:
        if error.filename is not None and _BESIDE not in str(error.filename):
            raise
        number = re.search(r"errno = (\d+)", str(error))  # in h5py's page of words
        reason = os.strerror(int(number[1])) if number else error.strerror
        reason = reason or " ".join(str(error).split()) or type(error).__name__
        raise NotWritten(error.errno, reason, str(path)) from error
    except (ValueError, ImportError):  # in our words
        raise
    except Exception as error:
        reason = _said_of_disk(error)
        if reason is None:
            raise
        raise NotWritten(errno.EIO, reason, str(path)) from error


def _refusal(number: int, path: Path, reason: str | None = None) -> NotWritten:
    return NotWritten(number, reason or os.strerror(number), str(path))


def _settle(folder: Path) -> None:
    """Waits until the names in a folder are on the disk."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _aside(path: Path) -> Path:
    return path.with_name(f".replaced-{path.name}")


def _remove(path: Path) -> None:
    """Removes a file, link or folder if it is there; never what a link leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
