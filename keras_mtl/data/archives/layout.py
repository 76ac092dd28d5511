"""What the readers of the public archives share: the layout of folders, and opening one file.

An archive is described once, by a `Layout`. Each image has several files, its *parts*; a task's
label is made of one part or more. Decoding works on bytes, so that a file on disk and a member of
a tarball are read by the same code.
"""

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image


class ArchiveError(ValueError):
    """A file of an archive is missing or wrong; the message begins with its name."""


@dataclass(frozen=True)
class Layout:
    """Where an archive keeps what.

    Args:
        name: the archive's own name for its folder.
        splits: images in each split of the public copy.
        split_file: the list of a split's image ids; `{}` stands for the split.
        files: for each part the file that holds it, or several of which the first one that exists
            counts; `{}` stands for the image id.
        needs: for each task the parts that its label is made of.
        image_size: (height, width) of every image in the public copy; None if sizes differ.
    """

    name: str
    splits: dict[str, int]
    split_file: str
    files: dict[str, tuple[str, ...]]
    needs: dict[str, tuple[str, ...]]
    image_size: tuple[int, int] | None

    def folders(self, part: str) -> list[str]:
        """Folders that hold a part."""
        return [file.rpartition("/")[0] for file in self.files[part]]

    def lacking(self, has_files: Callable[[str], bool]) -> dict[str, list[str]]:
        """Tasks that an archive lacks as a whole, each with the folders without a file.

        Args:
            has_files: whether a folder, named relative to the archive, has files.

        Example:

        >>> from keras_mtl.data.archives.nyud_v2 import LAYOUT
        >>> LAYOUT.lacking(lambda folder: folder != "depth")
        {'depth': ['depth']}
        """
        empty = {part: not any(map(has_files, self.folders(part))) for part in self.files}
        absent = {
            task: [folder for part in parts if empty[part] for folder in self.folders(part)]
            for task, parts in self.needs.items()
        }
        return {task: folders for task, folders in absent.items() if folders}

    def parts_of(self, tasks) -> list[str]:
        """The image and the parts of some tasks, each once, in the order of `files`."""
        wanted = {"image"}.union(*(self.needs[task] for task in tasks))
        return [part for part in self.files if part in wanted]


def has_files(folder: Path) -> bool:
    """Whether a folder exists and is not empty (but for hidden files).

    Example:

    >>> has_files(Path("nowhere"))
    False
    """
    return folder.is_dir() and any(not file.name.startswith(".") for file in folder.iterdir())


def image_ids(layout: Layout, root: Path, split: str) -> list[str]:
    """Image ids of a split, in the order of its list.

    Args:
        layout: the archive's layout.
        root: the archive's folder.
        split: one of `layout.splits`.

    Raises:
        ArchiveError: if the list is missing or empty, or names an image twice.
        ValueError: if there is no such split.

    Example:

    >>> from keras_mtl.data.archives.nyud_v2 import LAYOUT
    >>> Path("gt_sets").mkdir()
    >>> _ = Path("gt_sets/val.txt").write_text("7\\n12\\n")
    >>> image_ids(LAYOUT, Path("."), "val")
    ['7', '12']
    """
    if split not in layout.splits:
        raise ValueError(
            f"{layout.name} has no split {split!r}, only {', '.join(layout.splits)}; use one."
        )
    path = Path(root) / layout.split_file.format(split)
    if not path.is_file():
        raise ArchiveError(missing(str(path), f"the list of the images in split {split}"))
    ids = parse_ids(contents(path, str(path)), str(path))
    check_ids(ids, str(path))
    return ids


def read_parts(layout: Layout, decode: Callable, root: Path, image_id: str) -> dict:
    """Decodes the files of one image, those of lacking tasks left out.

    Args:
        layout: the archive's layout.
        decode: the format's own `decode(part, data, file)`.
        root: the archive's folder.
        image_id: str.

    Returns:
        A dict from part to what `decode` made of it.

    Raises:
        ArchiveError: if a file is missing or wrong, or a label has not the image's size.
    """
    candidates = {
        part: [Path(root) / file.format(image_id) for file in files]
        for part, files in layout.files.items()
    }
    there = {part: next((p for p in c if p.is_file()), None) for part, c in candidates.items()}
    # To list a folder of 10,000 files for each image would take longer than to read the image.
    seen = {path.parent for path in there.values() if path}
    lacking = layout.lacking(
        lambda folder: Path(root) / folder in seen or has_files(Path(root) / folder)
    )
    decoded = {}
    for part in layout.parts_of(task for task in layout.needs if task not in lacking):
        path = there[part]
        if path is None:
            names = " or ".join(map(str, candidates[part]))
            raise ArchiveError(missing(names, f"the {part} of image {image_id}"))
        decoded[part] = decode(part, contents(path, str(path)), str(path))
        if part != "image" and decoded[part] is not None:
            size = decoded["image"].shape[:2]
            check_size(decoded[part].shape[:2], str(path), size, str(there["image"]))
    return decoded


# === One file ===


def missing(file: str, what: str) -> str:
    """The sentence about a file that is not there."""
    return f"{file} is missing, expected {what}; copy it from another copy of the archive."


def _unreadable(file: str, expected: str, error: Exception) -> ArchiveError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ArchiveError(
        f"{file} is not readable ({reason}), expected {expected}; get an intact copy of it."
    )


def contents(path: Path, file: str) -> bytes:
    """The bytes of a file on disk.

    Args:
        path: where it is.
        file: its name, for messages.

    Raises:
        ArchiveError: if it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArchiveError(
            f"{file} cannot be read ({error.strerror}), expected a readable file; check its "
            "permissions and the disk."
        ) from error


def parse_ids(data: bytes, file: str) -> list[str]:
    """The image ids in a split's list, one a line.

    Args:
        data: bytes of the list.
        file: its name, for messages.

    Example:

    >>> parse_ids(b"7\\r\\n12\\n", "gt_sets/val.txt")
    ['7', '12']
    """
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise _unreadable(file, "a text file with one image id a line", error) from error
    return [line.strip() for line in lines if line.strip()]


def check_ids(ids: list[str], file: str) -> None:
    """Refuses a split without images, or with the same image twice.

    Raises:
        ArchiveError: so.
    """
    if not ids:
        raise ArchiveError(
            f"{file} lists no image, expected one image id a line; get an intact copy of it."
        )
    twice = [image_id for image_id, count in Counter(ids).items() if count > 1]
    if twice:
        raise ArchiveError(
            f"{file} lists {', '.join(twice[:3])} more than once, expected each image id on one "
            "line; remove the repeated lines."
        )


def picture(data: bytes, file: str, modes: tuple[str, ...]) -> np.ndarray:
    """Pixels of a PNG or JPEG file as they are stored: of a palette image, the indices.

    Args:
        data: bytes of the file.
        file: its name, for messages.
        modes: Pillow modes to accept; with `"RGB"` first, the others are converted to it.

    Returns:
        uint8 (H, W) or (H, W, 3).

    Raises:
        ArchiveError: if the file is broken or has another mode.

    Example:

    >>> stream = io.BytesIO()
    >>> Image.fromarray(np.full((2, 3), 7, np.uint8)).save(stream, "PNG")
    >>> picture(stream.getvalue(), "edge/1.png", ("L",)).tolist()
    [[7, 7, 7], [7, 7, 7]]
    """
    expected = f"an 8-bit PNG or JPEG image of mode {' or '.join(modes)}"
    # Pillow raises whatever its decoders meet in a broken file: OSError, SyntaxError, ValueError,
    # struct.error, DecompressionBombError; each means the same here.
    try:
        with Image.open(io.BytesIO(data)) as image:
            mode = image.mode
            if mode in modes:
                pixels = np.array(image.convert("RGB") if modes[0] == "RGB" else image)
    except Exception as error:
        # Pillow names the stream, which means nothing to a reader.
        if isinstance(error, Image.UnidentifiedImageError):
            error = OSError("not an image")
        raise _unreadable(file, expected, error) from error
    if mode not in modes:
        raise ArchiveError(f"{file} has mode {mode}, expected {expected}; convert it.")
    return pixels


IMAGE_MODES = ("RGB", "RGBA", "L", "P")  # of photographs, all read as RGB


def surface_normals(data: bytes, file: str) -> np.ndarray:
    """Normals as they are stored, n = 2 v / 255 - 1, with (0, 0, 0) for "no normal here".

    Some files have a vector of zero length, v about 127.5, for that.

    Args:
        data: bytes of an RGB PNG file.
        file: its name, for messages.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ArchiveError: if the file is broken or not RGB.
    """
    normals = picture(data, file, ("RGB",))
    normals[((normals == 127) | (normals == 128)).all(-1)] = 0
    return normals


def array(data: bytes, file: str) -> np.ndarray:
    """The array in an `.npy` file.

    Raises:
        ArchiveError: if the file is broken.
    """
    try:
        return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # NumPy's parser, too, raises whatever a broken header causes
        raise _unreadable(file, "an array in NumPy's .npy format", error) from error


def matlab(data: bytes, file: str, variable: str) -> np.ndarray:
    """One variable of a `.mat` file.

    Raises:
        ArchiveError: if the file is broken or has no such variable.
    """
    expected = f"a MATLAB 5 file with {variable}"
    try:
        variables = scipy.io.loadmat(io.BytesIO(data))
    except Exception as error:  # SciPy's parser, too, raises whatever broken bytes cause
        raise _unreadable(file, expected, error) from error
    if variable not in variables:
        found = ", ".join(name for name in variables if not name.startswith("__")) or "nothing"
        raise ArchiveError(f"{file} holds {found}, expected {expected}; get an intact copy of it.")
    return variables[variable]


def check_values(wrong: np.ndarray, file: str, expected: str) -> None:
    """Refuses a label that holds wrong values.

    Args:
        wrong: the wrong values, empty if there are none.
        file: name of the file.
        expected: what the values should be.

    Raises:
        ArchiveError: if there are any.

    Example:

    >>> check_values(np.array([41, 41]), "segmentation/7.png", "0 to 40")
    Traceback (most recent call last):
    keras_mtl.data.archives.layout.ArchiveError: segmentation/7.png holds the value 41 (2 pixels \
with wrong values), expected 0 to 40; get an intact copy of it.
    """
    if wrong.size:
        raise ArchiveError(
            f"{file} holds the value {wrong.flat[0]} ({wrong.size} pixels with wrong values), "
            f"expected {expected}; get an intact copy of it."
        )


def check_size(size: tuple, file: str, image_size: tuple, image_file: str) -> None:
    """Refuses a label that has not the size of its image, both (height, width).

    Raises:
        ArchiveError: so.
    """
    if tuple(size) != tuple(image_size):
        raise ArchiveError(
            f"{file} is {_by(size)} pixels (height x width), expected {_by(image_size)} as in "
            f"{image_file}; take both files from the same copy of the archive."
        )


def _by(size: tuple) -> str:
    return "x".join(map(str, size))
