"""What JAX's compiler leaves behind is given back, before the first step runs."""

import ctypes
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.tasks import DepthEstimation
from keras_mtl.training import compiler_memory
from keras_mtl.training.compiler_memory import compiler_memory_given_back

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax" or not sys.platform.startswith("linux"),
    reason="only JAX's compiler, and only the C library of Linux",
)


def compile_anew():
    import jax

    jax.jit(lambda x: x + 1)(np.ones(3, "float32"))


@pytest.fixture
def given_back(monkeypatch):
    """What was given back: `[1, 1]` after two times."""
    times = []
    monkeypatch.setattr(compiler_memory, "give_memory_back", lambda: times.append(1))
    return times


def test_after_long_compilations_only(monkeypatch, given_back):
    with compiler_memory_given_back():
        monkeypatch.setattr(compiler_memory, "_LONG", 1000.0)
        compile_anew()
        assert not given_back
        monkeypatch.setattr(compiler_memory, "_LONG", 0.0)
        compile_anew()
        assert given_back == [1]
    compile_anew()
    assert given_back == [1]


def test_only_while_a_model_is_trained(monkeypatch, given_back):
    monkeypatch.setattr(compiler_memory, "_LONG", 0.0)
    image = keras.Input((4, 4, 3))
    model = keras_mtl.MultiTaskModel(image, {"depth": image[..., :1]}, [depth := DepthEstimation()])
    model.compile("sgd")
    model.predict(np.ones((1, 4, 4, 3)), verbose=0)
    assert not given_back
    labels = {depth.name: np.ones((1, 4, 4, 1), "float32")}
    for _ in range(2):  # the second one compiles nothing anew
        model.fit(np.full((1, 4, 4, 3), 200.0), labels, verbose=0)
        once = len(given_back)
    assert 0 < len(given_back) == once
    compile_anew()
    assert len(given_back) == once


def resident() -> float:
    """Megabytes of memory that this process holds."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def test_trim_gives_memory_back():
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("another C library than glibc")
    compiler_memory.give_memory_back()
    # Small pieces with one in between that stays: nothing is returned by itself.
    pieces = [bytearray(60_000) for _ in range(4000)]
    stay = pieces[::400]
    full = resident()
    del pieces
    compiler_memory.give_memory_back()
    assert resident() < full - 150
    assert len(stay) == 10
