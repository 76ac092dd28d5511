"""Where a TaskPrompter's task prompts look: the affinity maps of the paper's Fig. 4 and Fig. 8."""

import numpy as np

from keras_mtl.layers import LevelPromptDecoding, SpatialChannelPromptDecoding
from keras_mtl.models import TaskPrompter
from keras_mtl.visualize.inside import View, draw_photograph


def affinity_maps(model: TaskPrompter, image, level: int = -1) -> dict[str, dict[str, np.ndarray]]:
    """The affinities between task prompts and patch tokens that decode one level.

    They are raw, as Eq. 6 and Eq. 7 multiply the patch tokens by them: products of queries and
    keys, of either sign, neither scaled nor through a softmax.

    Args:
        model: `TaskPrompter`.
        image: array `(H, W, 3)`, RGB in 0..255, of any size.
        level: int. Which of the model's prompting levels; -1 is the last.

    Returns:
        Dict with, each a dict by task name, `"spatial"`: arrays `(heads, h, w)` on the patches
        that hold some of the photograph, `A^{p->s}`; and `"channel"`: arrays `(windows, C)`,
        `A^{p->c}`. A model without spatial or without channel prompts has only the other.

    Raises:
        ValueError: if the model is no TaskPrompter, has no such level, or the image is not RGB.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer("pico", (32, 48, 3), num_layers=2)
    >>> model = keras_mtl.TaskPrompter(
    ...     backbone, keras_mtl.tasks.nyud(), channel_windows=(1, 1), prompting_levels=1
    ... )
    >>> maps = keras_mtl.visualize.affinity_maps(model, np.zeros((32, 48, 3)))
    >>> maps["spatial"]["depth"].shape, maps["channel"]["depth"].shape
    ((4, 2, 3), (1, 128))

    Reference: Ye and Xu, TaskPrompter, ICLR 2023, Eq. 6 and 7.
    """
    decoders = _decoders(model, level)
    view = View(model, image)
    maps = _whole_maps(view, decoders)
    if "spatial" in maps:
        maps["spatial"] = {
            name: view.cut(each, view.whole) for name, each in maps["spatial"].items()
        }
    return maps


def affinity(model: TaskPrompter, image, level: int = -1, heads: int = 3, channels: int = 60):
    """Draws where each task's prompt looks on a photograph, and to which channels.

    Beside the photograph there is a column for each task: the mean of its spatial affinity over
    the heads, then single heads. A row has one colour scale, to compare the tasks by. Below is the
    channel affinity of all tasks, averaged over the windows.

    Args:
        model: `TaskPrompter`.
        image: array `(H, W, 3)`, RGB in 0..255, of any size.
        level: int. Which of the model's prompting levels; -1 is the last.
        heads: int. How many single heads are drawn, the first ones.
        channels: int. How many channels are drawn, evenly spaced; the paper draws 60.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: if the model is no TaskPrompter, has no such level, or the image is not RGB.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer("pico", (32, 48, 3), num_layers=2)
    >>> model = keras_mtl.TaskPrompter(
    ...     backbone, keras_mtl.tasks.nyud("depth"), channel_windows=(1, 1), prompting_levels=1
    ... )
    >>> figure = keras_mtl.visualize.affinity(model, np.zeros((32, 48, 3)), heads=1)
    >>> [axis.get_title() for axis in figure.axes][:3]
    ['photograph', 'depth', '']

    Reference: Ye and Xu, TaskPrompter, ICLR 2023, Fig. 4 and Fig. 8.
    """
    from matplotlib.figure import Figure

    decoders = _decoders(model, level)
    view = View(model, image)
    maps = _whole_maps(view, decoders)
    spatial, channel = maps.get("spatial", {}), maps.get("channel", {})
    rows = {}
    if spatial:
        stacked = np.stack(list(spatial.values()))  # (T, heads, h, w)
        rows[f"mean of {stacked.shape[1]} heads"] = stacked.mean(1)
        rows |= {f"head {i + 1}": stacked[:, i] for i in range(min(heads, stacked.shape[1]))}
    aspect = view.photograph.shape[0] / view.photograph.shape[1]
    columns = 1 + (len(spatial) or 2)
    heights = [2 * aspect] * (len(rows) or 1)
    if channel:
        heights.append(0.35 + 0.16 * len(channel))
    figure = Figure((2 * columns + 0.6, sum(heights) + 0.4), dpi=110, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)

    draw_photograph(figure.add_subplot(grid[0, 0]), view)
    for r, (title, maps_of_row) in enumerate(rows.items()):
        seen = view.cut(maps_of_row, view.whole)
        axes = [figure.add_subplot(grid[r, 1 + t]) for t in range(len(spatial))]
        for axis, each in zip(axes, maps_of_row, strict=True):
            colours = view.draw(
                axis, each, view.whole, cmap="inferno", vmin=seen.min(), vmax=seen.max()
            )
        axes[0].set_ylabel(title, fontsize=9)
        _colour_bar(figure, colours, axes)
        if r == 0:
            for axis, name in zip(axes, spatial, strict=True):
                axis.set_title(name, fontsize=9)
    if channel:
        _draw_channels(figure, figure.add_subplot(grid[-1, :]), channel, channels)
    return figure


def _draw_channels(figure, axis, channel: dict, count: int) -> None:
    """A heat map of tasks by channels, blue below 0 and red above."""
    rows = np.stack([each.mean(0) for each in channel.values()])
    chosen = np.linspace(0, rows.shape[1] - 1, min(count, rows.shape[1])).round().astype(int)
    rows = rows[:, chosen]
    limit = np.abs(rows).max()
    colours = axis.imshow(
        rows, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
    )
    ticks = np.arange(0, len(chosen), max(len(chosen) // 12, 1))
    axis.set_xticks(ticks, chosen[ticks], fontsize=7)
    axis.set_yticks(range(len(channel)), list(channel), fontsize=8)
    axis.set_title("affinity to channels, mean over windows", fontsize=9)
    _colour_bar(figure, colours, [axis])


def _colour_bar(figure, colours, axes) -> None:
    bar = figure.colorbar(colours, ax=axes, fraction=0.05, aspect=15, pad=0.01)
    bar.ax.tick_params(labelsize=7)


def _decoders(
    model: TaskPrompter, level: int
) -> dict[str, SpatialChannelPromptDecoding | LevelPromptDecoding]:
    """The layer that decodes each task at a level, by task name."""
    if not isinstance(model, TaskPrompter):
        raise ValueError(
            f"The model is a {type(model).__name__}, which has no task prompts; affinity maps are "
            "those of a keras_mtl.TaskPrompter."
        )
    levels: dict[int, dict] = {}
    for layer in model.layers:
        if isinstance(layer, SpatialChannelPromptDecoding):
            # An encoder for every task alone has its task's name in front.
            encoder, block = layer.name.split("decoding_after_block_")
            for task in model.tasks:
                if encoder in ("", f"{task.name}_"):
                    levels.setdefault(int(block), {})[task.name] = layer
        elif isinstance(layer, LevelPromptDecoding):  # of one task
            name, number = layer.name.rsplit("_level_", 1)
            levels.setdefault(int(number), {})[name] = layer
    if not -len(levels) <= level < len(levels):
        raise ValueError(
            f"level is {level}, but this model decodes {len(levels)} levels; use "
            f"{-len(levels)} to {len(levels) - 1}."
        )
    found = levels[sorted(levels)[level]]
    return {task.name: found[task.name] for task in model.tasks}


def _whole_maps(view: View, decoders: dict) -> dict[str, dict[str, np.ndarray]]:
    """`affinity_maps` on the whole patch grid, padding included."""
    layers = list(dict.fromkeys(decoders.values()))
    # A decoder's inputs are the patches, then what there is of the two affinities.
    values = iter(view.tensors([tensor for layer in layers for tensor in layer.input[1:]]))
    maps: dict[str, dict] = {}
    for layer in layers:
        own = [name for name in decoders if decoders[name] is layer]
        if layer.spatial_prompts:
            spatial = next(values)  # (heads, T, N), or of one task (heads, N)
            spatial = spatial.reshape(len(spatial), -1, *layer.grid)
            maps.setdefault("spatial", {}).update(zip(own, spatial.swapaxes(0, 1), strict=True))
        if layer.channel_windows:
            channel = next(values)  # (windows, T, C), or of one task (windows, C)
            channel = channel.reshape(len(channel), -1, channel.shape[-1])
            maps.setdefault("channel", {}).update(zip(own, channel.swapaxes(0, 1), strict=True))
    return maps
