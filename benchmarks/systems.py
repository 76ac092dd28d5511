"""Training steps of the compared systems beside the multi-task baseline's; `--help` explains it."""

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_mtl
from keras_mtl import cost, rooms
from keras_mtl.models.registry import PRESETS
from keras_mtl.tables import markdown

BASELINE = "multitask_baseline_hrnet18_nyud"
SYSTEMS = [name for name in PRESETS if name.endswith("_hrnet18_nyud") and name != BASELINE]
DESCRIPTION = f"""
Prints what a training step of each system takes beside one of the multi-task baseline on the same
backbone (HRNet-18 small), in float32, on the backend of KERAS_BACKEND: forward, losses of all
tasks, backward, and the optimizer of its own recipe, without metrics, on generated rooms.

Each system takes turns with the baseline, so that what else the machine does meets both alike.

  wall (s), CPU (s)  seconds of a step, and of the processors, all cores together: median (lowest
                     to highest) of the turns
  MACs (G)           multiply-accumulates of the forward pass of one image, with the outputs that
                     exist in training only, as they are computed (keras_mtl.cost)
  wall/MAC, CPU/MAC  seconds for each multiply-accumulate beside the baseline's in the same turn:
                     median (lowest to highest). Above 1.3 a system is slower than its size says.

Systems: {", ".join(SYSTEMS)}.
"""
HEADER = ["system", "wall (s)", "CPU (s)", "MACs (G)", "wall/MAC", "CPU/MAC"]


def make_step(name: str, image_size: tuple[int, int], batch: int) -> tuple[Callable, int]:
    """A function that makes one training step of a preset, and the MACs of its forward pass."""
    model = keras_mtl.MultiTaskModel.from_preset(name, image_size=image_size)
    macs = cost.macs(keras.Model(model.inputs, model.all_outputs)).total
    model.compile(metrics=None)
    images, labels = rooms.arrays(model.tasks, batch, image_size)
    images = images.astype("float32")

    def step():
        # The loss is on the host, so that the step is over.
        return model.train_on_batch(images, labels, return_dict=True)["loss"]

    for _ in range(2):  # compiled, and caches filled
        step()
    return step, macs


def times(step: Callable) -> tuple[float, float]:
    """Wall and processor seconds of a call."""
    wall, processor = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - wall, time.process_time() - processor


def spread(values: np.ndarray, digits: int) -> str:
    """Median (lowest to highest)."""
    marks = (np.median(values), values.min(), values.max())
    middle, least, most = (f"{x:.{digits}f}" for x in marks)
    return f"{middle} ({least}..{most})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("systems", nargs="*", help="presets (default: all above)")
    parser.add_argument("--size", default="425x560", help="of the images (default %(default)s)")
    parser.add_argument("--batch", type=int, default=1, help="images a step (default 1)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (default 7)")
    options = parser.parse_args()
    unknown = sorted(set(options.systems) - set(PRESETS))
    if unknown:
        parser.error(f"{', '.join(unknown)} is no preset; expected some of {', '.join(SYSTEMS)}")
    height, width = map(int, options.size.split("x"))

    baseline, own_macs = make_step(BASELINE, (height, width), options.batch)
    rows = [HEADER]
    for name in options.systems or SYSTEMS:
        step, macs = make_step(name, (height, width), options.batch)
        turns = np.array([[times(baseline), times(step)] for _ in range(options.rounds)])
        del step
        ours = turns[:, 1]  # (rounds, wall and processor seconds)
        per_mac = (ours / macs) / (turns[:, 0] / own_macs)
        rows.append(
            [
                name,
                *(spread(seconds, 3) for seconds in ours.T),
                f"{macs / 1e9:.2f}",
                *(spread(ratio, 2) for ratio in per_mac.T),
            ]
        )
        print(f"{name}: {rows[-1][-2]}", flush=True)
    cores = os.cpu_count()
    print(
        f"\n{keras.backend.backend()}, {height}x{width} pixels, batch {options.batch}, "
        f"{options.rounds} turns, {cores} cores; baseline {own_macs / 1e9:.2f} G\n"
    )
    print(markdown(rows))


if __name__ == "__main__":
    main()
