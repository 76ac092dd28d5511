"""A dataset as one table: its tasks, what it is called, and what has been published on it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from keras_mtl.tasks.task import Task

TASKPROMPTER = "Ye and Xu, TaskPrompter, ICLR 2023, Table"
TPANET = "Task Prior Attention Network (TPANet), Table"
SINGLE: Final = "single-task"
MATCHING = (
    "Published odsF comes from a matching that is random in part and reads 0.02 to 0.03 points "
    "lower than the exact one here"
)


class Metric(NamedTuple):
    """What a column of a table holds.

    Args:
        task: name of the task.
        headline: name of the metric.
        unit: of its values.
        higher_is_better: its direction.
    """

    task: str
    headline: str
    unit: str
    higher_is_better: bool


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table.

    Args:
        method: as the paper calls it.
        backbone: of the network, "" where the paper's table does not say.
        dataset: name of the dataset, such as "nyud_v2".
        kind: "single-task" (a network of its own for each task) or "multi-task".
        scores: by task, in the headline metrics of the dataset's tasks.
        source: paper and table.
        delta_m: the multi-task gain in percent that the table prints, or `None`.
        note: a sentence on what does not add up, or "".
        other_metric: by task, figures printed in the task's column that are not in its metric.

    Example:

    >>> row = keras_mtl.tasks.DATASETS["nyud_v2"].rows[0]
    >>> row.method, row.scores["depth"], row.source
    ('Cross-Stitch', 0.629, 'Ye and Xu, TaskPrompter, ICLR 2023, Table 3')
    """

    method: str
    backbone: str
    dataset: str
    kind: Literal["single-task", "multi-task"]
    scores: Mapping[str, float]
    source: str
    delta_m: float | None = None
    note: str = ""
    other_metric: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Dataset and backbone, by which the single-task rows are told apart."""
        return f"{self.dataset}/{self.backbone.lower()}"


@dataclass(frozen=True)
class Dataset:
    """One dataset. Put into `keras_mtl.tasks.DATASETS` by its name, commands know it.

    Args:
        name: as its folder and its results are called, such as "nyud_v2".
        title: for people, such as "NYUD-v2".
        make_tasks: a function that makes its tasks, with class names, colours and loss weights.
        archive: the public archive's own name for its folder, or "".
        images: on how many images the published figures are measured; 0 if there are none.
        remarks: by task, a sentence on what the published procedure does differently.
        rows: what has been published.
        make_others: a function that makes tasks of the dataset that are had by their names only.

    Example:

    >>> def tasks():
    ...     return [keras_mtl.tasks.DepthEstimation(), keras_mtl.tasks.SaliencyDetection("cars")]
    >>> streets = keras_mtl.tasks.Dataset("streets", "Streets", tasks)
    >>> [task.name for task in streets.tasks("cars")]
    ['cars']
    """

    name: str
    title: str
    make_tasks: Callable[[], list[Task]]
    archive: str = ""
    images: int = 0
    remarks: Mapping[str, str] = field(default_factory=dict)
    rows: tuple[PublishedRow, ...] = ()
    make_others: Callable[[], list[Task]] = list

    def tasks(self, *names: str) -> list[Task]:
        """New tasks of the dataset.

        Args:
            *names: the ones wanted, all if none is given.

        Raises:
            ValueError: if a name is not a task of the dataset.
        """
        tasks = self.make_tasks()
        known = {task.name: task for task in (*tasks, *self.make_others())}
        for name in names:
            if not isinstance(name, str) or name not in known:
                raise ValueError(f"Unknown task {name!r}; {self.title} has {', '.join(known)}.")
        return [known[name] for name in names] if names else tasks

    @property
    def metrics(self) -> dict[str, Metric]:
        """The headline metric of each task."""
        return {
            task.name: Metric(task.name, task.headline, task.unit, task.higher_is_better)
            for task in self.make_tasks()
        }


def row(
    dataset: str,
    tasks: tuple[str, ...],
    source: str,
    method: str,
    backbone: str,
    *figures: float | None,
    kind: Literal["single-task", "multi-task"] = "multi-task",
    note: str = "",
    other_metric: Mapping[str, float] | None = None,
) -> PublishedRow:
    """A row as a paper prints it: a figure for each task, and Delta_m where the table has it."""
    printed = dict(zip(tasks, figures, strict=False))
    scores = {task: value for task, value in printed.items() if value is not None}
    delta_m = figures[len(tasks)] if len(figures) > len(tasks) else None
    other = other_metric or {}
    return PublishedRow(method, backbone, dataset, kind, scores, source, delta_m, note, other)
