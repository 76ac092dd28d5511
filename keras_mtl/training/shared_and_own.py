"""Whose a model's trainable variables are."""

from typing import Any


class SharedAndOwn:
    """A model's trainable variables: which tasks share them, and which are one task's own.

    Args:
        model: `keras_mtl.MultiTaskModel`.

    Attributes:
        shared: those of the shared part, and of layers that several branches have.
        crossing: those of `shared` that a branch has, too.
        own: dict by task name of the others that its branch has.

    Raises:
        ValueError: if the tasks share no layer.

    Example:

    >>> image = keras.Input((4, 6, 3))
    >>> features = keras.layers.Dense(8, use_bias=False)(image)
    >>> tasks = keras_mtl.tasks.nyud("depth", "edge")
    >>> maps = {task.name: keras.layers.Dense(1, use_bias=False)(features) for task in tasks}
    >>> variables = SharedAndOwn(keras_mtl.MultiTaskModel(image, maps, tasks))
    >>> [v.shape for v in variables.shared], [v.shape for v in variables.own["edge"]]
    ([(3, 8)], [(8, 1)])
    """

    def __init__(self, model: Any):
        branches = model.branches
        parts = {task: branch.model.trainable_variables for task, branch in branches.own.items()}
        users: dict[int, set] = {}
        for task, variables in parts.items():
            for each in variables:
                users.setdefault(id(each), set()).add(task)
        in_shared = {id(each) for each in branches.shared.trainable_variables}
        alone = {n for n, tasks in users.items() if len(tasks) == 1 and n not in in_shared}
        self.own = {task: [v for v in each if id(v) in alone] for task, each in parts.items()}
        self.shared = [v for v in model.trainable_variables if id(v) not in alone]
        self.crossing = [v for v in self.shared if id(v) in users]
