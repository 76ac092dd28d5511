"""The ablation runner: a table end to end, what it skips and refuses, and its arithmetic."""

import dataclasses
import json
import statistics
from pathlib import Path

import keras
import numpy as np
import pytest

from benchmarks.ablations import __main__ as ablations
from benchmarks.ablations import figures, runs, tables
from benchmarks.ablations.networks import NETWORKS
from benchmarks.ablations.papers import TABLES
from benchmarks.ablations.scales import SCALES

pytestmark = [
    pytest.mark.usefixtures("drawn_by_numpy"),
    pytest.mark.once("torch", "the runner calls what is tested on every backend"),
]


# === Networks ===

# What the weights' paths hold of a component that is on.
PARTS = {
    "task_prompts": "task_prompts",
    "channel prompts": "/channel/",
    "reweighting": "reweighting_after_block",
    "task prior": "task_prior_extractor",
    "mixing": "adaptive_task_mixing",
    "cross attention": "cross_attention",
}
HAS = {
    "baseline": set(),
    "single": set(),
    "taskprompter-s": {"task_prompts"},
    "taskprompter-s-c": {"task_prompts", "channel prompts"},
    "taskprompter-without-c": {"task_prompts", "reweighting"},
    "taskprompter-without-rw": {"task_prompts", "channel prompts"},
    "taskprompter-encoders": {"task_prompts", "channel prompts"},
    "taskprompter": {"task_prompts", "channel prompts", "reweighting"},
    "tpanet-tpe": {"task prior"},
    "tpanet-tpe-atm": {"task prior", "mixing"},
    "tpanet": {"task prior", "mixing", "cross attention"},
}
LEVELS = {
    "taskprompter-s": 1,
    "taskprompter-s-c": 1,
    "taskprompter-s-c-rw": 1,
    "taskprompter-2-levels": 2,
    "taskprompter-3-levels": 3,
}
WINDOWS = {"taskprompter-1-head": 1, "taskprompter-4-heads": 4}
TPANET_SCALES = {"tpanet-1-scale": 1, "tpanet-2-scales": 2, "tpanet-3-scales": 3}


def paths(model):
    return [f"/{weight.path}" for weight in model.weights]


def test_every_row_of_every_table_builds(tmp_path):
    """With the weights of the components that the row says are on, and no others."""
    work = runs.Work(SCALES["tiny"], tmp_path)
    named = [name for table in TABLES.values() for r in table.rows for name in r.networks]
    assert set(named) == set(NETWORKS)
    for name, network in NETWORKS.items():
        if "-single-" in name and not name.endswith("depth"):
            one = NETWORKS[name.replace(network.tasks[0], "depth")]
            assert dataclasses.replace(one, tasks=network.tasks) == network  # as that one
            continue
        if name.startswith("balanced-"):  # the baseline, trained otherwise
            alike = dataclasses.replace(network, balancing="", equal_weights=False)
            assert alike == NETWORKS["vit-baseline"]
            continue
        model = work.network(name)
        if network.model not in ("MultiTaskBaseline", "TaskPrompter", "TPANet"):
            assert tuple(model.output) == network.tasks  # its parts are tested with the model
            continue
        found = {part for part, path in PARTS.items() if any(path in p for p in paths(model))}
        key = "baseline" if network.model == "MultiTaskBaseline" else name
        assert found == HAS.get(key, HAS[name.split("-")[0]] if key == name else None), name
        assert tuple(model.output) == network.tasks
        layers = [layer.name for layer in model.layers]
        if network.model == "TaskPrompter":
            decoding = [each for each in layers if "decoding_after_block" in each]
            encoders = 4 if name == "taskprompter-encoders" else 1
            assert len(decoding) == encoders * LEVELS.get(name, 4), name
            block = model.get_layer(f"{'semseg_' if encoders > 1 else ''}prompted_block_1")
            if "channel prompts" in found:
                assert np.prod(block.channel_windows) == WINDOWS.get(name, 16), name
            released = name == "taskprompter-released"
            assert any("/query/" in p and "/channel/" in p for p in paths(model)) == (
                "channel prompts" in found and not released
            )
        if network.model == "TPANet":
            resized = [each for each in layers if each.startswith("resize_stride_")]
            assert len(resized) == TPANET_SCALES.get(name, 4), name
            drop = float(name.split("-")[-1]) if "dropout" in name else 0.0
            assert model.get_config()["dropout"] == drop
        if name == "vit-baseline":  # heads on the same grid as TaskPrompter's
            head = model.get_layer("depth_head")
            full = work.network("taskprompter").get_layer("depth_head")
            assert head.upsampling == full.upsampling == 4
    keras.backend.clear_session()


def test_scales_are_whole():
    for scale in SCALES.values():
        assert set(scale.rooms) == set(runs.ROOM_SEEDS)
        assert {network.backbone for network in NETWORKS.values()} == set(scale.backbones)
        assert set(scale.arguments) == set(scale.backbones)
    assert len(set(runs.ROOM_SEEDS.values())) == 4  # no scene is in two of them


# === A table, from nothing to its files ===


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs one row of a table; a single-task row would take four networks more."""
    out = tmp_path_factory.mktemp("ablations")

    def call(*more):
        ablations.main(
            ["taskprompter-table1", "--scale", "tiny", "--seeds", "0", "1", "--jobs", "1"]
            + ["--output", str(out), "--rows", "2", *more]
        )

    call()
    return call, out / "tiny"


def contents(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "runs").iterdir()}


def test_a_table_end_to_end(run):
    _, out = run
    names = {f"vit-baseline-seed{seed}.json" for seed in (0, 1)}
    assert set(contents(out)) == names
    for name in names:
        result = json.loads((out / "runs" / name).read_text())
        assert [each["metric"] for each in result["scores"].values()] == [
            "mIoU", "RMSE", "mErr", "F_within_1px",
        ]  # fmt: skip
        assert all(np.isfinite(each["value"]) for each in result["scores"].values())
        assert result["settings"]["steps"] == 2 and result["settings"]["measured_on"] == "test"
        assert result["parameters"] > 0 and result["macs"] > 0
        assert (
            result["seconds"]["training"] > 0 and result["versions"]["keras"] == keras.__version__
        )
    table = (out / "taskprompter-table1.md").read_text()
    assert "| baseline | 2 |" in table and "| +SPrompt | 0 |" in table
    assert (out / "taskprompter-table1.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "taskprompter-table1.json").read_text())["rows"][0]["delta_m"] is None


def test_finished_runs_are_left_and_an_unfinished_one_is_made(run, monkeypatch):
    call, out = run
    before = contents(out)
    call()
    assert contents(out) == before

    gone = "vit-baseline-seed1.json"
    again = json.loads((out / "runs" / gone).read_text())
    (out / "runs" / gone).unlink()
    fit = runs.Work._fit

    def interrupted(*arguments):
        fit(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(runs.Work, "_fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        call()
    assert contents(out) == {name: at for name, at in before.items() if name != gone}
    monkeypatch.undo()
    call()
    after = contents(out)
    assert set(after) == set(before)
    assert {name for name in after if after[name] != before[name]} == {gone}
    found = json.loads((out / "runs" / gone).read_text())
    for task, score in again["scores"].items():  # the same seed, the same network
        assert found["scores"][task]["value"] == pytest.approx(score["value"], rel=1e-3), task


def test_other_settings_are_refused(run):
    call, out = run
    before = contents(out)
    with pytest.raises(SystemExit) as error:
        call("--steps", "3")
    assert "was made with steps 2, not 3; use the same settings and backend" in str(error.value)
    with pytest.raises(SystemExit) as error:
        call("--held-out", "validation")
    assert "was made with measured_on 'test', not 'validation'" in str(error.value)
    assert contents(out) == before

    broken = out / "runs" / "vit-baseline-seed0.json"
    whole = broken.read_text()
    broken.write_text(whole[:100])
    with pytest.raises(SystemExit, match="seed0.json is no result of this script; remove it or"):
        call("--table-only")
    broken.write_text(whole)


def test_a_run_again_with_as_many_threads_gives_the_same_figures(run, monkeypatch):
    """To the last bit, in a process of its own, however many run side by side."""
    call, out = run
    scale = dataclasses.replace(SCALES["tiny"], threads=1)
    monkeypatch.setitem(SCALES, "tiny", scale)
    path, found = out / "runs" / "vit-baseline-seed0.json", []
    for jobs in ("1", "2"):
        path.unlink()
        call("--jobs", jobs)
        result = json.loads(path.read_text())
        assert result["machine"]["threads"] == 1
        found.append(result["scores"])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a TABLE: taskprompter-table1"),
        (["tpanet-table3a", "--jobs", "0"], "--jobs is 0; expected 1 or more."),
        (["tpanet-table3a", "--seeds", "1", "1"], "--seeds are [1, 1]; expected different"),
        (["tpanet-table9"], "invalid choice: 'tpanet-table9'"),
    ],
)
def test_wrong_arguments(arguments, said, capsys):
    with pytest.raises(SystemExit):
        ablations.main(arguments)
    assert said in capsys.readouterr().err


def test_wrong_row_and_no_run(tmp_path):
    with pytest.raises(SystemExit, match="There is no row 'nothing'; the rows are single-task, ba"):
        ablations.main(["tpanet-table3a", "--rows", "nothing"])
    with pytest.raises(SystemExit, match="No run of this table is finished; leave --table-only"):
        ablations.main(["tpanet-table3a", "--table-only", "--output", str(tmp_path)])


def test_list(capsys):
    ablations.main(["--list"])
    printed = capsys.readouterr().out
    for name, table in TABLES.items():
        assert name in printed
        assert all(row.label in printed for row in table.rows)


# === Arithmetic ===


def written(folder, name, seed, **scores):
    """A run's file with scores made up."""
    work = runs.Work(SCALES["small"], folder)
    kinds = {
        "semseg": ("mIoU", "%", True),
        "depth": ("RMSE", "m", False),
        "normals": ("mErr", "degrees", False),
        "edge": ("F_within_1px", "%", True),
    }
    result = {
        "format": runs.FORMAT,
        "settings": work.settings(name, seed),
        "scores": {
            task: dict(zip(("metric", "unit", "higher_is_better"), kinds[task], strict=True))
            | {"value": value}
            for task, value in scores.items()
        },
        "parameters": 1_000_000,
        "macs": 2_000_000,
        "seconds": {"training": 60.0 * (seed + 1)},
        "machine": {"cpu": "a cpu", "cores": 2, "threads": 1, "accelerator": None},
        "versions": {"keras": "3"},
    }
    path = work.file(name, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result))
    return work


def test_mean_deviation_and_gain_by_hand(tmp_path):
    single = {
        "semseg": (18.0, 22.0),
        "depth": (0.9, 1.1),
        "normals": (20.0, 20.0),
        "edge": (50.0, 50.0),
    }
    for task, values in single.items():
        for seed, value in enumerate(values):
            written(tmp_path, f"vit-single-{task}", seed, **{task: value})
    rows = [
        dict(semseg=22.0, depth=0.8, normals=18.0, edge=55.0),
        dict(semseg=20.0, depth=1.0, normals=20.0, edge=50.0),
    ]
    for seed, scores in enumerate(rows):
        work = written(tmp_path, "vit-baseline", seed, **scores)
    # Of this row one seed only: no Delta_m, its reference would be another than the others'.
    written(tmp_path, "taskprompter-s", 0, **rows[0])

    table = TABLES["taskprompter-table1"]
    report = tables.summary(table, work, [0, 1])
    reference, baseline, prompts, *rest = report["rows"]
    assert reference["seeds"] == baseline["seeds"] == [0, 1] and prompts["seeds"] == [0]
    assert all(row["seeds"] == [] and row["scores"] == {} for row in rest)

    assert reference["scores"]["semseg"]["mean"] == 20.0
    assert reference["scores"]["semseg"]["std"] == pytest.approx(statistics.stdev([18.0, 22.0]))
    assert reference["parameters"] == 4_000_000 and reference["macs"] == 8_000_000
    assert reference["minutes"]["mean"] == pytest.approx((4 * 1 + 4 * 2) / 2)
    # Against means 20, 1, 20, 50: seed 0 gains 10, 20, 10, 10%, seed 1 nothing.
    assert baseline["delta_m"]["values"] == pytest.approx([12.5, 0.0])
    assert baseline["delta_m"]["mean"] == pytest.approx(6.25)
    assert baseline["delta_m"]["std"] == pytest.approx(12.5 / 2**0.5)
    assert baseline["scores"]["depth"]["mean"] == pytest.approx(0.9)
    # Seed 0 is 10% worse at semseg and 10% better at depth, seed 1 the reverse.
    assert reference["delta_m"]["values"] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert reference["delta_m"]["mean"] == pytest.approx(0.0, abs=1e-12)
    assert prompts["delta_m"] is None and prompts["scores"]["semseg"]["std"] is None

    text = tables.markdown(report)
    assert "| baseline | 2 | 21.00 ± 1.41 | 0.900 ± 0.141 | 19.00 ± 1.41 | 52.50 ± 3.54 |" in text
    assert "| +6.25 ± 8.84 | 1.00 | 2.00 | 1.5 ± 0.7 |" in text
    assert "| +SPrompt | 1 | 22.00 | 0.800 | 18.00 | 55.00 |  | 1.00 | 2.00 | 1.0 |" in text
    assert "semseg mIoU [%] ↑ | depth RMSE [m] ↓" in text
    panels = figures.figure(report).axes
    assert len(panels) == 5
    assert [label.get_text() for label in panels[0].get_yticklabels()] == [
        "+SPrompt", "baseline", "single-task",
    ]  # fmt: skip


def test_a_figure_against_a_number(tmp_path):
    scores = dict(semseg=20.0, depth=1.0, normals=20.0, edge=50.0)
    for name in ("taskprompter-1-head", "taskprompter-4-heads", "taskprompter"):
        work = written(tmp_path, name, 0, **scores)
    table = TABLES["taskprompter-fig5"]
    panels = figures.figure(tables.summary(table, work, [0]), table.axis).axes
    assert {panel.get_xlabel() for panel in panels} == {"channel heads"}
    assert [float(tick) for tick in panels[1].get_xticks()] == [1, 4, 16]


@pytest.mark.parametrize("name", ["taskprompter_table1", "tpanet_table3a"])
def test_the_tables_in_the_documents_are_of_the_results_beside_them(name):
    docs = Path(__file__).parents[2] / "docs"
    report = json.loads((docs / f"{name}.json").read_text())
    table = [row for row in tables.markdown(report).splitlines() if row.startswith("|")]
    assert len(table) == 2 + len(report["rows"]) and all(row["seeds"] for row in report["rows"])
    assert "\n".join(table) in (docs / "results.md").read_text()


def test_one_table_against_another(tmp_path):
    table = TABLES["taskprompter-table1"]
    scores = dict(semseg=20.0, depth=1.0, normals=20.0, edge=50.0)
    other = dict(semseg=24.0, depth=1.0, normals=20.0, edge=50.0)
    for seed, of_seed in enumerate((scores, other)):
        work = written(tmp_path, "vit-baseline", seed, **of_seed)
    report = tables.summary(table, work, [0, 1])
    path = tmp_path / "before.json"
    path.write_text(json.dumps(report))
    same = tables.comparison(report, path)
    assert "| baseline | equal | equal | equal | equal |  |" in same

    for seed in (0, 1):
        written(tmp_path, "vit-baseline", seed, **{**other, "depth": 1.1})
    # mIoU was 22 on average and 2.83 apart, and is 24 now; the depths were equal, with no spread.
    moved = tables.comparison(tables.summary(table, work, [0, 1]), path)
    assert "| baseline | +2.00 (+0.7) | +0.100 | equal | equal |  |" in moved
    path.write_text(json.dumps(report | {"settings": {**report["settings"], "steps": 9}}))
    with pytest.raises(ValueError, match="before.json was made with steps 9, not 1500; compare"):
        tables.comparison(report, path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="before.json is no table of this script; name a TABLE"):
        tables.comparison(report, path)


def test_each_backbone_has_its_own_reference(tmp_path):
    factor = {"vit": 1.0, "swin": 2.0}
    scores = dict(semseg=20.0, depth=1.0, normals=20.0, edge=50.0)
    for backbone, times in factor.items():
        for task, value in scores.items():
            one = {task: value * times}
            written(tmp_path, f"{backbone}-single-{task}", 0, **one)
        both = {task: value * times for task, value in scores.items()}
        work = written(tmp_path, f"{backbone}-baseline", 0, **both)
    rows = tables.summary(TABLES["backbones"], work, [0])["rows"]
    gains = {row["row"]: row["delta_m"] for row in rows}
    assert gains["ViT: baseline"]["mean"] == gains["Swin: baseline"]["mean"] == 0.0
    assert gains["HRNet: baseline"] is None


# === Batches ===


def test_batches_mirror_images_with_their_labels():
    import keras_mtl

    tasks = keras_mtl.tasks.nyud("semseg", "normals")
    rng = np.random.default_rng(0)
    rooms = {
        "image": rng.integers(0, 255, (5, 4, 6, 3), dtype="uint8"),
        "semseg": rng.integers(0, 40, (5, 4, 6), dtype="int32"),
        "normals": rng.normal(size=(5, 4, 6, 3)).astype("float32"),
    }
    batches = runs._batches(rooms, tasks, batch_size=3, steps=10, seed=1)
    assert len(batches) == 10
    seen = []
    for step in range(10):
        images, labels = batches[step]
        assert images.shape == (3, 4, 6, 3)
        for k in range(3):
            for number, original in enumerate(rooms["image"].astype("float32")):
                semseg, normals = rooms["semseg"][number], rooms["normals"][number]
                if (images[k] == original).all():
                    seen.append((number, False))
                elif (images[k] == original[:, ::-1]).all():
                    seen.append((number, True))
                    semseg = semseg[:, ::-1]
                    normals = normals[:, ::-1] * np.float32([-1, 1, 1])
                else:
                    continue
                np.testing.assert_array_equal(labels["semseg"][k], semseg)
                np.testing.assert_array_equal(labels["normals"][k], normals)
    assert len(seen) == 30 and {mirrored for _, mirrored in seen} == {False, True}
    for first in range(0, 30, 5):  # every pass over the rooms has each once
        assert sorted(number for number, _ in seen[first : first + 5]) == [0, 1, 2, 3, 4]
    again, other = (runs._batches(rooms, tasks, 3, 10, seed) for seed in (1, 2))
    np.testing.assert_array_equal(again[7][0], batches[7][0])
    assert any((other[step][0] != batches[step][0]).any() for step in range(10))
    assert rooms["image"].dtype == "uint8"  # the rooms themselves are as they were


def test_the_pretrained_backbone_is_what_networks_start_from(run):
    _, out = run
    work = runs.Work(SCALES["tiny"], out)
    with np.load(work.file("pretrained-vit", 1)) as stored:
        expected = {name: stored[name] for name in stored if name != "about"}
    keras.utils.set_random_seed(1)
    for i, fresh in enumerate(work._backbone("vit").get_weights()):
        # Two steps of Adam at a learning rate of 0.001 at most have moved it.
        assert np.abs(expected[str(i)] - fresh).max() < 3e-3
        assert fresh.size == 1 or (expected[str(i)] != fresh).any()

    baseline = work.network("vit-baseline", 1)
    found = [keras.ops.convert_to_numpy(w) for w in baseline.backbone_variables]
    assert len(found) == len(expected)
    for i, value in enumerate(found):
        np.testing.assert_array_equal(value, expected[str(i)])
    prompter = work.network("taskprompter", 1)
    stored = {value.tobytes() for value in expected.values()}
    for layer in prompter.backbone_layers:
        for weight in layer.weights:
            assert keras.ops.convert_to_numpy(weight).tobytes() in stored, weight.path
    changed = dataclasses.replace(SCALES["tiny"], pretraining_steps=9)
    with pytest.raises(ValueError, match="was made with pretraining_steps 2, not 9"):
        runs.Work(changed, out).finished("pretrained-vit", 1)


def test_boundaries_by_odsf(run):
    _, out = run
    work = runs.Work(dataclasses.replace(SCALES["tiny"], odsf=True), out)
    scores = work._scores(work.network("vit-baseline", 0))
    assert [each["metric"] for each in scores.values()] == ["mIoU", "RMSE", "mErr", "odsF"]
    assert all(np.isfinite(each["value"]) for each in scores.values())
    with pytest.raises(ValueError, match="was made with odsF False, not True"):
        work.finished("vit-baseline", 0)
