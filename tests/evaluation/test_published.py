"""The papers' figures are whole, cited, in known metrics, and add up where they are said to."""

import re
from itertools import product

import pytest

from keras_mtl import tasks
from keras_mtl.evaluation.published import published_rows
from keras_mtl.tasks import DATASETS

pytestmark = pytest.mark.once("torch", "results and their tables know no backend")

ROWS = [row for dataset in DATASETS.values() for row in dataset.rows]
METRICS = {task: metric for each in DATASETS.values() for task, metric in each.metrics.items()}
TASKS = {name: tuple(dataset.metrics) for name, dataset in DATASETS.items()}

TASKPROMPTER = "Ye and Xu, TaskPrompter, ICLR 2023, Table "
TPANET = "Task Prior Attention Network (TPANet), Table "


def test_every_row_is_whole():
    for row in ROWS:
        assert re.fullmatch(f"({re.escape(TASKPROMPTER)}|{re.escape(TPANET)})[1-6]", row.source)
        assert row.kind in ("single-task", "multi-task")
        assert row.method
        printed = {**row.scores, **row.other_metric}
        assert len(printed) == len(row.scores) + len(row.other_metric)
        if row.method == "MTFormer":  # the only one whose columns are not all filled
            assert set(printed) < set(TASKS[row.dataset])
        else:
            assert set(printed) == set(TASKS[row.dataset]), row
        assert list(row.scores) == [t for t in TASKS[row.dataset] if t in row.scores]


def test_values_are_in_the_units_of_their_metrics():
    indoors = {"%": (30, 90), "m": (0.4, 0.7), "degrees": (13, 24)}
    outdoors = {"%": (29, 78), "m": (6, 8)}
    for row in ROWS:
        plausible = outdoors if row.dataset == "cityscapes_3d" else indoors
        for task, score in row.scores.items():
            low, high = plausible[METRICS[task].unit]
            assert low < score < high, (row, task)
            if task == "sal":  # mIoU of saliency, which some sources give, is 60 to 70
                assert score > 75
        assert row.delta_m is None or abs(row.delta_m) < 10


@pytest.mark.parametrize(
    "name, of",
    [
        ("nyud_v2", tasks.nyud),
        ("pascal_context", tasks.pascal_context),
        ("cityscapes_3d", tasks.cityscapes_3d),
    ],
)
def test_metrics_are_those_of_the_tasks(name, of):
    found = {task.name: task for task in of()}
    assert set(found) == set(TASKS[name])
    for task in found.values():
        metric = METRICS[task.name]
        assert (metric.headline, metric.unit) == (task.headline, task.unit)
        assert metric.higher_is_better == task.higher_is_better
    assert DATASETS[name].tasks()[0].name == of()[0].name and DATASETS[name].name == name


# How many rows a table has, and the sum of all its figures (Delta_m too), from the papers' text.
@pytest.mark.parametrize(
    "source, dataset, count, total",
    [
        (TASKPROMPTER + "3", "nyud_v2", 8, 1131.2047),
        (TASKPROMPTER + "3", "pascal_context", 8, 2365.24),
        (TASKPROMPTER + "4", "cityscapes_3d", 2, 231.03),
        (TPANET + "1", "nyud_v2", 20, 2693.5522),
        (TPANET + "2", "pascal_context", 18, 5150.28),
        (TPANET + "5", "nyud_v2", 6, 900.4458),
    ],
)
def test_tables_sum_to_the_papers(source, dataset, count, total):
    rows = [row for row in published_rows(dataset) if row.source == source]
    figures = [
        value
        for row in rows
        for value in (*row.scores.values(), *row.other_metric.values(), row.delta_m or 0)
    ]
    assert len(rows) == count
    assert round(sum(figures), 4) == total


def test_some_rows():
    found = {(r.dataset, r.method, r.backbone): r for r in ROWS}
    assert len(found) == len(ROWS)
    row = found["nyud_v2", "TaskPrompter", "ViT-L"]
    assert row.scores == {"semseg": 55.30, "depth": 0.5152, "normals": 18.47, "edge": 78.20}
    row = found["pascal_context", "TaskPrompter", "ViT-L"]
    assert list(row.scores.values()) == [80.89, 68.89, 84.83, 13.72, 73.50]
    row = found["nyud_v2", "TPANet", "Swin-S"]
    assert (list(row.scores.values()), row.delta_m) == ([50.87, 0.5608, 20.06, 78.20], 3.18)
    assert found["pascal_context", "ASTMT", ""].other_metric == {"sal": 65.70}
    assert found["nyud_v2", "MTFormer", "Swin"].scores == {"semseg": 50.56, "depth": 0.4830}


def test_single_task_rows_have_names_of_their_own():
    names = [row.name for row in ROWS if row.kind == "single-task"]
    assert len(set(names)) == len(names) == 8
    assert "nyud_v2/hrnet-18" in names and "pascal_context/vit-b" in names
    assert all(row.delta_m in (None, 0.0) for row in ROWS if row.kind == "single-task")


def test_published_rows():
    for name, dataset in DATASETS.items():
        assert published_rows(name) == list(dataset.rows)
    assert {r.kind for r in published_rows("nyud_v2", "multi-task")} == {"multi-task"}
    assert published_rows("rooms") == []


def range_of_delta_m(row, single):
    """The least and greatest Delta_m that scores which round to the printed ones can have."""
    ends = []
    multi = {**row.scores, **row.other_metric}
    for signs in product((-1, 1), repeat=2):
        gains = []
        for task, printed in multi.items():
            half = 0.00005 if METRICS[task].unit == "m" else 0.005
            up = 1 if METRICS[task].higher_is_better else -1
            m = printed + up * signs[0] * half
            s = single.scores[task] + up * signs[1] * half
            gains.append(up * 100 * (m - s) / s)
        ends.append(sum(gains) / len(gains))
    return min(ends), max(ends)


def test_printed_delta_m_follows_from_the_printed_scores_with_known_exceptions():
    strange, checked = set(), 0
    for row in ROWS:
        for single in published_rows(row.dataset, "single-task"):
            same = (row.source, row.backbone) == (single.source, single.backbone)
            if not same or row.delta_m is None:
                continue
            checked += 1
            least, greatest = range_of_delta_m(row, single)
            if not least - 0.005 <= row.delta_m <= greatest + 0.005:
                strange.add((row.dataset, row.method, row.backbone))
    assert checked > 30
    assert strange == {
        # The single-task row printed for Swin-T is that of HRNet-18.
        ("nyud_v2", "multi-task baseline", "Swin-T"),
        ("nyud_v2", "MQTransformer", "Swin-T"),
        ("nyud_v2", "InvPT", "Swin-T"),
        ("nyud_v2", "TPANet", "Swin-T"),
        # Without an explanation.
        ("nyud_v2", "TPANet", "HRNet-18"),
        ("nyud_v2", "MQTransformer", "Swin-S"),
        ("nyud_v2", "TPANet", "Swin-S"),
        ("pascal_context", "PAD-Net", "HRNet-18"),
        ("pascal_context", "MQTransformer", "HRNet-18"),
        ("pascal_context", "TPANet", "HRNet-18"),
        ("pascal_context", "multi-task baseline", "Swin-T"),
        ("pascal_context", "TPANet", "Swin-T"),
        ("pascal_context", "TPANet", "Swin-S"),
        ("pascal_context", "TPANet", "Swin-B"),
    }


def test_rows_that_the_paper_prints_twice_carry_a_note():
    by_figures = {}
    for row in ROWS:
        if "TPANet" in row.source:
            key = row.dataset, row.source, tuple(row.scores.values())
            by_figures.setdefault(key, []).append(row)
    repeated = [rows for rows in by_figures.values() if len(rows) > 1]
    assert len(repeated) == 2
    assert all(any(row.note for row in rows) for rows in repeated)
