"""Predictions made once from what tasks share, supervised, and made again after an exchange."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_mtl.layers.residual_blocks import refine_features
from keras_mtl.models.decoder_level import predictions
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.tasks import Task

# Of PAD-Net's and MTI-Net's published code, for NYUD-v2: 100 epochs of 795 images; for
# PASCAL-Context it has 80 of 4,998. Its learning rate falls once an epoch, its decay is L2.
RECIPE = {
    **MultiTaskModel.recipe,
    "learning_rate": 1e-4,
    "weight_decay": 1e-4,
    "global_clipnorm": None,
    "batch_size": 8,
    "steps": 100 * 795 // 8,
}


def predict_initially(x, tasks: Sequence[Task], width: int) -> tuple[dict[str, Any], dict]:
    """Features of each task's own, by two bottlenecks, and its prediction from them.

    Only tasks whose output is a map have them; the others are predicted once, in the end.

    Args:
        x: tensor `(B, h, w, C)`, the features that tasks share.
        tasks: list of the tasks to predict.
        width: int, a multiple of 4. Channels D of a task's features.

    Returns:
        The features, a dict by task name of tensors `(B, h, w, D)`, and the raw outputs, a dict by
        task name as `MultiTaskModel` takes one in `auxiliary`.

    Raises:
        ValueError: if `width` is no multiple of 4.

    Example:

    >>> tasks = keras_mtl.tasks.nyud("depth", "normals")
    >>> own, raw = predict_initially(keras.Input((8, 12, 10)), tasks, 16)
    >>> {name: each.shape for name, each in raw.items()}
    {'depth': (None, 8, 12, 1), 'normals': (None, 8, 12, 3)}

    Reference: Xu et al., PAD-Net, CVPR 2018, Sec. 3.2; two bottlenecks are the published code's.
    """
    maps = [task for task in tasks if task.output == "map"]
    own = {task.name: refine_features(x, width, f"{task.name}_initial") for task in maps}
    return own, predictions(maps, own, {}, "initial_")


def predict_finally(
    tasks: Sequence[Task], own: Mapping[str, Any], features: Mapping[int, Any]
) -> dict[str, Any]:
    """Each task's raw output, from what it is left with after the exchange: by two bottlenecks.

    Args:
        tasks: list of the tasks to predict.
        own: dict by task name of tensors `(B, h, w, D)`, of each task whose output is a map.
        features: dict `{stride: tensor}` of the backbone, for the heads of the others.

    Returns:
        Dict by task name, as `MultiTaskModel` takes it.

    Raises:
        ValueError: if D is no multiple of 4.

    Example:

    >>> depth = keras_mtl.tasks.nyud("depth")
    >>> predict_finally(depth, {"depth": keras.Input((8, 12, 16))}, {})["depth"].shape
    (None, 8, 12, 1)
    """
    refined = {name: refine_features(x, x.shape[-1], f"{name}_final") for name, x in own.items()}
    return predictions(tasks, refined, features)
