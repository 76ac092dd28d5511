"""The files of an archive by name, in folders or in the zips that they are published in.

A zip is read where it lies and never extracted.
"""

import zipfile
import zlib
from collections.abc import Iterable
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

from keras_mtl import declared
from keras_mtl.data.archives.decoding import ArchiveError, contents


class Store:
    """What an archive's folder holds.

    Args:
        root: the archive's folder.
        tops: the folders that lie directly in it. What zips in `root` hold below folders of these
            names counts, too, unless a folder has a file of the same name.

    Example:

    >>> Path("streets").mkdir()
    >>> with zipfile.ZipFile("streets/gtFine_trainvaltest.zip", "w") as archive:
    ...     archive.writestr("gtFine/train/1.txt", "road")
    >>> store = Store(Path("streets"), ["gtFine", "camera"])
    >>> store.has("gtFine/train/1.txt"), store.has_files("camera")
    (True, False)
    >>> store.read("gtFine/train/1.txt"), store.below("gtFine")
    (b'road', ['gtFine/train/1.txt'])
    """

    def __init__(self, root: str | Path, tops: Iterable[str] = ()):
        self.root, self.tops = Path(root), tuple(tops)

    @cached_property
    def _members(self) -> dict[str, tuple[zipfile.ZipFile, zipfile.ZipInfo]]:
        """Files in zips, by their names in the archive."""
        found = {}
        for path in sorted(self.root.glob("*.zip")) if self.tops else []:
            now = path.stat()
            archive = _opened(path, now.st_mtime_ns, now.st_size)
            for member in archive.infolist():
                names = PurePosixPath(member.filename).parts
                first = next((k for k, name in enumerate(names) if name in self.tops), None)
                if first is not None and not member.is_dir():
                    found["/".join(names[first:])] = (archive, member)
        return found

    def __getstate__(self):
        return {"root": self.root, "tops": self.tops}  # open zips go to no other process

    def has(self, file: str) -> bool:
        """Whether there is a file of this name."""
        return (self.root / file).is_file() or file in self._members

    def has_files(self, folder: str) -> bool:
        """Whether a folder exists and is not empty (but for hidden files)."""
        path = self.root / folder
        here = path.is_dir() and any(not file.name.startswith(".") for file in path.iterdir())
        return here or any(file.startswith(f"{folder}/") for file in self._members)

    def below(self, folder: str) -> list[str]:
        """The names of all files in a folder, however deep, sorted; hidden ones are left out."""
        path = self.root / folder
        found = {
            file.relative_to(self.root).as_posix() for file in path.rglob("*") if file.is_file()
        }
        found.update(file for file in self._members if file.startswith(f"{folder}/"))
        return sorted(file for file in found if not PurePosixPath(file).name.startswith("."))

    def name(self, file: str) -> str:
        """What to call a file in a message."""
        if not (self.root / file).is_file() and file in self._members:
            return f"{self._members[file][0].filename}/{file}"
        return str(self.root / file)

    def read(self, file: str, name: str | None = None) -> bytes:
        """The bytes of a file.

        Args:
            file: its name in the archive.
            name: what to call it in a message; `self.name(file)` unless given.

        Raises:
            ArchiveError: if it cannot be read.
        """
        name = name or self.name(file)
        if (self.root / file).is_file() or file not in self._members:
            return contents(self.root / file, name)
        archive, member = self._members[file]
        try:
            declared.check_size(name, "this file", member.file_size, member.compress_size)
            return archive.read(member)
        except declared.Refused as error:
            raise ArchiveError(str(error)) from None
        except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ArchiveError(
                f"{name} cannot be read ({reason}); copy or download its zip again."
            ) from error


@lru_cache(maxsize=16)  # to read the list of thousands of files takes longer than one of them
def _opened(path: Path, modified: int, size: int) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise ArchiveError(
            f"{path} is not readable as a zip ({error}); copy or download it again."
        ) from error
