"""The datasets of the two papers: their tasks, classes and colours."""

from keras_mtl.tasks.boundary import BoundaryDetection
from keras_mtl.tasks.classes import NYUD_CLASSES, PASCAL_CLASSES
from keras_mtl.tasks.depth import DepthEstimation
from keras_mtl.tasks.normals import SurfaceNormals
from keras_mtl.tasks.saliency import SaliencyDetection
from keras_mtl.tasks.segmentation import HumanParts, SemanticSegmentation
from keras_mtl.tasks.task import Task


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
    tasks = [
        SemanticSegmentation(channels=40, labels=NYUD_CLASSES),
        DepthEstimation(),
        SurfaceNormals(),
        BoundaryDetection(),
    ]
    return _chosen(tasks, names, "NYUD-v2")


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
    tasks = [
        SemanticSegmentation(channels=21, labels=PASCAL_CLASSES),
        HumanParts(),
        SaliencyDetection(),
        SurfaceNormals(),
        BoundaryDetection(),
    ]
    return _chosen(tasks, names, "PASCAL-Context")


def _chosen(tasks: list[Task], names: tuple[str, ...], dataset: str) -> list[Task]:
    known = {task.name: task for task in tasks}
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise ValueError(f"Unknown task {name!r}; {dataset} has {', '.join(known)}.")
    return [known[name] for name in names] if names else tasks
