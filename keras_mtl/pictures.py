"""Files of pictures: the one place that opens them, and the one reader of photographs.

What a file declares is looked at before anything is decoded, and whatever Pillow meets in a file
comes out as one sentence. A photograph is what training sees of it: RGB of 8 bits, upright.
"""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import numpy as np

PIXELS = 50_000_000  # of the largest picture that is read
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_ROWS = 256  # converted at a time
_FILTERS = threading.Lock()  # Python's filters of warnings belong to all threads


class PictureError(ValueError):
    """A picture cannot be read; the message begins with its name.

    Attributes:
        reason: str, the message without the name.
    """

    def __init__(self, sentence: str, reason: str):
        super().__init__(sentence)
        self.reason = reason


def open_picture(source: Any, name: str | None = None):
    """A picture's first frame, decoded, as it is stored: a palette's indices, 16 bits.

    Args:
        source: path, or a binary file that is open.
        name: for messages; by default the path.

    Returns:
        A Pillow image, to be closed: `with open_picture(path) as image:`.

    Raises:
        PictureError: if there is none, it is in none of `FORMATS`, broken, or declares more than
            `PIXELS` pixels.
        ImportError: if Pillow is not installed.

    Example:

    >>> from PIL import Image
    >>> Image.fromarray(np.full((2, 3), 1000, "uint16")).save("depth.png")
    >>> with open_picture("depth.png") as image:
    ...     np.asarray(image).tolist()
    [[1000, 1000, 1000], [1000, 1000, 1000]]
    """
    name = str(source) if name is None else name
    with _said(name):
        image = _header(source, name)
        try:
            check_pixels(image.height, image.width, name)
            image.load()
        except BaseException:
            image.close()
            raise
    return image


def check_pixels(height: int, width: int, name: str) -> None:
    """Refuses a picture of more than `PIXELS` pixels, by its declared size.

    Args:
        height, width: as it declares them.
        name: for the message.

    Raises:
        PictureError: so.

    Example:

    >>> check_pixels(10_000, 20_000, "scan.png")
    Traceback (most recent call last):
    keras_mtl.pictures.PictureError: scan.png is 10000x20000 pixels (height x width), more than \
the 50 million that are read; scale it down.
    """
    if height * width > PIXELS:
        raise _too_large(name, f"is {height}x{width} pixels (height x width)")


def read_photograph(source: Any, name: str | None = None) -> np.ndarray:
    """A photograph as an array, upright.

    It is turned as its EXIF orientation says. Of 16 bits the upper 8 are taken, an alpha channel
    is dropped, of several frames the first is read; grey, palettes and CMYK become RGB. Colour
    profiles are not applied. What the file is called does not matter, but what is in it.

    Args:
        source: path, a binary file that is open, or a Pillow image.
        name: for messages; by default the path.

    Returns:
        Array `(H, W, 3)`, uint8 RGB.

    Raises:
        PictureError: as `open_picture`, and if it holds floats or whole numbers of 32 bits, of
            which nobody knows what is white.
        ImportError: if Pillow is not installed.

    Example:

    >>> from PIL import Image
    >>> Image.new("L", (64, 48), 200).save("photo.png")
    >>> pixels = read_photograph("photo.png")
    >>> pixels.shape, pixels[0, 0].tolist()
    ((48, 64, 3), [200, 200, 200])
    """
    if hasattr(source, "getexif"):
        name = name or getattr(source, "filename", "") or "The Pillow image"
        with _said(name):
            check_pixels(source.height, source.width, name)
            source.load()
            pixels, turn = _rgb(source, name), orientation(source)
    else:
        name = str(source) if name is None else name
        with open_picture(source, name) as image, _said(name):
            pixels, turn = _rgb(image, name), orientation(image)
    return turned(pixels, turn)


def exif_of(source: Any) -> tuple[dict[int, Any], tuple[int, int], int]:
    """What EXIF says of a picture.

    Args:
        source: path or Pillow image.

    Returns:
        Values by their numbers, those of the camera among them and none where they are broken; the
        size `(height, width)` as it is stored; and how it is stored, see `orientation`.

    Raises:
        PictureError: if the picture cannot be read.
    """
    from PIL import ExifTags

    given = hasattr(source, "getexif")
    name = getattr(source, "filename", "") or "The Pillow image" if given else str(source)
    tags: dict[int, Any] = {}
    with _said(name), nullcontext(source) if given else _header(source, name) as image:
        check_pixels(image.height, image.width, name)  # Pillow decodes PNG for it
        size, turn = (image.height, image.width), orientation(image)
        with suppress(PictureError), _said(name):
            exif = image.getexif()
            tags = {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
    return tags, size, turn


def size_tells_turn(path: Any) -> bool:
    """Whether a picture beside which a label is not turned is told by its size, or is upright.

    Args:
        path: of the picture.

    Raises:
        PictureError: as `open_picture`.
    """
    name = str(path)
    with _said(name), _header(path, name) as image:
        stored = orientation(image)
        return stored not in range(2, 9) or (stored >= 5 and image.height != image.width)


def as_photograph(given: Any) -> np.ndarray:
    """A photograph as an RGB array, whatever it is given as.

    Args:
        given: path, Pillow image, or array `(H, W, 3)`, `(H, W, 4)`, whose alpha is dropped, or
            grey `(H, W)` or `(H, W, 1)`; numbers in 0..255, or bool.

    Returns:
        Array `(H, W, 3)`.

    Raises:
        ValueError: if it is something else, or holds NaN, infinity, or whole numbers beyond 255.

    Example:

    >>> as_photograph(np.zeros((48, 64, 1), "uint8")).shape
    (48, 64, 3)
    """
    if isinstance(given, (str, os.PathLike)) or hasattr(given, "getexif"):
        return read_photograph(given)
    if not hasattr(given, "__array__"):
        raise ValueError(
            f"A photograph is a {type(given).__name__}; expected an array (height, width, 3), a "
            "path or a Pillow image."
        )
    pixels = _in_memory(given)
    kind, shape = pixels.dtype.kind, pixels.shape
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 3, 4) or not pixels.size:
        raise ValueError(f"A photograph has shape {shape}; expected (height, width, 3), RGB.")
    if kind not in "biuf":
        raise ValueError(f"A photograph has dtype {pixels.dtype}; expected numbers in 0..255.")
    if kind == "f" and not np.isfinite(pixels).all():
        raise ValueError("A photograph holds NaN or infinity; expected numbers in 0..255.")
    if kind in "iu" and not 0 <= pixels.min() <= pixels.max() <= 255:
        raise ValueError(
            f"A photograph holds numbers from {pixels.min()} to {pixels.max()}; expected 0..255: "
            "of 16 bits take the upper 8, such as (x >> 8)."
        )
    if kind == "b":
        pixels = pixels * np.uint8(255)
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels[..., :3]


def endings() -> set[str]:
    """The endings of files that are read as photographs, in small letters, such as `".jpg"`.

    Raises:
        ImportError: if Pillow is not installed.
    """
    known = _pillow().registered_extensions()
    return {ending for ending, format in known.items() if format in FORMATS}


# === Pillow ===


def _pillow():
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            'Reading pictures needs Pillow, which is not installed: pip install "keras-mtl[data]".'
        ) from error
    return Image


def _header(source, name: str):
    """The image of which nothing is decoded yet."""
    Image = _pillow()
    Image.init()
    formats = [format for format in FORMATS if format in Image.OPEN]
    try:
        # Pillow warns of sizes that are refused here.
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(source, formats=formats)
    except Image.UnidentifiedImageError:  # in its message is the stream
        kinds = f"{', '.join(formats[:-1])} or {formats[-1]}"
        raise _unreadable(name, f"it is no {kinds}") from None
    except Image.DecompressionBombError:  # which knows no height and width
        raise _too_large(name, "has more than 100 million pixels") from None


def _too_large(name: str, size: str) -> PictureError:
    reason = f"{size}, more than the {PIXELS // 10**6} million that are read"
    return PictureError(f"{name} {reason}; scale it down.", reason)


def _unreadable(name: str, reason: str) -> PictureError:
    return PictureError(f"{name} cannot be read as an image: {reason}.", reason)


@contextmanager
def _said(name: str) -> Iterator[None]:
    """One sentence for what Pillow meets in a file: OSError, SyntaxError, struct.error, ..."""
    try:
        yield
    except (PictureError, ImportError):
        raise
    except FileNotFoundError:
        raise PictureError(f"There is no file {name}.", "there is no such file") from None
    except Exception as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise _unreadable(name, reason.rstrip(".") or type(error).__name__) from None


# === Pixels ===


def _rgb(image, name: str) -> np.ndarray:
    """uint8 `(H, W, 3)`, made some rows at a time: a second copy of all would take memory."""
    wide = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")
    if image.mode in ("I", "F") and not wide:
        what = "floats" if image.mode == "F" else "numbers of 32 bits"
        raise _unreadable(name, f"it holds {what}, which have no known white; store 8 or 16 bits")
    pixels = np.empty((image.height, image.width, 3), "uint8")
    for top in range(0, image.height, _ROWS):
        rows = image.crop((0, top, image.width, min(top + _ROWS, image.height)))
        if wide:
            pixels[top : top + _ROWS] = _upper_bits(np.asarray(rows), image)[..., None]
        else:
            rows.info.pop("transparency", None)  # alpha is dropped, and Pillow would warn
            pixels[top : top + _ROWS] = np.asarray(rows.convert("RGB"))
    return pixels


def _upper_bits(grey: np.ndarray, image) -> np.ndarray:
    """The upper 8 of 16 bits, as TensorFlow's decoder takes them; TIFF may store 12, or minus."""
    tags = getattr(image, "tag_v2", {})
    bits, photometric = tags.get(258, (16,))[0], tags.get(262, 1)
    grey = (grey >> (bits - 8)).astype("uint8")
    return 255 - grey if photometric == 0 else grey


def orientation(image) -> int:
    """How a Pillow image is stored, by EXIF: 1 upright, 2 to 8 mirrored and turned."""
    from PIL import ExifTags

    return image.getexif().get(ExifTags.Base.Orientation, 1)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels `(H, W)` or `(H, W, c)` upright, from one of the eight orientations of EXIF."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _in_memory(given) -> np.ndarray:
    import keras

    return given if isinstance(given, np.ndarray) else keras.ops.convert_to_numpy(given)
