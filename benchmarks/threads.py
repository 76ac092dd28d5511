"""Photographs predicted by several threads at once: the maps are those of one thread.

    KERAS_BACKEND=jax python -m benchmarks.threads --threads 8 --photographs 200

Meanwhile another thread asks for the weights and saves the model, again and again. The exit status
is 1 if a map differs, or any of them fails.
"""

import argparse
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np

import keras_mtl

SIZE = (16, 24)


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--photographs", type=int, default=200)
    options = parser.parse_args()
    sizes = {"num_layers": 1, "num_heads": 1, "hidden_dim": 8, "mlp_dim": 8}
    backbone = keras_mtl.backbones.vision_transformer("nano", (*SIZE, 3), 8, **sizes)
    model = keras_mtl.MultiTaskBaseline(backbone, keras_mtl.tasks.nyud(), head_width=4)
    rng = np.random.default_rng(0)
    photographs = [
        rng.integers(0, 256, (20 + number % 3, 30, 3), "uint8")
        for number in range(options.photographs)
    ]
    alone = [model.predict_maps(photograph) for photograph in photographs]

    done, asked = threading.Event(), 0
    before = model.get_weights()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.threads + 1) as pool:

        def ask_for_weights() -> int:
            nonlocal asked
            differ = 0
            while not done.is_set():
                found = model.get_weights()
                differ += sum(not np.array_equal(a, b) for a, b in zip(found, before, strict=True))
                model.save(Path(folder) / "model.keras")
                asked += 1
            return differ

        weights = pool.submit(ask_for_weights)
        try:
            together = list(pool.map(model.predict_maps, photographs))
            batches = list(pool.map(lambda p: predict(model, p), photographs[:20]))
        finally:
            done.set()
        wrong_weights = weights.result()
    wrong = sum(
        not np.array_equal(found[name], wanted[name])
        for found, wanted in zip(together, alone, strict=True)
        for name in wanted
    )
    print(
        f"{keras.backend.backend()}: {options.threads} threads, {len(together)} photographs by "
        f"predict_maps and {len(batches)} by predict: {wrong} maps differ; weights asked for and "
        f"saved {asked} times meanwhile: {wrong_weights} arrays differ",
        flush=True,
    )
    return int(wrong + wrong_weights > 0)


def predict(model, photograph: np.ndarray) -> dict:
    """Raw outputs of a photograph, by `predict`."""
    image, _ = model.fit_to_input(photograph)
    return model.predict(image[None], verbose=0)


if __name__ == "__main__":
    sys.exit(main())
