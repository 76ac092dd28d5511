"""The arguments of `compile`, `fit`, `evaluate` and `predict` besides the data."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

from keras_mtl.arguments import check_integer, check_number
from keras_mtl.tasks import Task

COUNTS = ("batch_size", "steps", "steps_per_epoch", "validation_steps", "validation_batch_size")


def check_arguments(arguments: Mapping) -> None:
    """Refuses what Keras would take for something else, or stop at half-way.

    Args:
        arguments: those of `fit`, `evaluate` or `predict`.

    Raises:
        ValueError: if a number is not one that has a meaning there, or classes are weighted.
    """
    least = dict.fromkeys(COUNTS, 1) | {"initial_epoch": 0, "epochs": 0}
    for name, smallest in least.items():
        if name in arguments and (name not in COUNTS or arguments[name] is not None):
            check_integer(name, arguments[name], smallest)
    frequency = arguments.get("validation_freq")
    if frequency is not None and not isinstance(frequency, (list, tuple, set)):
        check_integer("validation_freq", frequency, 1)
    if arguments.get("validation_split"):
        check_number("validation_split", arguments["validation_split"], below=1)
    verbose = arguments.get("verbose", "auto")
    if verbose not in (0, 1, 2, "auto"):
        raise ValueError(f"verbose is {verbose!r}, expected 'auto', 0, 1 or 2.")
    given = arguments.get("callbacks")
    for each in given if isinstance(given, (list, tuple)) else [given]:
        if not isinstance(each, (keras.callbacks.Callback, type(None))):
            raise ValueError(
                f"callbacks has {each!r}; expected objects of keras.callbacks.Callback, such as "
                "keras_mtl.callbacks.PredictionPanels."
            )
    if arguments.get("class_weight") is not None:
        raise ValueError(
            "class_weight is for one class an image, and the labels here are maps of several "
            "tasks; give weights to the task, as in keras_mtl.tasks.SemanticSegmentation("
            "class_weights=keras_mtl.training.median_frequency_weights(dataset, task))."
        )


def check_share(share: float | None, images: int | None) -> None:
    """Refuses to split off images to validate on where none would be left, on either side.

    Args:
        share: `validation_split` of `fit`.
        images: int; `None`: of a dataset, which Keras does not split.

    Raises:
        ValueError: if that cannot be.
    """
    if share and images is None:
        raise ValueError(
            f"validation_split is {share}, but a dataset is not split; pass validation_data."
        )
    if share and not 0 < int(images * (1 - share)) < images:
        raise ValueError(
            f"validation_split is {share}, which leaves nothing on one side of {images} images; "
            "pass another share, or validation_data."
        )


def check_compiled(arguments: Mapping) -> None:
    """Refuses what `compile` would take and `fit` stumble over.

    Args:
        arguments: those of `compile` that are Keras' own.

    Raises:
        ValueError: if a number or a switch is none.
    """
    check_integer("steps_per_execution", arguments.get("steps_per_execution", 1), 1)
    known = (True, False, None, "auto")
    if (jit := arguments.get("jit_compile", "auto")) not in known:
        raise ValueError(f"jit_compile is {jit!r}, expected 'auto', True or False.")


def checked_optimizer(optimizer: Any) -> keras.optimizers.Optimizer | None:
    """What Keras makes of an optimizer, or of its name.

    Args:
        optimizer: what `compile` is given.

    Raises:
        ValueError: if Keras knows none.
    """
    try:
        return None if optimizer is None else keras.optimizers.get(optimizer)
    except (ValueError, TypeError):
        raise ValueError(
            f"optimizer is {optimizer!r}, expected 'auto', an object such as "
            "keras.optimizers.Adam(1e-3), or what Keras calls it, such as 'adam'."
        ) from None


def checked_metrics(metrics: Any, tasks: Sequence[Task]) -> dict[str, Any] | None:
    """Metrics of each task, none where there are none.

    Args:
        metrics: dict by task name of metrics, their names or lists of such; or `None`.
        tasks: the model's.

    Raises:
        ValueError: if they are no such dict, of other tasks, or none that Keras knows.

    Example:

    >>> checked_metrics({"depth": "mae"}, keras_mtl.tasks.nyud("depth", "edge"))
    {'depth': 'mae', 'edge': []}
    """
    if metrics is None:
        return None
    names = [task.name for task in tasks]
    found = dict(metrics) if isinstance(metrics, Mapping) else {"": metrics}
    if not set(found) <= set(names):
        said = f"of {', '.join(map(str, metrics))}" if "" not in found else repr(metrics)
        raise ValueError(
            f"metrics is {said}; expected 'auto', or a dict by task name, of {', '.join(names)}."
        )
    for name, each in ((task, metric) for task in found for metric in _listed(found[task])):
        try:
            known = each is None or each in ("crossentropy", "ce") or keras.metrics.get(each)
        except (ValueError, TypeError):
            known = False
        if not known:
            raise ValueError(
                f"A metric of {name} is {each!r}; expected an object such as "
                "keras.metrics.MeanAbsoluteError(), or what Keras calls it, such as 'mae'."
            )
    return {name: found.get(name, []) for name in names}


def _listed(metrics: Any) -> Iterable:
    return metrics if isinstance(metrics, (list, tuple)) else [metrics]
