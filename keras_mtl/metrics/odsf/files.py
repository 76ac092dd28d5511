"""Predictions and labels of boundaries in files: what is read, and what is wrong with a file."""

from pathlib import Path

import numpy as np

from keras_mtl import declared
from keras_mtl.metrics.odsf.image import Counts, evaluate_image
from keras_mtl.pictures import PictureError, open_picture

LABEL_FILES = {"nyud": (".png",), "pascal": (".png", ".npy", ".mat"), "bsds": (".mat",)}


class BrokenFile(ValueError):
    """A prediction or a label is missing or wrong; the message begins with its name."""


def read_prediction(path: Path) -> np.ndarray:
    """Reads a prediction, an 8-bit grey PNG.

    Args:
        path: the file.

    Returns:
        uint8 `(H, W)`.

    Raises:
        BrokenFile: if the file is missing, unreadable or of another kind.

    Example:

    >>> from PIL import Image
    >>> Image.fromarray(np.full((2, 3), 7, "uint8")).save("a.png")
    >>> read_prediction("a.png").tolist()
    [[7, 7, 7], [7, 7, 7]]
    """
    pixels, mode = _read_png(Path(path), "prediction")
    if mode != "L":
        raise BrokenFile(
            f"{path} holds {_kind(mode)} pixels, expected an 8-bit grey PNG of 255 times the "
            "probability; write it again as such."
        )
    return pixels


def read_label(path: Path, protocol: str) -> np.ndarray:
    """Reads a label: edge PNG ("nyud"), PNG (8 or 16 bits), `.npy`, `.mat` ("pascal", "bsds").

    A `.mat` is one of the dataset's own files, MATLAB 5: PASCAL-Context's with a variable LabelMap,
    BSDS500's with a cell groundTruth that has the Boundaries of each annotator. A label without any
    labelled pixel is refused: "nyud" 255 everywhere, which no edge image is, "pascal" 0 everywhere.
    An edge image of 0 everywhere is a label like any other, of no boundary, and so is a LabelMap of
    one class, and an annotator who saw no boundary.

    Args:
        path: the file.
        protocol: "nyud", "pascal" or "bsds".

    Returns:
        whole numbers, `(H, W)`; of "bsds" `(A, H, W)`, 0 or 1.

    Raises:
        BrokenFile: if the file is missing, unreadable, of another kind or without any label.

    Example:

    >>> np.save("a.npy", np.array([[1, 2, 459]]))
    >>> read_label("a.npy", "pascal").tolist()
    [[1, 2, 459]]
    """
    path = Path(path)
    if protocol == "bsds":
        return _read_annotators(path)
    read = {".npy": _read_npy, ".mat": _read_label_map}.get(path.suffix, _read_label_png)
    pixels = read(path)
    if protocol == "pascal":
        if not pixels.any():
            raise BrokenFile(
                f"{path} is 0 (no label) in every pixel, expected regions; leave the image out, or "
                "copy its label again."
            )
        return pixels
    if pixels.dtype != bool:
        other = pixels[(pixels != 0) & (pixels != 255)]
        if other.size:
            raise BrokenFile(f"{path} holds the value {other[0]}, expected 0 or 255 (an edge).")
    if pixels.all():
        raise BrokenFile(
            f"{path} is 255 in every pixel, which stands for no label and cannot be edges, "
            "expected an edge image; leave the image out, or copy its label again."
        )
    return pixels


def evaluate_files(prediction: Path, label: Path, protocol: str) -> Counts:
    """`evaluate_image` on files.

    Args:
        prediction: PNG, see `read_prediction`.
        label: PNG, `.npy` or `.mat`, see `read_label`.
        protocol: "nyud", "pascal" or "bsds".

    Returns:
        The counts.

    Raises:
        BrokenFile: if a file is missing, unreadable or of another kind, the label has no labelled
            pixel, or the sizes differ.

    Example:

    >>> from PIL import Image
    >>> pixels = np.zeros((32, 40), "uint8")
    >>> pixels[16] = 255
    >>> Image.fromarray(pixels).save("a.png")
    >>> evaluate_files("a.png", "a.png", "nyud").matched.shape
    (101,)
    """
    prediction, label = Path(prediction), Path(label)
    pixels, truth = read_prediction(prediction), read_label(label, protocol)
    height, width = truth.shape[-2:]
    if pixels.shape != (height, width):
        raise BrokenFile(
            f"{prediction} is {pixels.shape[0]}x{pixels.shape[1]} pixels (height x width), "
            f"expected {height}x{width} as in {label}; crop or resize it."
        )
    return evaluate_image(pixels, truth, protocol)


def signature(path: Path, what: str) -> list[int]:
    """What changes when a file does."""
    try:
        status = path.stat()
    except OSError:
        raise BrokenFile(_missing(path, what)) from None
    return [status.st_size, status.st_mtime_ns]


def _read_label_png(path: Path) -> np.ndarray:
    pixels, mode = _read_png(path, "label")
    if pixels.ndim != 2 or mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
        raise BrokenFile(f"{path} holds {_kind(mode)} pixels, expected one number for each pixel.")
    return pixels


def _read_npy(path: Path) -> np.ndarray:
    try:
        with open(path, "rb") as file:
            pixels = declared.read_npy(file, path, path.stat().st_size)
    except FileNotFoundError:
        raise BrokenFile(_missing(path, "label")) from None
    except declared.Refused as error:
        raise BrokenFile(str(error)) from None
    except Exception as error:  # a broken header raises SyntaxError too, a broken size MemoryError
        raise BrokenFile(unreadable(path, error)) from None
    if pixels.ndim != 2 or pixels.dtype.kind not in "ui":
        raise BrokenFile(
            f"{path} holds type {pixels.dtype} and shape {pixels.shape}, expected whole numbers of "
            "shape (H, W)."
        )
    return pixels


def _read_mat(path: Path, name: str, dataset: str) -> np.ndarray:
    """One variable of a MATLAB file."""
    try:
        variables = declared.read_mat(path.read_bytes(), path)
    except FileNotFoundError:
        raise BrokenFile(_missing(path, "label")) from None
    except declared.Refused as error:
        raise BrokenFile(str(error)) from None
    except Exception as error:  # SciPy's parser raises whatever broken bytes cause
        raise BrokenFile(unreadable(path, error)) from None
    if name in variables:
        return variables[name]
    other = {"LabelMap": "pascal", "groundTruth": "bsds"}
    protocol = next((other[each] for each in variables if each in other), None)
    what = f'use the protocol "{protocol}"' if protocol else f"take {dataset}'s own file"
    raise BrokenFile(f"{path} has no variable {name}, expected one; {what}.")


def _read_annotators(path: Path) -> np.ndarray:
    """BSDS500's boundaries: a 1xN cell of annotators, each a 1x1 struct."""
    cell = _read_mat(path, "groundTruth", "BSDS500")
    maps = []
    for annotator in cell.ravel() if cell.dtype == object else []:
        fields = getattr(annotator.dtype, "names", None) or ()
        if "Boundaries" not in fields or annotator.size != 1:
            break
        found = annotator["Boundaries"].item()
        if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "buif":
            break
        maps.append(found)
    if not maps or len(maps) != cell.size:
        raise BrokenFile(
            f"{path} holds a groundTruth of {cell.size} entries whose Boundaries are not all maps "
            "(H, W), expected those of one or more annotators; take BSDS500's own file."
        )
    sizes = sorted({each.shape for each in maps})
    if len(sizes) > 1 or not all(sizes[0]):
        raise BrokenFile(
            f"{path} holds Boundaries of the shapes {', '.join(map(str, sizes))}, expected one "
            "(H, W); take BSDS500's own file."
        )
    for each in maps:
        other = each[(each != 0) & (each != 1)]
        if other.size:
            raise BrokenFile(
                f"{path} holds the value {other[0]} in its Boundaries, expected 0 or 1; take "
                "BSDS500's own file."
            )
    return np.stack(maps) == 1


def _read_label_map(path: Path) -> np.ndarray:
    pixels = _read_mat(path, "LabelMap", "PASCAL-Context")
    if pixels.ndim != 2 or pixels.dtype.kind not in "uif":
        raise BrokenFile(
            f"{path} holds a LabelMap of shape {pixels.shape} and type {pixels.dtype}, expected "
            "numbers of shape (H, W); take PASCAL-Context's own file."
        )
    if pixels.dtype.kind != "f":
        return pixels
    with np.errstate(invalid="ignore"):  # NaN and what is too large come out as something else
        whole = pixels.astype("int64")
    other = pixels[whole != pixels]
    if other.size:
        raise BrokenFile(
            f"{path} holds the value {other[0]} in its LabelMap, expected whole numbers; take "
            "PASCAL-Context's own file."
        )
    return whole


def _read_png(path: Path, what: str) -> tuple[np.ndarray, str]:
    if not path.exists():
        raise BrokenFile(_missing(path, what))
    try:
        with open_picture(path) as image:
            if image.format != "PNG":
                raise BrokenFile(unreadable(path, f"it is a {image.format}, and no PNG"))
            return np.array(image), image.mode
    except PictureError as error:
        raise BrokenFile(unreadable(path, error.reason)) from None


def _kind(mode: str) -> str:
    return "16-bit" if mode.startswith("I") else {"1": "1-bit"}.get(mode, mode)


def _missing(path: Path, what: str) -> str:
    return f"{path} is missing, expected the {what} of image {path.stem}."


def unreadable(path: Path, error: Exception | str) -> str:
    """The sentence on a file that a library cannot read."""
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return f"{path} is not readable ({reason}); copy or write it again."
