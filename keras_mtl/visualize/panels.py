"""Panels of maps: labels beside predictions, image by image."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_mtl import files
from keras_mtl.tasks import Task, check_tasks


def panel(
    images,
    maps: dict,
    tasks: Sequence[Task],
    labels: dict | None = None,
    legend: bool = False,
):
    """One row for each image: the image, and for each task the label beside the prediction.

    Colours are the tasks' own, and a value has one colour in labels and predictions of all images:
    the colours of depth end at the panel's largest label, or prediction if there are no labels, as
    is written below them.
    Where there is no label it is white, or grey in the black and white pictures of boundaries and
    saliency.

    Args:
        images: array `(n, H, W, 3)` or list of `(H, W, 3)`, RGB in 0..255.
        maps: dict by task name of decoded maps with the same n, H, W.
        tasks: list of tasks.
        labels: dict by task name of label arrays, or None to show predictions alone.
        legend: bool. Name the classes in the picture below it.

    Returns:
        A `matplotlib.figure.Figure`; `figure.savefig("panel.png")` writes it.

    Raises:
        ValueError: if there is no image, or a task lacks a map or a label of one.

    Example:

    >>> task = keras_mtl.tasks.DepthEstimation()
    >>> depth = np.full((2, 24, 32, 1), 2.5)
    >>> figure = keras_mtl.visualize.panel(np.zeros((2, 24, 32, 3)), {"depth": depth}, [task])
    >>> len(figure.axes)
    4
    """
    from matplotlib.figure import Figure

    if not len(images):
        raise ValueError("There is no image to draw; pass one at least.")
    check_shown("maps", maps, tasks, len(images))
    if labels is not None:
        check_shown("labels", labels, tasks, len(images))
    columns = [("image", "", lambda i: rgb(images[i]))]
    for task in tasks:
        scale = task.scale_of(_listed((maps if labels is None else labels)[task.name], len(images)))
        span = f"0 to {scale:.3g} {task.measured_in}" if task.measured_in and scale else ""

        def picture(shown, task=task, scale=scale):
            listed = _listed(shown, len(images))
            return lambda i: task.draw(listed[i], rgb(images[i]), scale)

        if labels is not None:
            columns.append((f"{task.name}: label", span, picture(labels[task.name])))
        title = f"{task.name}: prediction" if labels is not None else task.name
        columns.append((title, span, picture(maps[task.name])))

    names = _class_names(maps, tasks, labels, len(images)) if legend else []
    width = 2.2 * len(columns)
    # As many names of classes as fit beside each other: patch and gaps, and the letters.
    longest = 0.45 + 0.06 * max((len(name) for name, _ in names), default=0)
    across = max(1, int(width / longest))
    rows, aspect = len(images), images[0].shape[0] / images[0].shape[1]
    height = 2.2 * aspect * rows + 0.3 + 0.2 * -(-len(names) // across)
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.04, wspace=0.01, hspace=0.01)
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for i, row in enumerate(axes):
        for axis, (title, span, picture) in zip(row, columns, strict=True):
            axis.imshow(picture(i), interpolation="nearest")
            # With a frame, for where there is no label most pictures are white.
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set(color="0.7", linewidth=0.5)
            if i == 0:
                axis.set_title(title, fontsize=9)
            if i == rows - 1:
                axis.set_xlabel(span, fontsize=7)
    if names:
        _draw_legend(figure, names, across)
    return figure


def rgb(image) -> np.ndarray:
    """An image of numbers in 0..255 as uint8."""
    return np.clip(np.asarray(image), 0, 255).astype("uint8")


def _listed(shown, count: int) -> list:
    """One label or output for each image, from a list of them or from arrays with a batch axis."""
    if isinstance(shown, dict):
        return [{key: values[i] for key, values in shown.items()} for i in range(count)]
    return [each if isinstance(each, dict) else np.asarray(each) for each in shown]


def check_shown(what: str, shown: dict, tasks: Sequence[Task], count: int) -> None:
    """Refuses maps or labels that are not one of each task for each image.

    Args:
        what: what they are called in the sentence.
        shown: dict by task name.
        tasks: list of tasks.
        count: int, of the images.

    Raises:
        ValueError: if one is missing.
    """
    for task in check_tasks(tasks):
        if not isinstance(shown, Mapping) or task.name not in shown:
            found = ", ".join(shown) if isinstance(shown, Mapping) else type(shown).__name__
            raise ValueError(
                f"There is nothing for {task.name!r} in {what} ({found}); give it, or draw the "
                "tasks that have something."
            )
        each = shown[task.name]
        arrays = list(each.values()) if isinstance(each, Mapping) else [each]
        for values in arrays:
            if len(values) < count:
                raise ValueError(
                    f"{what} of {task.name!r} are for {len(values)} images, and there are {count}; "
                    "give one for each."
                )


def _class_names(maps: dict, tasks: Sequence[Task], labels: dict | None, count: int) -> list:
    """`(name, colour)` of every class that is somewhere in labels or maps."""
    legends = {}
    for task in tasks:
        shown = _listed(maps[task.name], count)
        shown += _listed(labels[task.name], count) if labels is not None else []
        legends[task.name] = task.legend(shown)
    several = sum(bool(legend) for legend in legends.values()) > 1
    return [
        (f"{name}: {title}" if several else title, colour)
        for name, legend in legends.items()
        for title, colour in legend
    ]


def _draw_legend(figure, names: list, across: int) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=colour, edgecolor="grey", label=name) for name, colour in names]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(across, len(handles)),
        fontsize=7,
        frameon=False,
        handlelength=1.2,
        columnspacing=1.0,
    )


def write_figure(figure, path: str | Path, dpi: int | None = None) -> None:
    """Writes a `matplotlib` figure as a picture, whole or not at all, and its folder if missing.

    Args:
        figure: the figure.
        path: of the picture, new or not; its ending names the format.
        dpi: int, pixels an inch; `None` means the figure's own.

    Raises:
        keras_mtl.files.NotWritten: if the system refuses; an `OSError`.

    Example:

    >>> figure = keras_mtl.visualize.precision_recall(
    ...     {"thresholds": [0.5], "precision": [80.0], "recall": [60.0], "F": [68.6]}
    ... )
    >>> write_figure(figure, "pictures/curve.png")
    """
    files.make_folder(Path(path).parent)
    with files.whole(path) as fresh:
        figure.savefig(fresh, dpi=dpi or "figure")


def as_array(figure) -> np.ndarray:
    """A drawn `matplotlib` figure as `(height, width, 3)` uint8 RGB.

    Example:

    >>> figure = keras_mtl.visualize.precision_recall(
    ...     {"thresholds": [0.5], "precision": [80.0], "recall": [60.0], "F": [68.6]}
    ... )
    >>> keras_mtl.visualize.as_array(figure).dtype.name
    'uint8'
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
