"""A trained network moved to other tasks: what both have in common keeps its weights."""

from collections.abc import Sequence

import keras

from keras_mtl.tasks import Task, check_tasks


def with_tasks(model, tasks: Sequence[Task]):
    """A new model of the same architecture with other tasks, which goes on from this one's weights.

    The backbone keeps its weights, and so does every other layer of the same name whose weights
    have the same shapes, such as the head of a task that stays. All others start anew; where every
    task has a backbone of its own, that of a task more, too. Compile it before training.

    Args:
        model: `MultiTaskModel`; it stays as it is.
        tasks: list of `keras_mtl.tasks.Task`.

    Raises:
        ValueError: if it is no such model, or one of this architecture cannot have these tasks.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (32, 32, 3), num_layers=1)
    >>> tasks = keras_mtl.tasks.nyud("depth", "edge")
    >>> model = keras_mtl.MultiTaskBaseline(backbone, tasks, head_width=4)
    >>> moved = keras_mtl.models.with_tasks(model, keras_mtl.tasks.nyud("depth", "normals"))
    >>> bool((moved.backbone_variables[0] == model.backbone_variables[0]).numpy().all())
    True
    """
    if not hasattr(model, "auxiliary_tasks"):
        raise ValueError(
            f"model is a {type(model).__name__}; expected a model of keras_mtl, such as "
            "TaskPrompter, or keras_mtl.load_model(path)."
        )
    model = model.merged()
    config = model.get_config()
    tasks = check_tasks(tasks)
    config["tasks"] = [keras.saving.serialize_keras_object(task) for task in tasks]
    if model.auxiliary_tasks:  # of which some may have become tasks
        names = {task.name for task in tasks}
        config["auxiliary_tasks"] = [
            keras.saving.serialize_keras_object(task)
            for task in model.auxiliary_tasks
            if task.name not in names
        ]
    config.pop("frozen_weights", None)  # they are numbered
    moved = type(model).from_config(config)
    # The backbone, whose layers may be inside of others, and then by name: where every task has a
    # backbone of its own, a task that stays keeps its own.
    ours, theirs = moved.backbone_layers, model.backbone_layers
    if len(ours) == len(theirs):
        for new, old in zip(ours, theirs, strict=True):
            new.set_weights(old.get_weights())
            new.trainable = old.trainable
    known = {layer.name: layer.get_weights() for layer in model.layers}
    for layer in moved.layers:
        weights = known.get(layer.name, [])
        if [w.shape for w in weights] == [tuple(w.shape) for w in layer.weights]:
            layer.set_weights(weights)
    return moved
