"""Curves: of precision and recall, and of training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_mtl.visualize.balancing import is_of_balancing
from keras_mtl.visualize.history import read_history


def precision_recall(scores, names: Sequence[str] | None = None):
    """Draws precision over recall of boundaries, with lines of equal F.

    A dot marks the threshold with the best F over the dataset: odsF. Thresholds at which nothing
    was predicted have no precision and are left out.

    Args:
        scores: one curve or a list of them, each with `thresholds`, `precision`, `recall` and
            `F`, arrays `(T,)`, the last three in percent, as attributes or as keys:
            `BoundaryScores.curve` of `keras_mtl.evaluation`, or a dict.
        names: list of str for the legend, one for each curve, or None.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: if there is no curve, one lacks an array, arrays have different lengths, or
            there are not as many names as curves.

    Example:

    >>> curve = {
    ...     "thresholds": [0.2, 0.5, 0.8],
    ...     "precision": [50.0, 70.0, 90.0],
    ...     "recall": [90.0, 70.0, 30.0],
    ...     "F": [64.3, 70.0, 45.0],
    ... }
    >>> figure = keras_mtl.visualize.precision_recall(curve, names=["TaskPrompter"])
    >>> figure.axes[0].get_legend().get_texts()[0].get_text()
    'TaskPrompter: odsF 70.0 at 0.50'

    Reference: Martin, Fowlkes and Malik, Learning to Detect Natural Image Boundaries, PAMI 2004.
    """
    from matplotlib.figure import Figure

    several = isinstance(scores, (list, tuple))
    curves = [_curve(each) for each in (scores if several else [scores])]
    if not curves:
        raise ValueError("There is no curve to draw; pass one at least.")
    if names is not None and len(names) != len(curves):
        raise ValueError(f"There are {len(names)} names for {len(curves)} curves; give as many.")

    figure = Figure(figsize=(5, 5), dpi=110, layout="constrained")
    axis = figure.add_subplot()
    for f in range(10, 100, 10):
        end = 100 * f / (200 - f)  # the precision at recall 100, the recall at precision 100
        recall = np.linspace(end, 100, 200)
        axis.plot(recall, f * recall / (2 * recall - f), color="0.85", linewidth=0.8, zorder=1)
        axis.text(101, end, f"F {f}", fontsize=7, color="0.5", va="center")
    for i, (thresholds, precision, recall, f) in enumerate(curves):
        predicted = (precision > 0) | (recall > 0)
        best = int(np.argmax(f))
        label = f"odsF {f[best]:.1f} at {thresholds[best]:.2f}"
        label = f"{names[i]}: {label}" if names is not None else label
        (line,) = axis.plot(recall[predicted], precision[predicted], label=label, zorder=2)
        axis.plot(recall[best], precision[best], "o", color=line.get_color(), zorder=3)
    axis.set(xlim=(0, 100), ylim=(0, 100), xlabel="recall [%]", ylabel="precision [%]")
    axis.set_aspect("equal")
    axis.legend(loc="lower left", fontsize=8)
    return figure


def training_curves(log):
    """Draws the course of a training run, or of several: training solid, validation dashed.

    The first column is the total loss and what belongs to no task; then every task has a column
    of its loss and its metrics. What balanced the tasks is drawn by `balancing_curves`.

    Args:
        log: path of the CSV that `keras.callbacks.CSVLogger` wrote, or the dict
            `History.history` that `model.fit` returned; or a dict by name of several of these,
            to draw runs beside each other.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: if a file is missing or not such a CSV, or there is no loss.

    Example:

    >>> history = {"loss": [3.0, 2.0], "val_loss": [3.1, 2.5]}
    >>> history |= {"depth_loss": [0.9, 0.6], "depth_RMSE": [1.0, 0.7]}
    >>> figure = keras_mtl.visualize.training_curves(history)
    >>> [axis.get_title() for axis in figure.axes]
    ['loss', 'depth_loss', 'depth_RMSE']
    """
    from matplotlib.figure import Figure

    runs = {name: read_history(each) for name, each in _runs(log).items()}
    columns = _columns(dict.fromkeys(key for history in runs.values() for key in history))
    rows = max(map(len, columns))
    figure = Figure(figsize=(2.5 * len(columns), 2 * rows + 0.4), dpi=110, layout="constrained")
    grid = figure.add_gridspec(rows, len(columns))
    for c, column in enumerate(columns):
        for r, key in enumerate(column):
            axis = figure.add_subplot(grid[r, c])
            axis.set_title(key, fontsize=9)
            axis.tick_params(labelsize=7)
            axis.xaxis.get_major_locator().set_params(integer=True)
            for i, (name, history) in enumerate(runs.items()):
                for prefix, style in (("", "-"), ("val_", "--")):
                    part = f"{prefix and 'validation'}" or "training"
                    label = f"{name}: {part}" if name else part
                    points = _points(history, prefix + key)
                    axis.plot(*points, style, marker=".", markersize=4, color=f"C{i}", label=label)
            if r == len(column) - 1:
                axis.set_xlabel("epoch", fontsize=8)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _curve(scores) -> list[np.ndarray]:
    """Thresholds, precision, recall and F of one curve."""
    names = ("thresholds", "precision", "recall", "F")
    try:
        values = [
            scores[name] if isinstance(scores, Mapping) else getattr(scores, name) for name in names
        ]
    except (KeyError, AttributeError) as error:
        raise ValueError(
            f"A curve is a {type(scores).__name__} without {error.args[0]!r}; expected arrays "
            f"{', '.join(names)}, such as BoundaryScores.curve."
        ) from None
    arrays = [np.asarray(each, "float64") for each in values]
    if len({each.shape for each in arrays}) > 1 or arrays[0].ndim != 1 or not len(arrays[0]):
        found = ", ".join(str(each.shape) for each in arrays)
        raise ValueError(
            f"A curve's arrays {', '.join(names)} have shapes {found}; expected one number each "
            "for every threshold."
        )
    return arrays


def _runs(log) -> dict:
    """What there is to draw, by name; a single run has none."""
    if isinstance(log, Mapping) and log and "loss" not in log:
        several = all(isinstance(each, (Mapping, str, Path)) for each in log.values())
        if several:
            return dict(log)
    return {"": log}


def _columns(keys) -> list[list[str]]:
    """What to draw, column by column: the whole, then each task's loss and metrics."""
    keys = dict.fromkeys(key.removeprefix("val_") for key in keys)
    tasks = [key.removesuffix("_loss") for key in keys if key.endswith("_loss")]
    # The longest name first: "depth_near_RMSE" is the task depth_near's, if there is one.
    owner = {
        key: next((t for t in sorted(tasks, key=len)[::-1] if key.startswith(f"{t}_")), None)
        for key in keys
    }
    keys = [key for key in keys if owner[key] is None or not is_of_balancing(key)]
    rest = [key for key in keys if owner[key] is None and key not in ("epoch", "loss")]
    return [
        ["loss", *rest],
        *([f"{t}_loss", *(k for k in keys if owner[k] == t and k != f"{t}_loss")] for t in tasks),
    ]


def _points(history: dict, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and values, where there are any."""
    values = history.get(key, np.zeros(0))
    epochs = history["epoch"]
    if len(values):  # validated every n-th epoch, fit keeps as many fewer
        every = len(epochs) // len(values)
        epochs = epochs[every - 1 :: every][: len(values)]
    else:
        epochs = epochs[:0]
    known = np.isfinite(values)
    return epochs[known], values[known]
