"""The memory that JAX's compiler leaves behind, handed back to the system."""

import ctypes
import functools
import sys

import keras

_COMPILED = "/jax/core/compile/backend_compile_duration"
_LONG = 1.0  # seconds: what compiles sooner leaves little behind


@functools.cache  # once a process
def give_back_after_compiling() -> None:
    """From now on, every long compilation ends with the C library giving back what it keeps.

    XLA takes gigabytes to compile a training step. glibc keeps what was freed in pieces that are
    too small for the step's own buffer, so that the process would hold both. Elsewhere than with
    JAX on Linux nothing happens.

    Example:

    >>> give_back_after_compiling()
    """
    if keras.backend.backend() != "jax" or not sys.platform.startswith("linux"):
        return
    import jax

    def compiled(event, seconds, **_):
        if event == _COMPILED and seconds > _LONG:
            _trim()

    jax.monitoring.register_event_duration_secs_listener(compiled)


def _trim() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim:
        trim(0)
