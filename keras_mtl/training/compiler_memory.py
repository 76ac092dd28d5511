"""The memory that JAX's compiler leaves behind, handed back to the system."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

import keras

_COMPILED = "/jax/core/compile/backend_compile_duration"
_LONG = 1.0  # seconds: what compiles sooner leaves little behind


@contextlib.contextmanager
def compiler_memory_given_back() -> Iterator[None]:
    """Inside, every long compilation ends with the C library giving back what it keeps.

    XLA takes gigabytes to compile a training step. glibc keeps what was freed in pieces that are
    too small for the step's own buffer, so that the process would hold both. `fit` of
    `keras_mtl.MultiTaskModel` runs in here; a loop of your own can. Elsewhere than with JAX on
    Linux nothing happens.

    Example:

    ```python
    with keras_mtl.training.compiler_memory_given_back():
        model.train_on_batch(images, labels)
    ```
    """
    if keras.backend.backend() != "jax" or not sys.platform.startswith("linux"):
        yield
        return
    import jax

    def compiled(event, seconds, **_):
        if event == _COMPILED and seconds > _LONG:
            give_memory_back()

    jax.monitoring.register_event_duration_secs_listener(compiled)
    try:
        yield
    finally:
        with contextlib.suppress(AssertionError):  # somebody has cleared all listeners meanwhile
            jax.monitoring.unregister_event_duration_listener(compiled)


def give_memory_back() -> None:
    """Lets the C library give back what was freed and it keeps; glibc's alone can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
