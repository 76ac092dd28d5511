"""A photograph for an exported model, and its maps at the photograph's size, without Keras.

`serve.py` beside this file shows how they are used; copy this one into a program of yours.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image

MEAN_COLOUR = (0.485 * 255, 0.456 * 255, 0.406 * 255)  # what the models are used to as padding


LARGEST = 50_000_000  # pixels of a photograph


def read(path) -> np.ndarray:
    """The pixels of an image file, `(H, W, 3)` uint8 RGB, upright.

    They are those that `keras_mtl.pictures.read_photograph` reads; this needs Pillow alone.
    """
    with Image.open(path) as image:
        if image.height * image.width > LARGEST:  # by its header, before memory is taken for it
            raise ValueError(f"it is {image.height}x{image.width} pixels; scale it down")
        image.load()
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
            tags = getattr(image, "tag_v2", {})  # a TIFF may store 12 bits, or its negative
            pixels = (np.asarray(image) >> (tags.get(258, (16,))[0] - 8)).astype("uint8")
            pixels = np.repeat((255 - pixels if tags.get(262) == 0 else pixels)[..., None], 3, -1)
        elif image.mode in ("I", "F"):
            raise ValueError("it holds numbers of 32 bits; store 8 or 16 bits")
        else:
            image.info.pop("transparency", None)
            pixels = np.asarray(image.convert("RGB"))
        turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    pixels = pixels.swapaxes(0, 1) if turn in (5, 6, 7, 8) else pixels
    pixels = pixels[:, ::-1] if turn in (2, 3, 6, 7) else pixels
    return pixels[::-1] if turn in (3, 4, 7, 8) else pixels


def fit(photograph: np.ndarray, size: list[int]):
    """The photograph scaled into an image of this size, and where it lies there."""
    lengths = photograph.shape[:2]
    scale = min(limit / length for limit, length in zip(size, lengths, strict=True))
    inner = [max(1, min(s, round(n * scale))) for s, n in zip(size, lengths, strict=True)]
    top, left = ((s - n) // 2 for s, n in zip(size, inner, strict=True))
    inside = (slice(top, top + inner[0]), slice(left, left + inner[1]))
    image = np.broadcast_to(np.float32(MEAN_COLOUR), (*size, 3)).copy()
    photograph = photograph.astype("float32")
    image[inside] = tf.image.resize(photograph, inner, antialias=scale < 1).numpy()
    return image, inside


def restore(x, size) -> np.ndarray:
    """A map at the photograph's size; class ids are repeated, not mixed."""
    flat = x.shape.rank == 2
    x = x[..., None] if flat else x
    x = tf.image.resize(x, size, method="nearest" if x.dtype.is_integer else "bilinear").numpy()
    return x[..., 0] if flat else x


def unit(x: np.ndarray) -> np.ndarray:
    """Vectors of length 1, and zeros where they were zeros."""
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def picture(x: np.ndarray, kind: str) -> Image.Image:
    """A final map in colours."""
    x = x[..., 0] if x.shape[2:] == (1,) else x
    if x.dtype.kind == "i":  # class ids: the low bits of each spread over red, green and blue
        bits = [sum(((x >> (3 * i + c)) & 1) << (7 - i) for i in range(3)) for c in range(3)]
        return Image.fromarray(np.stack(bits, axis=-1).astype("uint8"))
    if kind == "SurfaceNormals":
        return Image.fromarray(((x + 1) * 127.5).astype("uint8"))
    largest = max(float(x.max()), 1e-6) if kind == "DepthEstimation" else 1.0
    return Image.fromarray((x / largest * 255).clip(0, 255).astype("uint8"))
