"""The datasets that commands know, a table each; the papers' lists of tasks.

Figures in published rows are in the headline metric of their task. Figures that a paper prints in
a column of another metric are kept apart, and what does not add up in a table is said in the row's
note. Ablations are left out.
"""

from keras_mtl.tasks.datasets.cityscapes_3d import CITYSCAPES_3D
from keras_mtl.tasks.datasets.dataset import Dataset, Metric, PublishedRow
from keras_mtl.tasks.datasets.nyud_v2 import NYUD_V2
from keras_mtl.tasks.datasets.pascal_context import PASCAL_CONTEXT
from keras_mtl.tasks.task import Task

__all__ = [
    "DATASETS",
    "Dataset",
    "Metric",
    "PublishedRow",
    "cityscapes_3d",
    "nyud",
    "pascal_context",
]

DATASETS = {dataset.name: dataset for dataset in (NYUD_V2, PASCAL_CONTEXT, CITYSCAPES_3D)}


def nyud(*names: str) -> list[Task]:
    """The tasks of NYUD-v2 with the published loss weights.

    Args:
        *names: the ones wanted, all four if none is given.

    Raises:
        ValueError: if a name is not a task of NYUD-v2.

    Example:

    >>> [task.name for task in keras_mtl.tasks.nyud()]
    ['semseg', 'depth', 'normals', 'edge']
    """
    return NYUD_V2.tasks(*names)


def pascal_context(*names: str) -> list[Task]:
    """The tasks of PASCAL-Context with the published loss weights.

    Args:
        *names: the ones wanted, all five if none is given.

    Raises:
        ValueError: if a name is not a task of PASCAL-Context.

    Example:

    >>> [task.name for task in keras_mtl.tasks.pascal_context("sal", "edge")]
    ['sal', 'edge']
    """
    return PASCAL_CONTEXT.tasks(*names)


def cityscapes_3d(*names: str) -> list[Task]:
    """The tasks of Cityscapes-3D with the published loss weights.

    Args:
        *names: the ones wanted; semseg, depth in metres and detection3d if none is given. The
            published code trains on `"disparity"` instead of depth.

    Raises:
        ValueError: if a name is not a task of Cityscapes-3D.

    Example:

    >>> [task.name for task in keras_mtl.tasks.cityscapes_3d()]
    ['semseg', 'depth', 'detection3d']
    >>> published = keras_mtl.tasks.cityscapes_3d("semseg", "disparity", "detection3d")
    >>> [task.loss_weight for task in published]
    [100.0, 1.0, 1.0]
    """
    return CITYSCAPES_3D.tasks(*names)
