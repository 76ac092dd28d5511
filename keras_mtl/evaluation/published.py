"""What has been published on a dataset (`keras_mtl.tasks.DATASETS`), for those who compare."""

from typing import Literal

from keras_mtl.tasks.datasets import DATASETS, Metric, PublishedRow


def published_rows(
    dataset: str, kind: Literal["single-task", "multi-task"] | None = None
) -> list[PublishedRow]:
    """The rows of one dataset.

    Args:
        dataset: name of a dataset, such as "nyud_v2" or "pascal_context"; any other has none.
        kind: "single-task" or "multi-task"; default: both.

    Returns:
        They, in the papers' order.

    Example:

    >>> [row.backbone for row in published_rows("nyud_v2", "single-task")]
    ['HRNet-18', 'Swin-T', 'Swin-S']
    """
    rows = DATASETS[dataset].rows if dataset in DATASETS else ()
    return [row for row in rows if kind in (None, row.kind)]


def single_task_rows() -> dict[str, PublishedRow]:
    """The single-task rows of all datasets by name, such as "nyud_v2/swin-s"."""
    return {row.name: row for dataset in DATASETS for row in published_rows(dataset, "single-task")}


def metrics_of(dataset: str) -> dict[str, Metric]:
    """By task, the metric that a dataset's rows are in; of an unknown dataset none.

    Args:
        dataset: its name.
    """
    return DATASETS[dataset].metrics if dataset in DATASETS else {}
