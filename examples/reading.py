"""How `serve.py` reads a photograph: with Pillow alone, before TensorFlow is started."""

import numpy as np
from PIL import ExifTags, Image

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
