"""Results in files, read without what it takes to evaluate, and what they are results of."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_mtl.evaluation.published import TASKS, Metric

FORMAT = "keras_mtl evaluation 1"


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
        if part in TASKS or part == "rooms":
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
