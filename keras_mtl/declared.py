"""What a file declares is looked at before it is read: sizes, and the places its names lead to.

A file of a few kilobytes can declare arrays of terabytes, members that unpack to gigabytes, or
names that lead out of their folder. What a file unpacks to may be `SMALL` bytes, or `TIMES` what
the file itself takes on the disk: packed weights and labels are far below, and more is refused.
"""

import io
import json
import math
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

SMALL = 64 * 2**20  # bytes that any file may unpack to, or a file of JSON may have
TIMES = 20  # and a larger one, per byte of its own

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_PACKED = 15  # in a MATLAB file: the kind of what is compressed

# In a tarball: names and attributes that do not fit a header; tarfile reads them at once.
_NAMES = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)


class Refused(ValueError):
    """A file declares what it cannot hold or should not lead to; one sentence with its path."""


def check_size(path: str | Path, what: str, declared: int, held: int) -> None:
    """Refuses what would take more memory or disk than its file explains.

    Args:
        path: the file.
        what: in it, for the sentence.
        declared: bytes that it says it takes.
        held: bytes that the file takes.

    Raises:
        Refused: if it declares more than `SMALL` bytes and `TIMES` what the file takes.

    Example:

    >>> check_size("weights.npz", "kernel", 10**13, 2000)
    Traceback (most recent call last):
    keras_mtl.declared.Refused: weights.npz declares 10,000,000 MB for kernel and has 0 MB; it is \
damaged or made to fill the memory, so get it again from somebody you trust.
    """
    if declared > max(SMALL, TIMES * held):
        raise Refused(
            f"{path} declares {declared / 1e6:,.0f} MB for {what} and has {held / 1e6:,.0f} MB; it "
            "is damaged or made to fill the memory, so get it again from somebody you trust."
        )


def leads_out(name: str) -> bool:
    """Whether a name, taken inside a folder, may lead out of it.

    Args:
        name: of a file, with the folders that it lies in.

    Example:

    >>> [leads_out(name) for name in ("a/b.npy", "../b.npy", "/etc/b", "a\\\\..\\\\b", "C:b")]
    [False, True, True, True, True]
    """
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or not name or not parts[0] or bool(re.match("[A-Za-z]:", name))


# === Kinds of files ===


def read_json(path: str | Path) -> Any:
    """What a file of JSON holds.

    Args:
        path: the file, in UTF-8.

    Raises:
        Refused: if it is missing, too large, or no whole JSON.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > SMALL:
            raise Refused(f"{path} has {size / 1e6:,.0f} MB; expected JSON of {SMALL / 1e6:.0f}.")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(f"{path} cannot be read ({error.strerror}).") from error
    except Refused:
        raise
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, or a thousand brackets
        raise Refused(f"{path} is no whole JSON; write it or get it again.") from error


def check_zip(archive: zipfile.ZipFile, path: str | Path) -> None:
    """Refuses a zip file that unpacks to too much or out of its folder.

    Args:
        archive: the open file, of which nothing has been read.
        path: its path.

    Raises:
        Refused: if its members' sizes or names are not as they should be.
    """
    total, seen = 0, set()
    for member in archive.infolist():
        if leads_out(member.filename) or stat.S_ISLNK(member.external_attr >> 16):
            raise Refused(
                f"{path} holds {member.filename!r}, which leads elsewhere; do not use it."
            )
        if member.filename in seen:
            raise Refused(f"{path} holds {member.filename!r} twice; do not use it.")
        seen.add(member.filename)
        check_size(path, member.filename, member.file_size, member.compress_size)
        total += member.file_size
    check_size(path, "all in it", total, Path(path).stat().st_size)


def read_npy(stream: BinaryIO, path: str | Path, held: int) -> np.ndarray:
    """The array of an `.npy` file.

    Args:
        stream: the open file, which can be read again from its beginning.
        path: its path.
        held: bytes that it has.

    Raises:
        Refused: if it declares more numbers than it has, or something else than numbers.
        ValueError: if it is broken, in NumPy's words.

    Example:

    >>> import io
    >>> stream = io.BytesIO()
    >>> np.save(stream, np.arange(3))
    >>> _ = stream.seek(0)
    >>> read_npy(stream, "a.npy", len(stream.getvalue())).tolist()
    [0, 1, 2]
    """
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise Refused(f"{path} holds a table with named columns; expected an array of numbers.")
    shape, _, dtype = _HEADERS[version](stream)
    if dtype.hasobject or dtype.names:
        raise Refused(
            f"{path} holds Python objects and was not read; expected an array of numbers."
        )
    declared = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or declared > held:
        raise Refused(
            f"{path} declares an array of shape {shape} and has {held} bytes; it is damaged, so "
            "get it again."
        )
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def read_mat(data: bytes, path: str | Path) -> dict[str, Any]:
    """The variables of a MATLAB 5 file.

    Args:
        data: bytes of the file.
        path: its path.

    Raises:
        Refused: if it unpacks to too much, or declares more entries than it unpacks to.
        Exception: if it is broken, in SciPy's words; its parser raises whatever bytes cause.

    Example:

    >>> import scipy.io
    >>> scipy.io.savemat("a.mat", {"LabelMap": np.array([[1, 2]])}, do_compression=True)
    >>> read_mat(Path("a.mat").read_bytes(), "a.mat")["LabelMap"].tolist()
    [[1, 2]]
    """
    import scipy.io

    held = _unpacked(data, path)
    for name, shape, kind in scipy.io.whosmat(io.BytesIO(data)):
        if math.prod(shape) > held and kind != "sparse":
            raise Refused(
                f"{path} declares {name} of shape {shape} and has {held} bytes unpacked; it is "
                "damaged, so get it again."
            )
    variables = scipy.io.loadmat(io.BytesIO(data))
    return {name: value for name, value in variables.items() if not name.startswith("__")}


def _unpacked(data: bytes, path) -> int:
    """Bytes that a MATLAB 5 file unpacks to, counted piece by piece."""
    order = ">" if data[126:128] == b"MI" else "<"
    total, place = len(data), 128
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        packed, place = data[place + 8 : place + 8 + size], place + 8 + size
        unpack = zlib.decompressobj()
        while kind == _PACKED and packed and not unpack.eof:
            total += len(unpack.decompress(packed, 2**20))
            check_size(path, "all in it", total, len(data))
            packed = unpack.unconsumed_tail
    return total


def check_hdf5(file, path: str | Path, held: int) -> None:
    """Refuses an HDF5 file that leads elsewhere, declares too much or holds no weights.

    Args:
        file: the open `h5py.File`.
        path: its path.
        held: bytes that it has.

    Raises:
        Refused: if it has links to other files, sizes that are not its own, or numbers that are
            not real, not finite or too large for float32.
    """
    total = 0
    for dataset in _datasets(file, path, set()):
        if dataset.external or dataset.is_virtual:
            raise Refused(f"{path} leads to another file at {dataset.name}; do not use it.")
        if dataset.dtype.kind not in "biufV" or dataset.dtype.names:  # V: bfloat16
            raise Refused(f"{path} holds {dataset.dtype} at {dataset.name}; expected real numbers.")
        # A piece is unpacked as a whole, also where the array is smaller.
        cells = max(math.prod(dataset.shape), math.prod(dataset.chunks or (0,)))
        total += cells * dataset.dtype.itemsize
        check_size(path, dataset.name, cells * dataset.dtype.itemsize, held)
        check_size(path, "all in it", total, held)
        if dataset.dtype.kind == "f":
            check_numbers(path, dataset.name, dataset[()])


def _datasets(group, path, seen: set) -> Iterator:
    """All arrays of an HDF5 file, each once."""
    import h5py

    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise Refused(f"{path} leads elsewhere at {group.name}/{name}; do not use it.")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            continue
        seen.add(address)
        if isinstance(item, h5py.Dataset):
            yield item
        elif isinstance(item, h5py.Group):
            yield from _datasets(item, path, seen)


def check_numbers(path: str | Path, name: str, values: np.ndarray) -> None:
    """Refuses what no weight is.

    Args:
        path: the file.
        name: of the array in it.
        values: the array.

    Raises:
        Refused: if it holds something else than real numbers, NaN, infinity or numbers beyond
            float32.

    Example:

    >>> check_numbers("a.npz", "kernel", np.array([1e300]))
    Traceback (most recent call last):
    keras_mtl.declared.Refused: a.npz holds 1e+300 in kernel; expected finite numbers that fit \
float32, so train or get it again.
    """
    if values.dtype.kind not in "biuf":
        raise Refused(f"{path} holds {values.dtype} in {name}; expected real numbers.")
    if not fits_float32(values):
        fits = np.abs(values) <= np.finfo("float32").max
        raise Refused(
            f"{path} holds {values[~fits].flat[0]:g} in {name}; expected finite numbers that fit "
            "float32, so train or get it again."
        )


def fits_float32(values: np.ndarray) -> bool:
    """Whether an array holds finite real numbers alone that float32 can hold.

    Args:
        values: the array.

    Example:

    >>> [fits_float32(np.array([x])) for x in (1, -3e38, 1e300, np.nan, 1j, "1")]
    [True, True, False, False, False, False]
    """
    if values.dtype.kind != "f":
        return values.dtype.kind in "biu"
    return bool((np.abs(values) <= np.finfo("float32").max).all())  # NaN is not


class _Member(tarfile.TarInfo):
    """A member of a tarball whose header is looked at before what belongs to it is read."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        member = super().frombuf(buf, encoding, errors)
        if member.type in _NAMES and member.size > 2**20:
            raise tarfile.ReadError(f"it declares a name of {member.size} bytes")
        return member


def members(
    stream: BinaryIO, path: str | Path
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The members of a tarball one after the other, each with the open tarball to read it from.

    Args:
        stream: the tarball, unpacked.
        path: of it.

    Raises:
        Refused: at a member that is too large, or leads out of its folder, and when all of them
            together are too large.
    """
    total, held = 0, Path(path).stat().st_size
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as archive:
        for member in archive:
            linked = member.linkname if member.issym() or member.islnk() else "inside"
            if leads_out(member.name) or leads_out(linked):
                raise Refused(
                    f"{path} holds {member.name!r}, which leads elsewhere; do not use it."
                )
            total += member.size
            check_size(path, member.name, member.size, 0)
            check_size(path, "all in it", total, held)
            yield archive, member
