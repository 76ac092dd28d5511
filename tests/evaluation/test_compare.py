"""Delta_m, tables of results beside published rows, and the command that prints them."""

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_mtl.evaluation.compare import comparison, main
from keras_mtl.evaluation.evaluation import Evaluation
from keras_mtl.evaluation.published import metrics_of, published_rows
from keras_mtl.evaluation.result import read_evaluation
from keras_mtl.evaluation.single_task import delta_m, published_single_task, single_task_scores

pytestmark = pytest.mark.once("torch", "results and their tables know no backend")

METRICS = metrics_of("nyud_v2") | metrics_of("pascal_context")
UP = {task: metric.higher_is_better for task, metric in METRICS.items()}
SCORES = {"semseg": 52.0, "depth": 0.55, "normals": 19.0, "edge": 77.75}
SINGLE = {"semseg": 50.0, "depth": 0.5, "normals": 20.0, "edge": 77.75}  # gains: 4, -10, 5, 0


def evaluation(scores, name="mine", dataset="nyud_v2", split="val", images=654, **changes):
    tasks = {}
    for task, score in scores.items():
        metric = METRICS[task]
        tasks[task] = {
            "headline": metric.headline,
            "unit": metric.unit,
            "higher_is_better": metric.higher_is_better,
            "images": 0 if score is None else images,
            "scores": {metric.headline: score, "more": 1.0},
        }
    return {
        "format": "keras_mtl evaluation 1",
        "name": name,
        "dataset": {"name": dataset, "split": split, "images": images},
        "model": {},
        "protocol": {"images": "padded around"},
        "tasks": tasks,
        "boundary_curve": None,
        "versions": {},
        "faults": [],
        **changes,
    }


@pytest.fixture
def save(tmp_path):
    def write(content, file="mine.json"):
        path = tmp_path / file
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return str(path)

    return write


def table(markdown):
    """The cells by row, that of the header first."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line[1:-1].split(" | ")] for line in lines]
    assert len({len(row) for row in rows}) == 1
    return {row[0]: row[1:] for row in rows}


# === Delta_m ===


def independent_delta_m(multi, single, up):
    names = sorted(single)
    m, s = (np.array([x[name] for name in names]) for x in (multi, single))
    lower = np.array([not up[name] for name in names], int)
    return float(np.mean((-1.0) ** lower * (m - s) / s) * 100)


scores = st.fixed_dictionaries({task: st.floats(0.01, 100) for task in UP})


@given(scores, scores)
def test_delta_m_is_the_formula(multi, single):
    expected = independent_delta_m(multi, single, UP)
    assert delta_m(multi, single, UP) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(scores)
def test_delta_m_of_itself_is_0(single):
    assert delta_m(single, single, UP) == 0


@given(scores, scores, st.sampled_from(sorted(UP)), st.floats(0.01, 0.5))
def test_better_in_one_task_is_a_higher_delta_m(multi, single, task, share):
    better = {**multi, task: multi[task] * (1 + share if UP[task] else 1 - share)}
    gain = 100 * share * multi[task] / single[task] / len(UP)
    before, after = delta_m(multi, single, UP), delta_m(better, single, UP)
    assert after - before == pytest.approx(gain, rel=1e-6, abs=1e-6 * abs(before))


def test_delta_m_that_taskprompter_prints():
    single, multi, taskprompter = (
        next(r for r in published_rows("pascal_context") if (r.method, r.backbone) == which)
        for which in (
            ("single-task models", "ViT-B"),
            ("TaskPrompter Baseline", "ViT-B"),
            ("TaskPrompter", "ViT-B"),
        )
    )
    assert round(delta_m(taskprompter.scores, single.scores, UP), 2) == 0.15
    assert delta_m(multi.scores, single.scores, UP) == pytest.approx(-4.11, abs=0.01)


@pytest.mark.parametrize(
    "multi, single, said",
    [
        ({"semseg": 1.0}, {"depth": 1.0}, "found semseg of the multi-task and depth"),
        ({"semseg": 1.0}, {"semseg": 1.0, "depth": 1.0}, "the same tasks"),
        ({}, {}, "none"),
        ({"depth": 1.0}, {"depth": 0.0}, "single-task score of 'depth' is 0.0"),
        ({"depth": 1.0}, {"depth": float("nan")}, "single-task score of 'depth' is nan"),
        ({"depth": float("inf")}, {"depth": 1.0}, "score of 'depth' is inf"),
        ({"flow": 1.0}, {"flow": 1.0}, "whether higher is better for 'flow'"),
    ],
)
def test_delta_m_errors(multi, single, said):
    with pytest.raises(ValueError, match=said):
        delta_m(multi, single, UP)


# === The single-task reference ===


def test_single_task_scores_from_one_file_and_from_several(save):
    whole = save(evaluation(SINGLE))
    parts = [save(evaluation({t: s}, name="x"), f"{t}.json") for t, s in SINGLE.items()]
    assert single_task_scores([whole]).scores == SINGLE
    assert single_task_scores(parts).scores == SINGLE
    assert single_task_scores(parts).dataset == "nyud_v2"
    unlabelled = save(evaluation({"depth": None, "edge": 77.75}), "unlabelled.json")
    assert single_task_scores([unlabelled]).scores == {"edge": 77.75}


def test_single_task_scores_that_contradict_each_other(save):
    one = save(evaluation({"depth": 0.5, "edge": 70.0}), "one.json")
    same = save(evaluation({"depth": 0.5}), "same.json")
    other = save(evaluation({"depth": 0.6}), "other.json")
    assert single_task_scores([one, same]).scores == {"depth": 0.5, "edge": 70.0}
    with pytest.raises(ValueError, match="one.json and .*other.json both score 'depth'.*0.5 .*0.6"):
        single_task_scores([one, other])
    elsewhere = save(evaluation({"semseg": 50.0}, dataset="pascal_context"), "elsewhere.json")
    with pytest.raises(ValueError, match="one.json is of the dataset 'nyud_v2' and .*elsewhere"):
        single_task_scores([one, elsewhere])
    with pytest.raises(ValueError, match="no task has a score"):
        single_task_scores([save(evaluation({"depth": None}), "none.json")])
    with pytest.raises(ValueError, match="pass one JSON file at least"):
        single_task_scores([])


def test_published_single_task():
    reference = published_single_task("nyud_v2/swin-s")
    assert reference.scores == {"semseg": 48.92, "depth": 0.5804, "normals": 20.94, "edge": 77.20}
    with pytest.raises(ValueError, match="no published single-task row 'swin'.*nyud_v2/swin-s"):
        published_single_task("swin")


# === The table ===


def test_cells(save):
    mine = evaluation(SCORES, "mine|1")
    other = evaluation({**SCORES, "semseg": 99.0, "depth": None}, "other")
    single = single_task_scores([save(evaluation(SINGLE))])
    cells = table(comparison([mine, other], single).markdown())
    header = ["semseg mIoU [%] ↑", "depth RMSE [m] ↓", "normals mErr [degrees] ↓"]
    assert cells["model"] == [*header, "edge odsF [%] ↑", "Δm [%] ↑"]
    assert cells["mine\\|1"] == ["52.00", "0.5500", "19.00", "77.75", "-0.25"]
    assert cells["other"] == ["**99.00**", "–", "19.00", "77.75", "–"]
    assert cells["single-task networks"] == ["50.00", "0.5000", "20.00", "77.75", "0.00"]
    assert cells["TaskPrompter, ViT-L [1]"] == ["55.30", "0.5152", "**18.47**", "**78.20**", "–"]
    (mtformer,) = (row for name, row in cells.items() if name.startswith("MTFormer"))
    assert mtformer == ["50.56", "**0.4830**", "–", "–", "+4.12"]
    order = [name for name in cells if name.startswith("*")]
    assert order == ["*evaluated*", "*single-task reference*", "*published*"]
    # A reader finds what a remark's number stands for, and why a cell is empty.
    text = comparison([mine, other], single).markdown()
    assert "\n\\[1\\] Ye and Xu, TaskPrompter, ICLR 2023, Table 3.\n" in text
    assert "- Δm of other is left out: it has no score of depth." in text
    assert "the table prints Δm 2.17; from the scores that it prints follows 2.22" in text
    assert "published rows is as printed" in text


def test_remarks_belong_to_their_rows():
    result = comparison([evaluation(SCORES)], published_single_task("nyud_v2/swin-s"))
    said = {
        (row.name, row.backbone): [result.remarks[i] for i in row.remarks] for row in result.rows
    }
    assert said["mine", ""] == []
    for row in published_rows("nyud_v2"):
        assert said[row.method, row.backbone][0] in (f"{row.source}.", row.note)
        assert f"{row.source}." in said[row.method, row.backbone]
        assert not row.note or row.note in said[row.method, row.backbone]
    assert len(result.rows) == 1 + len(published_rows("nyud_v2"))  # the reference only once
    assert result.rows[1].name == "single-task baseline" and result.rows[1].delta_m == 0


def test_without_published_rows_and_without_a_reference():
    result = comparison([evaluation(SCORES)], published=False)
    assert [row.name for row in result.rows] == ["mine"]
    assert (result.remarks, result.notes, result.with_delta_m) == ((), (), False)
    assert table(result.markdown())["mine"] == ["52.00", "0.5500", "19.00", "77.75"]  # none is best


def test_best_is_of_what_is_shown():
    a, b = evaluation({"depth": 0.50001}, "a"), evaluation({"depth": 0.50004}, "b")
    c = evaluation({"depth": 0.5002}, "c")
    cells = table(comparison([a, b, c], published=False).markdown())
    assert [cells[name] for name in "abc"] == [["**0.5000**"], ["**0.5000**"], ["0.5002"]]


def test_best_delta_m_is_among_the_evaluated(save):
    better = {**SINGLE, "semseg": 51.0}
    rows = [evaluation(SCORES, "a"), evaluation(better, "b")]
    cells = table(comparison(rows, single_task_scores([save(evaluation(SINGLE))])).markdown())
    gains = {name: row[-1] for name, row in cells.items()}
    assert (gains["a"], gains["b"]) == ("-0.25", "**+0.50**")
    assert sum("**" in gain for gain in gains.values()) == 1


@pytest.mark.parametrize(
    "name, rows",
    [
        ("prepared/nyud_v2/1.0.0", 35),
        ("C:\\data\\rooms\\NYUD-v2", 35),
        ("nyud_v2:1.0.0", 35),
        ("pascal_context", 0),  # its rows have no depth
        ("rooms", 0),
        ("my_nyud_v2", 0),
        (None, 0),
    ],
)
def test_dataset_by_path(name, rows):
    result = comparison([evaluation({"depth": 0.5}, dataset=name)])
    assert sum(row.group == "published" for row in result.rows) == rows
    told = [note for note in result.notes if "no published figures" in note]
    assert bool(told) == (rows == 0)
    if name == "rooms":
        assert result.notes == ("There are no published figures for generated rooms.",)


def test_other_metrics_have_columns_of_their_own(save):
    fast = evaluation(SCORES, "fast")
    fast["tasks"]["edge"] |= {"headline": "odsF_fast", "scores": {"odsF_fast": 77.0}}
    full = evaluation(SCORES, "full")
    single = single_task_scores([save(evaluation(SINGLE))])
    result = comparison([fast, full], single)
    cells = table(result.markdown())
    assert cells["model"][3:5] == ["edge odsF_fast [%] ↑", "edge odsF [%] ↑"]
    assert cells["fast"][3:] == ["77.00", "–", "–"]
    assert cells["full"][3:] == ["–", "77.75", "-0.25"]
    assert cells["TaskPrompter, ViT-L [1]"][3:5] == ["–", "**78.20**"]
    assert "There are no published figures of edge odsF_fast [%]." in result.notes
    said = "Δm of fast is left out: the single-task reference is in another metric of edge."
    assert said in result.notes


def test_reference_without_a_task(save):
    single = single_task_scores([save(evaluation({"semseg": 50.0}))])
    result = comparison([evaluation(SCORES)], single, published=False)
    said = "the single-task reference has no score of depth, normals, edge."
    assert result.notes[0] == f"Δm of mine is left out: {said}"
    assert result.rows[0].delta_m is None


def test_differences_are_told(save):
    a = evaluation(SCORES, "a", protocol={"images": "padded", "edge": "nyud"})
    b = evaluation(SCORES, "b", images=100, protocol={"images": "padded", "edge": "pascal"})
    c = evaluation({"depth": 0.5}, "c", protocol={"images": "padded"}, faults=["Image 3 is"])
    notes = comparison([a, b, c]).notes
    assert "The protocols differ in edge (a: nyud; b: pascal)." in notes  # c has no boundaries
    assert not any("differ in images" in note for note in notes)
    assert "The results cover different images (a 654, b 100, c 654)." in notes
    assert "Published figures are of 654 images, b of 100." in notes
    assert "c leaves out 1 broken examples." in notes
    assert comparison([a, a], published=False).notes == ()

    b = evaluation(SCORES, "b", protocol={"images": "scaled"})
    b["tasks"]["edge"]["images"] = 12
    single = single_task_scores([save(evaluation(SINGLE), "s.json")])
    notes = comparison([evaluation(SCORES, "a"), b], single, published=False).notes
    (said,) = (note for note in notes if "protocols" in note)
    assert said.startswith("The protocols differ in images (a, ")
    assert said.endswith("s.json: padded around; b: scaled).")
    assert any(note.startswith("The results cover different images labelled for edge (a 654, b 12")
               for note in notes)  # fmt: skip


def test_refused(save):
    mine = evaluation(SCORES, "mine")
    with pytest.raises(ValueError, match="mine is of the dataset 'nyud_v2' and other of 'rooms'"):
        comparison([mine, evaluation(SCORES, "other", dataset="rooms")])
    with pytest.raises(ValueError, match="mine is of the split 'val' and other of 'test'"):
        comparison([mine, evaluation(SCORES, "other", split="test")])
    with pytest.raises(ValueError, match="the single-task reference .* of 'pascal_context'"):
        comparison([mine], published_single_task("pascal_context/swin-t"))
    with pytest.raises(ValueError, match="single-task score of 'edge' is 0"):
        zero = single_task_scores([save(evaluation(SINGLE))])
        comparison([mine], replace(zero, scores={**SINGLE, "edge": 0.0}))
    with pytest.raises(ValueError, match="no result"):
        comparison([])
    with pytest.raises(ValueError, match="Result 1 is no whole evaluation: it lacks 'dataset'"):
        comparison([{"name": "x"}])
    comparison([mine, evaluation(SCORES, "other", split=None)])  # not said is no contradiction


def test_evaluations_themselves(tmp_path):
    content = {k: v for k, v in evaluation(SCORES).items() if k != "format"}
    result = Evaluation(**content)
    assert comparison([result]) == comparison([evaluation(SCORES)])
    result.save(tmp_path / "evaluation.json")
    assert comparison([read_evaluation(tmp_path / "evaluation.json")]) == comparison([result])


def test_csv(save):
    single = single_task_scores([save(evaluation(SINGLE))])
    rows = list(csv.DictReader(io.StringIO(comparison([evaluation(SCORES)], single).csv())))
    assert rows[0]["group"] == "evaluated" and rows[0]["model"] == "mine"
    assert float(rows[0]["depth RMSE [m]"]) == 0.55
    assert float(rows[0]["Delta_m [%]"]) == pytest.approx(-0.25)
    found = {(row["model"], row["backbone"]): row for row in rows}
    row = found["TPANet", "Swin-S"]
    assert (row["group"], row["semseg mIoU [%]"], row["Delta_m [%]"]) == (
        "published",
        "50.87",
        "3.18",
    )
    assert row["remarks"].startswith("Task Prior Attention Network (TPANet), Table 1. TPANet,")
    assert found["MTFormer", "Swin"]["edge odsF [%]"] == ""


# === The command ===


def fails(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    printed = capsys.readouterr()
    assert caught.value.code == 2
    assert printed.out == ""
    return printed.err.strip().splitlines()[-1]


def test_command(save, capsys, tmp_path):
    mine, single = save(evaluation(SCORES)), save(evaluation(SINGLE), "single.json")
    assert main([mine, "--single", single]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert table(printed.out)["mine"] == ["52.00", "0.5500", "19.00", "77.75", "-0.25"]

    output = tmp_path / "new" / "table.csv"
    arguments = [mine, "--format", "csv", "--single-published", "nyud_v2/swin-t"]
    assert main([*arguments, "--no-published", "--output", str(output)]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Δm of the evaluated rows is against single-task networks (nyud_v2/swin-t" in printed.err
    rows = list(csv.DictReader(output.open(encoding="utf-8")))
    assert [row["group"] for row in rows] == ["evaluated", "single-task reference"]
    assert "prints the figures of HRNet-18 once more" in rows[1]["remarks"]
    assert [path.name for path in output.parent.iterdir()] == ["table.csv"]


def test_command_lists_published_rows(capsys):
    assert main(["--list-published"]) == 0
    listed = capsys.readouterr().out
    for name in ("nyud_v2/hrnet-18", "nyud_v2/swin-s", "pascal_context/vit-b"):
        assert f"{name} " in listed
        published_single_task(name)
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "--single runs/semseg/evaluation.json" in capsys.readouterr().out


def test_command_tells_results_of_one_name_apart(save, capsys):
    a, b = save(evaluation(SCORES), "a.json"), save(evaluation(SCORES), "b.json")
    assert main([a, b, "--no-published"]) == 0
    assert {f"mine ({a})", f"mine ({b})"} < set(table(capsys.readouterr().out))


LACKING = evaluation(SCORES)
del LACKING["tasks"]["depth"]["scores"]["RMSE"]


@pytest.mark.parametrize(
    "content, said",
    [
        ("", "is no JSON file or a damaged one"),
        ("{", "is no JSON file or a damaged one"),
        ("[" * 100_000, "is no JSON file or a damaged one"),
        ("[]", "does not say what it is"),
        ("{}", "does not say what it is"),
        (evaluation(SCORES, format="keras_mtl evaluation 2"), "it is 'keras_mtl evaluation 2'"),
        (evaluation({}), "is no whole evaluation"),
        (evaluation(SCORES, tasks=[1]), "is no whole evaluation"),
        (evaluation(SCORES, tasks={"depth": None}), "is no whole evaluation"),
        (evaluation(SCORES, dataset=None) | {"dataset": 3}, "is no whole evaluation"),
        (evaluation(SCORES, split=3), "is no whole evaluation"),
        (evaluation(SCORES, name=None), "is no whole evaluation"),
        (evaluation(SCORES, protocol={"edge": [1]}), "is no whole evaluation"),
        (evaluation(SCORES, faults=3), "is no whole evaluation"),
        (evaluation(SCORES, images=[3]), "is no whole evaluation"),
        (evaluation({"depth": "0.5"}), "is no whole evaluation"),
        (evaluation({"depth": True}), "is no whole evaluation"),
        (evaluation({"depth": 10**400}), "is no whole evaluation"),
        (LACKING, "it lacks 'RMSE'"),
    ],
)
def test_broken_files(content, said, save, capsys):
    broken, whole = save(content, "broken.json"), save(evaluation(SCORES))
    for arguments in ([broken], [whole, broken], [whole, "--single", broken]):
        message = fails(arguments, capsys)
        assert "broken.json" in message and said in message


def test_other_failures(save, capsys, tmp_path):
    mine = save(evaluation(SCORES))
    assert "missing.json cannot be read (No such file" in fails(["missing.json"], capsys)
    assert "cannot be read (Is a directory)" in fails([str(tmp_path)], capsys)
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "binary.json is no JSON file" in fails([str(binary)], capsys)
    assert "no result to compare" in fails([], capsys)
    assert "no result to compare" in fails(["--single", mine], capsys)
    said = fails([mine, "--single-published", "nyud_v2/vit"], capsys)
    assert "no published single-task row 'nyud_v2/vit'" in said
    rooms = save(evaluation(SCORES, "other", dataset="rooms"), "rooms.json")
    assert "compare results of one dataset" in fails([mine, rooms], capsys)
    before = open(mine).read()
    assert "is one of the results" in fails([mine, "--output", mine], capsys)
    assert open(mine).read() == before
    assert "cannot be written" in fails([mine, "--output", str(tmp_path)], capsys)
    assert "cannot be written" in fails([mine, "--output", f"{mine}/table.md"], capsys)
    assert not list(tmp_path.glob("*.tmp")) and not list(tmp_path.parent.glob("*.tmp"))


def test_numbers_that_json_has_and_tables_have_not(save, capsys):
    mine = save(evaluation({"depth": float("nan"), "edge": 77.0, "semseg": None}))
    assert main([mine, "--no-published"]) == 0
    assert table(capsys.readouterr().out)["mine"] == ["77.00"]
    assert main([save(evaluation({"depth": None}))]) == 0
    assert "mine" in capsys.readouterr().out


def test_loads_no_more_than_the_package_and_prints_nothing():
    code = (
        "import sys, keras_mtl; before = set(sys.modules); "
        "import keras_mtl.evaluation.compare; "
        "sys.exit(str({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == ""
    loaded = run.stderr.strip().splitlines()[-1]
    for library in (
        "numpy",
        "scipy",
        "numba",
        "tqdm",
        "matplotlib",
        "tensorflow",
        "torch",
        "keras",
    ):
        assert f"'{library}'" not in loaded
