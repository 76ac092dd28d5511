"""Results beside each other and beside the papers' figures, with Delta_m.

    python -m keras_mtl.evaluation.compare mine.json other.json --single semseg.json depth.json

Results are what `Evaluation.save` wrote as JSON. What hinders a comparison is not passed over:
results of different datasets are refused, and other differences are named below the table.
"""

import argparse
import csv
import io
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
from keras_mtl.evaluation.results import (
    check,
    dataset_of,
    headlines,
    listed,
    read_evaluation,
)
from keras_mtl.evaluation.single_task import (
    SingleTask,
    delta_m,
    published_single_task,
    single_task_scores,
)
from keras_mtl.files import write_text
from keras_mtl.tables import markdown

_DASH = "–"
_MINE, _SINGLE, _PUBLISHED = "evaluated", "single-task reference", "published"
# By how much the rounding of printed scores and of the printed Delta_m can set the two apart.
_ROUNDING = 0.03


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
    evaluations = [asdict(one) if is_dataclass(one) else one for one in evaluations]
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
    return _line(text).replace("*", "\\*")


# === The command ===


def _list_published() -> str:
    lines = []
    for row in ROWS:
        if row.kind == "single-task":
            scores = listed(f"{task} {score:g}" for task, score in row.scores.items())
            lines.append(f"{row.name:24} {scores} ({row.source})")
            if row.note:
                lines.append(f"{'':24} {row.note}")
    return "\n".join(lines)


def _write(path: Path, text: str, inputs: Iterable[str]) -> None:
    if path.resolve() in {Path(one).resolve() for one in inputs}:
        raise ValueError(f"{path} is one of the results; write the table to another file.")
    try:
        write_text(path, text)
    except OSError as error:
        raise ValueError(str(error)) from None


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
