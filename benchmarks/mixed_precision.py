"""Accuracy of mixed precision beside float32 on generated rooms; `--help` explains it."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

SIZE = (48, 64)
BATCH, LEARNING_RATE, DEPTH_WEIGHT = 4, 1e-3, 5.0  # as examples/train_nyud.py does on rooms
DESCRIPTION = f"""
Trains the small TaskPrompter of `make train` on generated rooms of {SIZE[0]}x{SIZE[1]} pixels, in
batches of {BATCH}, for every dtype and seed in a fresh process, and prints a Markdown table of its
scores on rooms that it has not seen, on the backend of KERAS_BACKEND. A seed settles the weights
and the order of the batches, so runs of different dtypes and one seed begin alike.

Scores are of the last weights, not of the best: nothing is selected. A column says mean +- sample
standard deviation over the seeds. "Difference" is the mean of a dtype less that of the first dtype,
and in brackets its standard error, sqrt(s1^2 / n1 + s2^2 / n2): with two or three seeds a
difference below twice that shows nothing.

Every step's loss is looked at: "not finite" counts the steps with a loss that is no number. With
float16 the loss is scaled (keras.optimizers.LossScaleOptimizer) and a step whose gradients overflow
is skipped: "skipped" counts these, "scale" is the last scale. float16 does not run with JAX on a
CPU, which cannot compile attention in it.
"""


# === One run, in a process of its own ===


def train(dtype: str, seed: int, steps: int, data: str) -> dict:
    import keras

    import keras_mtl

    if dtype != "float32":
        keras.config.set_dtype_policy(f"mixed_{dtype}")
    keras.utils.set_random_seed(seed)
    arrays = dict(np.load(data))
    tasks = keras_mtl.tasks.nyud()
    (images, labels), held_out = (
        (arrays[f"{part}/image"], {task.name: arrays[f"{part}/{task.name}"] for task in tasks})
        for part in ("train", "test")
    )
    backbone = keras_mtl.backbones.vision_transformer("pico", (*SIZE, 3), patch_size=8)
    model = keras_mtl.TaskPrompter(
        backbone, tasks, channel_windows=(2, 2), decode_dim=32, stochastic_depth=0.0
    )
    rate = keras_mtl.schedules.PolynomialDecay(LEARNING_RATE, steps)
    adam = keras.optimizers.Adam(rate, weight_decay=1e-6, global_clipnorm=10.0)
    weights = {task.name: task.loss_weight for task in tasks} | {"depth": DEPTH_WEIGHT}
    model.compile(adam, loss_weights=weights, metrics=None)

    order, losses = np.random.default_rng(seed), []
    began = time.perf_counter()
    while len(losses) < steps:
        numbers = order.permutation(len(images))
        for start in range(0, len(numbers) - BATCH + 1, BATCH):
            chosen = numbers[start : start + BATCH]
            batch = {name: values[chosen] for name, values in labels.items()}
            model.reset_metrics()  # else the loss is the mean of the steps so far
            losses.append(float(np.ravel(model.train_on_batch(images[chosen], batch))[0]))
            if len(losses) == steps:
                break
    seconds = time.perf_counter() - began

    optimizer = model.optimizer
    scale = getattr(optimizer, "dynamic_scale", None)
    model.compile()
    scores = model.evaluate(*held_out, batch_size=25, verbose=0, return_dict=True)
    return {
        "dtype": dtype,
        "seed": seed,
        "steps": steps,
        "backend": keras.backend.backend(),
        "scores": {
            f"{task.name} {task.metrics()[0].name}": scores[f"{task.name}_{task.metrics()[0].name}"]
            for task in tasks
        },
        "not_finite": int(np.sum(~np.isfinite(losses))),
        "last_losses": float(np.mean(losses[-100:])),
        "skipped": steps - int(optimizer.iterations),
        "scale": None if scale is None else float(keras.ops.convert_to_numpy(scale)),
        "seconds": seconds,
    }


# === All of them ===


def render(scenes: int, held_out: int, path: Path) -> None:
    from keras_mtl import rooms, tasks

    arrays = {}
    for seed, (part, count) in enumerate((("train", scenes), ("test", held_out))):
        images, labels = rooms.arrays(tasks.nyud(), count, SIZE, seed=seed)
        arrays |= {f"{part}/image": images}
        arrays |= {f"{part}/{name}": values for name, values in labels.items()}
    np.savez(path, **arrays)


def table(rows: list[dict]) -> str:
    from keras_mtl.tables import markdown

    dtypes = list(dict.fromkeys(row["dtype"] for row in rows))
    groups = {dtype: [row for row in rows if row["dtype"] == dtype] for dtype in dtypes}
    first = dtypes[0]
    header = ["score", *dtypes, *(f"difference of {dtype}" for dtype in dtypes[1:])]
    lines = [header]
    names = [*rows[0]["scores"], "training loss, last 100 steps"]

    def values(dtype, name):
        return np.array([row["scores"].get(name, row["last_losses"]) for row in groups[dtype]])

    def error(x):
        return x.std(ddof=1) ** 2 / len(x) if len(x) > 1 else np.nan

    for name in names:
        found = {dtype: values(dtype, name) for dtype in dtypes}
        line = [name]
        for x in found.values():
            line.append(f"{x.mean():.4f}" + (f" +- {x.std(ddof=1):.4f}" if len(x) > 1 else ""))
        for dtype in dtypes[1:]:
            x, base = found[dtype], found[first]
            line.append(f"{x.mean() - base.mean():+.4f} ({(error(x) + error(base)) ** 0.5:.4f})")
        lines.append(line)
    blank = [""] * (len(dtypes) - 1)
    for name, key in (("seeds", None), ("not finite", "not_finite"), ("skipped", "skipped")):
        counts = [sum(row[key] for row in g) if key else len(g) for g in groups.values()]
        lines.append([name, *map(str, counts), *blank])
    scales = [", ".join(f"{row['scale']:g}" for row in g if row["scale"]) for g in groups.values()]
    lines.append(["scale", *scales, *blank])
    return markdown(lines, padded=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dtypes",
        nargs="+",
        choices=("float32", "bfloat16", "float16"),
        default=["float32", "bfloat16"],
        help="default: float32 bfloat16",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--steps", type=int, default=2000, help="of training (default: 2000)")
    parser.add_argument("--scenes", type=int, default=2000, help="to train on (default: 2000)")
    parser.add_argument("--held-out", type=int, default=200, help="to test on (default: 200)")
    parser.add_argument("--json", metavar="FILE", help="also write the runs to FILE")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print("@" + json.dumps(train(**json.loads(options.run))), flush=True)
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "rooms.npz"
        render(options.scenes, options.held_out, data)
        for seed in options.seeds:
            for dtype in options.dtypes:
                run = {"dtype": dtype, "seed": seed, "steps": options.steps, "data": str(data)}
                command = [sys.executable, __file__, "--run", json.dumps(run)]
                found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                lines = [x for x in found.stdout.splitlines() if x.startswith("@")]
                rows.append(json.loads(lines[-1][1:]))
                row = rows[-1]
                print(f"{dtype}, seed {seed}: {row['seconds']:.0f} s", file=sys.stderr, flush=True)
                if options.json:
                    from keras_mtl import files  # here, for the one that measures starts others

                    files.write_text(options.json, json.dumps(rows, indent=2) + "\n")
    print(f"{rows[0]['backend']}, {options.steps} steps, {options.scenes} rooms\n")
    print(table(rows))


if __name__ == "__main__":
    main()
