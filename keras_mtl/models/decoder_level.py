"""Decoder level: one shared backbone, and a feature map of each task's own at its finest stride.

What architectures make of these maps is theirs; how the maps come about, and what becomes of them
in the end, is here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_mtl.backbones.feature_pyramid import concatenate_features
from keras_mtl.layers.convolutions import batch_normalization, convolution
from keras_mtl.tasks import Task


def fused_features(features: Mapping[int, Any], name: str = ""):
    """All levels of a backbone on the finest one, concatenated.

    Some backbones give maps finer than the papers' stride 4, too; those are left out.

    Args:
        features: dict `{stride: tensor (B, h, w, c)}`, finest first.
        name: str that the layers' names begin with, where a model has several backbones.

    Returns:
        Tensor `(B, h, w, C)` at the finest stride of 4 or more, C the sum of the channels.

    Example:

    >>> features = {4: keras.Input((8, 12, 3)), 8: keras.Input((4, 6, 5))}
    >>> fused_features(features).shape
    (None, 8, 12, 8)
    """
    strides = [stride for stride in features if stride >= 4] or list(features)
    return concatenate_features(features, strides, features[strides[0]].shape[1:3], name)


def task_features(x, tasks: Sequence[Task], width: int | None = None) -> dict[str, Any]:
    """A map of each task's own: 3x3 convolution, batch normalization, ReLU.

    Only tasks whose output is a map have one; the heads of the others see the pyramid.

    Args:
        x: tensor `(B, h, w, C)`, such as `fused_features` gives.
        tasks: list of the model's tasks.
        width: int or None. Channels w of a task's map; `None` means C // 4.

    Returns:
        Dict by task name of tensors `(B, h, w, w)`.

    Example:

    >>> found = task_features(keras.Input((8, 12, 16)), keras_mtl.tasks.nyud("depth", "edge"))
    >>> {name: each.shape for name, each in found.items()}
    {'depth': (None, 8, 12, 4), 'edge': (None, 8, 12, 4)}
    """
    width = width or max(x.shape[-1] // 4, 1)
    return {
        task.name: conv_norm_relu(x, width, 3, f"{task.name}_features")
        for task in tasks
        if task.output == "map"
    }


def conv_norm_relu(x, filters: int, size: int, name: str, use_bias: bool = False):
    """Convolution, batch normalization, ReLU.

    Args:
        x: tensor `(B, h, w, C)`.
        filters: int. Channels of the answer.
        size: int. Side of the kernel.
        name: str. The last layer's name, which those of the others begin with.
        use_bias: bool. Whether the convolution has a bias, although it changes nothing but the
            running mean.

    Example:

    >>> conv_norm_relu(keras.Input((8, 12, 16)), 5, 1, "reduced").shape
    (None, 8, 12, 5)
    """
    x = convolution(filters, size, use_bias, name=f"{name}_convolution")(x)
    return keras.layers.ReLU(name=name)(batch_normalization(name=f"{name}_norm")(x))


def predictions(
    tasks: Sequence[Task], own: Mapping[str, Any], features: Mapping[int, Any], name: str = ""
) -> dict[str, Any]:
    """Each task's raw output, by its last step alone.

    Args:
        tasks: list of the tasks to predict.
        own: dict by task name of tensors `(B, h, w, c)`, of each task whose output is a map.
        features: dict `{stride: tensor}` of the backbone, for the heads of the others.
        name: str, such as `"initial_"`, where a model predicts more than once.

    Returns:
        Dict by task name, as `MultiTaskModel` takes it.

    Example:

    >>> x, tasks = keras.Input((8, 12, 16)), keras_mtl.tasks.nyud("depth", "normals")
    >>> raw = predictions(tasks, task_features(x, tasks), {4: x})
    >>> {name: each.shape for name, each in raw.items()}
    {'depth': (None, 8, 12, 1), 'normals': (None, 8, 12, 3)}
    """
    return {
        task.name: task.predictor(name=f"{task.name}_{name}prediction")(
            own[task.name] if task.output == "map" else features
        )
        for task in tasks
    }


def summed_levels(maps: Sequence, name: str):
    """Maps of several levels, resized bilinearly to the size of the first, added.

    Args:
        maps: list of tensors `(B, h, w, C)`.
        name: str that the layers' names begin with.

    Example:

    >>> summed_levels([keras.Input((8, 12, 3)), keras.Input((4, 6, 3))], "depth").shape
    (None, 8, 12, 3)
    """
    size = maps[0].shape[1:3]
    resized = [
        keras.layers.Resizing(*size, interpolation="bilinear", name=f"{name}_resize_{number}")(x)
        for number, x in enumerate(maps[1:], start=2)
    ]
    return keras.layers.Add(name=f"{name}_summed")([maps[0], *resized])


def maps_by_stride(strides: Sequence[float], maps: Sequence) -> dict[float, Any]:
    """A task's map of each level as its head takes them: a list where two have one stride.

    Args:
        strides: of the maps, pixels of the image.
        maps: list of tensors `(B, h, w, C)`.

    Example:

    >>> found = maps_by_stride([8, 16, 16], ["fine", "coarse", "later"])
    >>> found[16]
    ['coarse', 'later']
    """
    found: dict[float, Any] = {}
    for stride, x in zip(strides, maps, strict=True):
        earlier = found.get(stride)
        found[stride] = x if earlier is None else [earlier, x]
    return found


def outputs_of_levels(
    strides: Sequence[float], maps: Sequence, tasks: Sequence[Task], width: int
) -> dict[str, Any]:
    """Each task's raw output from the levels of a backbone, each brought to features of its own.

    For each task and level a 3x3 convolution, batch normalization and ReLU. A task whose output is
    a map gets their sum at the size of the first and its last step alone, another all of them.

    Args:
        strides: of the maps, pixels of the image.
        maps: list of tensors `(B, h, w, C)`, finest first.
        tasks: list of the model's tasks.
        width: int. Channels of a task's features.

    Example:

    >>> levels = [keras.Input((8, 12, 3)), keras.Input((4, 6, 5))]
    >>> found = outputs_of_levels([4, 8], levels, keras_mtl.tasks.nyud("depth", "edge"), 16)
    >>> {name: each.shape for name, each in found.items()}
    {'depth': (None, 8, 12, 1), 'edge': (None, 8, 12, 1)}
    """
    raw = {}
    for task in tasks:
        own = [
            conv_norm_relu(x, width, 3, f"{task.name}_features_{number}")
            for number, x in enumerate(maps, start=1)
        ]
        if task.output == "map":
            predict = task.predictor(name=f"{task.name}_prediction")
            raw[task.name] = predict(summed_levels(own, task.name))
        else:
            raw[task.name] = task.head(name=f"{task.name}_head")(maps_by_stride(strides, own))
    return raw
