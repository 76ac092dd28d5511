"""Results beside each other and beside published figures, with Delta_m, as one table.

What hinders a comparison is not passed over: results of different datasets are refused, and other
differences are named below the table.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from keras_mtl.evaluation.published import metrics_of, published_rows
from keras_mtl.evaluation.result import Evaluation, check, dataset_of, headlines, listed
from keras_mtl.evaluation.single_task import SingleTask, delta_m
from keras_mtl.tables import markdown
from keras_mtl.tasks.datasets import DATASETS, Metric, PublishedRow

_DASH = "–"
_MINE, _SINGLE, _PUBLISHED = "evaluated", "single-task reference", "published"
# By how much the rounding of printed scores and of the printed Delta_m can set the two apart.
_ROUNDING = 0.03


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
        parts = [markdown(table)]
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
    evaluations = [asdict(one) if isinstance(one, Evaluation) else one for one in evaluations or ()]
    if not evaluations:
        raise ValueError("There is no result to compare; pass one at least.")
    for number, evaluation in enumerate(evaluations, 1):
        check(evaluation, f"Result {number}")
    labelled = [(one["name"], one) for one in evaluations]
    if single is not None:
        labelled += [(one["name"], one) for one in single.evaluations]
    names, everything = zip(*labelled, strict=True)
    dataset = dataset_of(everything, names)
    if single is not None and single.dataset != dataset:
        raise ValueError(
            f"{names[0]} is of the dataset {evaluations[0]['dataset'].get('name')!r} and the "
            f"single-task reference ({single.source}) of {single.dataset!r}; compare results of "
            "one dataset."
        )

    scores = [headlines(evaluation) for evaluation in evaluations]
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
        if not (single and row is single.row) and any(
            metrics_of(dataset)[t] in columns for t in row.scores
        ):
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
    """Each once, the tasks of known datasets first."""
    found = list(dict.fromkeys(metrics))
    known = [task for dataset in DATASETS.values() for task in dataset.metrics]
    tasks = list(dict.fromkeys([*known, *(metric.task for metric in found)]))
    return sorted(found, key=lambda metric: tasks.index(metric.task))


def _gain(scores: Mapping[Metric, float], single: SingleTask) -> tuple[float | None, str]:
    """Delta_m, or None and why."""
    own = {metric.task: metric for metric in scores}
    if missing := [task for task in single.scores if task not in own]:
        return None, f"it has no score of {listed(missing)}"
    if missing := [task for task in own if task not in single.scores]:
        return None, f"the single-task reference has no score of {listed(missing)}"
    if other := [task for task in own if own[task] != single.metrics[task]]:
        return None, f"the single-task reference is in another metric of {listed(other)}"
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
    metrics = metrics_of(row.dataset)
    scores = {metrics[task]: score for task, score in row.scores.items()}
    return Row(group, row.method, row.backbone, scores, row.delta_m, tuple(numbers))


def _recomputed(row: PublishedRow) -> float | None:
    """Delta_m from the printed scores, or None where the paper has no reference for it."""
    for single in published_rows(row.dataset, "single-task"):
        same = (single.source, single.backbone) == (row.source, row.backbone)
        multi = {**row.scores, **row.other_metric}
        if same and row.delta_m is not None and set(multi) == set(single.scores):
            metrics = metrics_of(row.dataset)
            directions = {task: metrics[task].higher_is_better for task in multi}
            return delta_m(multi, single.scores, directions)
    return None


def _differences(names: Sequence[str], evaluations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences on what was not done alike, or not on the same images."""
    notes = []
    scored = [{metric.task for metric in headlines(one)} for one in evaluations]
    tasks = dict.fromkeys(task for one in evaluations for task in one["tasks"])
    protocols = [one.get("protocol") or {} for one in evaluations]
    for topic in dict.fromkeys(topic for protocol in protocols for topic in protocol):
        said = {}
        for name, protocol, has in zip(names, protocols, scored, strict=True):
            if topic not in tasks or topic in has:
                said.setdefault(protocol.get(topic, "not said"), []).append(name)
        if len(said) > 1:
            told = "; ".join(f"{listed(who)}: {sentence}" for sentence, who in said.items())
            notes.append(f"The protocols differ in {topic} ({told}).")
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
            images = ", ".join(f"{name} {number}" for name, number in told)
            notes.append(f"The results cover different {what} ({images}).")
    return notes


def _published_notes(dataset, columns, names, evaluations) -> list[str]:
    if not published_rows(dataset):
        what = "generated rooms" if dataset == "rooms" else dataset or "a dataset without a name"
        return [f"There are no published figures for {what}."]
    notes = []
    for metric in columns:
        if metrics_of(dataset).get(metric.task) != metric:
            notes.append(f"There are no published figures of {_title(metric)}.")
        elif sentence := DATASETS[dataset].remarks.get(metric.task):
            notes.append(sentence)
    for name, evaluation in zip(names, evaluations, strict=True):
        images = evaluation["dataset"].get("images")
        expected = DATASETS[dataset].images
        if images != expected:
            count = "an unknown number" if images is None else images
            notes.append(f"Published figures are of {expected} images, {name} of {count}.")
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
    return _line(text).replace("*", "\\*")
