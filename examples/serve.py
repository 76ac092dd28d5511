"""Runs an exported SavedModel on a photograph, with TensorFlow and Pillow alone.

    python examples/export.py model.keras --format saved_model --decoded
    python examples/serve.py saved_model photo.jpg --output served

Neither Keras nor keras_mtl is needed. The photograph, of any size, is scaled to fit the model's
image size and padded; of the maps the photograph's part is cut out and scaled back. Of photo.jpg it
writes photo-maps.npz, and of final maps (--decoded above) a picture each, photo-TASK.png.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np


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
    from reading import read

    try:
        photograph = read(options.photograph)
    except Exception as error:  # Pillow raises whatever its decoders meet in a broken file
        sys.exit(f"serve.py: {options.photograph} cannot be read as an image: {error}.")

    from serving import fit, picture, restore, tf, unit

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


if __name__ == "__main__":
    main()
