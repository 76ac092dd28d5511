"""TensorFlow starts without telling how it was built.

Its libraries write to standard error while they are loaded, before any setting of its log counts:
which instructions they use, and that there is no CUDA. Here these lines are left out. All others
are passed on as they come, also if the process dies. Unless the environment says otherwise,
TF_CPP_MIN_LOG_LEVEL is 2 from then on: errors are shown. With 0 TensorFlow says all it has to say.
"""

import contextlib
import functools
import importlib.abc
import os
import subprocess
import sys
from collections.abc import Iterator

# Runs in a process of its own, which outlives one that aborts. Lines of level I are information,
# "To enable ..." is the second line of one; error 303 is CUDA's library not being there. TensorFlow
# 2.22 follows an error with a trace, which ends with an empty line.
_FILTER = r"""
import re, sys
told = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog"
    rb"|I\d{4} |To enable the following instructions: "
    rb"|E\d{4} .* failed call to cuInit: .*UNKNOWN ERROR \(303\)"
)
left_out = in_trace = False
for line in sys.stdin.buffer:
    if left_out and line.startswith(b"=== Source Location Trace"):
        in_trace = True
    elif not in_trace:
        left_out = bool(told.match(line))
    if not left_out:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    in_trace = in_trace and bool(line.strip())
"""


def start() -> None:
    """Makes TensorFlow start quietly, whenever this process first imports it."""
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "0":
        return
    # A frozen program is its own executable; without a standard error there is nothing to filter.
    if getattr(sys, "frozen", False) or not sys.executable or sys.stderr is None:
        return
    if not any(isinstance(finder, _Quietly) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Quietly())


class _Quietly(importlib.abc.MetaPathFinder):
    """Finds TensorFlow as the other finders do, and has it loaded quietly."""

    def find_spec(self, name, path, target=None):
        if name != "tensorflow":
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)):
                spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):  # what else a loader may be asked for
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        with without_information():
            self._loader.exec_module(module)


@functools.cache
def find_devices() -> None:
    """Has TensorFlow look for its devices, once, without saying that there is no CUDA."""
    import tensorflow as tf

    with without_information():
        tf.config.list_physical_devices()


@contextlib.contextmanager
def without_information() -> Iterator[None]:
    """Of what is written to the process's standard error, leaves TensorFlow's information out.

    Raises:
        Nothing of its own: where no other process can be started, all lines are shown.
    """
    sys.stderr.flush()
    try:
        shown = os.dup(2)
        reader = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _FILTER], stdin=subprocess.PIPE, stdout=shown
        )
    except (OSError, ValueError):
        yield
        return
    try:
        os.dup2(reader.stdin.fileno(), 2)
        reader.stdin.close()
        yield
    finally:
        sys.stderr.flush()
        os.dup2(shown, 2)
        os.close(shown)
        with contextlib.suppress(subprocess.TimeoutExpired):
            reader.wait(10)  # so that its lines come before those that follow
