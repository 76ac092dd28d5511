"""Delta_m: what training tasks together gains over a network for each task."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_mtl.evaluation.published import metrics_of, single_task_rows
from keras_mtl.evaluation.result import dataset_of, headlines, listed, read_evaluation
from keras_mtl.tasks.datasets import Metric, PublishedRow


def delta_m(
    multi: Mapping[str, float],
    single: Mapping[str, float],
    higher_is_better: Mapping[str, bool],
) -> float:
    """The multi-task gain: how much better, on average over tasks, than single-task networks.

    Delta_m = 100 / T * sum over tasks t of s_t (multi_t - single_t) / single_t, in percent, where
    s_t is -1 for metrics of which lower is better and 1 for the others (Maninis et al., Attentive
    Single-Tasking of Multiple Tasks, CVPR 2019).

    Args:
        multi: score by task of one multi-task network.
        single: score by task of single-task networks, the same tasks.
        higher_is_better: direction by task; it may hold more tasks.

    Returns:
        Percent, positive if the multi-task network is better.

    Raises:
        ValueError: if the tasks differ, or a score is no finite number, or a single-task one is 0.

    Example:

    >>> up = {"semseg": True, "depth": False}
    >>> delta_m({"semseg": 44.0, "depth": 0.75}, {"semseg": 40.0, "depth": 1.0}, up)  # 10% and 25%
    17.5
    """
    if not single or set(multi) != set(single):
        raise ValueError(
            f"Delta_m needs the same tasks of both sides, found {listed(multi)} of the multi-task "
            f"and {listed(single)} of the single-task side."
        )
    gains = []
    for task, reference in single.items():
        if task not in higher_is_better:
            raise ValueError(f"Delta_m needs to know whether higher is better for {task!r}.")
        if not math.isfinite(reference) or reference == 0:
            raise ValueError(
                f"The single-task score of {task!r} is {reference}, expected a finite number other "
                "than 0, which Delta_m divides by."
            )
        if not math.isfinite(multi[task]):
            raise ValueError(f"The score of {task!r} is {multi[task]}, expected a finite number.")
        gain = 100 * (multi[task] - reference) / reference
        gains.append(gain if higher_is_better[task] else -gain)
    return sum(gains) / len(gains)


@dataclass(frozen=True)
class SingleTask:
    """Scores of single-task networks, the reference of Delta_m.

    Args:
        scores: by task.
        metrics: by task, what the scores are in.
        dataset: that they were measured on, as `comparison` names it.
        source: where they are from, for the reader.
        evaluations: the results they were taken from.
        row: or the published row.
    """

    scores: Mapping[str, float]
    metrics: Mapping[str, Metric]
    dataset: str
    source: str
    evaluations: tuple[Mapping[str, Any], ...] = ()
    row: PublishedRow | None = None


def single_task_scores(paths: Sequence[str | Path]) -> SingleTask:
    """The reference of Delta_m from files: one with all tasks, or several that complete each other.

    Args:
        paths: JSON files of `Evaluation.save`.

    Returns:
        The reference.

    Raises:
        ValueError: if a file is missing or broken, two differ in dataset or split or score the
            same task differently, or no task has a score.

    Example:

    >>> import json
    >>> entry = {"headline": "RMSE", "unit": "m", "higher_is_better": False}
    >>> tasks = {"depth": {**entry, "images": 654, "scores": {"RMSE": 0.61}}}
    >>> dataset = {"name": "nyud_v2", "split": "val", "images": 654}
    >>> content = {"format": "keras_mtl evaluation 1", "name": "single", "dataset": dataset}
    >>> with open("depth.json", "w") as file:
    ...     json.dump({**content, "tasks": tasks}, file)
    >>> single_task_scores(["depth.json"]).scores
    {'depth': 0.61}
    """
    evaluations = [read_evaluation(path) for path in paths]
    if not evaluations:
        raise ValueError("There is no single-task result; pass one JSON file at least.")
    dataset = dataset_of(evaluations, [str(path) for path in paths])
    metrics, scores, origin = {}, {}, {}
    for path, evaluation in zip(paths, evaluations, strict=True):
        for metric, score in headlines(evaluation).items():
            task = metric.task
            if task in scores and (metric, score) != (metrics[task], scores[task]):
                raise ValueError(
                    f"{origin[task]} and {path} both score {task!r} and differ "
                    f"({metrics[task].headline} {scores[task]:g} and {metric.headline} "
                    f"{score:g}); leave one of them out."
                )
            metrics[task], scores[task], origin[task] = metric, score, path
    if not scores:
        raise ValueError(f"{listed(map(str, paths))}: no task has a score.")
    source = ", ".join(str(path) for path in paths)
    # Named by their files, since in tables they are one row.
    named = ({**one, "name": str(path)} for one, path in zip(evaluations, paths, strict=True))
    return SingleTask(scores, metrics, dataset, source, tuple(named))


def published_single_task(name: str) -> SingleTask:
    """The reference of Delta_m from a paper.

    Args:
        name: dataset and backbone, such as "nyud_v2/swin-s".

    Returns:
        The reference.

    Raises:
        ValueError: if there is none of this name; the message lists those there are.

    Example:

    >>> published_single_task("nyud_v2/swin-s").scores["depth"]
    0.5804
    """
    rows = single_task_rows()
    if name not in rows:
        raise ValueError(
            f"There is no published single-task row {name!r}; there are {listed(rows)}."
        )
    row = rows[name]
    metrics = {task: metrics_of(row.dataset)[task] for task in row.scores}
    return SingleTask(row.scores, metrics, row.dataset, f"{row.name}, {row.source}", row=row)
