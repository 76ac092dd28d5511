"""ONNX files at image sizes drawn at random, against their models; `--help` explains it."""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # which writes them without another process

import keras
import numpy as np

import keras_mtl
from keras_mtl.export import export_model
from keras_mtl.tables import markdown

DESCRIPTION = """
Exports tiny networks of random weights to ONNX, with an HRNet, a Swin Transformer and a Vision
Transformer as backbone in turn, at image sizes drawn at random, runs each file in onnxruntime, and
prints a Markdown table: the largest difference of any map from the model's, in units of its largest
value. The exit status is 1 if one is above 1e-4 or cannot be written. A ViT takes multiples of its
patches, here of 8 pixels.
"""
SMALLEST, LARGEST = 33, 300  # pixels


def hrnet(size: tuple[int, int]):
    return keras_mtl.backbones.hrnet("18_small", (*size, 3))


def swin(size: tuple[int, int]):
    sizes = {"embed_dim": 8, "depths": (1, 2, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 4}
    return keras_mtl.backbones.swin_transformer("tiny", (*size, 3), **sizes)


def vit(size: tuple[int, int]):
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 16}
    size = tuple(8 * (length // 8) for length in size)
    return keras_mtl.backbones.vision_transformer("nano", (*size, 3), 8, **sizes)


BACKBONES = {"HRNet": hrnet, "Swin": swin, "ViT": vit}


def main() -> int:
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    parser.add_argument("--sizes", type=int, default=20, help="how many (default: 20)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    keras.utils.set_random_seed(options.seed)
    draw = np.random.default_rng(options.seed)
    sizes = draw.integers(SMALLEST, LARGEST, (options.sizes, 2), endpoint=True).tolist()
    rows, failed = [("size", *BACKBONES)], False
    for size in sizes:
        found = []
        for make in BACKBONES.values():
            keras.utils.clear_session()  # or the memory of 60 networks adds up
            tasks = keras_mtl.tasks.nyud("semseg", "depth")
            model = keras_mtl.MultiTaskBaseline(make(tuple(size)), tasks, head_width=4)
            with tempfile.TemporaryDirectory() as folder:
                try:
                    done = export_model(model, Path(folder, "m.onnx"), "onnx", verbose=False)
                    found.append(f"{max(done.differences.values()):.1e}" + "*" * bool(done.note))
                except ValueError as error:
                    print(error, flush=True)
                    found.append("refused")
                    failed = True
        rows.append((f"{size[0]}x{size[1]}", *found))
        print(*rows[-1], flush=True)
    print(markdown(rows))
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
