"""Runs an exported SavedModel on a photograph, with TensorFlow and Pillow alone.

    python examples/export.py model.keras --format saved_model
    python examples/serve.py saved_model photo.jpg --output served

Neither Keras nor keras_mtl is needed. The photograph, of any size, is scaled to fit the model's
image size and padded; its part of the raw maps is cut out, scaled back and decoded, as in
MultiTaskModel.predict_maps. Of photo.jpg it writes photo-maps.npz, and of every map a picture,
photo-TASK.png, in the colours of keras_mtl's own.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np


def main() -> None:
    shown = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shown)
    parser.add_argument("saved_model", type=Path, help="the folder that examples/export.py wrote")
    parser.add_argument("photograph", type=Path, help="an image file")
    parser.add_argument("--output", type=Path, default=Path(), help="where to write (default: .)")
    options = parser.parse_args()
    try:
        about = json.loads((options.saved_model / "assets.extra/keras_mtl.json").read_text())
    except (OSError, ValueError):  # missing, or cut short
        sys.exit(f"serve.py: {options.saved_model} is no whole SavedModel of examples/export.py.")
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"serve.py: {options.output} cannot be written ({error.strerror}).")
    from reading import read

    try:
        photograph = read(options.photograph)
    except Exception as error:  # Pillow raises whatever its decoders meet in a broken file
        sys.exit(f"serve.py: {options.photograph} cannot be read as an image: {error}.")
    from serving import fit, picture, span, tf, write

    model = tf.saved_model.load(str(options.saved_model))  # keep it: it owns the weights
    if not (hasattr(model, "final_maps") and all("colours" in task for task in about["tasks"])):
        sys.exit(f"serve.py: {options.saved_model} is of an older version; export it again.")
    (image, inside), size = fit(photograph, about["image_size"]), photograph.shape[:2]
    maps = {name: x.numpy() for name, x in model.final_maps(image, inside, size).items()}
    stem = options.output / options.photograph.stem
    write(f"{stem}-maps.npz", lambda path: np.savez_compressed(path, **maps))
    print(f"Wrote {stem}-maps.npz: {', '.join(maps)} at {size[0]}x{size[1]}")
    for task in about["tasks"]:
        final, colours = maps.get(task["name"]), task["colours"]
        if final is not None and colours:
            write(f"{stem}-{task['name']}.png", picture(final, colours).save)
            if task["measured_in"]:
                print(f"{stem}-{task['name']}.png: {span(final, task)}")


if __name__ == "__main__":
    main()
