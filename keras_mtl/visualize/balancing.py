"""How the tasks were balanced in training: their weights, and how alike their gradients are."""

from typing import Any

from keras_mtl.visualize.history import read_history

# How a log names what `keras_mtl.training.balancing_epochs` puts there.
_WEIGHT, _COSINE = "_weight", "_cosine_"


def balancing_curves(log: Any):
    """Draws what a rule of `keras_mtl.balancing` did: each task's weight over the epochs.

    Beside them, where the rule looks at gradients, the cosines between those of every two tasks:
    below 0 a step for one is a step back for the other.

    Args:
        log: path of the CSV that `keras.callbacks.CSVLogger` wrote, or the dict
            `History.history` that `model.fit` returned.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: if the file is missing or not such a CSV, or no rule balanced the tasks.

    Example:

    >>> history = {"loss": [3.0, 2.0], "depth_weight": [0.5, 0.3], "edge_weight": [0.5, 0.7]}
    >>> history |= {"depth_cosine_edge": [0.1, -0.2]}
    >>> figure = keras_mtl.visualize.balancing_curves(history)
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['depth', 'edge']
    """
    from matplotlib.figure import Figure

    history = read_history(log)
    weights = {key.removesuffix(_WEIGHT): key for key in history if key.endswith(_WEIGHT)}
    pairs = [key.split(_COSINE) for key in history if _COSINE in key]
    cosines = {f"{one}, {other}": f"{one}{_COSINE}{other}" for one, other in pairs}
    if not weights:
        raise ValueError(
            "The log has no weights of tasks, such as depth_weight; expected that of a model "
            "compiled with a balancing of keras_mtl.balancing."
        )
    panels = [("weight", weights), *([("cosine of gradients", cosines)] if cosines else [])]
    size = (4.5 * len(panels), 3)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, lines) in zip(axes, panels, strict=True):
        for name, key in lines.items():
            axis.plot(history["epoch"], history[key], marker=".", markersize=4, label=name)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("epoch", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(fontsize=7, frameon=False)
    if cosines:
        axis.axhline(0, color="0.7", linewidth=0.8, zorder=0)
        axis.set_ylim(-1.05, 1.05)
    return figure


def is_of_balancing(key: str) -> bool:
    """Whether `balancing_curves` draws what a log calls so.

    Args:
        key: a name in the log.

    Example:

    >>> is_of_balancing("depth_weight"), is_of_balancing("depth_loss")
    (True, False)
    """
    return key.endswith(_WEIGHT) or _COSINE in key
