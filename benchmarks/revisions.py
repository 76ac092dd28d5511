"""This code beside another checkout of it, in turns; `--help` explains it."""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

DESCRIPTION = """
Starts a process of this code and one of another checkout, each with the same network or data, and
has them work in turns, so that what else the machine does meets both alike. Prints for each kind of
work the seconds of a turn, and the ratio of this code's to the other's: the median of the pairs,
with the lowest and the highest.

  taskprompter  a training step of TaskPrompter ViT-B, four tasks, 224x224, one image
  tpanet        a training step of TPANet Swin-T, four tasks, 224x224, one image
  evaluate      keras_mtl.evaluate of a small network on 8 rooms of 240x320, boundaries included
  data          400 augmented batches of 4 rooms from a prepared dataset, 224x224 crops, cached

    git worktree add /tmp/before 104dca9
    KERAS_BACKEND=jax python benchmarks/revisions.py /tmp/before tpanet evaluate
"""


def make_work(kind: str, folder: str):
    """A function that does one turn's work."""
    import keras

    import keras_mtl
    from keras_mtl.data import rooms

    keras.utils.set_random_seed(0)
    tasks = keras_mtl.tasks.nyud()
    if kind == "data":
        where = Path(folder) / "prepared" / "nyud_v2"
        batches = keras_mtl.data.load(
            where, "train", tasks=tasks, image_size=(224, 224), training=True, cache=True
        )
        batches = iter(batches)
        return lambda: [next(batches) for _ in range(400)]
    if kind == "evaluate":
        images, labels = rooms.arrays(tasks, 8, (240, 320))
        backbone = keras_mtl.backbones.vision_transformer(
            "nano", (240, 320, 3), patch_size=16, num_layers=2
        )
        model = keras_mtl.MultiTaskBaseline(backbone, tasks, head_width=16)
        return lambda: keras_mtl.evaluate(model, [(images, labels)], progress=False)
    images, labels = rooms.arrays(tasks, 1, (224, 224))
    if kind == "taskprompter":
        backbone = keras_mtl.backbones.vision_transformer("base", (224, 224, 3))
        model = keras_mtl.TaskPrompter(
            backbone, tasks, channel_windows=(2, 2), decode_dim=300, final_dim=350
        )
    else:
        backbone = keras_mtl.backbones.swin_transformer("tiny", (224, 224, 3))
        model = keras_mtl.TPANet(backbone, tasks, dim=256, groups=8, head_width=64)
    model.compile("adam", metrics=None)
    images = images.astype("float32")
    return lambda: model.train_on_batch(images, labels)


def serve(kind: str, folder: str) -> None:
    """Does a turn for each line of the standard input, and says how long it took."""
    work = make_work(kind, folder)
    work()
    work()  # compiled, and caches filled
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        start, processor = time.perf_counter(), time.process_time()
        work()
        times = time.perf_counter() - start, time.process_time() - processor
        print(json.dumps(times), flush=True)


def prepare(folder: Path, other: Path) -> None:
    """Rooms as a prepared dataset, written once for both."""
    code = (
        "import sys; from pathlib import Path\n"
        "from keras_mtl.data.room_archives import write_nyud_v2\n"
        "from keras_mtl.data.prepare import prepare\n"
        "here = Path(sys.argv[1])\n"
        "write_nyud_v2(here / 'NYUDv2', train=24, val=2)\n"
        "prepare(Path(sys.argv[2]) / 'datasets' / 'nyud_v2', here, here / 'prepared')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(other)}
    command = [sys.executable, "-c", code, str(folder), str(other)]
    # Not here, where Python would find this code first.
    subprocess.run(command, env=environment, cwd=folder, check=True)


class Worker:
    """A process that takes turns with another."""

    def __init__(self, tree: Path, *arguments: str, script: str = __file__):
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        command = [sys.executable, script, "--serve", *arguments]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, env=environment, stdin=pipe, stdout=pipe, text=True
        )
        self._answer()

    def turn(self) -> list[float]:
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        times = self._answer()
        self.process.send_signal(signal.SIGSTOP)  # or it fetches ahead during the other's turn
        return times

    def _answer(self):
        for line in self.process.stdout:
            try:
                return json.loads(line)
            except ValueError:  # what a library has printed
                continue
        raise SystemExit("A process ended before its turn; see what it has printed above.")


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, help="the other checkout's folder")
    kinds = ("taskprompter", "tpanet", "evaluate", "data")
    parser.add_argument("kinds", nargs="+", choices=kinds, help="what to time")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each (default 9)")
    options = parser.parse_args()
    import tempfile

    from keras_mtl.tables import markdown

    here, rows = Path(__file__).parents[1], []
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as folder:
            if kind == "data":
                prepare(Path(folder), options.other.absolute())
            workers = [Worker(tree.absolute(), kind, folder) for tree in (here, options.other)]
            pairs = np.array(
                [[worker.turn() for worker in workers] for _ in range(options.rounds)]
            )  # (rounds, this and the other, wall and processor seconds)
            for worker in workers:
                worker.process.kill()
        for k, what in enumerate(("wall", "processor")):
            ours, other = pairs[:, 0, k], pairs[:, 1, k]
            ratios = ours / other
            spread = f"{statistics.median(ratios):.3f} ({ratios.min():.3f}..{ratios.max():.3f})"
            cells = [f"{statistics.median(x):.3f}" for x in (ours, other)]
            rows.append([kind, what, *cells, spread])
    backend = os.environ.get("KERAS_BACKEND", "the default backend")
    print(f"\n{backend}, {options.rounds} rounds, {os.cpu_count()} cores\n")
    print(markdown([["work", "seconds", "this code", "the other", "ratio"], *rows]))


if __name__ == "__main__":
    main()
