"""PASCAL-Context: five tasks, 5,105 test images."""

from functools import partial

from keras_mtl.tasks.boundary import BoundaryDetection
from keras_mtl.tasks.classes import PASCAL_CLASSES
from keras_mtl.tasks.datasets.dataset import MATCHING, SINGLE, Dataset, row
from keras_mtl.tasks.datasets.dataset import TASKPROMPTER as _TP
from keras_mtl.tasks.datasets.dataset import TPANET as _TPA
from keras_mtl.tasks.normals import SurfaceNormals
from keras_mtl.tasks.saliency import SaliencyDetection
from keras_mtl.tasks.segmentation import HumanParts, SemanticSegmentation
from keras_mtl.tasks.task import Task


def _tasks() -> list[Task]:
    return [
        SemanticSegmentation(channels=21, labels=PASCAL_CLASSES),
        HumanParts(),
        SaliencyDetection(),
        SurfaceNormals(),
        BoundaryDetection(),
    ]


_row = partial(row, "pascal_context", ("semseg", "human_parts", "sal", "normals", "edge"))
_NOT_MAXF = (
    "The table prints {} as its saliency maxF; it is {} mIoU, some 20 points below the maxF of "
    "like networks, and left out."
)
_UNCERTAIN = "Which Swin Transformer MTFormer has, and so what its Delta_m refers to, is left open"

_ROWS = (
    # semseg, human_parts, sal, normals, edge, Delta_m
    _row(f"{_TP} 3", "ASTMT", "", 68.00, 61.10, None, 14.70, 72.40,
            note=_NOT_MAXF.format("65.70", "its authors'"), other_metric={"sal": 65.70}),
    _row(f"{_TP} 3", "PAD-Net", "", 53.60, 59.60, None, 15.30, 72.50,
            note=_NOT_MAXF.format("65.80", "presumably"), other_metric={"sal": 65.80}),
    _row(f"{_TP} 3", "MTI-Net", "", 61.70, 60.18, 84.78, 14.23, 70.80),
    _row(f"{_TP} 3", "ATRC", "", 62.69, 59.42, 84.70, 14.20, 70.96),
    _row(f"{_TP} 3", "ATRC-ASPP", "", 63.60, 60.23, 83.91, 14.30, 70.86),
    _row(f"{_TP} 3", "ATRC-BMTAS", "", 67.67, 62.93, 82.29, 14.24, 72.42,
            note="ATRC-BMTAS is called ATRC in Table 5 of the same paper."),
    _row(f"{_TP} 5", "PAD-Net", "ViT-L", 78.01, 67.12, 79.21, 14.37, 72.60),
    _row(f"{_TP} 5", "MTI-Net", "ViT-L", 78.31, 67.40, 84.75, 14.67, 73.00),
    _row(f"{_TP} 5", "ATRC", "ViT-L", 77.11, 66.84, 81.20, 14.23, 72.10),
    _row(f"{_TP} 3", "InvPT", "ViT-L", 79.03, 67.61, 84.81, 14.15, 73.00),
    _row(f"{_TP} 1", "single-task models", "ViT-B", 78.42, 68.36, 85.34, 13.87, 73.90,
            kind=SINGLE),
    _row(f"{_TP} 1", "TaskPrompter Baseline", "ViT-B", 75.04, 64.82, 84.59, 14.17, 68.00, -4.11),
    _row(f"{_TP} 6", "TaskPrompter", "ViT-S", 76.57, 63.22, 84.54, 13.93, 70.60),
    _row(f"{_TP} 1", "TaskPrompter", "ViT-B", 79.00, 67.00, 85.05, 13.47, 73.50, 0.15),
    _row(f"{_TP} 3", "TaskPrompter", "ViT-L", 80.89, 68.89, 84.83, 13.72, 73.50),
    _row(f"{_TPA} 2", "single-task baseline", "HRNet-18", 62.23, 61.66, 85.08, 13.69, 73.06,
            0.00, kind=SINGLE),
    _row(f"{_TPA} 2", "multi-task baseline", "HRNet-18", 51.48, 57.23, 83.43, 14.10, 69.76,
            -6.77),
    _row(f"{_TPA} 2", "PAD-Net", "HRNet-18", 53.60, 59.60, None, 15.30, 72.50, -4.41,
            note=_NOT_MAXF.format("65.80", "presumably"), other_metric={"sal": 65.80}),
    _row(f"{_TPA} 2", "ATRC", "HRNet-18", 57.89, 57.33, 83.77, 13.99, 69.74, -4.45),
    _row(f"{_TPA} 2", "MQTransformer", "HRNet-18", 58.91, 57.43, 83.78, 14.17, 69.80, -4.20),
    _row(f"{_TPA} 2", "TPANet", "HRNet-18", 59.97, 58.21, 84.13, 13.92, 69.86, -3.22),
    _row(f"{_TPA} 2", "single-task baseline", "Swin-T", 67.81, 56.32, 82.18, 14.81, 70.90, 0.00,
            kind=SINGLE),
    _row(f"{_TPA} 2", "multi-task baseline", "Swin-T", 64.74, 53.25, 76.88, 15.86, 69.00, -3.23),
    _row(f"{_TPA} 2", "MQTransformer", "Swin-T", 68.24, 57.05, 83.40, 14.56, 71.10, 1.07),
    _row(f"{_TPA} 2", "TPANet", "Swin-T", 69.08, 57.61, 82.54, 14.46, 71.20, 1.42),
    _row(f"{_TPA} 2", "single-task baseline", "Swin-S", 70.83, 59.71, 82.64, 15.13, 71.20, 0.00,
            kind=SINGLE),
    _row(f"{_TPA} 2", "multi-task baseline", "Swin-S", 68.10, 56.20, 80.64, 16.09, 70.20, -3.97),
    _row(f"{_TPA} 2", "MQTransformer", "Swin-S", 71.25, 60.11, 84.05, 14.74, 71.80, 1.27),
    _row(f"{_TPA} 2", "TPANet", "Swin-S", 71.59, 60.38, 83.20, 14.65, 72.00, 1.36),
    _row(f"{_TPA} 2", "single-task baseline", "Swin-B", 74.91, 62.13, 82.35, 14.83, 73.30, 0.00,
            kind=SINGLE),
    _row(f"{_TPA} 2", "multi-task baseline", "Swin-B", 73.83, 60.59, 80.75, 16.35, 71.10, -3.81),
    _row(f"{_TPA} 2", "MTFormer", "Swin", 74.15, 64.89, None, None, None, 2.41,
            note=f"{_UNCERTAIN}. " + _NOT_MAXF.format("67.71", "presumably"),
            other_metric={"sal": 67.71}),
    _row(f"{_TPA} 2", "TPANet", "Swin-B", 75.56, 64.91, 83.46, 14.67, 73.10, 1.30),
)  # fmt: skip

PASCAL_CONTEXT = Dataset(
    name="pascal_context",
    title="PASCAL-Context",
    make_tasks=_tasks,
    archive="PASCALContext",
    images=5105,
    remarks={
        "sal": "Published maxF of TaskPrompter is measured with a second sigmoid on the "
        'probability, `SaliencyMaxF(protocol="taskprompter")` here.',
        "edge": f"{MATCHING}, and covers 2,498 of the 5,105 images.",
    },
    rows=_ROWS,
)
