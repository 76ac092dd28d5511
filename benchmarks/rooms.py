"""How many rooms a second this code renders, beside another checkout; `--help` explains it."""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from revisions import Worker

DESCRIPTION = """
Starts a process of this code and one of another checkout and has them render the same number of
rooms in turns, so that what else the machine does meets both alike. Prints for each size the scenes
a second on one core, and the ratio of this code's to the other's: the median of the pairs, with the
lowest and the highest. Then, of this code, how long --scenes rooms with the labels of NYUD-v2's
tasks take on one core, on all cores with the programs' start, and read from disk.

    git worktree add /tmp/before 6f509c6
    KERAS_BACKEND=torch python benchmarks/rooms.py /tmp/before
"""

SIZES = {(48, 64): 60, (96, 128): 40, (240, 320): 16}  # scenes in a turn


def serve(height: str, width: str) -> None:
    """Renders rooms for each line of the standard input, and says how long it took."""
    from keras_mtl import rooms

    size, number = (int(height), int(width)), 0
    rooms.render(0, size)
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for index in range(number, number + SIZES[size]):
            rooms.render(0, size, index)
        number += SIZES[size]
        print(json.dumps(time.perf_counter() - start), flush=True)


def beside(other: Path, rounds: int) -> list[list[str]]:
    """Rows of scenes a second, one for each size."""
    here, rows = Path(__file__).parents[1], []
    for (height, width), count in SIZES.items():
        workers = [
            Worker(tree.absolute(), str(height), str(width), script=__file__)
            for tree in (here, other)
        ]
        pairs = [[count / worker.turn() for worker in workers] for _ in range(rounds)]
        for worker in workers:
            worker.process.kill()
        ours, theirs = zip(*pairs, strict=True)
        ratios = [a / b for a, b in pairs]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"
        cells = [f"{statistics.median(each):.1f}" for each in (ours, theirs)]
        rows.append([f"{height}x{width}", *cells, spread])
    return rows


def sets(count: int, size: tuple[int, int]) -> list[list[str]]:
    """Rows of seconds for a set of scenes: one core, all cores, from disk."""
    from keras_mtl.rooms import cores

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        ways = (("one core", False, 0), ("all cores", True, os.cpu_count()), ("from disk", True, 0))
        for name, keep, programs in ways:
            start = time.perf_counter()
            for _ in cores.scenes(0, size, count, keep, programs):
                pass
            rows.append([name, f"{time.perf_counter() - start:.1f}"])
    return rows


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, help="the other checkout's folder")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (default 7)")
    parser.add_argument("--scenes", type=int, default=2000, help="rooms of a set (default 2000)")
    parser.add_argument("--image-size", type=int, nargs=2, default=(48, 64), help="of the set")
    options = parser.parse_args()
    from keras_mtl.tables import markdown

    rows = beside(options.other, options.rounds)
    print(f"\nScenes a second, {options.rounds} rounds\n")
    print(markdown([["size", "this code", "the other", "ratio"], *rows]))
    height, width = options.image_size
    print(f"\n{options.scenes} scenes of {height}x{width}, {os.cpu_count()} cores\n")
    print(markdown([["how", "seconds"], *sets(options.scenes, (height, width))]))


if __name__ == "__main__":
    main()
