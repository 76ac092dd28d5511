"""One file of an archive: its bytes, what is in them, and one sentence on what is wrong with it.

Decoding works on bytes, so that a file on disk and a member of a tarball are read by the same code.
"""

import io
from collections import Counter
from pathlib import Path

import numpy as np

from keras_mtl import declared
from keras_mtl.pictures import PictureError, open_picture


class ArchiveError(ValueError):
    """A file of an archive is missing or wrong; the message begins with its name."""


def missing(file: str, what: str) -> str:
    """The sentence about a file that is not there."""
    return f"{file} is missing, expected {what}; copy it from another copy of the archive."


def unreadable(file: str, expected: str, error: Exception | str) -> ArchiveError:
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
        raise unreadable(file, "a text file with one image id a line", error) from error
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

    >>> from PIL import Image
    >>> stream = io.BytesIO()
    >>> Image.fromarray(np.full((2, 3), 7, np.uint8)).save(stream, "PNG")
    >>> picture(stream.getvalue(), "edge/1.png", ("L",)).tolist()
    [[7, 7, 7], [7, 7, 7]]
    """
    expected = f"an 8-bit PNG or JPEG image of mode {' or '.join(modes)}"
    try:
        with open_picture(io.BytesIO(data), file) as image:
            mode = image.mode
            if mode in modes:
                pixels = np.array(image.convert("RGB") if modes[0] == "RGB" else image)
    except PictureError as error:
        raise unreadable(file, expected, error.reason) from None
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
        return declared.read_npy(io.BytesIO(data), file, len(data))
    except declared.Refused as error:
        raise ArchiveError(str(error)) from None
    except Exception as error:  # NumPy's parser, too, raises whatever a broken header causes
        raise unreadable(file, "an array in NumPy's .npy format", error) from error


def matlab(data: bytes, file: str, variable: str) -> np.ndarray:
    """One variable of a `.mat` file.

    Raises:
        ArchiveError: if the file is broken or has no such variable.
    """
    expected = f"a MATLAB 5 file with {variable}"
    try:
        variables = declared.read_mat(data, file)
    except declared.Refused as error:
        raise ArchiveError(str(error)) from None
    except Exception as error:  # SciPy's parser, too, raises whatever broken bytes cause
        raise unreadable(file, expected, error) from error
    if variable not in variables:
        found = ", ".join(variables) or "nothing"
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
    keras_mtl.data.archives.decoding.ArchiveError: segmentation/7.png holds the value 41 (2 pixels \
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
