"""Memory and work of a training step where few weights of a backbone are trained.

    KERAS_BACKEND=jax python -m benchmarks.few_weights --size base --image-size 448 576

Each way of training is measured in a process of its own, which trains TaskPrompter on random images
and labels of NYUD-v2's four tasks. Columns: trained weights and all, in millions; peak, the most
memory that the process held above what it held once its libraries were imported; CPU, the processor
seconds of a step after the first, all cores together.
"""

import argparse
import json
import os
import resource
import subprocess
import sys

WAYS = ("full", "lora", "adapters", "frozen")


def measure(way: str, size: str, image_size: tuple[int, int], rank: int, steps: int) -> dict:
    """One way of training, in this process.

    Args:
        way: one of `WAYS`.
        size: of the Vision Transformer.
        image_size: `(height, width)` in pixels.
        rank: of the updates, and units of an adapter divided by 8.
        steps: measured ones.
    """
    import numpy as np

    import keras_mtl
    from keras_mtl import tasks

    before = _peak()
    backbone = keras_mtl.backbones.vision_transformer(size, (*image_size, 3))
    model = keras_mtl.TaskPrompter(
        backbone,
        tasks.nyud(),
        decode_dim=128,
        adapter_width=8 * rank if way == "adapters" else None,
    )
    if way in ("frozen", "adapters"):
        model.freeze_backbone()
    if way == "lora":
        model.enable_lora(rank)
    model.compile(metrics=None)
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (1, *image_size, 3)).astype("float32")
    normals = np.broadcast_to(np.float32([0, 0, 1]), (1, *image_size, 3))
    labels = {
        "semseg": rng.integers(0, 40, (1, *image_size)).astype("int32"),
        "depth": rng.uniform(0.5, 5, (1, *image_size, 1)).astype("float32"),
        "normals": np.array(normals),
        "edge": rng.integers(0, 2, (1, *image_size, 1)).astype("float32"),
    }
    model.train_on_batch(images, labels)
    start = _seconds()
    for _ in range(steps):
        model.train_on_batch(images, labels)
    return {
        "way": way,
        "trained (M)": model.trained_parameters / 1e6,
        "all (M)": model.count_params() / 1e6,
        "peak (GB)": (_peak() - before) / 1e9,
        "CPU (s)": (_seconds() - start) / steps,
    }


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--size", default="base", help="of the Vision Transformer (default base)")
    parser.add_argument("--image-size", type=int, nargs=2, default=(448, 576))
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--here", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    how = (options.size, tuple(options.image_size), options.rank, options.steps)
    if options.here:
        print(json.dumps(measure(options.here, *how)))
        return
    rows = []
    for way in options.ways:
        command = [sys.executable, "-m", "benchmarks.few_weights", "--here", way, *sys.argv[1:]]
        done = subprocess.run(
            command, env=os.environ, stdout=subprocess.PIPE, check=True, text=True
        )
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        if len(rows) == 1:
            print(f"| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
        shown = [value if isinstance(value, str) else f"{value:.2f}" for value in rows[-1].values()]
        print(f"| {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
