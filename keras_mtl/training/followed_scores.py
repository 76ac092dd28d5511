"""Callbacks that follow a score of the logs: which one, and whether more of it is better."""

from collections.abc import Iterable

import keras

from keras_mtl.arguments import did_you_mean
from keras_mtl.training.objective import log_name, output_of_loss

# Without their score these do nothing at all.
WAIT_FOR_IT = (
    keras.callbacks.EarlyStopping,
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.ModelCheckpoint,
)


def choose_modes(callbacks: Iterable, model, validates: bool) -> None:
    """Tells callbacks that follow a score, and whose `mode` is `"auto"`, whether more is better.

    Keras knows it of its own metrics' names only.

    Args:
        callbacks: those of `fit`.
        model: `TaskTrainer`.
        validates: bool. Whether there are scores of validation.

    Raises:
        ValueError: if a callback of Keras follows a score that there will not be, or one of which
            nobody knows which way is better.
    """
    better = {"loss": False} | {
        log_name(task.name, metric.name): metric.higher_is_better
        for task in model.tasks
        for metric in task.metrics()
        if hasattr(metric, "higher_is_better")
    }
    for each in callbacks:
        if not hasattr(each, "monitor") or not hasattr(each, "mode"):
            continue
        if not isinstance(each.monitor, str):
            raise ValueError(
                f"{type(each).__name__} follows {each.monitor!r}; expected the name of a score, "
                "such as 'val_loss'."
            )
        name = each.monitor.removeprefix("val_")
        known = name in better or output_of_loss(name) is not None
        if each.mode == "auto" and known:
            each.mode = "max" if better.get(name) else "min"
        if not isinstance(each, WAIT_FOR_IT):
            continue
        if each.mode == "auto":
            raise ValueError(
                f"{type(each).__name__} follows {each.monitor!r}, which is no score of these tasks"
                f"{did_you_mean([name], better)}; follow one of {', '.join(better)}, with val_ "
                "before it in validation, or pass mode='min' or 'max' if something else logs it."
            )
        if known and name != each.monitor and not validates and _saves_the_best(each):
            raise ValueError(
                f"{type(each).__name__} follows {each.monitor!r}, and nothing is validated; pass "
                f"validation_data, or follow {name!r}."
            )


def _saves_the_best(callback) -> bool:
    """Not one that saves after each epoch, whatever it follows."""
    return getattr(callback, "save_best_only", True)
