"""The figures that the two papers print for NYUD-v2 and PASCAL-Context, each with its table.

Scores are in the headline metric of their task (`METRICS`). Figures that a paper prints in a column
of another metric are kept apart, and what does not add up in a table is said in the row's note.
Ablations are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple


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


METRICS = {
    metric.task: metric
    for metric in (
        Metric("semseg", "mIoU", "%", True),
        Metric("human_parts", "mIoU", "%", True),
        Metric("sal", "maxF", "%", True),
        Metric("depth", "RMSE", "m", False),
        Metric("normals", "mErr", "degrees", False),
        Metric("edge", "odsF", "%", True),
    )
}
TASKS = {
    "nyud_v2": ("semseg", "depth", "normals", "edge"),
    "pascal_context": ("semseg", "human_parts", "sal", "normals", "edge"),
}
IMAGES = {"nyud_v2": 654, "pascal_context": 5105}  # that the published figures are measured on

# In what the published procedures differ from this package's defaults.
_MATCHING = (
    "Published odsF comes from a matching that is random in part and reads 0.02 to 0.03 points "
    "lower than the exact one here"
)
PROTOCOLS = {
    "nyud_v2": {"edge": f"{_MATCHING}."},
    "pascal_context": {
        "sal": "Published maxF of TaskPrompter is measured with a second sigmoid on the "
        'probability, `SaliencyMaxF(protocol="taskprompter")` here.',
        "edge": f"{_MATCHING}, and covers 2,498 of the 5,105 images.",
    },
}


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table.

    Args:
        method: as the paper calls it.
        backbone: of the network, "" where the paper's table does not say.
        dataset: "nyud_v2" or "pascal_context".
        kind: "single-task" (a network of its own for each task) or "multi-task".
        scores: by task, in the metrics and units of `METRICS`.
        source: paper and table.
        delta_m: the multi-task gain in percent that the table prints, or `None`.
        note: a sentence on what does not add up, or "".
        other_metric: by task, figures printed in the task's column that are not in its metric.

    Example:

    >>> row = published_rows("nyud_v2", "multi-task")[0]
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


def _row(source, dataset, method, backbone, figures, delta_m, kind, note, other_metric):
    printed = zip(TASKS[dataset], figures, strict=True)
    scores = {task: value for task, value in printed if value is not None}
    other = other_metric or {}
    return PublishedRow(method, backbone, dataset, kind, scores, source, delta_m, note, other)


def _nyud(
    source,
    method,
    backbone,
    semseg,
    depth,
    normals,
    edge,
    delta_m=None,
    *,
    kind="multi-task",
    note="",
):
    figures = semseg, depth, normals, edge
    return _row(source, "nyud_v2", method, backbone, figures, delta_m, kind, note, None)


def _pascal(
    source,
    method,
    backbone,
    semseg,
    human_parts,
    sal,
    normals,
    edge,
    delta_m=None,
    *,
    kind="multi-task",
    note="",
    other_metric=None,
):
    figures = semseg, human_parts, sal, normals, edge
    dataset = "pascal_context"
    return _row(source, dataset, method, backbone, figures, delta_m, kind, note, other_metric)


_TP = "Ye and Xu, TaskPrompter, ICLR 2023, Table"
_TPA = "Task Prior Attention Network (TPANet), Table"
_SINGLE = "single-task"
_NOT_MAXF = (
    "The table prints {} as its saliency maxF; it is {} mIoU, some 20 points below the maxF of "
    "like networks, and left out."
)
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

ROWS: tuple[PublishedRow, ...] = (
    # TaskPrompter prints no backbones in Table 3; its own and InvPT's are ViT-L by Tables 2 and 5.
    # semseg, depth, normals, edge, Delta_m
    _nyud(f"{_TP} 3", "Cross-Stitch", "", 36.34, 0.6290, 20.88, 76.38),
    _nyud(f"{_TP} 3", "PAP", "", 36.72, 0.6178, 20.82, 76.42),
    _nyud(f"{_TP} 3", "PSD", "", 36.69, 0.6246, 20.87, 76.42),
    _nyud(f"{_TP} 3", "PAD-Net", "", 36.61, 0.6270, 20.85, 76.38, note=_SWAPPED),
    _nyud(f"{_TP} 3", "MTI-Net", "", 45.97, 0.5365, 20.27, 77.86),
    _nyud(f"{_TP} 3", "ATRC", "", 46.33, 0.5363, 20.18, 77.94),
    _nyud(f"{_TP} 3", "InvPT", "ViT-L", 53.56, 0.5183, 19.04, 78.10),
    _nyud(f"{_TP} 2", "TaskPrompter", "ViT-B", 50.40, 0.5402, 18.91, 77.60),
    _nyud(f"{_TP} 3", "TaskPrompter", "ViT-L", 55.30, 0.5152, 18.47, 78.20),
    _nyud(f"{_TPA} 1", "single-task baseline", "HRNet-18", 38.02, 0.6104, 20.94, 76.22, 0.00,
          kind=_SINGLE),
    _nyud(f"{_TPA} 1", "multi-task baseline", "HRNet-18", 36.35, 0.6284, 21.02, 76.36, -1.89),
    _nyud(f"{_TPA} 1", "Cross-Stitch", "HRNet-18", 36.34, 0.6290, 20.88, 76.38, -1.75),
    _nyud(f"{_TPA} 1", "PAD-Net", "HRNet-18", 36.70, 0.6264, 20.85, 76.50, -1.33),
    _nyud(f"{_TPA} 1", "PAP", "HRNet-18", 36.72, 0.6178, 20.82, 76.42, -0.95),
    _nyud(f"{_TPA} 1", "PSD", "HRNet-18", 36.69, 0.6246, 20.87, 76.42, -1.30),
    _nyud(f"{_TPA} 1", "NDDR-CNN", "HRNet-18", 36.72, 0.6288, 20.89, 76.32, -1.51),
    _nyud(f"{_TPA} 1", "MTI-Net", "HRNet-18", 36.61, 0.6270, 20.85, 76.38, -1.44, note=_SWAPPED),
    _nyud(f"{_TPA} 1", "ATRC", "HRNet-18", 38.90, 0.6010, 20.48, 76.34, 1.56),
    _nyud(f"{_TPA} 1", "TPANet", "HRNet-18", 39.31, 0.5937, 20.41, 76.39, 2.17),
    _nyud(f"{_TPA} 1", "single-task baseline", "Swin-T", 38.02, 0.6104, 20.94, 76.22, 0.00,
          kind=_SINGLE, note=_SAME_AS_HRNET),
    _nyud(f"{_TPA} 1", "multi-task baseline", "Swin-T", 38.78, 0.6312, 21.05, 75.60, -3.74),
    _nyud(f"{_TPA} 1", "MQTransformer", "Swin-T", 43.61, 0.5979, 20.05, 76.20, 0.31),
    _nyud(f"{_TPA} 1", "InvPT", "Swin-T", 44.27, 0.5589, 20.46, 76.10, 2.59),
    _nyud(f"{_TPA} 1", "TPANet", "Swin-T", 46.49, 0.5987, 20.71, 76.90, 2.70),
    _nyud(f"{_TPA} 1", "single-task baseline", "Swin-S", 48.92, 0.5804, 20.94, 77.20, 0.00,
          kind=_SINGLE),
    _nyud(f"{_TPA} 1", "multi-task baseline", "Swin-S", 47.90, 0.6053, 21.17, 76.90, -1.96),
    _nyud(f"{_TPA} 1", "MQTransformer", "Swin-S", 49.18, 0.5785, 20.81, 77.00, 1.59),
    _nyud(f"{_TPA} 1", "MTFormer", "Swin", 50.56, 0.4830, None, None, 4.12,
          note=f"{_UNCERTAIN}; it predicts two tasks."),
    _nyud(f"{_TPA} 1", "TPANet", "Swin-S", 50.87, 0.5608, 20.06, 78.20, 3.18),
    _nyud(f"{_TPA} 5", "multi-task baseline", "Swin-B", 51.44, 0.5813, 20.44, 77.00,
          note=_SAME_B_AND_L),
    _nyud(f"{_TPA} 5", "InvPT", "Swin-B", 50.97, 0.5071, 19.39, 77.30),
    _nyud(f"{_TPA} 5", "TPANet", "Swin-B", 53.09, 0.5322, 19.31, 77.40),
    _nyud(f"{_TPA} 5", "multi-task baseline", "Swin-L", 51.44, 0.5813, 20.44, 77.00,
          note=_SAME_B_AND_L),
    _nyud(f"{_TPA} 5", "InvPT", "Swin-L", 51.76, 0.5020, 19.39, 77.60),
    _nyud(f"{_TPA} 5", "TPANet", "Swin-L", 56.35, 0.5019, 19.02, 77.90),
    # semseg, human_parts, sal, normals, edge, Delta_m
    _pascal(f"{_TP} 3", "ASTMT", "", 68.00, 61.10, None, 14.70, 72.40,
            note=_NOT_MAXF.format("65.70", "its authors'"), other_metric={"sal": 65.70}),
    _pascal(f"{_TP} 3", "PAD-Net", "", 53.60, 59.60, None, 15.30, 72.50,
            note=_NOT_MAXF.format("65.80", "presumably"), other_metric={"sal": 65.80}),
    _pascal(f"{_TP} 3", "MTI-Net", "", 61.70, 60.18, 84.78, 14.23, 70.80),
    _pascal(f"{_TP} 3", "ATRC", "", 62.69, 59.42, 84.70, 14.20, 70.96),
    _pascal(f"{_TP} 3", "ATRC-ASPP", "", 63.60, 60.23, 83.91, 14.30, 70.86),
    _pascal(f"{_TP} 3", "ATRC-BMTAS", "", 67.67, 62.93, 82.29, 14.24, 72.42,
            note="ATRC-BMTAS is called ATRC in Table 5 of the same paper."),
    _pascal(f"{_TP} 5", "PAD-Net", "ViT-L", 78.01, 67.12, 79.21, 14.37, 72.60),
    _pascal(f"{_TP} 5", "MTI-Net", "ViT-L", 78.31, 67.40, 84.75, 14.67, 73.00),
    _pascal(f"{_TP} 5", "ATRC", "ViT-L", 77.11, 66.84, 81.20, 14.23, 72.10),
    _pascal(f"{_TP} 3", "InvPT", "ViT-L", 79.03, 67.61, 84.81, 14.15, 73.00),
    _pascal(f"{_TP} 1", "single-task models", "ViT-B", 78.42, 68.36, 85.34, 13.87, 73.90,
            kind=_SINGLE),
    _pascal(f"{_TP} 1", "TaskPrompter Baseline", "ViT-B", 75.04, 64.82, 84.59, 14.17, 68.00, -4.11),
    _pascal(f"{_TP} 6", "TaskPrompter", "ViT-S", 76.57, 63.22, 84.54, 13.93, 70.60),
    _pascal(f"{_TP} 1", "TaskPrompter", "ViT-B", 79.00, 67.00, 85.05, 13.47, 73.50, 0.15),
    _pascal(f"{_TP} 3", "TaskPrompter", "ViT-L", 80.89, 68.89, 84.83, 13.72, 73.50),
    _pascal(f"{_TPA} 2", "single-task baseline", "HRNet-18", 62.23, 61.66, 85.08, 13.69, 73.06,
            0.00, kind=_SINGLE),
    _pascal(f"{_TPA} 2", "multi-task baseline", "HRNet-18", 51.48, 57.23, 83.43, 14.10, 69.76,
            -6.77),
    _pascal(f"{_TPA} 2", "PAD-Net", "HRNet-18", 53.60, 59.60, None, 15.30, 72.50, -4.41,
            note=_NOT_MAXF.format("65.80", "presumably"), other_metric={"sal": 65.80}),
    _pascal(f"{_TPA} 2", "ATRC", "HRNet-18", 57.89, 57.33, 83.77, 13.99, 69.74, -4.45),
    _pascal(f"{_TPA} 2", "MQTransformer", "HRNet-18", 58.91, 57.43, 83.78, 14.17, 69.80, -4.20),
    _pascal(f"{_TPA} 2", "TPANet", "HRNet-18", 59.97, 58.21, 84.13, 13.92, 69.86, -3.22),
    _pascal(f"{_TPA} 2", "single-task baseline", "Swin-T", 67.81, 56.32, 82.18, 14.81, 70.90, 0.00,
            kind=_SINGLE),
    _pascal(f"{_TPA} 2", "multi-task baseline", "Swin-T", 64.74, 53.25, 76.88, 15.86, 69.00, -3.23),
    _pascal(f"{_TPA} 2", "MQTransformer", "Swin-T", 68.24, 57.05, 83.40, 14.56, 71.10, 1.07),
    _pascal(f"{_TPA} 2", "TPANet", "Swin-T", 69.08, 57.61, 82.54, 14.46, 71.20, 1.42),
    _pascal(f"{_TPA} 2", "single-task baseline", "Swin-S", 70.83, 59.71, 82.64, 15.13, 71.20, 0.00,
            kind=_SINGLE),
    _pascal(f"{_TPA} 2", "multi-task baseline", "Swin-S", 68.10, 56.20, 80.64, 16.09, 70.20, -3.97),
    _pascal(f"{_TPA} 2", "MQTransformer", "Swin-S", 71.25, 60.11, 84.05, 14.74, 71.80, 1.27),
    _pascal(f"{_TPA} 2", "TPANet", "Swin-S", 71.59, 60.38, 83.20, 14.65, 72.00, 1.36),
    _pascal(f"{_TPA} 2", "single-task baseline", "Swin-B", 74.91, 62.13, 82.35, 14.83, 73.30, 0.00,
            kind=_SINGLE),
    _pascal(f"{_TPA} 2", "multi-task baseline", "Swin-B", 73.83, 60.59, 80.75, 16.35, 71.10, -3.81),
    _pascal(f"{_TPA} 2", "MTFormer", "Swin", 74.15, 64.89, None, None, None, 2.41,
            note=f"{_UNCERTAIN}. " + _NOT_MAXF.format("67.71", "presumably"),
            other_metric={"sal": 67.71}),
    _pascal(f"{_TPA} 2", "TPANet", "Swin-B", 75.56, 64.91, 83.46, 14.67, 73.10, 1.30),
)  # fmt: skip


def published_rows(
    dataset: str, kind: Literal["single-task", "multi-task"] | None = None
) -> list[PublishedRow]:
    """The rows of one dataset.

    Args:
        dataset: "nyud_v2" or "pascal_context"; any other has none.
        kind: "single-task" or "multi-task"; default: both.

    Returns:
        They, in the papers' order.

    Example:

    >>> [row.backbone for row in published_rows("nyud_v2", "single-task")]
    ['HRNet-18', 'Swin-T', 'Swin-S']
    """
    return [row for row in ROWS if row.dataset == dataset and kind in (None, row.kind)]
