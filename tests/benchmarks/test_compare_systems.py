"""The table of all systems: who is in it, and that a killed run makes no difference."""

import json

import pytest

import keras_mtl
from benchmarks import compare_systems
from benchmarks.ablations import figures, runs, tables
from benchmarks.ablations.networks import NETWORKS
from benchmarks.ablations.papers import SYSTEMS, TABLES, Table
from benchmarks.ablations.scales import SCALES
from keras_mtl.runs.options import parse

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
    assert ours - compare_systems.NO_SYSTEM <= {NETWORKS[name].model for name in names}
    seen = set()
    for row in TABLE.rows:
        backbone = NETWORKS[row.networks[0]].backbone
        assert backbone in seen or len(row.networks) > 1, row.label
        seen.add(backbone)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """All runs of the table of two, the report of them, and where they are."""
    folder = tmp_path_factory.mktemp("whole")
    return finish(runs.Work(SCALES["tiny"], folder)), folder


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


def test_killed_and_resumed_the_table_is_the_same(made, tmp_path):
    """To the last bit; and ASTMT's parts of each task begin as pretraining left its only ones."""
    work = runs.Work(SCALES["tiny"], tmp_path / "killed")
    killed = finish(work, interrupt=("pretrained-se_resnet", "astmt"))
    assert killed == made[0]
    assert all(row["seeds"] == [0] for row in killed["rows"])

    plain, told = (work._backbone("se_resnet", 0, tasks) for tasks in (1, 4))
    block, others = plain.stages[1][0], told.stages[1][0]
    mean = block.norms_1[0].moving_mean.numpy()
    assert mean.any()
    for norm in others.norms_1:
        assert (norm.moving_mean.numpy() == mean).all()
    assert (others.convolution_2.kernel.numpy() == block.convolution_2.kernel.numpy()).all()


@pytest.mark.parametrize("dataset", ["nyud", "pascal"])
def test_on_prepared_data_every_architecture_has_its_own_recipe(dataset):
    """In the configuration of the papers' tables, of the tasks that it was published for."""
    found = compare_systems.system_runs(dataset)
    presets = [keras_mtl.presets.PRESETS[name] for name in found]
    assert sorted(each["model"] for each in presets) == sorted(
        {NETWORKS[name].model for row in TABLE.rows for name in row.networks}
    )
    assert {"multitask_baseline_hrnet18", "tpanet_hrnet18", "astmt_resnet50"} <= {
        name.removesuffix(f"_{dataset}") for name in found
    }
    for name, settings in {**found, **compare_systems.single_task_runs(dataset)}.items():
        options = parse(keras_mtl.tasks.nyud(), dataset, "", ["--data", "somewhere", *settings])
        assert options.preset and len(options.tasks) in ((1,) if "single" in name else (2, 3, 4, 5))
        assert options.steps > 9000  # of the paper


def test_the_figure_has_a_point_for_each_system():
    spread = {"mean": 1.0, "std": None, "values": [1.0]}
    row = {"row": "ViT: InvPT", "delta_m": spread, "macs": 2e6, "parameters": 1e6}
    report = {"title": "a title", "rows": [row, {**row, "row": "HRNet: PAP", "delta_m": None}]}
    panels = figures.figure_of_cost(report).axes
    assert [panel.get_xlabel() for panel in panels] == ["MACs [M]", "parameters [M]"]
    assert [[text.get_text() for text in panel.texts] for panel in panels] == [["InvPT"]] * 2


def test_results_of_two_machines_merge(made, tmp_path):
    """Runs of another folder count as if made here; the same run with other scores does not."""
    report, folder = made
    names, work = ["se_resnet-baseline", "astmt"], runs.Work(SCALES["tiny"], tmp_path / "here")
    with pytest.raises(ValueError, match="there has no finished run of this table; name an --outp"):
        work.merge(tmp_path / "there", names, [0])
    work.do("pretrained-se_resnet", 0, lambda step: None)
    work.do("se_resnet-baseline", 0, lambda step: None)
    assert work.merge(folder, names, [0, 1]) == 2
    merged = tables.summary(TWO, work, [0])
    assert [row["scores"] for row in merged["rows"]] == [row["scores"] for row in report["rows"]]

    path = work.file("astmt", 0)
    result = json.loads(path.read_text())
    result["scores"]["depth"]["value"] += 1
    path.write_text(json.dumps(result))
    with pytest.raises(ValueError, match="astmt-seed0.json are the same run with other scores; re"):
        work.merge(folder, names, [0])


def test_what_is_measured_stands_in_a_table_of_its_own(made):
    report, folder = made
    work = runs.Work(SCALES["tiny"], folder)
    work.do("measured-se_resnet-baseline", 0, lambda step: None)
    rows = tables.summary(TWO, work, [0])["rows"]
    assert rows[0]["measured"]["step_seconds"] > 0 and rows[0]["measured"]["peak_bytes"] > 0
    assert rows[1]["measured"] is None and report["rows"][0]["measured"] is None
    text = tables.markdown(tables.summary(TWO, work, [0]))
    assert "| row | a step [ms] | peak memory [MB] | minutes a run |" in text
    assert text.count("| SE-ResNet: ASTMT |") == 2
