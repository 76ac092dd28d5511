"""Where a TPANet's cross attention looks for one pixel (Eq. 8-10)."""

import math
from collections.abc import Sequence

import numpy as np
from keras import ops

from keras_mtl.layers import CrossAttention
from keras_mtl.models import TPANet
from keras_mtl.visualize.inside import View, draw_photograph


def cross_attention_maps(
    model: TPANet, image, pixel: tuple[int, int], task: str
) -> dict[str, np.ndarray]:
    """The weights of a task's cross attention for one query, the position of one pixel.

    The position asks twice, with the same projections: its mixed features ask (Eq. 9), and its
    task prior asks (Eq. 10). Keys are the mixed features of all positions.

    Args:
        model: `TPANet` with cross attention.
        image: array `(H, W, 3)`, RGB in 0..255, of any size.
        pixel: `(row, column)` in the image.
        task: name of a task of the model.

    Returns:
        Dict with `"features"` (Eq. 9) and `"prior"` (Eq. 10): arrays `(heads, h, w)` of softmax
        weights on the grid of keys, a quarter of the model's image size over
        `key_value_pooling`. Positions that hold none of the photograph, but padding, are cut
        off, so a head's weights sum to 1 or, with padding, to less.

    Raises:
        ValueError: if the model has no cross attention or no such task, or the image no such
            pixel.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer("pico", (32, 32, 3), num_layers=1)
    >>> tasks = keras_mtl.tasks.nyud("depth")
    >>> model = keras_mtl.TPANet(backbone, tasks, dim=4, head_width=4, scales=1)
    >>> photograph = np.zeros((32, 32, 3))
    >>> maps = keras_mtl.visualize.cross_attention_maps(model, photograph, (8, 16), "depth")
    >>> maps["prior"].shape, maps["prior"].sum((1, 2)).round(3).tolist()
    ((2, 8, 8), [1.0, 1.0])

    Reference: Task Prior Attention Network, Sec. 3.4, Eq. 8-10.
    """
    layers = _layers(model, [task])
    view = View(model, image)
    weights, extent = _weights(view, layers, pixel)[task]
    return {
        name: view.cut(each, extent)
        for name, each in zip(("features", "prior"), weights, strict=True)
    }


def cross_attention(
    model: TPANet, image, pixel: tuple[int, int], task: str | Sequence[str] | None = None
):
    """Draws where the cross attention of tasks looks for one pixel of a photograph.

    A row for each task: the weights of its mixed features' query (Eq. 9) and of its prior's query
    (Eq. 10), each the mean over heads and every head alone. Every picture has its own colour
    scale, from 0 to its largest weight. A cross marks the pixel.

    Args:
        model: `TPANet` with cross attention.
        image: array `(H, W, 3)`, RGB in 0..255, of any size.
        pixel: `(row, column)` in the image.
        task: name of a task, a list of names, or None for all tasks of the model.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: if the model has no cross attention or no such task, or the image no such
            pixel.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer("pico", (32, 32, 3), num_layers=1)
    >>> tasks = keras_mtl.tasks.nyud("depth")
    >>> model = keras_mtl.TPANet(backbone, tasks, dim=4, head_width=4, scales=1)
    >>> figure = keras_mtl.visualize.cross_attention(model, np.zeros((32, 32, 3)), (8, 16))
    >>> [axis.get_title() for axis in figure.axes][:3]
    ['photograph', 'features ask: mean', 'head 1']

    Reference: Task Prior Attention Network, Sec. 3.4, Eq. 8-10.
    """
    from matplotlib.figure import Figure

    names = [task] if isinstance(task, str) else task
    layers = _layers(model, names)
    view = View(model, image)
    found = _weights(view, layers, pixel)
    heads = next(iter(layers.values())).num_heads
    single = range(heads) if heads > 1 else ()
    columns = 1 + 2 * (1 + len(single))
    aspect = view.photograph.shape[0] / view.photograph.shape[1]
    size = (1.8 * columns, 1.8 * aspect * len(found) + 0.4)
    figure = Figure(size, dpi=110, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    grid = figure.add_gridspec(len(found), columns)
    marked = [draw_photograph(figure.add_subplot(grid[0, 0]), view)]
    for row, (name, (weights, extent)) in enumerate(found.items()):
        drawn = []
        for query, each in zip(("features", "prior"), weights, strict=True):
            drawn.append((f"{query} ask{'s' * (query == 'prior')}: mean", each.mean(0)))
            drawn += [(f"head {head + 1}", each[head]) for head in single]
        for column, (title, one) in enumerate(drawn, start=1):
            axis = figure.add_subplot(grid[row, column])
            view.draw(axis, one, extent, cmap="inferno", vmin=0)
            if row == 0:
                axis.set_title(title, fontsize=9)
            if column == 1:
                axis.set_ylabel(name, fontsize=9)
            marked.append(axis)
    for axis in marked:
        axis.plot(pixel[1], pixel[0], "+", color="cyan", markersize=9, markeredgewidth=1.5)
    return figure


def attention_rows(layer: CrossAttention, features, prior, position: tuple[int, int]) -> np.ndarray:
    """The two rows of softmax weights of one position, which the layer never holds.

    Args:
        layer: `CrossAttention`.
        features: array `(h, w, D)`, the layer's first input.
        prior: array `(h, w, D)`, its second.
        position: `(row, column)` of the query in the grid.

    Returns:
        Array `(2, heads, K)`: the weights of the features' query (Eq. 9) and of the prior's
        (Eq. 10) over all keys, in the order of the (pooled) grid.
    """
    dim = features.shape[-1]
    query = layer.query_dense(np.stack([features[position], prior[position]])[None])
    keys = ops.convert_to_tensor(features[None])
    if layer.key_value_pooling > 1:
        keys = layer._pooled(keys)
    key = layer.key_dense(ops.reshape(keys, (1, -1, dim)))
    query, key = (ops.reshape(x, (x.shape[1], layer.num_heads, -1)) for x in (query, key))
    scores = ops.cast(ops.einsum("qhd,khd->qhk", query, key), "float32")
    weights = ops.softmax(scores / math.sqrt(query.shape[-1]), axis=-1)  # Eq. 8
    return ops.convert_to_numpy(weights)


def _layers(model: TPANet, tasks: Sequence[str] | None) -> dict[str, CrossAttention]:
    """The cross attention of tasks, by task name."""
    if not isinstance(model, TPANet):
        raise ValueError(
            f"The model is a {type(model).__name__}, which has no cross attention; give a "
            "keras_mtl.TPANet."
        )
    layers = {layer.name: layer for layer in model.layers if isinstance(layer, CrossAttention)}
    if not layers:
        raise ValueError("This TPANet was built with cross_attention=False; it has none to show.")
    known = [task.name for task in model.tasks]
    tasks = known if tasks is None else tasks
    for name in tasks:
        if name not in known:
            raise ValueError(f"Unknown task {name!r}; the model has {', '.join(known)}.")
    return {name: layers[f"{name}_cross_attention"] for name in tasks}


def _weights(view: View, layers: dict, pixel: tuple[int, int]) -> dict:
    """By task name, weights `(2, heads, h, w)` on the grid of keys, and the grid's extent."""
    size = view.photograph.shape[:2]
    if len(pixel) != 2 or not all(0 <= at < n for at, n in zip(pixel, size, strict=True)):
        raise ValueError(
            f"pixel is {tuple(pixel)}; expected (row, column) in a photograph of {size[0]} rows "
            f"and {size[1]} columns."
        )
    inputs = view.tensors([tensor for layer in layers.values() for tensor in layer.input])
    found = {}
    for i, (name, layer) in enumerate(layers.items()):
        features, prior = inputs[2 * i : 2 * i + 2]
        grid = features.shape[:2]
        per_cell = [n / cells for n, cells in zip(view.image.shape[:2], grid, strict=True)]
        position = tuple(
            int(at // step) for at, step in zip(view.locate(pixel), per_cell, strict=True)
        )
        # Keys are means over pooling x pooling cells, padded where those do not divide the grid.
        pooling = layer.key_value_pooling
        keys = [math.ceil(cells / pooling) for cells in grid]
        extent = []
        for cells, count, step in zip(grid, keys, per_cell, strict=True):
            start = -((-cells % pooling) // 2)
            extent += [start * step, (start + count * pooling) * step]
        rows = attention_rows(layer, features, prior, (position[0], position[1]))
        found[name] = rows.reshape(*rows.shape[:2], *keys), extent
    return found
