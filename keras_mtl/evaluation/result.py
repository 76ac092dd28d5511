"""The result of an evaluation: in files, as tables, and what it is a result of."""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from keras_mtl.arguments import check_path
from keras_mtl.files import write_text
from keras_mtl.tables import markdown
from keras_mtl.tasks.datasets import DATASETS, Metric

FORMAT = "keras_mtl evaluation 1"


@dataclass
class Evaluation:
    """The scores of a model on a dataset, and all that is needed to know what they are of.

    Args:
        name: what the rows of tables are called.
        dataset: `{"name", "split", "images"}`; the first two as `evaluate` was told.
        model: `{"class", "parameters", "config"}`.
        protocol: how the scores came about, in sentences by topic.
        tasks: by task name `{"headline", "unit", "higher_is_better", "images", "scores"}`: how
            many images had a label, and each metric's value, `None` if none had. Segmentation
            has `"classes"` too, the IoU of each in percent.
        boundary_curve: `{"thresholds", "precision", "recall", "F"}` of the first task that has
            one (each such task has its own under `"curve"`), or `None`.
        versions: of the packages, and the backend.
        faults: sentences, each on one example that was left out.

    Example:

    >>> scores = {"headline": "RMSE", "unit": "m", "higher_is_better": False, "images": 2}
    >>> tasks = {"depth": {**scores, "scores": {"RMSE": 0.51234}}}
    >>> result = keras_mtl.evaluation.Evaluation("mine", {"images": 2}, {}, {}, tasks)
    >>> result.headlines
    {'depth': 0.51234}
    >>> print(result.row())
    | model | depth RMSE [m] ↓ |
    | ----- | ---------------- |
    | mine  | 0.5123           |
    """

    name: str
    dataset: dict[str, Any]
    model: dict[str, Any]
    protocol: dict[str, str]
    tasks: dict[str, dict[str, Any]]
    boundary_curve: dict[str, list[float]] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def headlines(self) -> dict[str, float | None]:
        """The metric that papers report of each task."""
        return {name: task["scores"][task["headline"]] for name, task in self.tasks.items()}

    def row(self) -> str:
        """The papers' table row, as Markdown."""
        header, cells = ["model"], [self.name]
        for name, task in self.tasks.items():
            arrow = "↑" if task["higher_is_better"] else "↓"
            header.append(f"{name} {task['headline']} [{task['unit']}] {arrow}")
            cells.append(_shown(self.headlines[name], task["unit"]))
        return markdown([header, cells])

    def details(self) -> str:
        """All metrics, and how many images had a label, as Markdown."""
        rows = [["task", "metric", "value", "images"]]
        for name, task in self.tasks.items():
            for metric, value in task["scores"].items():
                unit = task["unit"] if metric == task["headline"] else ""
                rows.append([name, metric, _shown(value, unit), str(task["images"])])
        return markdown(rows)

    def __str__(self) -> str:
        where = " ".join(str(self.dataset[k]) for k in ("name", "split") if self.dataset.get(k))
        lines = [
            f"{self.name} on {where or 'a dataset'}, {self.dataset['images']} images",
            "",
            self.row(),
            "",
            self.details(),
            "",
            *(f"- {topic}: {sentence}" for topic, sentence in self.protocol.items()),
        ]
        if self.faults:
            lines += ["", f"Left out ({len(self.faults)}):"]
            lines += [f"- {fault}" for fault in self.faults]
        return "\n".join(lines)

    def save(self, path: str | Path) -> None:
        """Writes `.json` (all of it), `.csv` (a line for each metric) or `.md` (tables).

        Args:
            path: file; one already there stays whole until the new one is.

        Raises:
            ValueError: if the file ends otherwise.
        """
        path = Path(path)
        if path.suffix == ".json":
            text = json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"
        elif path.suffix == ".csv":
            text = self._csv()
        elif path.suffix == ".md":
            text = f"{self}\n"
        else:
            raise ValueError(f"{path} ends in {path.suffix!r}, expected .json, .csv or .md.")
        write_text(path, text)

    def _csv(self) -> str:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["name", "dataset", "split", "task", "images", "metric", "value"])
        dataset = self.dataset.get("name"), self.dataset.get("split")
        for name, task in self.tasks.items():
            for metric, value in task["scores"].items():
                writer.writerow([self.name, *dataset, name, task["images"], metric, value])
        return out.getvalue()

    @classmethod
    def load(cls, path: str | Path) -> "Evaluation":
        """Reads what `save` wrote as `.json`.

        Raises:
            ValueError: if the file is missing, broken or not one.
        """
        content = read_evaluation(path)
        content.pop("format")
        try:
            return cls(**content)
        except TypeError as error:
            raise ValueError(f"{path} is no whole evaluation ({error}).") from None


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if unit in ("%", "degrees") else f"{value:.4f}"


# === In files ===


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
    file = check_path("path", path)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path} is no JSON file or a damaged one ({reason}); pass one that Evaluation.save "
            "wrote."
        ) from None
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        said = f"says it is {found!r}" if found else "does not say what it is"
        raise ValueError(
            f"{path} {said}, expected {FORMAT!r}; pass a JSON file that Evaluation.save wrote."
        )
    check(content, str(path))
    return content


def check(evaluation: Mapping[str, Any], what: str) -> None:
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


def headlines(evaluation: Mapping[str, Any]) -> dict[Metric, float]:
    """The headline scores, without the tasks that no image was labelled for."""
    scores = {}
    for name, task in evaluation["tasks"].items():
        score = task["scores"][task["headline"]]
        if score is not None and math.isfinite(score):
            metric = Metric(name, task["headline"], task["unit"], task["higher_is_better"])
            scores[metric] = score
    return scores


def dataset_name(name: str | None) -> str:
    """The dataset that a name or path such as "prepared/nyud_v2/1.0.0" speaks of."""
    for part in reversed(re.split(r"[/\\:]", name or "")):
        part = part.lower().replace("-", "_")
        if part in DATASETS or part == "rooms":
            return part
    return name or ""


def dataset_of(evaluations: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> str:
    """The one dataset of all."""
    first = evaluations[0]["dataset"]
    for label, evaluation in zip(labels, evaluations, strict=True):
        dataset = evaluation["dataset"]
        if dataset_name(dataset.get("name")) != dataset_name(first.get("name")):
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
    return dataset_name(first.get("name"))


def listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
