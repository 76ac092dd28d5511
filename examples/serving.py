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


def picture(x: np.ndarray, colours: dict) -> Image.Image:
    """A final map in the colours that an export names for it, those of keras_mtl's own pictures."""
    if "classes" in colours:
        return Image.fromarray(np.array(colours["classes"], "uint8")[x])
    low, high = _ends(x, colours)
    share = ((x - low) / (high - low)).clip(0, 1)
    if "colours" not in colours:  # red, green and blue themselves
        return Image.fromarray(np.round(share * 255).astype("uint8"))
    steps = np.array(colours["colours"], "uint8")
    number = (share.reshape(x.shape[:2]) * len(steps)).astype(int)
    drawn = steps[number.clip(0, len(steps) - 1)]
    drawn[x.reshape(x.shape[:2]) == colours.get("white")] = 255
    return Image.fromarray(drawn)


def span(x: np.ndarray, task: dict) -> str:
    """What the colours of a map's picture stretch over, in words."""
    low, high = _ends(x, task["colours"])
    return f"{low:.3g} to {high:.3g} {task['measured_in']}"


def _ends(x, colours):
    low, high = colours["from"], colours["to"]
    return low, max(float(x.max()), low + 1e-6) if high is None else high


def write(path: str, save) -> None:
    """A file that `save` writes; it gets its name when it is whole."""
    fresh = os.path.join(os.path.dirname(path), f".saving-{os.path.basename(path)}")
    save(fresh)
    os.replace(fresh, path)
