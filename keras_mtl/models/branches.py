"""A network as what its tasks share and a branch for each task, in two runs one after the other."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras


class Branch(NamedTuple):
    """What one task alone has.

    Args:
        places: which of the shared features it begins from.
        model: `keras.Model` from these to the task's outputs by name, the auxiliary ones too.
    """

    places: list[int]
    model: keras.Model


class Branches:
    """The graph of a network, cut where the tasks' own layers begin.

    No layer itself, so that Keras does not count its weights again.

    Args:
        inputs: symbolic input of the network.
        outputs: dict by task name of dicts by name of symbolic outputs.

    Attributes:
        shared: `keras.Model` from images to a list of features, all that branches begin from.
        own: dict by task name of `Branch`.

    Raises:
        ValueError: if the tasks share no layer.

    Example:

    >>> image = keras.Input((4, 6, 3))
    >>> features = keras.layers.Dense(8)(image)
    >>> heads = {name: keras.layers.Dense(1, name=name)(features) for name in ("depth", "edge")}
    >>> branches = Branches(image, {name: {name: head} for name, head in heads.items()})
    >>> branches.shared.output_shape, branches.own["edge"].model.layers[-1].name
    ((None, 4, 6, 8), 'edge')
    """

    def __init__(self, inputs: Any, outputs: Mapping[str, Mapping[str, Any]]):
        tasks_of: dict[Any, set] = {}
        for task, symbols in outputs.items():
            for operation in keras.Function(inputs, dict(symbols)).operations:
                tasks_of.setdefault(operation, set()).add(task)
        own: dict[str, list] = {task: [] for task in outputs}
        for operation, tasks in tasks_of.items():
            if len(tasks) == 1:
                own[next(iter(tasks))].append(operation)
        begins = {task: _entering(operations) for task, operations in own.items()}
        features = list({id(x): x for tensors in begins.values() for x in tensors}.values())
        if not any(tensor is not inputs for tensor in features):
            raise ValueError(
                "The tasks of this network share no layer, so that there are no gradients to "
                "balance; use a keras_mtl.balancing.LossWeighting, or a network that shares some."
            )
        self.shared = keras.Model(inputs, features)
        places = {id(tensor): place for place, tensor in enumerate(features)}
        self.own = {
            task: Branch([places[id(x)] for x in begins[task]], keras.Model(begins[task], symbols))
            for task, symbols in ((task, dict(each)) for task, each in outputs.items())
        }


def _entering(operations: list) -> list:
    """The tensors that operations take and do not make, each once, in their order."""
    made = {id(x) for each in operations for x in keras.tree.flatten(each.output)}
    taken = [x for each in operations for x in keras.tree.flatten(each.input)]
    return list({id(x): x for x in taken if id(x) not in made}.values())
