"""Figures of an ablation."""

# What a network costs: name of the axis, and the key and the unit of a row of a table.
COSTS = (("MACs [M]", "macs", 1e6), ("parameters [M]", "parameters", 1e6))


def figure(report: dict, axis: str = ""):
    """Delta_m and every metric, with their standard deviations and the seeds as dots.

    Args:
        report: of `tables.summary`.
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


def figure_of_cost(report: dict):
    """Delta_m against what networks cost, with its standard deviation.

    Args:
        report: of `tables.summary`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    from matplotlib.figure import Figure

    rows = [row for row in report["rows"] if row["delta_m"]]
    picture = Figure(figsize=(13, 6), dpi=110, layout="constrained")
    picture.suptitle(report["title"], fontsize=10)
    groups = list(dict.fromkeys(row["row"].split(": ")[0] for row in rows))
    for plot, (name, key, unit) in zip(picture.subplots(1, len(COSTS)), COSTS, strict=True):
        for row in rows:
            group, _, label = row["row"].rpartition(": ")
            place = row[key] / unit, row["delta_m"]["mean"]
            color = f"C{groups.index(group or label)}"
            error = row["delta_m"]["std"] or 0
            plot.errorbar(*place, yerr=error, fmt="o", capsize=3, color=color)
            plot.annotate(label, place, (4, 4), textcoords="offset points", fontsize=7)
        plot.axhline(0, color="0.6", linestyle="--", linewidth=1)
        plot.set_xscale("log")
        plot.set_xlabel(name, fontsize=8)
        plot.set_ylabel("Δm [%] ↑", fontsize=8)
        plot.tick_params(labelsize=8)
        plot.grid(alpha=0.3)
        for number, group in enumerate(groups):
            plot.plot([], [], "o", color=f"C{number}", label=group)
        if groups:
            plot.legend(fontsize=8)
    return picture
