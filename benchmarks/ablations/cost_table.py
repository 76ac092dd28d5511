"""TaskPrompter's Table 8: cost against the number of tasks."""

from pathlib import Path

import keras

import keras_mtl
from benchmarks.ablations.machine import versions
from benchmarks.ablations.tables import save
from keras_mtl import cost
from keras_mtl.tables import markdown

# Counted, not trained, and on the published configuration at every scale.
COST_TABLE = "taskprompter-table8"
COST_PRESET = "taskprompter_vit_large_pascal"
COST_ORDER = ("semseg", "human_parts", "sal", "normals", "edge")
# TaskPrompter's Table 8, by number of tasks: millions of parameters, GMACs.
PUBLISHED_COST = {1: (364, 389), 2: (373, 416), 3: (383, 443), 4: (392, 470), 5: (401, 497)}


def write_cost_table(folder: Path) -> None:
    from tqdm import tqdm

    tasks = {task.name: task for task in keras_mtl.tasks.pascal_context()}
    rows = []
    for count in tqdm(range(1, len(COST_ORDER) + 1), desc="counting", unit="network"):
        chosen = [tasks[name] for name in COST_ORDER[:count]]
        model = keras_mtl.MultiTaskModel.from_preset(COST_PRESET, tasks=chosen)
        rows.append(
            {
                "tasks": count,
                "parameters": cost.parameters(model),
                "macs": cost.macs(model).total,
                "paper": dict(zip(("parameters_M", "GMACs"), PUBLISHED_COST[count], strict=True)),
            }
        )
        del model
        keras.backend.clear_session()
    report = {"title": "TaskPrompter, Table 8: cost against the number of tasks", "rows": rows}
    report |= {"preset": COST_PRESET, "order": COST_ORDER, "versions": versions()}
    lines = [["tasks", "parameters [M]", "paper", "GMACs", "paper"]]
    for row in rows:
        millions, giga = row["parameters"] / 1e6, row["macs"] / 1e9
        paper = row["paper"]
        shown = f"{millions:.2f}", paper["parameters_M"], f"{giga:.1f}", paper["GMACs"]
        lines.append([row["tasks"], *shown])
    growth = [rows[-1][key] / rows[0][key] * 100 - 100 for key in ("parameters", "macs")]
    lines.append(["increase", f"{growth[0]:+.2f}%", "+10.16%", f"{growth[1]:+.2f}%", "+27.76%"])
    said = f"`{COST_PRESET}`, tasks in the order {', '.join(COST_ORDER)}; one image."
    table = markdown(lines, numbers=True, padded=False)
    text = "\n".join([f"## {report['title']}", "", table, "", said]) + "\n"
    save(folder / COST_TABLE, report, text, _cost_figure(report))
    print(text + f"\nWrote {folder / COST_TABLE}.md, .json and .png")


def _cost_figure(report):
    from matplotlib.figure import Figure

    picture = Figure(figsize=(7, 3), dpi=110, layout="constrained")
    picture.suptitle(report["title"], fontsize=10)
    kinds = (
        ("parameters [M]", "parameters", 1e6, "parameters_M"),
        ("GMACs", "macs", 1e9, "GMACs"),
    )
    for plot, (name, key, unit, paper) in zip(picture.subplots(1, 2), kinds, strict=True):
        counts = [row["tasks"] for row in report["rows"]]
        plot.plot(counts, [row[key] / unit for row in report["rows"]], "o-", label="here")
        plot.plot(counts, [row["paper"][paper] for row in report["rows"]], "x", label="paper")
        plot.set_title(name, fontsize=9)
        plot.set_xlabel("tasks", fontsize=8)
        plot.set_xticks(counts)
        plot.set_ylim(0, 1.1 * max(row[key] / unit for row in report["rows"]))
        plot.grid(alpha=0.3)
        plot.legend(fontsize=8, loc="lower right")
    return picture
