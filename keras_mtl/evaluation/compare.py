"""Results beside each other and beside the papers' figures, with Delta_m.

    python -m keras_mtl.evaluation.compare mine.json other.json --single semseg.json depth.json

Results are what `Evaluation.save` wrote as JSON. What hinders a comparison is not passed over:
results of different datasets are refused, and other differences are named below the table.
"""

import argparse
import csv
import io
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from keras_mtl.evaluation.published import (
    IMAGES,
    METRICS,
    PROTOCOLS,
    ROWS,
    TASKS,
    Metric,
    PublishedRow,
    published_rows,
)

_FORMAT = "keras_mtl evaluation 1"  # evaluation.py's, which would bring all that evaluates
_DASH = "–"
_MINE, _SINGLE, _PUBLISHED = "evaluated", "single-task reference", "published"
# By how much the rounding of printed scores and of the printed Delta_m can set the two apart.
_ROUNDING = 0.03


# === Delta_m ===


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
            f"Delta_m needs the same tasks of both sides, found {_listed(multi)} of the multi-task "
            f"and {_listed(single)} of the single-task side."
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


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


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
    dataset = _dataset_of(evaluations, [str(path) for path in paths])
    metrics, scores, origin = {}, {}, {}
    for path, evaluation in zip(paths, evaluations, strict=True):
        for metric, score in _headlines(evaluation).items():
            task = metric.task
            if task in scores and (metric, score) != (metrics[task], scores[task]):
                raise ValueError(
                    f"{origin[task]} and {path} both score {task!r} and differ "
                    f"({metrics[task].headline} {scores[task]:g} and {metric.headline} "
                    f"{score:g}); leave one of them out."
                )
            metrics[task], scores[task], origin[task] = metric, score, path
    if not scores:
        raise ValueError(f"{_listed(map(str, paths))}: no task has a score.")
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
    rows = {row.name: row for row in ROWS if row.kind == "single-task"}
    if name not in rows:
        raise ValueError(
            f"There is no published single-task row {name!r}; there are {_listed(rows)}."
        )
    row = rows[name]
    metrics = {task: METRICS[task] for task in row.scores}
    return SingleTask(row.scores, metrics, row.dataset, f"{row.name}, {row.source}", row=row)


# === Results ===


def read_evaluation(path: str | Path) -> dict[str, Any]:
    """Reads a result, without loading what it took to evaluate.

    Args:
        path: JSON file of `Evaluation.save`.

    Returns:
        Its content.

    Raises:
        ValueError: if the file is missing, broken or no result.

    Example:

    >>> read_evaluation("missing.json")
    Traceback (most recent call last):
    ValueError: missing.json cannot be read (No such file or directory).
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path} is no JSON file or a damaged one ({reason}); pass one that Evaluation.save "
            "wrote."
        ) from None
    found = content.get("format") if isinstance(content, dict) else None
    if found != _FORMAT:
        said = f"says it is {found!r}" if found else "does not say what it is"
        raise ValueError(
            f"{path} {said}, expected {_FORMAT!r}; pass a JSON file that Evaluation.save wrote."
        )
    _check(content, str(path))
    return content


def _check(evaluation: Mapping[str, Any], what: str) -> None:
    try:
        dataset, tasks = evaluation["dataset"], evaluation["tasks"]
        protocol, faults = evaluation.get("protocol") or {}, evaluation.get("faults") or []
        texts = [evaluation["name"], *protocol.values()]
        texts += [dataset.get(key) or "" for key in ("name", "split")]
        numbers = [dataset.get("images")]
        for task in tasks.values():
            texts += [task["headline"], task["unit"]]
            numbers += [task["scores"][task["headline"]], task.get("images")]
        whole = (
            len(tasks) > 0
            and isinstance(faults, list | tuple)
            and all(isinstance(text, str) for text in texts)
            and all(_is_number(number) for number in numbers if number is not None)
            and all(type(task["higher_is_better"]) is bool for task in tasks.values())
        )
    except KeyError as error:
        raise ValueError(f"{what} is no whole evaluation: it lacks {error}.") from None
    except (AttributeError, TypeError):
        whole = False
    if not whole:
        raise ValueError(
            f"{what} is no whole evaluation: an entry is empty or of another kind than "
            "Evaluation.save writes."
        )


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) < 2**53  # JSON has integers of any length


def _headlines(evaluation: Mapping[str, Any]) -> dict[Metric, float]:
    """The headline scores, without the tasks that no image was labelled for."""
    scores = {}
    for name, task in evaluation["tasks"].items():
        score = task["scores"][task["headline"]]
        if score is not None and math.isfinite(score):
            metric = Metric(name, task["headline"], task["unit"], task["higher_is_better"])
            scores[metric] = score
    return scores


def _dataset_name(name: str | None) -> str:
    """The dataset that a name or path such as "prepared/nyud_v2/1.0.0" speaks of."""
    for part in reversed(re.split(r"[/\\:]", name or "")):
        part = part.lower().replace("-", "_")
        if part in TASKS or part == "rooms":
            return part
    return name or ""


def _dataset_of(evaluations: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> str:
    """The one dataset of all."""
    first = evaluations[0]["dataset"]
    for label, evaluation in zip(labels, evaluations, strict=True):
        dataset = evaluation["dataset"]
        if _dataset_name(dataset.get("name")) != _dataset_name(first.get("name")):
            raise ValueError(
                f"{labels[0]} is of the dataset {first.get('name')!r} and {label} of "
                f"{dataset.get('name')!r}; compare results of one dataset."
            )
    split, named = None, ""
    for label, evaluation in zip(labels, evaluations, strict=True):
        other = evaluation["dataset"].get("split")
        if split is not None and other is not None and other != split:
            raise ValueError(
                f"{named} is of the split {split!r} and {label} of {other!r}; compare results of "
                "one split."
            )
        if other is not None:
            split, named = other, label
    return _dataset_name(first.get("name"))


# === The table ===


@dataclass(frozen=True)
class Row:
    """One row of a comparison.

    Args:
        group: "evaluated", "single-task reference" or "published".
        name: of the result, or the method.
        backbone: of a published row, else "".
        scores: by metric.
        delta_m: percent, or `None`.
        remarks: positions in the comparison's `remarks`.
    """

    group: str
    name: str
    backbone: str
    scores: Mapping[Metric, float]
    delta_m: float | None
    remarks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A table of results.

    Args:
        dataset: of all rows.
        columns: what is compared.
        rows: the evaluated ones, the reference, the published ones.
        remarks: sources and remarks that rows refer to.
        notes: sentences on the table as a whole.
        with_delta_m: whether there is a column of Delta_m.
    """

    dataset: str
    columns: tuple[Metric, ...]
    rows: tuple[Row, ...]
    remarks: tuple[str, ...]
    notes: tuple[str, ...]
    with_delta_m: bool

    def markdown(self) -> str:
        """The table as Markdown, the best of each column in bold, remarks and notes below."""
        header = ["model"]
        for m in self.columns:
            header.append(_cell(f"{_title(m)} {'↑' if m.higher_is_better else '↓'}"))
        columns = [_scores_shown(self.rows, metric) for metric in self.columns]
        if self.with_delta_m:
            header.append("Δm [%] ↑")
            columns.append(_gains_shown(self.rows))
        table = [header]
        for i, row in enumerate(self.rows):
            if i == 0 or row.group != self.rows[i - 1].group:
                table.append([f"*{row.group}*", *([""] * len(columns))])
            name = ", ".join(_cell(part) for part in (row.name, row.backbone) if part)
            numbers = ", ".join(str(remark + 1) for remark in row.remarks)
            table.append([f"{name} [{numbers}]" if numbers else name, *(c[i] for c in columns)])
        parts = [_aligned(table)]
        if self.notes:
            parts.append("\n".join(f"- {_line(note)}" for note in self.notes))
        # Backslashes: a line of Markdown that begins with [1] may be taken for a link.
        parts += [f"\\[{i}\\] {remark}" for i, remark in enumerate(self.remarks, 1)]
        return "\n\n".join(parts)

    def csv(self) -> str:
        """The table as CSV: scores in full, and each row's remarks in its last column."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        gain = ["Delta_m [%]"] if self.with_delta_m else []
        titles = [_title(metric) for metric in self.columns]
        writer.writerow(["group", "model", "backbone", *titles, *gain, "remarks"])
        for row in self.rows:
            cells = [row.scores.get(metric, "") for metric in self.columns]
            if self.with_delta_m:
                cells.append("" if row.delta_m is None else row.delta_m)
            said = " ".join(self.remarks[i] for i in row.remarks)
            writer.writerow([row.group, row.name, row.backbone, *cells, said])
        return out.getvalue()

    def __str__(self) -> str:
        return self.markdown()


def comparison(
    evaluations: Sequence[Any], single: SingleTask | None = None, published: bool = True
) -> Comparison:
    """Puts results beside each other and beside the papers' figures for the same dataset.

    Delta_m of a result is its gain over `single`, that of a published row what its paper prints,
    with a remark where that does not follow from the printed scores.

    Args:
        evaluations: `Evaluation`s, or the dicts that `read_evaluation` returns.
        single: reference of Delta_m; without it there is no such column.
        published: whether to show the papers' rows.

    Returns:
        The table.

    Raises:
        ValueError: if there is no result, one is not whole, or datasets or splits differ.

    Example:

    >>> entry = {"headline": "RMSE", "unit": "m", "higher_is_better": False}
    >>> tasks = {"depth": {**entry, "images": 654, "scores": {"RMSE": 0.5514}}}
    >>> dataset = {"name": "nyud_v2", "split": "val", "images": 654}
    >>> mine = {"name": "mine", "dataset": dataset, "tasks": tasks}
    >>> print(comparison([mine], published=False))
    | model       | depth RMSE [m] ↓ |
    | ----------- | ---------------- |
    | *evaluated* |                  |
    | mine        | 0.5514           |
    """
    evaluations = [asdict(one) if is_dataclass(one) else one for one in evaluations]
    if not evaluations:
        raise ValueError("There is no result to compare; pass one at least.")
    for number, evaluation in enumerate(evaluations, 1):
        _check(evaluation, f"Result {number}")
    labelled = [(one["name"], one) for one in evaluations]
    if single is not None:
        labelled += [(one["name"], one) for one in single.evaluations]
    names, everything = zip(*labelled, strict=True)
    dataset = _dataset_of(everything, names)
    if single is not None and single.dataset != dataset:
        raise ValueError(
            f"{names[0]} is of the dataset {evaluations[0]['dataset'].get('name')!r} and the "
            f"single-task reference ({single.source}) of {single.dataset!r}; compare results of "
            "one dataset."
        )

    scores = [_headlines(evaluation) for evaluation in evaluations]
    columns = _in_order(metric for one in scores for metric in one)
    notes, remarks, rows = [], {}, []
    for evaluation, own in zip(evaluations, scores, strict=True):
        gain, reason = (None, "") if single is None else _gain(own, single)
        if reason:
            notes.append(f"Δm of {evaluation['name']} is left out: {reason}.")
        rows.append(Row(_MINE, evaluation["name"], "", own, gain))
    if single is not None:
        own = {single.metrics[task]: score for task, score in single.scores.items()}
        if single.row is None:
            rows.append(Row(_SINGLE, "single-task networks", "", own, 0.0))
        else:
            rows.append(_published_row(single.row, _SINGLE, remarks, True))
    shown = published_rows(dataset) if published else []
    for row in shown:
        if not (single and row is single.row) and any(METRICS[t] in columns for t in row.scores):
            rows.append(_published_row(row, _PUBLISHED, remarks, single is not None))

    if single is not None:
        notes.append(f"Δm of the evaluated rows is against single-task networks ({single.source}).")
        if any(row.group == _PUBLISHED and row.delta_m is not None for row in rows):
            notes.append(
                "Δm of published rows is as printed, each against its own paper's single-task "
                "networks with the same backbone; it is not comparable with the evaluated rows'."
            )
    notes += _differences(names, everything)
    if published:
        notes += _published_notes(dataset, columns, names, everything)
    for name, evaluation in zip(names, everything, strict=True):
        if faults := evaluation.get("faults"):
            notes.append(f"{name} leaves out {len(faults)} broken examples.")
    return Comparison(
        dataset, tuple(columns), tuple(rows), tuple(remarks), tuple(notes), single is not None
    )


def _in_order(metrics: Iterable[Metric]) -> list[Metric]:
    """Each once, the papers' tasks first."""
    found, known = list(dict.fromkeys(metrics)), list(METRICS)
    tasks = known + [metric.task for metric in found if metric.task not in METRICS]
    return sorted(found, key=lambda metric: tasks.index(metric.task))


def _gain(scores: Mapping[Metric, float], single: SingleTask) -> tuple[float | None, str]:
    """Delta_m, or None and why."""
    own = {metric.task: metric for metric in scores}
    if missing := [task for task in single.scores if task not in own]:
        return None, f"it has no score of {_listed(missing)}"
    if missing := [task for task in own if task not in single.scores]:
        return None, f"the single-task reference has no score of {_listed(missing)}"
    if other := [task for task in own if own[task] != single.metrics[task]]:
        return None, f"the single-task reference is in another metric of {_listed(other)}"
    multi = {metric.task: score for metric, score in scores.items()}
    directions = {task: metric.higher_is_better for task, metric in own.items()}
    return delta_m(multi, single.scores, directions), ""


def _published_row(row: PublishedRow, group: str, remarks: dict, with_delta_m: bool) -> Row:
    said = [f"{row.source}."]
    if row.note:
        said.append(row.note)
    follows = _recomputed(row)
    if with_delta_m and follows is not None and abs(follows - row.delta_m) > _ROUNDING:
        said.append(
            f"{row.method}, {row.backbone}: the table prints Δm {row.delta_m:.2f}; from the scores "
            f"that it prints follows {follows:.2f}."
        )
    numbers = sorted(remarks.setdefault(sentence, len(remarks)) for sentence in said)
    scores = {METRICS[task]: score for task, score in row.scores.items()}
    return Row(group, row.method, row.backbone, scores, row.delta_m, tuple(numbers))


def _recomputed(row: PublishedRow) -> float | None:
    """Delta_m from the printed scores, or None where the paper has no reference for it."""
    for single in published_rows(row.dataset, "single-task"):
        same = (single.source, single.backbone) == (row.source, row.backbone)
        multi = {**row.scores, **row.other_metric}
        if same and row.delta_m is not None and set(multi) == set(single.scores):
            directions = {task: METRICS[task].higher_is_better for task in multi}
            return delta_m(multi, single.scores, directions)
    return None


def _differences(names: Sequence[str], evaluations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences on what was not done alike, or not on the same images."""
    notes = []
    scored = [{metric.task for metric in _headlines(one)} for one in evaluations]
    tasks = dict.fromkeys(task for one in evaluations for task in one["tasks"])
    protocols = [one.get("protocol") or {} for one in evaluations]
    for topic in dict.fromkeys(topic for protocol in protocols for topic in protocol):
        said = {}
        for name, protocol, has in zip(names, protocols, scored, strict=True):
            if topic not in tasks or topic in has:
                said.setdefault(protocol.get(topic, "not said"), []).append(name)
        if len(said) > 1:
            listed = "; ".join(f"{_listed(who)}: {sentence}" for sentence, who in said.items())
            notes.append(f"The protocols differ in {topic} ({listed}).")
    counts = {"images": [one["dataset"].get("images") for one in evaluations]}
    if len(set(counts["images"])) == 1:
        counts = {
            f"images labelled for {task}": [
                one["tasks"][task].get("images") if task in has else None
                for one, has in zip(evaluations, scored, strict=True)
            ]
            for task in tasks
        }
    for what, numbers in counts.items():
        pairs = zip(names, numbers, strict=True)
        told = [(name, number) for name, number in pairs if number is not None]
        if len({number for _, number in told}) > 1:
            listed = ", ".join(f"{name} {number}" for name, number in told)
            notes.append(f"The results cover different {what} ({listed}).")
    return notes


def _published_notes(dataset, columns, names, evaluations) -> list[str]:
    if dataset not in TASKS:
        what = "generated rooms" if dataset == "rooms" else dataset or "a dataset without a name"
        return [f"There are no published figures for {what}."]
    notes = []
    for metric in columns:
        if METRICS.get(metric.task) != metric:
            notes.append(f"There are no published figures of {_title(metric)}.")
        elif sentence := PROTOCOLS[dataset].get(metric.task):
            notes.append(sentence)
    for name, evaluation in zip(names, evaluations, strict=True):
        images = evaluation["dataset"].get("images")
        if images != IMAGES[dataset]:
            count = "an unknown number" if images is None else images
            notes.append(f"Published figures are of {IMAGES[dataset]} images, {name} of {count}.")
    return notes


def _title(metric: Metric) -> str:
    return f"{metric.task} {metric.headline} [{metric.unit}]"


def _scores_shown(rows: Sequence[Row], metric: Metric) -> list[str]:
    digits = 2 if metric.unit in ("%", "degrees") else 4
    values = [row.scores.get(metric) for row in rows]
    # Rounded first: of what reads the same, both are best.
    values = [None if value is None else round(value, digits) for value in values]
    found = [value for value in values if value is not None]
    best = (max if metric.higher_is_better else min)(found) if len(found) > 1 else None
    return [
        _DASH if value is None else _bold(f"{value:.{digits}f}", value == best) for value in values
    ]


def _gains_shown(rows: Sequence[Row]) -> list[str]:
    # Gains over other references are not comparable.
    gains = [round(r.delta_m, 2) for r in rows if r.group == _MINE and r.delta_m is not None]
    shown = []
    for row in rows:
        if row.delta_m is None:
            shown.append(_DASH)
            continue
        gain = round(row.delta_m, 2) or 0.0  # no -0.00
        best = row.group == _MINE and len(gains) > 1 and gain == max(gains)
        shown.append(_bold(f"{gain:+.2f}" if gain else "0.00", best))
    return shown


def _bold(text: str, really: bool) -> str:
    return f"**{text}**" if really else text


def _line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|").replace("*", "\\*")


def _aligned(table: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    table = [table[0], ["-" * width for width in widths], *table[1:]]
    lines = (
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in table
    )
    return "\n".join(f"| {line} |" for line in lines)


# === The command ===


def _list_published() -> str:
    lines = []
    for row in ROWS:
        if row.kind == "single-task":
            scores = _listed(f"{task} {score:g}" for task, score in row.scores.items())
            lines.append(f"{row.name:24} {scores} ({row.source})")
            if row.note:
                lines.append(f"{'':24} {row.note}")
    return "\n".join(lines)


def _write(path: Path, text: str, inputs: Iterable[str]) -> None:
    if path.resolve() in {Path(one).resolve() for one in inputs}:
        raise ValueError(f"{path} is one of the results; write the table to another file.")
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(text, encoding="utf-8", newline="")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}).") from None


def main(arguments: list[str] | None = None) -> int:
    """The command; its arguments are `sys.argv[1:]` unless given. Returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_mtl.evaluation.compare",
        description="Puts results beside each other and beside the figures that the papers print "
        "for the same dataset, as one table.",
        epilog="example, with Delta_m against one single-task network for each task:\n"
        "  python -m keras_mtl.evaluation.compare runs/mine/evaluation.json \\\n"
        "      --single runs/semseg/evaluation.json runs/depth/evaluation.json\n\n"
        "Exit status: 0, or 2 if a file is broken or results cannot be compared.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "results", metavar="RESULT.json", nargs="*", help="what Evaluation.save wrote"
    )
    reference = parser.add_mutually_exclusive_group()
    reference.add_argument(
        "--single",
        metavar="JSON",
        nargs="+",
        help="Delta_m against these single-task results (after the results; one with all tasks "
        "or one for each)",
    )
    reference.add_argument(
        "--single-published",
        metavar="NAME",
        help="Delta_m against a paper's single-task networks (names: --list-published)",
    )
    parser.add_argument("--no-published", action="store_true", help="leave the papers' rows out")
    parser.add_argument("--format", choices=("markdown", "csv"), default="markdown")
    parser.add_argument("--output", metavar="FILE", help="write the table there (default: print)")
    parser.add_argument(
        "--list-published",
        action="store_true",
        help="list what --single-published takes, and exit",
    )
    given = parser.parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):  # a terminal without arrows is no reason to fail
        sys.stdout.reconfigure(errors="replace")
    if given.list_published:
        print(_list_published())
        return 0
    if not given.results:
        parser.error("There is no result to compare; name one JSON file at least, before --single.")
    try:
        evaluations = [read_evaluation(path) for path in given.results]
        names = [evaluation["name"] for evaluation in evaluations]
        for path, evaluation in zip(given.results, evaluations, strict=True):
            if names.count(evaluation["name"]) > 1:
                evaluation["name"] += f" ({path})"
        single = None
        if given.single:
            single = single_task_scores(given.single)
        elif given.single_published:
            single = published_single_task(given.single_published)
        table = comparison(evaluations, single, not given.no_published)
        text = table.csv() if given.format == "csv" else f"{table.markdown()}\n"
        if given.output:
            _write(Path(given.output), text, given.results + (given.single or []))
        else:
            sys.stdout.write(text)
    except ValueError as error:
        parser.error(str(error))
    if given.format == "csv":
        for note in table.notes:
            print(note, file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
