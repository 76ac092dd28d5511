"""Cityscapes with boxes in space: three tasks, 500 validation images."""

from functools import partial

from keras_mtl.tasks.classes import CITYSCAPES_CLASSES, CITYSCAPES_COLOURS
from keras_mtl.tasks.datasets.dataset import TASKPROMPTER as _TP
from keras_mtl.tasks.datasets.dataset import Dataset, row
from keras_mtl.tasks.depth import DepthEstimation
from keras_mtl.tasks.detection3d import Detection3D
from keras_mtl.tasks.disparity import DisparityEstimation
from keras_mtl.tasks.segmentation import SemanticSegmentation
from keras_mtl.tasks.task import Task


def _tasks() -> list[Task]:
    return [
        SemanticSegmentation(
            channels=19, loss_weight=100.0, labels=CITYSCAPES_CLASSES, palette=CITYSCAPES_COLOURS
        ),
        DepthEstimation(),
        Detection3D(),
    ]


def _others() -> list[Task]:
    return [DisparityEstimation()]


_row = partial(row, "cityscapes_3d", ("semseg", "depth", "detection3d"))

CITYSCAPES_3D = Dataset(
    name="cityscapes_3d",
    title="Cityscapes-3D",
    make_tasks=_tasks,
    make_others=_others,
    archive="cityscapes",
    images=500,
    remarks={
        "semseg": "Published mIoU is measured at 512x1024, and classes that are absent count 0.",
        "depth": "The paper does not name the unit of its RMSE, and its code measures disparity; "
        "metres fit the figures.",
        "detection3d": "Published mDS matches the visible parts of boxes, the benchmark's server "
        "whole ones.",
    },
    rows=(
        # semseg, depth, detection3d
        _row(f"{_TP} 4", "TaskPrompter Baseline", "Swin-B", 76.90, 7.00, 29.69),
        _row(f"{_TP} 4", "TaskPrompter", "Swin-B", 77.72, 6.78, 32.94),
    ),
)
