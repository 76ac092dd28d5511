"""PyTorch's layouts of weights: channels first, and dense kernels transposed.

Each function yields an `Entry` for every variable of a layer, from the arrays that PyTorch has for
a layer of that name.
"""

from collections.abc import Iterator, Sequence

import keras
import numpy as np

from keras_mtl.backbones.keras_hub import projections_of
from keras_mtl.backbones.weights.assign import Entry


def convolution(layer: keras.layers.Conv2D, name: str) -> Iterator[Entry]:
    """A convolution, with a bias or without."""
    yield Entry(layer.kernel, f"{name}.weight", lambda kernel: kernel.transpose(2, 3, 1, 0))
    if layer.bias is not None:
        yield Entry(layer.bias, f"{name}.bias")


def dense(layer: keras.layers.Layer, name: str, part: int = 0, parts: int = 1) -> Iterator[Entry]:
    """A linear map: of a dense layer, a 1x1 convolution, or several stacked in one weight.

    Args:
        layer: one whose kernel is a matrix, or has an axis for the heads of an attention, which
            PyTorch's have not.
        name: str.
        part: int, which of several stacked maps is the layer's.
        parts: int, how many are stacked.
    """

    def kernel(weight):
        rows = weight.reshape(weight.shape[:2])  # a 1x1 convolution has two axes more
        ours = np.split(rows, parts)[part].T
        # A matrix of another size must not be taken for this one.
        return ours if len(layer.kernel.shape) == 2 else ours.reshape(layer.kernel.shape)

    def bias(values):
        ours = np.split(values, parts)[part]
        return ours if len(layer.bias.shape) == 1 else ours.reshape(layer.bias.shape)

    yield Entry(layer.kernel, f"{name}.weight", kernel)
    if layer.bias is not None:
        yield Entry(layer.bias, f"{name}.bias", bias)


def norm(layer: keras.layers.Layer, name: str) -> Iterator[Entry]:
    """Scale and shift of a normalisation."""
    yield Entry(layer.gamma, f"{name}.weight")
    yield Entry(layer.beta, f"{name}.bias")


def batch_norm(layer: keras.layers.BatchNormalization, name: str) -> Iterator[Entry]:
    """A batch normalisation with its moving statistics."""
    yield from norm(layer, name)
    yield Entry(layer.moving_mean, f"{name}.running_mean")
    yield Entry(layer.moving_variance, f"{name}.running_var")


def projections(attention: keras.layers.Layer, names: Sequence[str]) -> Iterator[Entry]:
    """Queries, keys, values and output of an attention, each a weight of its own."""
    for layer, name in zip(projections_of(attention), names, strict=True):
        yield from dense(layer, name)


def fused_projections(attention: keras.layers.Layer, name: str, output: str) -> Iterator[Entry]:
    """Queries, keys and values of an attention stacked in one weight, and the output's."""
    *stacked, last = projections_of(attention)
    for part, layer in enumerate(stacked):
        yield from dense(layer, name, part, len(stacked))
    yield from dense(last, output)
