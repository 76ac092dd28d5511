"""The table of all systems: who is in it, and that a killed run makes no difference."""

import pytest

import keras_mtl
from benchmarks.ablations import figures, runs, tables
from benchmarks.ablations.networks import NETWORKS
from benchmarks.ablations.papers import SYSTEMS, TABLES, Table
from benchmarks.ablations.scales import SCALES

pytestmark = [
    pytest.mark.usefixtures("drawn_by_numpy"),
    pytest.mark.once("torch", "the runner calls what is tested on every backend"),
]
TABLE = TABLES[SYSTEMS]
# The row of the smallest backbone and the system with most to get wrong: weights for each task.
TWO = Table(
    "two", tuple(row for row in TABLE.rows if row.label[:3] == "SE-")[1:], against_cost=True
)


def test_every_architecture_is_in_the_table():
    """Each after single-task networks and a baseline on its own backbone."""
    names = [name for row in TABLE.rows for name in row.networks]
    published = {preset["model"] for preset in keras_mtl.presets.PRESETS.values()}
    ours = {name for name in published if hasattr(keras_mtl, name)}
    assert ours <= {NETWORKS[name].model for name in names}
    seen = set()
    for row in TABLE.rows:
        backbone = NETWORKS[row.networks[0]].backbone
        assert backbone in seen or len(row.networks) > 1, row.label
        seen.add(backbone)


def finish(work, interrupt=()):
    """All runs of the table of two; those to interrupt die after their first step, and again."""

    def dies(step):
        raise KeyboardInterrupt

    for name in ("pretrained-se_resnet", "se_resnet-baseline", "astmt"):
        if name in interrupt:
            with pytest.raises(KeyboardInterrupt):
                work.do(name, 0, dies)
            assert work.finished(name, 0) is None
        work.do(name, 0, lambda step: None)
    report = tables.summary(TWO, work, [0])
    for row in report["rows"]:
        assert row.pop("minutes")  # as they passed
    return report


def test_killed_and_resumed_the_table_is_the_same(tmp_path):
    """To the last bit; and ASTMT's parts of each task begin as pretraining left its only ones."""
    work = runs.Work(SCALES["tiny"], tmp_path / "killed")
    killed = finish(work, interrupt=("pretrained-se_resnet", "astmt"))
    assert killed == finish(runs.Work(SCALES["tiny"], tmp_path / "whole"))
    assert all(row["seeds"] == [0] for row in killed["rows"])

    plain, told = (work._backbone("se_resnet", 0, tasks) for tasks in (1, 4))
    block, others = plain.stages[1][0], told.stages[1][0]
    mean = block.norms_1[0].moving_mean.numpy()
    assert mean.any()
    for norm in others.norms_1:
        assert (norm.moving_mean.numpy() == mean).all()
    assert (others.convolution_2.kernel.numpy() == block.convolution_2.kernel.numpy()).all()


def test_the_figure_has_a_point_for_each_system():
    spread = {"mean": 1.0, "std": None, "values": [1.0]}
    row = {"row": "ViT: InvPT", "delta_m": spread, "macs": 2e6, "parameters": 1e6}
    report = {"title": "a title", "rows": [row, {**row, "row": "HRNet: PAP", "delta_m": None}]}
    panels = figures.figure_of_cost(report).axes
    assert [panel.get_xlabel() for panel in panels] == ["MACs [M]", "parameters [M]"]
    assert [[text.get_text() for text in panel.texts] for panel in panels] == [["InvPT"]] * 2
