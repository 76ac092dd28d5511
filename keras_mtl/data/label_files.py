"""Files of labels: the numbers as they are stored, or one sentence on why they cannot be had.

What a file holds decides how it is read, and not its ending, which only says that it is a label.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from keras_mtl import declared
from keras_mtl.pictures import PictureError, check_pixels, open_picture, orientation, turned

PICTURES = (".png", ".tif", ".tiff", ".bmp", ".pgm", ".ppm", ".pnm")
ENDINGS = (*PICTURES, ".npy", ".pfm", ".exr", ".hdf5", ".h5")
# Formats that do not keep numbers as they are, GIF because those who write it sort palettes.
CHANGED = ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000", "GIF")
_ENDINGS_CHANGED = (".jpg", ".jpeg", ".webp", ".avif", ".jp2", ".gif")
_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"  # in the headers of PGM and PFM, with comments


class LabelFileError(ValueError):
    """A label file is of no use as it is; one sentence with its path."""


def find_labels(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """The label files of a folder by their names without ending, and the files that are none.

    Args:
        folder: of one task.

    Raises:
        ValueError: if two have one name.
    """
    return by_name(folder, ENDINGS)


def by_name(folder: Path, endings) -> tuple[dict[str, Path], list[Path]]:
    """The files of a folder by their names without ending, and those of other endings.

    Args:
        folder: that is there or not; hidden files and `classes.txt` are left out.
        endings: in small letters, such as `".png"`.

    Raises:
        ValueError: if two have one name.
    """
    files, others = {}, []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith(".") or path.name == "classes.txt":
            continue
        if path.suffix.lower() not in endings:
            others.append(path)
            continue
        if path.stem in files:
            raise ValueError(f"{files[path.stem]} and {path} have the same name; keep one of them.")
        files[path.stem] = path
    return files, others


def why_unread(paths: list[Path]) -> str:
    """What is wrong with files that are no labels, the end of a sentence.

    Args:
        paths: of them, one at least.
    """
    first = next((path for path in paths if path.suffix.lower() in _ENDINGS_CHANGED), None)
    if first is not None:
        return f"{first} is of a format that changes numbers; store labels as PNG or .npy"
    return f"{paths[0]} is none of {', '.join(ENDINGS)}; store labels in one of these"


def read_label_file(path: Path) -> np.ndarray:
    """The numbers of a label file, as they are stored: a palette's indices, 16 bits, floats.

    Args:
        path: of the file.

    Returns:
        Array `(H, W)` or `(H, W, c)`.

    Raises:
        ValueError: if it is broken, or of a format that does not keep numbers.
        ImportError: if it is OpenEXR, and what reads that is not installed.

    Example:

    >>> from pathlib import Path
    >>> _ = Path("label.pgm").write_bytes(b"P5 3 1 40 " + bytes([0, 7, 40]))
    >>> read_label_file(Path("label.pgm")).tolist()
    [[0, 7, 40]]
    """
    try:
        with open(path, "rb") as file:
            return _reader(file.read(8))(path)
    except (LabelFileError, PictureError, declared.Refused, ImportError):
        raise
    except Exception as error:  # what parsers of broken files raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        reason = reason.rstrip(".") or type(error).__name__
        raise ValueError(f"{path} cannot be read ({reason}); replace it or remove it.") from None


def _reader(begin: bytes) -> Callable[[Path], np.ndarray]:
    """What reads a file that begins with some bytes."""
    if begin[:2] in (b"P2", b"P5"):
        return _grey_map
    if begin[:2] in (b"Pf", b"PF"):
        return _float_map
    if begin[:6] == b"\x93NUMPY":
        return _array
    if begin[:4] == b"\x76\x2f\x31\x01":
        return _exr
    if begin[:4] == b"\x89HDF":
        return _hdf5
    return _picture


def read_picture(source: Path | BinaryIO, name: str) -> np.ndarray:
    """The numbers of a PNG, TIFF or BMP as they are stored, not as grey levels; upright by EXIF.

    Args:
        source: path, or a binary file that is open.
        name: for messages.

    Raises:
        ValueError: if it is broken, or of a format that does not keep numbers.
    """
    with open_picture(source, name) as image:
        if image.format in CHANGED:
            raise LabelFileError(
                f"{name} is a {image.format} picture, which changes numbers; store labels as PNG."
            )
        tags = getattr(image, "tag_v2", {})
        if (image.format == "PPM" and image.mode == "1") or tags.get(262, 1) == 0:
            raise LabelFileError(
                f"{name} stores white as 0, so what its numbers mean is not known; store labels "
                "as PNG."
            )
        pixels = np.array(image)
        if image.mode == "L":
            pixels //= np.uint8(255 // (2 ** _bits(source, image) - 1))  # 2 and 4 are stretched
        if getattr(image, "n_frames", 1) > 1:
            raise LabelFileError(
                f"{name} holds {image.n_frames} pictures; store one label in a file."
            )
        turn = orientation(image)
    return turned(pixels.astype("uint8") if pixels.dtype == bool else pixels, turn)


def _picture(path: Path) -> np.ndarray:
    return read_picture(path, str(path))


def _bits(source, image) -> int:
    """Of a pixel in the file: Pillow makes 8 of less."""
    if image.format == "TIFF":
        return min(image.tag_v2.get(258, (8,))[0], 8)
    if image.format != "PNG":
        return 8
    if isinstance(source, Path):
        with open(source, "rb") as file:
            return file.read(25)[24]
    source.seek(24)
    return source.read(1)[0]


def _array(path: Path) -> np.ndarray:
    with open(path, "rb") as file:
        label = declared.read_npy(file, path, path.stat().st_size)
    if label.dtype.kind not in "biuf":
        raise LabelFileError(f"{path} holds {label.dtype}; expected an array of real numbers.")
    return label.astype("uint8") if label.dtype == bool else label


def _grey_map(path: Path) -> np.ndarray:
    """Portable grey map: Pillow would stretch its numbers to 255 or 65535."""
    with open(path, "rb") as file:
        header = re.match(rb"P([25])" + (_SPACE + rb"(\d{1,9})") * 3 + rb"\s", file.read(4096))
        if header is None:
            raise ValueError("its header is none of a PGM")
        width, height, most = (int(number) for number in header.groups()[1:])
        check_pixels(height, width, str(path))
        file.seek(header.end())
        if header[1] == b"2":
            label = np.fromfile(file, "int64", width * height, sep=" ")
        else:
            label = np.fromfile(file, "u1" if most < 256 else ">u2", width * height)
    if label.size < width * height:
        raise ValueError("it ends early")
    if not 0 < most < 65536 or label.max(initial=0) > most:
        raise ValueError("it holds more than the largest number that its header allows")
    return label.reshape(height, width).astype("uint8" if most < 256 else "uint16")


def _float_map(path: Path) -> np.ndarray:
    """Portable float map. Rows come from the bottom up; the sign of the scale is the order of
    bytes, and its magnitude a factor of the numbers, by the format's description."""
    with open(path, "rb") as file:
        number = rb"([+-]?[0-9.]{1,30}(?:[eE][+-]?\d{1,3})?)"
        size = _SPACE + rb"(\d{1,9})" + _SPACE + rb"(\d{1,9})"
        header = re.match(rb"P([Ff])" + size + _SPACE + number + rb"\s", file.read(4096))
        if header is None:
            raise ValueError("its header is none of a PFM")
        width, height, scale = int(header[2]), int(header[3]), float(header[4])
        if not 0 < abs(scale) < np.inf:
            raise ValueError(f"its scale is {scale:g}; expected another number than 0")
        check_pixels(height, width, str(path))
        shape = (height, width, 3) if header[1] == b"F" else (height, width)
        file.seek(header.end())
        label = np.fromfile(file, "<f4" if scale < 0 else ">f4", int(np.prod(shape)))
    if label.size < np.prod(shape):
        raise ValueError("it ends early")
    label = label.reshape(shape)[::-1].astype("float32")
    return label if abs(scale) == 1 else label * np.float32(abs(scale))


def _exr(path: Path) -> np.ndarray:
    try:
        import OpenEXR
    except ImportError:
        raise ImportError(
            f'{path} is OpenEXR, which needs a library: pip install "keras-mtl[exr]".'
        ) from None
    with OpenEXR.File(str(path), header_only=True) as file:
        window, shown = (np.array(file.header()[name]) for name in ("dataWindow", "displayWindow"))
    (left, top), (right, bottom) = window.tolist()
    check_pixels(bottom - top + 1, right - left + 1, str(path))
    if (window != shown).any():
        raise ValueError("its data are a window of a larger picture")
    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = {name: np.array(each.pixels) for name, each in file.channels().items()}
    for names in (["Z"], ["Y"], ["R", "G", "B"], ["X", "Y", "Z"], list(channels)[:1]):
        if set(channels) - {"A"} == set(names):
            label = np.stack([channels[name] for name in names], axis=-1)
            return label[..., 0] if len(names) == 1 else label
    raise ValueError(f"it has the channels {', '.join(channels)}; expected one, R, G, B or X, Y, Z")


def _hdf5(path: Path) -> np.ndarray:
    import h5py

    with h5py.File(path, "r") as file:
        own = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
        arrays = [file[name] for name in own if isinstance(file[name], h5py.Dataset)]
        if len(arrays) != 1 or arrays[0].ndim not in (2, 3):
            raise ValueError("it does not hold one array (height, width) and nothing else")
        (label,) = arrays
        if label.external or label.is_virtual or label.dtype.kind not in "iuf":
            raise ValueError("its array lies elsewhere or holds no real numbers")
        check_pixels(label.shape[0], label.shape[1], str(path))
        cells = max(label.size, int(np.prod(label.chunks or (0,))))
        declared.check_size(path, label.name, cells * label.dtype.itemsize, path.stat().st_size)
        return label[()]
