"""What a run says at its end: the scores of its network beside those of a guess."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

import keras_mtl
from keras_mtl.evaluation import evaluate
from keras_mtl.tables import markdown
from keras_mtl.tasks import Task


def headlines(model: keras_mtl.MultiTaskModel, validation) -> dict[str, float]:
    """The scores that papers report of tasks whose output is no map, such as mDS.

    They are no metrics of training, as `keras_mtl.evaluate` alone computes them.

    Args:
        model: the network.
        validation: `tf.data.Dataset` of batches.
    """
    others = [task for task in model.tasks if task.output != "map"]
    if not others:
        return {}
    found = evaluate(model, validation, progress=False).headlines
    return {f"{task.name}_{task.headline}": found[task.name] for task in others}


class Guess(NamedTuple):
    """What is scored without a look at the image.

    Args:
        words: what is guessed.
        score: by the task's first metric of training.
    """

    words: str
    score: float


def best_guesses(tasks: Sequence[Task], training, validation) -> dict[str, Guess]:
    """The best guess that does not look at the image, of each task's `constants`, by task name.

    Of a task whose output is no map there is none.

    The guess comes from 200 images to train on: as many labels fit into memory at any size. The
    best is the one that scores best on them.

    Args:
        tasks: to guess.
        training: `tf.data.Dataset` of batches.
        validation: batches to score the guess on.
    """
    tasks = [task for task in tasks if task.output == "map"]
    seen = [labels for _, labels in training.unbatch().take(200)]
    guesses = {}
    for task in tasks:
        labels = np.stack([each[task.name].numpy() for each in seen])
        options = task.constants(labels)
        words = next(iter(options))
        if len(options) > 1:
            scores = {}
            for each, guess in options.items():
                metric = task.metrics()[0]
                _update(metric, task, labels, guess)
                scores[each] = float(metric.result())
            words = (max if task.higher_is_better else min)(scores, key=lambda each: scores[each])
        guesses[task.name] = words, options[words]
    metrics = {task.name: task.metrics()[0] for task in tasks}
    for _, batch in validation:
        for task in tasks:
            _update(metrics[task.name], task, batch[task.name].numpy(), guesses[task.name][1])
    return {
        name: Guess(words, float(metrics[name].result())) for name, (words, _) in guesses.items()
    }


def _update(metric, task, labels, guess):
    shape = (*labels.shape[:3], task.channels)
    metric.update_state(labels, np.broadcast_to(guess, shape).copy())


def table(tasks: Sequence[Task], scores: Mapping[str, float], guesses: Mapping[str, Guess]) -> str:
    """A Markdown table of a network's scores beside those of the best guess without a look.

    Args:
        tasks: a row each.
        scores: of `model.evaluate(..., return_dict=True)`, and of `headlines`.
        guesses: of `best_guesses`.

    Example:

    >>> task = keras_mtl.tasks.DepthEstimation()
    >>> print(table([task], {"depth_RMSE": 0.5}, {"depth": Guess("2.71 m", 1.25)}))
    | task  | metric   | this model | best constant  |                 |
    | ----- | -------- | ---------- | -------------- | --------------- |
    | depth | RMSE [m] | 0.500      | 1.250 (2.71 m) | lower is better |
    """
    rows = [("task", "metric", "this model", "best constant", "")]
    for task in tasks:
        measure = task.metrics()[0].name if task.output == "map" else task.headline
        ours, floor = scores[f"{task.name}_{measure}"], guesses.get(task.name)
        better = "higher" if task.higher_is_better else "lower"
        constant = f"{floor.score:.3f} ({floor.words})" if floor else "–"
        shown = "–" if ours is None else f"{ours:.3f}"
        metric = f"{measure} [{task.unit}]"
        rows.append((task.name, metric, shown, constant, f"{better} is better"))
    return markdown(rows)
