"""What several test files share."""

import math
import resource
import signal
from pathlib import Path

import keras
import numpy as np
import pytest


def pytest_runtest_setup(item):
    """Every test draws the same random numbers, alone or after others.

    `@pytest.mark.once(backend, why)`: what the test is about does not depend on the backend.
    """
    keras.utils.set_random_seed(0)
    once = item.get_closest_marker("once")
    if once:
        backend, why = once.args
        if backend != keras.backend.backend():
            pytest.skip(f"once, on {backend}: {why}")


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory):
    """What is kept for the next time (rooms for instance) is kept with what tests write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def golden():
    """Loads `tests/golden/<name>.npz` as a dict of arrays."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(Path(__file__).parent / "golden" / f"{name}.npz") as values:
            return dict(values)

    return load


@pytest.fixture(scope="session")
def gradient():
    """`gradient(function, x)`: the derivative of a scalar function at an array, as an array."""

    def of(function, x: np.ndarray) -> np.ndarray:
        backend = keras.backend.backend()
        if backend == "jax":
            import jax

            return np.asarray(jax.jit(jax.grad(function))(x))  # else it compiles each operation
        if backend == "tensorflow":
            import tensorflow as tf

            x = tf.convert_to_tensor(x)
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = function(x)
            return tape.gradient(y, x).numpy()
        import torch

        x = torch.tensor(x, requires_grad=True)
        function(x).backward()
        return x.grad.numpy()

    return of


@pytest.fixture(scope="session")
def assert_close():
    """Compares with a float64 reference, relative to the reference's largest value."""

    def close(found, expected, tolerance=1e-5):
        found = keras.ops.convert_to_numpy(found)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()

    return close


@pytest.fixture
def small_disk():
    """A real refusal, by the system: no file may grow beyond 1000 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, ignored)


@pytest.fixture(scope="session")
def write_folder():
    """`write_folder(folder, count, **labels)`: what `keras_mtl.data.folders` prepares."""
    from PIL import Image

    def write(folder, count, **labels):
        """Images of 32x48 pixels, and for each task what its function returns."""
        rng = np.random.default_rng(1)
        for name in ("images", *labels):
            (folder / name).mkdir(parents=True)
        for i in range(count):
            image = rng.integers(0, 256, (32, 48, 3), "uint8")
            Image.fromarray(image).save(folder / "images" / f"{i}.png")
            for name, draw in labels.items():
                label = draw()
                if label.dtype.kind == "f":
                    np.save(folder / name / f"{i}.npy", label)
                else:
                    Image.fromarray(label).save(folder / name / f"{i}.png")

    return write


@pytest.fixture(scope="module")
def drawn_by_numpy():
    """Kernels are drawn by NumPy: JAX compiles the drawing of every shape, which takes longer
    than all the rest of a small backbone. Seeds still come from `keras.utils.set_random_seed`."""

    def draw(initializer, shape, dtype=None):
        spread = math.sqrt(2 / math.prod(shape[:-1]))
        rng = np.random.default_rng([initializer.seed, *shape])
        return keras.ops.convert_to_tensor(spread * rng.standard_normal(shape, "float32"), dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.initializers.VarianceScaling, "__call__", draw)
        yield


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def policy(request):
    """Models made in the test compute in this one."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.fixture(scope="session")
def resized():
    """`resized(x, size)`: bilinear with half-pixel centres, the border repeated, in NumPy."""

    def resize(x, size):
        for axis, length in enumerate(size, start=1):
            old = x.shape[axis]
            source = np.clip((np.arange(length) + 0.5) * old / length - 0.5, 0, old - 1)
            below = np.floor(source).astype(int)
            above = np.minimum(below + 1, old - 1)
            share = (source - below).reshape([-1 if a == axis else 1 for a in range(4)])
            x = (1 - share) * np.take(x, below, axis) + share * np.take(x, above, axis)
        return x

    return resize


if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    # As XLA's flags in the Makefile: graphs of tiny networks take longer to optimize than to run.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
