"""Images evaluated side by side, each process with one at a time."""

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path

from keras_mtl.metrics.odsf.files import BrokenFile, evaluate_files
from keras_mtl.metrics.odsf.image import Counts


def _try_files(prediction: Path, label: Path, protocol: str) -> Counts | str:
    """The counts, or what is wrong."""
    try:
        return evaluate_files(prediction, label, protocol)
    except BrokenFile as error:
        return str(error)
    except (ValueError, MemoryError) as error:
        return f"{prediction} cannot be evaluated: {' '.join(str(error).split())}"


def _end_with_parent() -> None:
    """Lets a worker end when the run is killed; it would wait for work for ever."""

    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def evaluated(work: list, processes: int) -> Iterator[tuple]:
    """Image id, signature and outcome, in the order in which they get ready."""
    processes = min(processes, len(work))
    if processes <= 1:
        for image_id, signature, files in work:
            yield image_id, signature, _try_files(*files)
        return
    # Not forked: Keras' backend has threads, and a forked process may wait for them for ever.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_end_with_parent)
    try:
        waiting, todo = {}, iter(work)
        while True:
            while len(waiting) < 4 * processes and (item := next(todo, None)):
                waiting[pool.submit(_try_files, *item[2])] = item
            if not waiting:
                break
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                image_id, signature, _ = waiting.pop(future)
                yield image_id, signature, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
