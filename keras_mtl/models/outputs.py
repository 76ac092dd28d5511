"""The outputs of a model, made of what its architecture computes, and what they depend on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_mtl.tasks import Task
from keras_mtl.training.objective import AuxiliaryOutput


def finish_outputs(
    outputs: Any, tasks: Sequence[Task], image_size: tuple[int, int]
) -> dict[str, Any]:
    """The outputs of a model from those of its architecture, after refusing what does not fit.

    Args:
        outputs: dict by task name of symbolic tensors, or dicts of such, one for each task.
        tasks: list of the model's tasks.
        image_size: `(height, width)` in pixels.

    Raises:
        ValueError: if one is missing, unknown, or not what its task says.

    Example:

    >>> tasks, image = keras_mtl.tasks.nyud("normals", "edge"), keras.Input((32, 48, 3))
    >>> finish_outputs({"normals": image}, tasks[:1], (64, 96))["normals"].shape
    (None, 64, 96, 3)
    >>> try:
    ...     finish_outputs({"normals": image}, tasks, (64, 96))
    ... except ValueError as error:
    ...     print(str(error).split(";")[0])
    There is no output for edge among normals
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
    return {task.name: _finish(outputs[task.name], task, image_size, task.name) for task in tasks}


def finish_auxiliary(
    auxiliary: Mapping[str, Mapping],
    weights: Mapping[str, float],
    losses: Mapping[str, Callable],
    tasks: Sequence[Task],
    image_size: tuple[int, int],
    auxiliary_tasks: Sequence[Task] = (),
) -> tuple[dict[str, Any], dict[str, AuxiliaryOutput]]:
    """The outputs of a model that exist in training only, after refusing what does not fit.

    Args:
        auxiliary: dict by name of dicts by task name of outputs, of some tasks or all.
        weights: dict by the same names of numbers; 1 where it has none.
        losses: dict by the same names of functions from a task to a loss; the task's own where it
            has none. One with a weight counts with that alone.
        tasks: list of the model's tasks.
        image_size: `(height, width)` in pixels.
        auxiliary_tasks: list of tasks that have such outputs only.

    Returns:
        The outputs by name, such as `"depth/initial"`, and how each is measured.

    Raises:
        ValueError: if a name, an output or a weight does not fit.

    Example:

    >>> tasks, image = keras_mtl.tasks.nyud("normals", "edge"), keras.Input((32, 48, 3))
    >>> finish_auxiliary({"initial": {"normals": image}}, {}, {}, tasks, (64, 96))[1]
    {'normals/initial': AuxiliaryOutput(task='normals', weight=1.0, loss=None, alone=False)}
    """
    finished, described = {}, {}
    tasks = [*tasks, *auxiliary_tasks]
    for given, what in ((weights, "auxiliary_weights"), (losses, "auxiliary_losses")):
        _check_known(given, list(auxiliary), what, "name what auxiliary has")
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
                output, layer = f"{task.name}/{name}", f"{task.name}_{name}_auxiliary"
                loss = losses[name](task) if name in losses else None
                finish = _finish_anything if loss else _finish
                finished[output] = finish(group[task.name], task, image_size, layer)
                alone = loss is not None and name in weights
                described[output] = AuxiliaryOutput(task.name, weights.get(name, 1.0), loss, alone)
    supervised = {each.task for each in described.values() if each.loss is None}
    for task in auxiliary_tasks:
        if task.name not in supervised:
            raise ValueError(
                f"auxiliary_tasks has {task.name!r}, and auxiliary no output of it; pass one, or "
                "leave the task out."
            )
    return finished, described


class TrainingGraph:
    """All outputs of a model; no layer itself, so that Keras does not count its weights again.

    Args:
        inputs: `keras.Input`.
        outputs: dict by name of symbolic outputs.

    Attributes:
        model: `keras.Model`, which tells its layers whether they train, as `keras.Function` does
            not.
    """

    def __init__(self, inputs: Any, outputs: Mapping[str, Any]):
        self.model = keras.Model(inputs, outputs)


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


def _finish(raw: Any, task: Task, image_size: tuple[int, int], name: str) -> Any:
    """In float32, and a map at the images' size; the name is the layer's."""
    task.check_output(raw)
    if task.output == "map":
        return keras.layers.Resizing(
            *image_size, interpolation="bilinear", dtype="float32", name=name
        )(raw)
    return _finish_anything(raw, task, image_size, name)


def _finish_anything(raw: Any, task: Task, image_size: tuple[int, int], name: str) -> Any:
    """In float32, whatever it is."""
    if isinstance(raw, Mapping):
        return {
            key: keras.layers.Identity(dtype="float32", name=f"{name}_{key}")(each)
            for key, each in raw.items()
        }
    return keras.layers.Identity(dtype="float32", name=name)(raw)
