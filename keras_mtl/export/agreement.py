"""Whether a written file gives its model's own maps, as far as these say anything."""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

from keras_mtl.rooms import render


def check_images(size: tuple[int, int]) -> np.ndarray:
    """A room, noise and another room, float32 `(3, H, W, 3)`."""
    noise = np.random.default_rng(0).uniform(0, 255, (*size, 3))
    rooms = [render(0, size, index)["image"] for index in range(2)]
    return np.stack([rooms[0], noise, rooms[1]]).astype("float32")


def raw_maps(model, images) -> dict[str, np.ndarray]:
    """The raw maps, one image at a time: three of a large model need not fit into memory."""
    with _full_precision():
        maps = [model.predict_on_batch(images[i : i + 1]) for i in range(len(images))]
    return {t.name: np.concatenate([each[t.name] for each in maps]) for t in model.tasks}


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """GPUs multiply float32 with 10 bits (TF32) unless they are told not to."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        with jax.default_matmul_precision("highest"):
            yield
    elif backend == "torch":
        import torch

        with torch.backends.cudnn.flags(allow_tf32=False):
            yield
    else:
        import tensorflow as tf

        before = tf.config.experimental.tensor_float_32_execution_enabled()
        tf.config.experimental.enable_tensor_float_32_execution(False)
        try:
            yield
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(before)


def compared(model, images, raw, found, decoded, tolerance) -> tuple[dict[str, float], str]:
    """The differences by task and a note, or an error if a task has too large a one."""
    differences = {}
    for task in model.tasks:
        each = [
            _differences(task, raw[task.name][:count], maps[task.name], decoded)
            for count, maps in found.items()
        ]
        each = [np.pad(x, (0, len(images) - len(x))) for x in each]
        differences[task.name] = np.max(each, axis=0)
    worst = {name: float(each.max()) for name, each in differences.items()}
    if max(worst.values()) <= tolerance:
        return worst, ""
    own = _sensitivity(model, images, raw, decoded)
    for name, each in differences.items():
        # Where the model itself turns rounding errors into more than that, no file can do better.
        wrong = each > np.maximum(tolerance, 10 * own[name])
        if wrong.any():
            raise ValueError(
                f"The file's map of {name} differs from the model's by {each[wrong].max():.1e} of "
                f"its largest value, more than {tolerance:g}; nothing was written."
            )
    moved = ", ".join(f"{n} by {own[n].max():.1e}" for n, x in worst.items() if x > tolerance)
    note = f"The model itself is as unsteady: an image changed by a millionth moves {moved}."
    return worst, note


def _sensitivity(model, images, raw, decoded: bool) -> dict[str, np.ndarray]:
    """How much of scale each image's maps move when its pixels change by about a millionth."""
    draw = np.random.default_rng(1)
    own = {task.name: np.zeros(len(images)) for task in model.tasks}
    for _ in range(4):
        changed = images * (1 + 1e-6 * draw.standard_normal(images.shape))
        moved = raw_maps(model, changed.astype("float32"))
        for task in model.tasks:
            maps = _decoded(task, moved[task.name]) if decoded else moved[task.name]
            each = _differences(task, raw[task.name], maps, decoded)
            own[task.name] = np.maximum(own[task.name], each)
    return own


def _decoded(task, raw) -> np.ndarray:
    return ops.convert_to_numpy(task.decode(ops.convert_to_tensor(raw)))


def _differences(task, raw, found, decoded: bool) -> np.ndarray:
    """The largest difference of each image, of scale; infinite where the shape or a value is off.

    Final maps are compared as far as the raw ones say anything: where two classes score the same,
    or the vector to normalize is zero, any answer is as good.
    """
    wanted = _decoded(task, raw) if decoded else raw
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return np.full(len(raw), np.inf)
    errors, scale = task.difference(raw, found, decoded)
    return errors.reshape(len(raw), -1).max(axis=1) / max(float(scale), 1e-30)
