"""What JAX's compiler leaves behind is given back, before the first step runs."""

import ctypes
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_mtl.training import compiler_memory

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax" or not sys.platform.startswith("linux"),
    reason="only JAX's compiler, and only the C library of Linux",
)


def compile_anew():
    import jax

    jax.jit(lambda x: x + 1)(np.ones(3, "float32"))


def test_after_long_compilations_only(monkeypatch):
    compiler_memory.give_back_after_compiling()
    compiler_memory.give_back_after_compiling()  # once is enough
    given_back = []
    monkeypatch.setattr(compiler_memory, "_trim", lambda: given_back.append(1))
    monkeypatch.setattr(compiler_memory, "_LONG", 1000.0)
    compile_anew()
    assert not given_back
    monkeypatch.setattr(compiler_memory, "_LONG", 0.0)
    compile_anew()
    assert given_back == [1]


def resident() -> float:
    """Megabytes of memory that this process holds."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def test_trim_gives_memory_back():
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("another C library than glibc")
    compiler_memory._trim()
    # Small pieces with one in between that stays: nothing is returned by itself.
    pieces = [bytearray(60_000) for _ in range(4000)]
    stay = pieces[::400]
    full = resident()
    del pieces
    compiler_memory._trim()
    assert resident() < full - 150
    assert len(stay) == 10
