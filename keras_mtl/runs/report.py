"""What a run says at its end: the scores of its network beside those of a guess."""

from collections.abc import Mapping, Sequence

import numpy as np

from keras_mtl.tables import markdown
from keras_mtl.tasks import Task


def constant_scores(tasks: Sequence[Task], training, validation) -> dict[str, float]:
    """First metric of training of the best guess that does not look at the image, by task name.

    The guess comes from 200 images to train on: as many labels fit into memory at any size.

    Args:
        tasks: to guess.
        training: `tf.data.Dataset` of batches.
        validation: batches to score the guess on.
    """
    seen = [labels for _, labels in training.unbatch().take(200)]
    guesses, metrics = {}, {}
    for task in tasks:
        labels = np.stack([each[task.name].numpy() for each in seen])
        guesses[task.name], metrics[task.name] = task.constant(labels), task.metrics()[0]
    for _, batch in validation:
        for task in tasks:
            truth = batch[task.name].numpy()
            shape = (*truth.shape[:3], task.channels)
            guess = np.broadcast_to(guesses[task.name], shape).copy()
            metrics[task.name].update_state(truth, guess)
    return {name: float(metric.result()) for name, metric in metrics.items()}


def table(tasks: Sequence[Task], scores: Mapping[str, float], constant: Mapping[str, float]) -> str:
    """A Markdown table of a network's scores beside those of the constant guess.

    Args:
        tasks: a row each.
        scores: of `model.evaluate(..., return_dict=True)`.
        constant: of `constant_scores`.

    Example:

    >>> print(table([keras_mtl.tasks.DepthEstimation()], {"depth_RMSE": 0.5}, {"depth": 1.25}))
    | task  | metric   | this model | constant guess |                 |
    | ----- | -------- | ---------- | -------------- | --------------- |
    | depth | RMSE [m] | 0.500      | 1.250          | lower is better |
    """
    rows = [("task", "metric", "this model", "constant guess", "")]
    for task in tasks:
        measure = task.metrics()[0].name
        ours, floor = scores[f"{task.name}_{measure}"], constant[task.name]
        better = "higher" if task.higher_is_better else "lower"
        metric = f"{measure} [{task.unit}]"
        rows.append((task.name, metric, f"{ours:.3f}", f"{floor:.3f}", f"{better} is better"))
    return markdown(rows)
