"""PAP's propagation at three sizes, and the memory of a training step; `--help` explains it."""

import argparse
import os
import resource
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_mtl
from keras_mtl import rooms
from keras_mtl.layers import AffinityPropagation
from keras_mtl.tables import markdown

DESCRIPTION = """
Prints two things about pattern-affinitive propagation, in float32, on the backend of KERAS_BACKEND:

--propagation: seconds of one call of the layer, four tasks of 67 channels and nine steps, on the
grid of a 425x560 image and on grids of twice and four times as many points (the median of --runs
calls, compiled before). Growth 2 from row to row is linear, 4 is quadratic.

--memory: one training step of the preset pap_hrnet18_nyud on one image, and the most memory that
the whole process held until then, libraries and compiler included.
"""
GRIDS = ((53, 70), (106, 70), (106, 140))
TASKS, WIDTH, STEPS = 4, 67, 9


def propagation(runs: int, full_matrices: bool) -> str:
    """The table of sizes."""
    rows, before = [["points", "seconds", "growth"]], None
    for height, width in GRIDS:
        shapes = [(height, width, TASKS, channels) for channels in (WIDTH // 2, WIDTH)]
        inputs = [keras.Input(shape) for shape in shapes]
        layer = AffinityPropagation(STEPS, full_matrices=full_matrices)
        model = keras.Model(inputs, layer(*inputs))
        rng = np.random.default_rng(0)
        arrays = [rng.random((1, *shape), dtype="float32") for shape in shapes]
        model.predict_on_batch(arrays)
        seconds = []
        for _ in range(runs):
            began = time.perf_counter()
            model.predict_on_batch(arrays)
            seconds.append(time.perf_counter() - began)
        found = float(np.median(seconds))
        growth = "" if before is None else f"{found / before:.2f}"
        rows.append([str(height * width), f"{found:.3f}", growth])
        before = found
    return markdown(rows)


def memory(pair_loss: float | None) -> str:
    """The peak of a training step, in a sentence."""
    model = keras_mtl.PAP.from_preset("pap_hrnet18_nyud", pair_loss=pair_loss)
    model.compile(metrics=None)
    losses = model.train_on_batch(*rooms.arrays(model.tasks, 1, model.image_size), return_dict=True)
    assert all(np.isfinite(value) for value in losses.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    height, width = model.image_size
    return (
        f"One training step at {height}x{width}, batch 1, {keras.backend.backend()}: the process "
        f"held {peak:.2f} GB at most."
    )


def main():
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--propagation", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--runs", type=int, default=5, help="calls at each size (default 5)")
    parser.add_argument(
        "--full-matrices", action="store_true", help="propagate with the S x S matrices"
    )
    parser.add_argument("--pair-loss", type=float, help="train with it, of this weight")
    options = parser.parse_args()
    if options.propagation:
        print(propagation(options.runs, options.full_matrices))
    if options.memory:
        print(memory(options.pair_loss))
    if not (options.propagation or options.memory):
        parser.error("ask for --propagation, --memory or both.")


if __name__ == "__main__":
    main()
