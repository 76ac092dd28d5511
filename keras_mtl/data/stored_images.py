"""How prepared datasets hold photographs: files from which training reads the right pixels."""

import io
from pathlib import Path

import numpy as np

from keras_mtl.pictures import read_photograph


def decode_image(encoded):
    """A stored photograph, uint8 `(H, W, 3)`, by TensorFlow, within a pipeline.

    Args:
        encoded: bytes of a PNG or JPEG file, a tensor of strings.
    """
    import tensorflow as tf

    # PNG too. By default TensorFlow decodes JPEG another way than Pillow and OpenCV, with which
    # the published networks were trained: one level off on average.
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


def to_store(source: Path | bytes, name: str | None = None) -> tuple:
    """What a dataset stores of a photograph, whatever its file's format.

    The file as it is, if training decodes it to what `keras_mtl.pictures.read_photograph` reads;
    else, such as of a WebP, of one that EXIF turns, the pixels, which TensorFlow Datasets stores
    as PNG.

    Args:
        source: path of the file, or its bytes.
        name: what to call bytes in a message.

    Returns:
        The path or the bytes, or the array; and the height and width.

    Raises:
        PictureError: if it cannot be read.
    """
    import tensorflow as tf

    file = source if isinstance(source, bytes) else str(source)
    opened = io.BytesIO(source) if isinstance(source, bytes) else source
    photograph = read_photograph(opened, name)
    try:
        encoded = file if isinstance(file, bytes) else tf.io.read_file(file)
        same = np.array_equal(decode_image(encoded).numpy(), photograph)
    except tf.errors.InvalidArgumentError:  # of a format that it does not read
        same = False
    return file if same else photograph, photograph.shape[:2]
