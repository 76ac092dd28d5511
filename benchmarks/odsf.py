"""Seconds that odsF takes for one image, by kind of prediction; `--help` explains it."""

import argparse
import time

import numpy as np
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from keras_mtl.metrics.odsf.image import evaluate_image
from keras_mtl.tables import markdown

DESCRIPTION = """
Evaluates one made-up image at the size of NYUD (425x560 unless told) at all 101 thresholds, with
both protocols, in this one process, and prints a Markdown table: seconds of the best of some runs,
after one run that compiles. `noisy` and `soft` are what networks predict: boundaries blurred and
displaced, with noise or without; the others are the worst that a broken network or file may hold.
"""


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A label map of about 60 regions with smooth outlines, int32 `(H, W)`."""
    rng = np.random.default_rng(seed)
    fields = rng.normal(size=(60, height // 4 + 1, width // 4 + 1))
    fields = gaussian_filter(fields, (0, 9, 9))
    regions = fields.argmax(0).astype("int32") + 1
    return regions.repeat(4, 0).repeat(4, 1)[:height, :width]


def edges_of(regions: np.ndarray) -> np.ndarray:
    """The edge image of a label map, uint8 0 or 255."""
    edges = np.zeros(regions.shape, "uint8")
    edges[:, :-1][regions[:, :-1] != regions[:, 1:]] = 255
    edges[:-1][regions[:-1] != regions[1:]] = 255
    return edges


def predictions(edges: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """uint8 maps by name."""
    rng = np.random.default_rng(seed)
    shape = edges.shape
    y, x = np.indices(shape)
    moved = np.roll(edges, (2, 1), (0, 1)).astype("float32")
    soft = gaussian_filter(moved, 2.0)
    soft *= 230 / max(soft.max(), 1)
    noise = gaussian_filter(rng.normal(size=shape), 1.5)
    noise *= 30 / noise.std()
    maps = {
        "soft": soft,
        "noisy": 0.8 * soft + np.abs(noise),
        "random": rng.integers(0, 256, shape),
        "random, 0 or 255": 255 * rng.integers(0, 2, shape),
        "sparse random": rng.integers(0, 256, shape) * (rng.random(shape) < 0.2),
        "constant": np.full(shape, 128),
        "saturated": np.full(shape, 255),
        "checkerboard": 255 * ((y + x) % 2),
        "stripes": 255 * (x % 2),
        "grid": 250 * ((y % 3 == 0) | (x % 3 == 0)),
        "ramp": 255 * x / shape[1],
        "slow ramp with noise": 100 + 100 * y / shape[0] + rng.integers(0, 2, shape),
        "dots on levels": ((y % 2 == 0) & (x % 2 == 0)) * rng.integers(0, 256, shape),
    }
    return {name: np.clip(values, 0, 255).astype("uint8") for name, values in maps.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--size", type=int, nargs=2, default=(425, 560), metavar=("H", "W"), help="of the image"
    )
    parser.add_argument("--runs", type=int, default=3, help="the best counts (default: 3)")
    given = parser.parse_args()
    regions = scene(*given.size)
    edges = edges_of(regions)
    maps = predictions(edges)
    # Labels as broken as the predictions: the densest that can be drawn.
    dense = maps["sparse random"] > 127
    dots = maps["dots on levels"] > 0
    labels = {
        "scene": {"nyud": edges, "pascal": regions},
        "random": {"nyud": 255 * dense.astype("uint8"), "pascal": maps["random"].astype("int32")},
        "dots": {"nyud": 255 * dots.astype("uint8"), "pascal": dots.astype("int32")},
    }
    evaluate_image(maps["soft"], edges, "nyud")  # compiles
    rows = [["prediction", "label", "protocol", "labelled", "predicted", "seconds"]]
    for name, values in tqdm(maps.items()):
        for kind, by_protocol in labels.items():
            for protocol, label in by_protocol.items():
                seconds = []
                for _ in range(given.runs):
                    start = time.perf_counter()
                    counts = evaluate_image(values, label, protocol)
                    seconds.append(time.perf_counter() - start)
                found = counts.labelled, counts.predicted.max(), f"{min(seconds):.2f}"
                rows.append([name, kind, protocol, *found])
    print(markdown(rows))


if __name__ == "__main__":
    main()
