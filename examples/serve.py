"""Runs an exported SavedModel on a photograph, with TensorFlow and Pillow alone.

    python examples/export.py model.keras --format saved_model --decoded
    python examples/serve.py saved_model photo.jpg --output served

Neither Keras nor keras_mtl is needed. The photograph, of any size, is scaled to fit the model's
image size and padded; of the maps the photograph's part is cut out and scaled back. Of photo.jpg it
writes photo-maps.npz, and of final maps (--decoded above) a picture each, photo-TASK.png.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image, ImageOps

MEAN_COLOUR = (0.485 * 255, 0.456 * 255, 0.406 * 255)  # what the models are used to as padding


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("saved_model", type=Path, help="the folder that examples/export.py wrote")
    parser.add_argument("photograph", type=Path, help="an image file")
    text = "folder for what is written (default: here)"
    parser.add_argument("--output", type=Path, default=Path(), help=text)
    options = parser.parse_args()
    about = options.saved_model / "assets.extra" / "keras_mtl.json"
    if not about.is_file():
        sys.exit(f"serve.py: {options.saved_model} is no SavedModel of examples/export.py.")
    about = json.loads(about.read_text())
    try:
        with Image.open(options.photograph) as image:
            photograph = np.asarray(ImageOps.exif_transpose(image).convert("RGB"), "float32")
    except OSError as error:
        sys.exit(f"serve.py: {options.photograph} cannot be read as an image: {error}.")

    import tensorflow as tf

    model = tf.saved_model.load(str(options.saved_model))  # keep it: it owns the weights
    image, inside = fit(photograph, about["image_size"])
    maps = model.serve(tf.constant(image[None]))
    maps = {name: restore(x[0][inside], photograph.shape[:2]) for name, x in maps.items()}

    options.output.mkdir(parents=True, exist_ok=True)
    stem = options.output / options.photograph.stem
    if about["decoded"]:
        for task in about["tasks"]:
            if task["kind"] == "SurfaceNormals":  # scaling shortens unit vectors
                maps[task["name"]] = unit(maps[task["name"]])
            picture(maps[task["name"]], task["kind"]).save(f"{stem}-{task['name']}.png")
    np.savez_compressed(f"{stem}-maps.npz", **maps)
    height, width = photograph.shape[:2]
    print(f"Wrote {stem}-maps.npz: {', '.join(maps)} at {height}x{width}")


def fit(photograph: np.ndarray, size: list[int]):
    """The photograph scaled into an image of this size, and where it lies there."""
    import tensorflow as tf

    lengths = photograph.shape[:2]
    scale = min(limit / length for limit, length in zip(size, lengths, strict=True))
    inner = [max(1, min(s, round(n * scale))) for s, n in zip(size, lengths, strict=True)]
    top, left = ((s - n) // 2 for s, n in zip(size, inner, strict=True))
    inside = (slice(top, top + inner[0]), slice(left, left + inner[1]))
    image = np.broadcast_to(np.float32(MEAN_COLOUR), (*size, 3)).copy()
    image[inside] = tf.image.resize(photograph, inner, antialias=scale < 1).numpy()
    return image, inside


def restore(x, size) -> np.ndarray:
    """A map at the photograph's size; class ids are repeated, not mixed."""
    import tensorflow as tf

    flat = x.shape.rank == 2
    x = x[..., None] if flat else x
    x = tf.image.resize(x, size, method="nearest" if x.dtype.is_integer else "bilinear").numpy()
    return x[..., 0] if flat else x


def unit(x: np.ndarray) -> np.ndarray:
    """Vectors of length 1, and zeros where they were zeros."""
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def picture(x: np.ndarray, kind: str) -> Image.Image:
    x = x[..., 0] if x.shape[2:] == (1,) else x
    if x.dtype.kind == "i":  # class ids: the low bits of each spread over red, green and blue
        bits = [sum(((x >> (3 * i + c)) & 1) << (7 - i) for i in range(3)) for c in range(3)]
        return Image.fromarray(np.stack(bits, axis=-1).astype("uint8"))
    if kind == "SurfaceNormals":
        return Image.fromarray(((x + 1) * 127.5).astype("uint8"))
    largest = max(float(x.max()), 1e-6) if kind == "DepthEstimation" else 1.0
    return Image.fromarray((x / largest * 255).clip(0, 255).astype("uint8"))


if __name__ == "__main__":
    main()
