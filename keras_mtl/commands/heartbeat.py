"""A command that takes minutes is never silent for long."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def heartbeat(every: float = 10.0) -> Iterator[None]:
    """While the block runs, says how long it has been silent whenever it has been so for long.

    Args:
        every: seconds of silence on standard output and standard error.

    Example:

    >>> with heartbeat():
    ...     print("compiling")
    compiling
    """
    out, err = _Noting(sys.stdout), _Noting(sys.stderr)
    ended = threading.Event()

    def beat():
        told = time.monotonic()
        while not ended.wait(min(every / 5, 1.0)):
            spoke, now = max(out.last, err.last), time.monotonic()
            if now - max(spoke, told) >= every:
                out.stream.write(f"  ... {now - spoke:.0f} s\n")
                out.stream.flush()
                told = now

    thread = threading.Thread(target=beat, daemon=True)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


class _Noting:
    """A stream that knows when something was last written to it."""

    def __init__(self, stream: Any):
        self.stream, self.last = stream, time.monotonic()

    def write(self, text: str) -> int:
        self.last = time.monotonic()
        return self.stream.write(text)

    def __getattr__(self, name: str):
        return getattr(self.stream, name)
