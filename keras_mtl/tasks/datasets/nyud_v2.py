"""NYUD-v2: four tasks, 654 test images."""

from functools import partial

from keras_mtl.tasks.boundary import BoundaryDetection
from keras_mtl.tasks.classes import NYUD_CLASSES
from keras_mtl.tasks.datasets.dataset import MATCHING, SINGLE, Dataset, row
from keras_mtl.tasks.datasets.dataset import TASKPROMPTER as _TP
from keras_mtl.tasks.datasets.dataset import TPANET as _TPA
from keras_mtl.tasks.depth import DepthEstimation
from keras_mtl.tasks.normals import SurfaceNormals
from keras_mtl.tasks.segmentation import SemanticSegmentation
from keras_mtl.tasks.task import Task


def _tasks() -> list[Task]:
    return [
        SemanticSegmentation(channels=40, labels=NYUD_CLASSES),
        DepthEstimation(),
        SurfaceNormals(),
        BoundaryDetection(),
    ]


_row = partial(row, "nyud_v2", ("semseg", "depth", "normals", "edge"))
_SWAPPED = (
    "The same four figures are PAD-Net's in TaskPrompter's Table 3 and those of MTI-Net with "
    "HRNet-18 in TPANet's Table 1; one of the two is mistaken."
)
_SAME_AS_HRNET = (
    "The table prints the figures of HRNet-18 once more, all four of them; what it prints for "
    "Delta_m with Swin-T does not follow from these."
)
_SAME_B_AND_L = "The table prints the same four figures for Swin-B and Swin-L."
_UNCERTAIN = "Which Swin Transformer MTFormer has, and so what its Delta_m refers to, is left open"

_ROWS = (
    # TaskPrompter prints no backbones in Table 3; its own and InvPT's are ViT-L by Tables 2 and 5.
    # semseg, depth, normals, edge, Delta_m
    _row(f"{_TP} 3", "Cross-Stitch", "", 36.34, 0.6290, 20.88, 76.38),
    _row(f"{_TP} 3", "PAP", "", 36.72, 0.6178, 20.82, 76.42),
    _row(f"{_TP} 3", "PSD", "", 36.69, 0.6246, 20.87, 76.42),
    _row(f"{_TP} 3", "PAD-Net", "", 36.61, 0.6270, 20.85, 76.38, note=_SWAPPED),
    _row(f"{_TP} 3", "MTI-Net", "", 45.97, 0.5365, 20.27, 77.86),
    _row(f"{_TP} 3", "ATRC", "", 46.33, 0.5363, 20.18, 77.94),
    _row(f"{_TP} 3", "InvPT", "ViT-L", 53.56, 0.5183, 19.04, 78.10),
    _row(f"{_TP} 2", "TaskPrompter", "ViT-B", 50.40, 0.5402, 18.91, 77.60),
    _row(f"{_TP} 3", "TaskPrompter", "ViT-L", 55.30, 0.5152, 18.47, 78.20),
    _row(f"{_TPA} 1", "single-task baseline", "HRNet-18", 38.02, 0.6104, 20.94, 76.22, 0.00,
         kind=SINGLE),
    _row(f"{_TPA} 1", "multi-task baseline", "HRNet-18", 36.35, 0.6284, 21.02, 76.36, -1.89),
    _row(f"{_TPA} 1", "Cross-Stitch", "HRNet-18", 36.34, 0.6290, 20.88, 76.38, -1.75),
    _row(f"{_TPA} 1", "PAD-Net", "HRNet-18", 36.70, 0.6264, 20.85, 76.50, -1.33),
    _row(f"{_TPA} 1", "PAP", "HRNet-18", 36.72, 0.6178, 20.82, 76.42, -0.95),
    _row(f"{_TPA} 1", "PSD", "HRNet-18", 36.69, 0.6246, 20.87, 76.42, -1.30),
    _row(f"{_TPA} 1", "NDDR-CNN", "HRNet-18", 36.72, 0.6288, 20.89, 76.32, -1.51),
    _row(f"{_TPA} 1", "MTI-Net", "HRNet-18", 36.61, 0.6270, 20.85, 76.38, -1.44, note=_SWAPPED),
    _row(f"{_TPA} 1", "ATRC", "HRNet-18", 38.90, 0.6010, 20.48, 76.34, 1.56),
    _row(f"{_TPA} 1", "TPANet", "HRNet-18", 39.31, 0.5937, 20.41, 76.39, 2.17),
    _row(f"{_TPA} 1", "single-task baseline", "Swin-T", 38.02, 0.6104, 20.94, 76.22, 0.00,
         kind=SINGLE, note=_SAME_AS_HRNET),
    _row(f"{_TPA} 1", "multi-task baseline", "Swin-T", 38.78, 0.6312, 21.05, 75.60, -3.74),
    _row(f"{_TPA} 1", "MQTransformer", "Swin-T", 43.61, 0.5979, 20.05, 76.20, 0.31),
    _row(f"{_TPA} 1", "InvPT", "Swin-T", 44.27, 0.5589, 20.46, 76.10, 2.59),
    _row(f"{_TPA} 1", "TPANet", "Swin-T", 46.49, 0.5987, 20.71, 76.90, 2.70),
    _row(f"{_TPA} 1", "single-task baseline", "Swin-S", 48.92, 0.5804, 20.94, 77.20, 0.00,
         kind=SINGLE),
    _row(f"{_TPA} 1", "multi-task baseline", "Swin-S", 47.90, 0.6053, 21.17, 76.90, -1.96),
    _row(f"{_TPA} 1", "MQTransformer", "Swin-S", 49.18, 0.5785, 20.81, 77.00, 1.59),
    _row(f"{_TPA} 1", "MTFormer", "Swin", 50.56, 0.4830, None, None, 4.12,
         note=f"{_UNCERTAIN}; it predicts two tasks."),
    _row(f"{_TPA} 1", "TPANet", "Swin-S", 50.87, 0.5608, 20.06, 78.20, 3.18),
    _row(f"{_TPA} 5", "multi-task baseline", "Swin-B", 51.44, 0.5813, 20.44, 77.00,
         note=_SAME_B_AND_L),
    _row(f"{_TPA} 5", "InvPT", "Swin-B", 50.97, 0.5071, 19.39, 77.30),
    _row(f"{_TPA} 5", "TPANet", "Swin-B", 53.09, 0.5322, 19.31, 77.40),
    _row(f"{_TPA} 5", "multi-task baseline", "Swin-L", 51.44, 0.5813, 20.44, 77.00,
         note=_SAME_B_AND_L),
    _row(f"{_TPA} 5", "InvPT", "Swin-L", 51.76, 0.5020, 19.39, 77.60),
    _row(f"{_TPA} 5", "TPANet", "Swin-L", 56.35, 0.5019, 19.02, 77.90),
)  # fmt: skip

NYUD_V2 = Dataset(
    name="nyud_v2",
    title="NYUD-v2",
    make_tasks=_tasks,
    archive="NYUDv2",
    images=654,
    remarks={"edge": f"{MATCHING}."},
    rows=_ROWS,
)
