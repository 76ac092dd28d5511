"""Predicts every task of a trained model for one photograph of any size.

    python examples/predict.py runs/taskprompter_nyud/model.keras photo.jpg

writes photo-panel.png (the photograph beside a picture of each map) and photo-maps.npz (the
maps themselves: class ids, metres, unit vectors, probabilities).
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a model.keras that a training run wrote")
    parser.add_argument("photograph", type=Path, help="an image file")
    parser.add_argument("--output", type=Path, help="folder for both files (default: here)")
    options = parser.parse_args()
    try:
        predict(options.model, options.photograph, options.output or Path())
    except ValueError as error:
        sys.exit(f"predict.py: {error}")


def predict(model_path: Path, photograph_path: Path, output: Path) -> None:
    # Reading the photograph first spares the wait for Keras when it is not one.
    photograph = read_photograph(photograph_path)

    import numpy as np

    import keras_mtl

    model = keras_mtl.load_model(model_path)
    maps = model.predict_maps(photograph)
    output.mkdir(parents=True, exist_ok=True)
    stem = output / photograph_path.stem
    rows = {name: each[None] for name, each in maps.items()}
    figure = keras_mtl.visualize.panel(photograph[None], rows, model.tasks)
    figure.savefig(f"{stem}-panel.png", dpi=200)
    np.savez_compressed(f"{stem}-maps.npz", **maps)
    height, width = photograph.shape[:2]
    print(f"Wrote {stem}-panel.png and {stem}-maps.npz: {', '.join(maps)} at {height}x{width}")


def read_photograph(path: Path):
    """The image file as `(H, W, 3)` uint8 RGB, upright."""
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError:
        raise ValueError(f"There is no file {path}.") from None
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}.") from None


if __name__ == "__main__":
    main()
