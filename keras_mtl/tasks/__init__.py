"""Everything about one thing to predict, said once: the kinds of task, and the papers' lists.

Models, losses, metrics, label checks, pictures and reports derive from a list of tasks,
so a new task is one class and nothing anywhere else.
"""

from keras_mtl.tasks.boundary import BoundaryDetection
from keras_mtl.tasks.classes import (
    CITYSCAPES_CLASSES,
    CITYSCAPES_COLOURS,
    NYUD_CLASSES,
    NYUD_COLOURS,
    PART_CLASSES,
    PASCAL_CLASSES,
)
from keras_mtl.tasks.datasets import (
    DATASETS,
    Dataset,
    PublishedRow,
    cityscapes_3d,
    nyud,
    pascal_context,
)
from keras_mtl.tasks.dense import MapEvaluator
from keras_mtl.tasks.depth import DepthEstimation
from keras_mtl.tasks.detection3d import Detection3D
from keras_mtl.tasks.disparity import DisparityEstimation
from keras_mtl.tasks.labels import ArraySpec
from keras_mtl.tasks.normals import SurfaceNormals
from keras_mtl.tasks.saliency import SaliencyDetection
from keras_mtl.tasks.segmentation import HumanParts, SemanticSegmentation
from keras_mtl.tasks.task import Task, check_tasks

__all__ = [
    "ArraySpec",
    "BoundaryDetection",
    "CITYSCAPES_CLASSES",
    "CITYSCAPES_COLOURS",
    "DATASETS",
    "Dataset",
    "DepthEstimation",
    "Detection3D",
    "DisparityEstimation",
    "HumanParts",
    "MapEvaluator",
    "NYUD_CLASSES",
    "NYUD_COLOURS",
    "PART_CLASSES",
    "PASCAL_CLASSES",
    "PublishedRow",
    "SaliencyDetection",
    "SemanticSegmentation",
    "SurfaceNormals",
    "Task",
    "check_tasks",
    "cityscapes_3d",
    "nyud",
    "pascal_context",
]
