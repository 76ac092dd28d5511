"""Tables of an ablation, from the results of its runs."""

import json
from pathlib import Path

import numpy as np

from benchmarks.ablations.figures import figure, figure_of_cost
from benchmarks.ablations.networks import TASKS
from benchmarks.ablations.runs import Work
from keras_mtl import files, tables
from keras_mtl.evaluation.single_task import delta_m


def summary(table, work: Work, seeds: list[int]) -> dict:
    """What a table shows: mean and standard deviation of every metric and of Delta_m.

    Args:
        table: `papers.Table`.
        work: where the runs are.
        seeds: that count. A row is of those seeds all of whose networks are finished.

    Returns:
        What is written to TABLE.json.

    Raises:
        ValueError: if a run is of other settings, or none is finished.
    """

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
        if table.against_cost:
            rows[-1]["measured"] = _measured(work, row.networks)
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


def _measured(work, names) -> dict | None:
    """Seconds of a step and peak of memory; networks of their own train one after the other."""
    found = [work.finished(f"measured-{name}", 0) for name in names]
    if not all(found):
        return None
    peaks = [each["peak_bytes"] for each in found]
    return {
        "step_seconds": sum(each["step_seconds"] for each in found),
        "peak_bytes": max(peaks) if None not in peaks else None,
        "machine": found[0]["machine"],
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
    heads += ["Δm [%] ↑", "parameters [M]", "MACs [M]"]
    measured = any(row.get("measured") for row in report["rows"])
    if not measured:
        heads.append("minutes a run")
    lines = [heads]
    for row in report["rows"]:
        cells = [row["row"], str(len(row["seeds"]))]
        for task in report["metrics"]:
            digits = 3 if report["metrics"][task]["unit"] == "m" else 2
            cells.append(_shown(row["scores"].get(task), digits))
        cells.append(_shown(row["delta_m"], 2, sign="+"))
        cells += [f"{row[key] / 1e6:.2f}" if row[key] else "" for key in ("parameters", "macs")]
        if not measured:
            cells.append(_shown(row["minutes"], 1))
        lines.append(cells)
    text = [f"## {report['title']}", ""]
    text += [tables.markdown(lines, numbers=True, padded=False)]
    if measured:  # by itself: a run again gives all of the above to the last bit, and this not
        text += ["", *_costs(report)]
    settings = report["settings"]
    rooms, (height, width) = settings["rooms"], settings["image_size"]
    text += [
        "",
        "Mean ± standard deviation over the seeds; Δm against the mean of the single-task "
        "networks; their parameters, MACs (one image) and minutes are those of all together.",
        f"Rooms of {height}x{width} pixels: {rooms['training']} to train on, "
        f"{rooms[settings['measured_on']]} to measure on ({settings['measured_on']}), "
        f"{rooms['pretraining']} others for the backbone; {settings['steps']} steps of "
        f"{settings['batch_size']} images, learning rate {settings['learning_rate']:g}; "
        f"backend {settings['backend']}.",
        *(
            f"Made on {_name(made['machine'])}; "
            f"{', '.join(f'{name} {v}' for name, v in made['versions'].items())}."
            for made in report["made_by"]
        ),
        "",
        *(f"- {row['row']}: {row['says']}." for row in report["rows"]),
    ]
    return "\n".join(text) + "\n"


def _costs(report) -> list[str]:
    """The table of what was measured, as lines of Markdown."""
    lines = [["row", "a step [ms]", "peak memory [MB]", "minutes a run"]]
    for row in report["rows"]:
        found = row["measured"] or {"step_seconds": None, "peak_bytes": None}
        step, peak = found["step_seconds"], found["peak_bytes"]
        cells = [f"{step * 1e3:.1f}" if step else "", f"{peak / 1e6:.0f}" if peak else ""]
        lines.append([row["row"], *cells, _shown(row["minutes"], 1)])
    machines = {_name(row["measured"]["machine"]) for row in report["rows"] if row["measured"]}
    return [
        tables.markdown(lines, numbers=True, padded=False),
        "",
        "A training step: the median of some in a process of its own, with nothing beside it; the "
        "memory is what that process needed at most, above what it began with (on a GPU: of it). "
        "Of single-task networks the steps are added up, and the memory is the largest. Measured "
        f"on {'; '.join(sorted(machines))}.",
    ]


def _name(machine) -> str:
    cpu = f"{machine['cpu']}, {machine['threads']} thread(s) a run"
    return machine["accelerator"] or cpu


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
    lines = [heads]
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
    return tables.markdown(lines, numbers=True, padded=False)


def _shown(spread, digits, sign="") -> str:
    if not spread:
        return ""
    text = f"{spread['mean']:{sign}z.{digits}f}"
    return text if spread["std"] is None else f"{text} ± {spread['std']:.{digits}f}"


def write_table(report: dict, table, path: Path) -> None:
    """Writes PATH.json, PATH.md and PATH.png."""
    picture = figure_of_cost(report) if table.against_cost else figure(report, table.axis)
    save(path, report, markdown(report), picture)


def save(path: Path, report: dict, text: str, picture) -> None:
    """Writes a report, a text and a figure as PATH.json, PATH.md and PATH.png."""
    files.write_text(f"{path}.json", json.dumps(report, indent=2) + "\n")
    files.write_text(f"{path}.md", text)
    with files.whole(f"{path}.png") as fresh:
        picture.savefig(fresh)
