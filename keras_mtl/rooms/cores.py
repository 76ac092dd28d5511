"""Scenes rendered on all cores, in processes beside this one.

They are programs of their own and not Python's `multiprocessing`, whose new processes run the
user's script again: a notebook or ten lines without `if __name__ == "__main__"` render as quickly.
They write files, which are read here in order; whatever one does not bring is rendered here.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from keras_mtl import files
from keras_mtl.rooms import kept
from keras_mtl.rooms.scenes import render

_BLOCK = 25  # scenes in a file
_AHEAD = 4  # files of one program that may wait to be read, where they are not kept
_PROGRAM = "from keras_mtl.rooms.cores import work; work()"


def scenes(
    seed: int, image_size: tuple[int, int], count: int, keep: bool, programs: int | None = None
) -> Iterator[dict]:
    """The first scenes of a seed, in order.

    Args:
        seed, image_size: see `scenes.render`.
        count: how many.
        keep: whether to read those that are kept on disk, and to keep the others.
        programs: how many render beside this one; `None` means as many as pay.
    """
    blocks = [range(k, min(k + _BLOCK, count)) for k in range(0, count, _BLOCK)]
    folder = kept.folder_of(seed, image_size) if keep else None
    if folder:
        try:
            files.make_folder(folder)
        except files.NotWritten:  # a disk that refuses costs time, nothing else
            folder = None
    missing = [b for b in blocks if not folder or not kept.path_of(folder, b).exists()]
    with ExitStack() as stack:
        workers: list = []
        if programs is None:
            programs = _worth(image_size, sum(map(len, missing)))
        if programs:
            if not folder:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                keep = False
            workers = [
                stack.enter_context(_Worker(folder, seed, image_size, missing[k::programs], keep))
                for k in range(min(programs, len(missing)))
            ]
        for block in blocks:
            found = None
            if folder:
                path = kept.path_of(folder, block)
                for worker in workers:
                    worker.wait_for(block, path)
                found = kept.read(path, image_size, block)
            if found is not None:
                yield from found
                if not keep:
                    path.unlink()
            elif folder and keep:
                yield from _written(path, seed, image_size, block)
            else:
                for index in block:
                    yield render(seed, image_size, index)


def _written(path, seed, image_size, block):
    try:
        return kept.write(path, seed, image_size, block)
    except files.NotWritten:
        return (render(seed, image_size, index) for index in block)


def _worth(image_size, count) -> int:
    """How many programs to start: none unless they render longer than they import this package."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    seconds = count * (0.006 + 0.25e-6 * image_size[0] * image_size[1])
    return cores if cores and cores > 1 and seconds > 12 else 0


class _Worker:
    """A program that renders blocks into files."""

    def __init__(self, folder, seed, image_size, blocks, keep):
        self.blocks = set(blocks)
        numbers = [(block.start, block.stop) for block in blocks]
        self.order = json.dumps([str(folder), seed, image_size, numbers, keep])

    def __enter__(self):
        # Scenes are NumPy arrays: the quickest backend to import, and one thread.
        settings = {"KERAS_BACKEND": "numpy", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        path = os.pathsep.join(each or os.getcwd() for each in sys.path)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM],
                env={**os.environ, **settings, "PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self.process.stdin.write(self.order.encode() + b"\n")
            self.process.stdin.flush()
        except OSError:  # no room for another process, or it ended at once
            self.blocks = set()
        return self

    def __exit__(self, *_):
        if hasattr(self, "process"):
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()

    def wait_for(self, block, path):
        """Returns when the file of a block is there, or will never be."""
        while block in self.blocks and not path.exists() and self.process.poll() is None:
            time.sleep(0.01)


def work() -> None:
    """What the program does: reads an order from the standard input and fulfils it."""
    folder, seed, image_size, numbers, keep = json.loads(sys.stdin.readline())

    def end_with_parent():
        sys.stdin.read()  # until it is closed
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    paths: list = []
    for start, stop in numbers:
        while not keep and sum(path.exists() for path in paths[-_AHEAD:]) == _AHEAD:
            time.sleep(0.01)
        block = range(start, stop)
        paths.append(kept.path_of(Path(folder), block))
        kept.write(paths[-1], seed, tuple(image_size), block)
