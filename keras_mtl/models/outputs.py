"""The outputs of a model, made of what its architecture computes, and what they depend on."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_mtl.tasks import Task


def check_outputs(outputs: Any, tasks: Sequence[Task]) -> None:
    """Refuses the outputs of an architecture that are not one for each task.

    Args:
        outputs: what the architecture passes on.
        tasks: list of the model's tasks.

    Raises:
        ValueError: if one is missing, unknown, or not what its task says.

    Example:

    >>> image = keras.Input((32, 48, 3))
    >>> try:
    ...     check_outputs({"depth": image}, keras_mtl.tasks.nyud("depth", "edge"))
    ... except ValueError as error:
    ...     print(str(error).split(";")[0])
    There is no output for edge among depth
    """
    names = [task.name for task in tasks]
    if not isinstance(outputs, Mapping):
        raise ValueError(
            f"outputs is a {type(outputs).__name__}; expected a dict by task name with an output "
            f"for each of {', '.join(names)}."
        )
    missing = [name for name in names if name not in outputs]
    if missing:
        raise ValueError(
            f"There is no output for {', '.join(missing)} among {', '.join(map(str, outputs))}; "
            "pass one for each task."
        )
    _check_known(outputs, names, "outputs", "pass it as auxiliary, or leave it out")
    for task in tasks:
        task.check_output(outputs[task.name])


def check_auxiliary(auxiliary: Any, weights: Any, tasks: Sequence[Task]) -> None:
    """Refuses auxiliary outputs that are none of the tasks'.

    Args:
        auxiliary: dict by name of dicts by task name of outputs.
        weights: dict by the same names of numbers; 1 where it has none.
        tasks: list of the model's tasks.

    Raises:
        ValueError: if a name, an output or a weight does not fit.
    """
    for name, group in auxiliary.items():
        if not str(name).isidentifier() or not isinstance(group, Mapping) or not group:
            raise ValueError(
                f"auxiliary has {name!r}, a {type(group).__name__}; expected a dict by name, such "
                "as 'initial', of dicts by task name of outputs."
            )
        names = [task.name for task in tasks]
        _check_known(group, names, f"auxiliary[{name!r}]", "add its task, or leave it out")
        for task in tasks:
            if task.name in group:
                task.check_output(group[task.name])
    _check_known(weights, list(auxiliary), "auxiliary_weights", "name what auxiliary has")


def _check_known(given: Mapping, known: Sequence, what: str, do: str) -> None:
    unknown = [str(name) for name in given if name not in known]
    if unknown:
        raise ValueError(
            f"{what} has {', '.join(unknown)}, and the model {', '.join(known) or 'none'}; {do}."
        )


def fed_to_head(task: Task, features: Any, stride: int) -> Any:
    """A task's features as its head takes them.

    Args:
        task: whose head it is.
        features: tensor `(B, h, w, C)`, all that an architecture has for the task.
        stride: int, the image's pixels that one of theirs stands for.
    """
    return features if task.output == "map" else {stride: features}


def finish_output(raw: Any, task: Task, image_size: tuple[int, int], name: str) -> Any:
    """An output as a model gives it: in float32, and a map at the images' size.

    Args:
        raw: symbolic tensor, or a dict of such.
        task: whose output it is.
        image_size: `(height, width)` in pixels.
        name: of the layer.
    """
    if task.output == "map":
        return keras.layers.Resizing(
            *image_size, interpolation="bilinear", dtype="float32", name=name
        )(raw)
    if isinstance(raw, Mapping):
        return {
            key: keras.layers.Identity(dtype="float32", name=f"{name}_{key}")(each)
            for key, each in raw.items()
        }
    return keras.layers.Identity(dtype="float32", name=name)(raw)


def auxiliary_name(task: str, group: str) -> str:
    """What an auxiliary output is called.

    Args:
        task: its task's name.
        group: its name among the task's.

    Example:

    >>> auxiliary_name("depth", "initial")
    'depth/initial'
    """
    return f"{task}/{group}"
