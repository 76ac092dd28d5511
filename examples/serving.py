"""A photograph for an exported model, and pictures of its maps, without Keras.

`serve.py` beside this file shows how they are used; copy this one into a program of yours.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from PIL import Image

MEAN_COLOUR = (0.485 * 255, 0.456 * 255, 0.406 * 255)  # what the models are used to as padding


def fit(photograph: np.ndarray, size: list[int]):
    """The photograph scaled into an image of this size, and where: top, left, height, width."""
    lengths = photograph.shape[:2]
    scale = min(limit / length for limit, length in zip(size, lengths, strict=True))
    inner = [max(1, min(s, round(n * scale))) for s, n in zip(size, lengths, strict=True)]
    top, left = ((s - n) // 2 for s, n in zip(size, inner, strict=True))
    inside = (slice(top, top + inner[0]), slice(left, left + inner[1]))
    image = np.broadcast_to(np.float32(MEAN_COLOUR), (*size, 3)).copy()
    photograph = photograph.astype("float32")
    image[inside] = tf.image.resize(photograph, inner, antialias=scale < 1).numpy()
    return image, [top, left, *inner]


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
