"""Thousands of steps on the poorest batches that there are: everything stays a number.

    KERAS_BACKEND=torch python -m benchmarks.missing_labels --steps 2000

In each step a tiny network gets one image or two, some of one colour, with all, some or none of
their pixels labelled, and tasks that have no label in the whole batch. Each architecture has every
kind of task. The exit status is 1 where a loss, a weight or a metric is no number.
"""

import argparse
import sys
import warnings

import keras
import numpy as np

import keras_mtl
from keras_mtl.tasks import nyud, pascal_context

SIZE = (16, 24)


def models() -> dict:
    """One tiny network an architecture, by its name."""
    tasks = [*nyud(), *pascal_context("human_parts", "sal")]

    def vit(layers):
        sizes = {"num_layers": layers, "num_heads": 1, "hidden_dim": 8, "mlp_dim": 8}
        return keras_mtl.backbones.vision_transformer("nano", (*SIZE, 3), 8, **sizes)

    return {
        "baseline": keras_mtl.MultiTaskBaseline(vit(1), tasks, head_width=4),
        "TaskPrompter": keras_mtl.TaskPrompter(
            vit(4), tasks, channel_windows=(1, 1), decode_dim=4, final_dim=4
        ),
    }


def batch(tasks: list, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
    """Images and labels of one step.

    Args:
        tasks: the model's.
        rng: what draws them.
    """
    count = int(rng.integers(1, 3))
    images = rng.integers(0, 256, (count, *SIZE, 3)).astype("float32")
    constant = rng.random(count) < 0.3
    images[constant] = rng.choice([0, 127, 255])
    labels = {}
    for task in tasks:
        none = task.no_label(*SIZE)
        share = rng.choice([0.0, 0.0, 0.01, 0.5, 1.0])  # of the pixels that have a label
        kept = rng.random((count, *SIZE)) < share
        kept = kept.reshape(kept.shape + (1,) * (none.ndim - 2))
        labels[task.name] = np.where(kept, drawn(task, none, count, rng), none).astype(none.dtype)
    return images, labels


def drawn(task, none: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Labels of a task in every pixel, by what its label without any looks like.

    Args:
        task: a `keras_mtl.tasks.Task`.
        none: its `no_label`.
        count: how many images.
        rng: what draws them.
    """
    shape = (count, *none.shape)
    if none.shape[-1] == 3:
        normals = rng.normal(size=shape)
        return normals / np.linalg.norm(normals, axis=-1, keepdims=True)
    if none.ndim == 2:
        return rng.integers(0, max(task.channels, 2), shape)
    if none.max() == 0:  # metres
        return rng.uniform(0.5, 10, shape)
    return rng.integers(0, 2, shape)


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=2000)
    steps = parser.parse_args().steps
    bad = 0
    warnings.filterwarnings("ignore", "Labels of task", UserWarning)  # that drawn ones look odd
    for name, model in models().items():
        model.compile(keras.optimizers.Adam(1e-3))
        rng, poor = np.random.default_rng(0), 0
        for step in range(1, steps + 1):
            images, labels = batch(model.tasks, rng)
            poor += any((label == t.no_label(*SIZE)).all() for t, label in by_task(model, labels))
            scores = model.train_on_batch(images, labels, return_dict=True)
            if step % max(steps // 4, 1) == 0 or not np.isfinite(list(scores.values())).all():
                wrong = [each for each, value in scores.items() if not np.isfinite(value)]
                weights = all(np.isfinite(value).all() for value in model.get_weights())
                bad += len(wrong) + (not weights)
                print(
                    f"{keras.backend.backend()} {name} step {step}: loss {scores['loss']:.4f}, "
                    f"{poor} steps with a task without any label, no numbers: {wrong or 'none'}, "
                    f"weights {'finite' if weights else 'NOT finite'}",
                    flush=True,
                )
    return int(bad > 0)


def by_task(model, labels: dict) -> list:
    """Pairs of a task and its labels."""
    return [(task, labels[task.name]) for task in model.tasks]


if __name__ == "__main__":
    sys.exit(main())
