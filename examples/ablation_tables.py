"""Tables and figures of an ablation, from the results of its runs."""

import json
from pathlib import Path

import numpy as np
from ablation_runs import Work, versions, write
from ablations import COST_ORDER, COST_PRESET, COST_TABLE, TASKS

# TaskPrompter's Table 8, by number of tasks: millions of parameters, GMACs.
PUBLISHED_COST = {1: (364, 389), 2: (373, 416), 3: (383, 443), 4: (392, 470), 5: (401, 497)}


def summary(table, work: Work, seeds: list[int]) -> dict:
    """What a table shows: mean and standard deviation of every metric and of Delta_m.

    Args:
        table: `ablations.Table`.
        work: where the runs are.
        seeds: that count. A row is of those seeds all of whose networks are finished.

    Returns:
        What is written to TABLE.json.

    Raises:
        ValueError: if a run is of other settings, or none is finished.
    """
    from keras_mtl.evaluation.single_task import delta_m

    rows, reference, everything = [], None, []
    for row in table.rows:
        found = {seed: [work.finished(name, seed) for name in row.networks] for seed in seeds}
        found = {seed: runs for seed, runs in found.items() if all(runs)}
        everything += [run for runs in found.values() for run in runs]
        values = {
            seed: {task: each for run in runs for task, each in run["scores"].items()}
            for seed, runs in found.items()
        }
        scores = {
            task: _spread([of_seed[task]["value"] for of_seed in values.values()])
            for task in TASKS
            if values
        }
        if len(row.networks) > 1:
            reference = (set(found), {task: each["mean"] for task, each in scores.items()})
        gain = None
        if values and reference and reference[0] == set(found):
            up = {t: each["higher_is_better"] for t, each in next(iter(values.values())).items()}
            gain = _spread(
                [
                    delta_m({t: each["value"] for t, each in of_seed.items()}, reference[1], up)
                    for of_seed in values.values()
                ]
            )
        some = next(iter(found.values()), [])
        seconds = [sum(run["seconds"]["training"] for run in runs) for runs in found.values()]
        rows.append(
            {
                "row": row.label,
                "says": row.says,
                "networks": list(row.networks),
                "x": row.x,
                "seeds": list(found),
                "scores": scores,
                "delta_m": gain,
                "parameters": sum(run["parameters"] for run in some) or None,
                "macs": sum(run["macs"] for run in some) or None,
                "minutes": _spread([each / 60 for each in seconds]) if seconds else None,
            }
        )
    if not everything:
        raise ValueError("No run of this table is finished; leave --table-only out to run it.")
    metrics = {
        task: {key: each[key] for key in ("metric", "unit", "higher_is_better")}
        for run in everything
        for task, each in run["scores"].items()
    }
    settings = {
        key: value
        for key, value in everything[0]["settings"].items()
        if all(run["settings"].get(key) == value for run in everything)
    }
    kinds = [{"machine": run["machine"], "versions": run["versions"]} for run in everything]
    return {
        "title": table.title,
        "settings": settings,
        "metrics": {task: metrics[task] for task in TASKS if task in metrics},
        "rows": rows,
        "made_by": [kind for i, kind in enumerate(kinds) if kind not in kinds[:i]],
    }


def _spread(values: list[float]) -> dict:
    """Mean and standard deviation (of a sample; None of a single value)."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": std, "values": list(values)}


def markdown(report: dict) -> str:
    """The table as Markdown, with what it was made with."""
    heads = ["row", "seeds"]
    for task, metric in report["metrics"].items():
        arrow = "↑" if metric["higher_is_better"] else "↓"
        heads.append(f"{task} {metric['metric']} [{metric['unit']}] {arrow}")
    heads += ["Δm [%] ↑", "parameters [M]", "MACs [M]", "minutes a run"]
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
    for row in report["rows"]:
        cells = [row["row"], str(len(row["seeds"]))]
        for task in report["metrics"]:
            digits = 3 if report["metrics"][task]["unit"] == "m" else 2
            cells.append(_shown(row["scores"].get(task), digits))
        cells.append(_shown(row["delta_m"], 2, sign="+"))
        cells += [f"{row[key] / 1e6:.2f}" if row[key] else "" for key in ("parameters", "macs")]
        cells.append(_shown(row["minutes"], 1))
        lines.append(cells)
    text = [f"## {report['title']}", ""]
    text += [f"| {' | '.join(cells)} |" for cells in lines]
    settings, made = report["settings"], report["made_by"][0]
    rooms, (height, width) = settings["rooms"], settings["image_size"]
    machine = made["machine"]["accelerator"] or (
        f"{made['machine']['cpu']}, {made['machine']['threads']} thread(s) a run"
    )
    versions = ", ".join(f"{name} {v}" for name, v in made["versions"].items())
    text += [
        "",
        "Mean ± standard deviation over the seeds; Δm against the mean of the single-task "
        "networks; their parameters, MACs (one image) and minutes are those of all together.",
        f"Rooms of {height}x{width} pixels: {rooms['training']} to train on, "
        f"{rooms[settings['measured_on']]} to measure on ({settings['measured_on']}), "
        f"{rooms['pretraining']} others for the backbone; {settings['steps']} steps of "
        f"{settings['batch_size']} images, learning rate {settings['learning_rate']:g}; "
        f"backend {settings['backend']}.",
        f"Made on {machine}; {versions}.",
        "",
        *(f"- {row['row']}: {row['says']}." for row in report["rows"]),
    ]
    return "\n".join(text) + "\n"


def comparison(report: dict, path: Path) -> str:
    """How far a table is from another of the same rows, as Markdown.

    Args:
        report: of `summary`.
        path: of the other TABLE.json.

    Returns:
        For every row and metric "equal", if all seeds have the same value to the last bit, or the
        difference of the means and, in brackets, what part of the other's standard deviation it is.

    Raises:
        ValueError: if the file is no such table, or of other settings.
    """
    try:
        other = json.loads(path.read_text())
        rows = {row["row"]: {**row["scores"], "Δm": row["delta_m"]} for row in other["rows"]}
        known, then, now = other["metrics"], other["settings"], report["settings"]
        changed = [key for key in then if key != "seed" and then[key] != now.get(key)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} is no table of this script; name a TABLE.json.") from None
    if changed:
        raise ValueError(
            f"{path} was made with {changed[0]} {then[changed[0]]!r}, not "
            f"{now.get(changed[0])!r}; compare tables of the same settings."
        )
    heads = ["row", *(f"{task} {each['metric']}" for task, each in known.items()), "Δm"]
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
    for row in report["rows"]:
        cells = [row["row"]]
        for name in [*known, "Δm"]:
            mine = row["delta_m"] if name == "Δm" else row["scores"].get(name)
            theirs = rows.get(row["row"], {}).get(name)
            if not mine or not theirs:
                cells.append("")
            elif mine["values"] == theirs["values"]:
                cells.append("equal")
            else:
                difference = mine["mean"] - theirs["mean"]
                digits = 3 if known.get(name, {}).get("unit") == "m" else 2
                cells.append(f"{difference:+z.{digits}f}")
                if theirs["std"]:
                    cells[-1] += f" ({difference / theirs['std']:+z.1f})"
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _shown(spread, digits, sign="") -> str:
    if not spread:
        return ""
    text = f"{spread['mean']:{sign}z.{digits}f}"
    return text if spread["std"] is None else f"{text} ± {spread['std']:.{digits}f}"


def write_table(report: dict, table, path: Path) -> None:
    """Writes PATH.json, PATH.md and PATH.png."""
    text = json.dumps(report, indent=2) + "\n"
    write(path.with_name(path.name + ".json"), lambda file: file.write(text.encode()))
    said = markdown(report).encode()
    write(path.with_name(path.name + ".md"), lambda file: file.write(said))
    picture = figure(report, table.axis)
    write(path.with_name(path.name + ".png"), lambda file: picture.savefig(file, format="png"))


def figure(report: dict, axis: str = ""):
    """Delta_m and every metric, with their standard deviations and the seeds as dots.

    Args:
        report: of `summary`.
        axis: what the rows' `x` counts; without it the rows stand one below the other.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    from matplotlib.figure import Figure

    panels = [("Δm [%] ↑", lambda row: row["delta_m"])]
    for task, metric in report["metrics"].items():
        arrow = "↑" if metric["higher_is_better"] else "↓"
        name = f"{task} {metric['metric']} [{metric['unit']}] {arrow}"
        panels.append((name, lambda row, task=task: row["scores"].get(task)))
    rows = [row for row in report["rows"] if row["seeds"]]
    height = 3.2 if axis else 1.2 + 0.4 * len(rows)
    picture = Figure(figsize=(13, height), dpi=110, layout="constrained")
    picture.suptitle(report["title"], fontsize=10)
    plots = picture.subplots(1, len(panels), sharey=not axis)
    single = [row for row in rows if len(row["networks"]) > 1]
    for plot, (name, of) in zip(plots, panels, strict=True):
        plot.set_title(name, fontsize=9)
        plot.tick_params(labelsize=8)
        plot.grid(alpha=0.3)
        shown = [row for row in rows if row["x"] is not None] if axis else rows
        for place, row in enumerate(shown):
            spread = of(row)
            if not spread:
                continue
            where = row["x"] if axis else len(rows) - 1 - place
            error = spread["std"] or 0
            dots = [where] * len(spread["values"]), spread["values"]
            bar = {"fmt": "o", "capsize": 3, "color": "C0"}
            if axis:
                plot.plot(*dots, ".", color="0.6")
                plot.errorbar(where, spread["mean"], yerr=error, **bar)
            else:
                plot.plot(*dots[::-1], ".", color="0.6")
                plot.errorbar(spread["mean"], where, xerr=error, **bar)
        for row in single:
            if of(row) and (axis or len(single) == 1):
                line = plot.axhline if axis else plot.axvline
                line(of(row)["mean"], color="C1", linestyle="--", linewidth=1)
        if axis:
            plot.set_xlabel(axis, fontsize=8)
            plot.set_xticks([row["x"] for row in shown])
            plot.set_xticklabels([f"{row['x']:g}" for row in shown])
    if axis and single:
        plots[0].set_ylabel("dashed: single-task", fontsize=8)
    if not axis:
        labels = [row["row"] for row in rows][::-1]
        plots[0].set_yticks(range(len(rows)), labels, fontsize=8)
    return picture


# === Table 8: cost against the number of tasks ===


def write_cost_table(folder: Path) -> None:
    import keras
    from tqdm import tqdm

    import keras_mtl
    from keras_mtl import cost

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
    lines = ["| tasks | parameters [M] | paper | GMACs | paper |", "|---" + "|---:" * 4 + "|"]
    for row in rows:
        millions, giga = row["parameters"] / 1e6, row["macs"] / 1e9
        paper = row["paper"]
        lines.append(
            f"| {row['tasks']} | {millions:.2f} | {paper['parameters_M']} "
            f"| {giga:.1f} | {paper['GMACs']} |"
        )
    growth = [rows[-1][key] / rows[0][key] * 100 - 100 for key in ("parameters", "macs")]
    lines.append(f"| increase | {growth[0]:+.2f}% | +10.16% | {growth[1]:+.2f}% | +27.76% |")
    said = f"`{COST_PRESET}`, tasks in the order {', '.join(COST_ORDER)}; one image."
    text = "\n".join([f"## {report['title']}", "", *lines, "", said]) + "\n"
    path = folder / COST_TABLE
    content = json.dumps(report, indent=2) + "\n"
    write(path.with_name(f"{COST_TABLE}.json"), lambda file: file.write(content.encode()))
    write(path.with_name(f"{COST_TABLE}.md"), lambda file: file.write(text.encode()))
    picture = _cost_figure(report)
    write(path.with_name(f"{COST_TABLE}.png"), lambda file: picture.savefig(file, format="png"))
    print(text + f"\nWrote {path}.md, .json and .png")


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
