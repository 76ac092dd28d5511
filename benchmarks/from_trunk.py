"""What a backbone that comes with the package is worth when there are few labels.

    KERAS_BACKEND=tensorflow python -m benchmarks.from_trunk --output docs/from_trunk.png

Trains the same TaskPrompter twice on the same few rooms, in the same order, by the same recipe:
once from the backbone's trained weights, once from random ones. Prints each task's first metric on
rooms that neither has seen, after every epoch and beside the guess that does not look at the
image, and draws both curves. (The backbone was trained on other rooms than these: seeds 0 and 1
are its own.)
"""

import argparse
from pathlib import Path

import keras
import numpy as np

import keras_mtl
from keras_mtl import rooms
from keras_mtl.runs import report
from keras_mtl.runs.recipes import ROOMS_LOSS_WEIGHTS, make_backbone
from keras_mtl.tables import markdown

TRAINING, HELD_OUT = 10, 11  # seeds of the rooms


def backbone(start: str, size: tuple[int, int]):
    """The trunk, with its trained weights or with random ones.

    Args:
        start: `"trunk"` or `"scratch"`.
        size: `(height, width)` in pixels.
    """
    if start == "trunk":
        return keras_mtl.backbones.from_preset("vit_nano_rooms", (*size, 3))
    return make_backbone("vit_nano", size)


def curves(start: str, tasks: list, batches, held_out, options: argparse.Namespace) -> dict:
    """Held-out scores after each epoch, by task.

    Args:
        start: see `backbone`.
        tasks: what is trained.
        batches, held_out: `tf.data.Dataset`s.
        options: the command's.
    """
    keras.utils.set_random_seed(options.seed)
    trunk = backbone(start, tuple(options.image_size))
    model = keras_mtl.TaskPrompter(trunk, tasks, channel_windows=(2, 2), decode_dim=32)
    steps = options.epochs * len(batches)
    recipe = {**keras_mtl.MultiTaskModel.recipe, "learning_rate": options.learning_rate}
    optimizer = keras_mtl.training.recipe_optimizer(model, steps, None, **recipe)
    weights = {task.name: task.loss_weight for task in tasks}
    model.compile(optimizer, loss_weights={**weights, **ROOMS_LOSS_WEIGHTS})
    history = model.fit(batches, validation_data=held_out, epochs=options.epochs, verbose=2)
    return {task.name: history.history[f"val_{headline(task)}"] for task in tasks}


def headline(task) -> str:
    """The name of a task's first metric in training."""
    return f"{task.name}_{task.metrics()[0].name}"


def draw(tasks: list, found: dict[str, dict], guesses: dict, path: Path) -> None:
    """One axis for each task: both curves, and the guess.

    Args:
        tasks: that were trained.
        found: by start, what `curves` returns.
        guesses: of `report.best_guesses`.
        path: of the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(tasks), 3), dpi=110, layout="constrained")
    for axis, task in zip(figure.subplots(1, len(tasks)), tasks, strict=True):
        for start, scores in found.items():
            epochs = np.arange(1, len(scores[task.name]) + 1)
            axis.plot(epochs, scores[task.name], label=f"from {start}")
        axis.axhline(guesses[task.name].score, color="0.6", linestyle=":", label="best constant")
        better = "higher" if task.higher_is_better else "lower"
        axis.set(title=f"{headline(task)} ({better} is better)", xlabel="epoch")
        axis.title.set_fontsize(9)
    axis.legend(fontsize=8)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=200, help="rooms to train on (%(default)s)")
    parser.add_argument("--epochs", type=int, default=12, help="times over them (%(default)s)")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="(%(default)s)")
    parser.add_argument("--image-size", type=int, nargs=2, default=(96, 128))
    parser.add_argument("--seed", type=int, default=0, help="of weights and order (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("from_trunk.png"), help="the picture")
    options = parser.parse_args()
    tasks, size = keras_mtl.tasks.nyud(), tuple(options.image_size)
    training = rooms.dataset(
        tasks, options.scenes, size, TRAINING, batch_size=8, shuffle=True, keep=True
    )
    held_out = rooms.dataset(tasks, 100, size, HELD_OUT, batch_size=8, keep=True)
    guesses = report.best_guesses(tasks, training, held_out)
    found = {}
    for start in ("trunk", "scratch"):
        found[start] = curves(start, tasks, training, held_out, options)
    head = ["after epoch", "from", *(headline(task) for task in tasks)]
    rows = [head, ["", "best constant", *(f"{guesses[task.name].score:.2f}" for task in tasks)]]
    for epoch in sorted({0, options.epochs // 4, options.epochs // 2, options.epochs - 1}):
        for start, scores in found.items():
            cells = [f"{scores[task.name][epoch]:.2f}" for task in tasks]
            rows.append([str(epoch + 1), start, *cells])
    print(markdown(rows))
    draw(tasks, found, guesses, options.output)
    print(f"Wrote {options.output}")


if __name__ == "__main__":
    main()
