"""Figures of an ablation."""


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
