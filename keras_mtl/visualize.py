"""Pictures of labels and predictions."""

from collections.abc import Sequence

import numpy as np

from keras_mtl.tasks import Task


def panel(images, maps: dict, tasks: Sequence[Task], labels: dict | None = None):
    """One row for each image: the image, and for each task the label beside the prediction.

    Args:
        images: array `(n, H, W, 3)`, RGB in 0..255.
        maps: dict by task name of decoded maps with the same n, H, W.
        tasks: list of tasks.
        labels: dict by task name of label arrays, or None to show predictions alone.

    Returns:
        A `matplotlib.figure.Figure`; `figure.savefig("panel.png")` writes it.

    Example:

    >>> task = keras_mtl.tasks.DepthEstimation()
    >>> depth = np.full((2, 24, 32, 1), 2.5)
    >>> figure = keras_mtl.visualize.panel(np.zeros((2, 24, 32, 3)), {"depth": depth}, [task])
    >>> len(figure.axes)
    4
    """
    from matplotlib.figure import Figure

    columns = [("image", lambda i: np.clip(np.asarray(images[i]), 0, 255).astype("uint8"))]
    for task in tasks:
        if labels is not None:
            columns.append((f"{task.name}: label", _picture(task, labels[task.name])))
        title = f"{task.name}: prediction" if labels is not None else task.name
        columns.append((title, _picture(task, maps[task.name])))

    rows, aspect = len(images), images[0].shape[0] / images[0].shape[1]
    figure = Figure(figsize=(2.2 * len(columns), 2.2 * aspect * rows + 0.3), dpi=110)
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for i, row in enumerate(axes):
        for axis, (title, picture) in zip(row, columns, strict=True):
            axis.imshow(picture(i), interpolation="nearest")
            axis.axis("off")
            if i == 0:
                axis.set_title(title, fontsize=9)
    figure.tight_layout(pad=0.3)
    return figure


def _picture(task: Task, maps):
    return lambda i: task.picture(np.asarray(maps[i]))


def as_array(figure) -> np.ndarray:
    """A drawn `matplotlib` figure as `(height, width, 3)` uint8 RGB."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
