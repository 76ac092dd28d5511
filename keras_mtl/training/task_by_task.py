"""A training step of a model that runs one task at a time: an update of the weights for each.

Only what a task's pass uses is updated, momentum and decay included; a task without any label in
the batch has no update.
"""

import functools
import warnings
from collections.abc import Iterable
from typing import Any, Protocol

import keras
from keras import ops

from keras_mtl import distribution
from keras_mtl.losses.labelled_images import labelled_places


class RunsTaskByTask(Protocol):
    """What such a model has, besides all that `keras_mtl.training.TaskTrainer` has."""

    def run_pass(self, task: str, images: Any) -> dict[str, Any]:
        """The outputs of one task in training, by name."""

    def pass_variables(self, task: str) -> list[keras.Variable]:
        """The trainable variables that one task's pass uses."""


def train_task_by_task(model, *arguments):
    """One step; what `keras.Model.train_step` takes and gives.

    Args:
        model: a compiled `RunsTaskByTask`.
        *arguments: those of `train_step`.

    Raises:
        ValueError: if several TensorFlow replicas share the batch.
    """
    if distribution.replicas_in_step() > 1:
        raise ValueError(
            f"{type(model).__name__} is trained task by task, and on TensorFlow by one device only;"
            " train it outside of keras_mtl.distribution.data_parallel, or on JAX."
        )
    step = {"jax": _step_jax, "tensorflow": _step_tensorflow, "torch": _step_torch}
    return step[keras.backend.backend()](model, *arguments)


def _measured(model, name: str, data):
    """A pass's outputs and its loss."""
    images, labels, sample_weight = data
    found = model.run_pass(name, images)
    loss = model.compute_loss(images, labels, found, sample_weight, training=True)
    return found, loss


def _is_labelled(model, name: str, labels):
    """Whether there is any label of a task in the batch."""
    ignore = {task.name: task.ignore for task in model.tasks}[name]
    return ops.any(labelled_places(ops.convert_to_tensor(labels[name]), ignore))


def update_logs(model, data, outputs, total) -> dict:
    """What the logs hold after a step, metrics updated.

    Args:
        model: `TaskTrainer`.
        data: images, labels and sample weights.
        outputs: dict by name.
        total: scalar tensor, the loss.
    """
    images, labels, sample_weight = data
    for metric in model.metrics:
        if metric.name == "loss":
            metric.update_state(total, sample_weight=ops.shape(images)[0])
    return model.compute_metrics(images, labels, outputs, sample_weight)


def _step_torch(model, data):
    import torch

    data, outputs, total = keras.utils.unpack_x_y_sample_weight(data), {}, 0.0
    for name in (task.name for task in model.tasks):
        model.zero_grad()
        found, loss = _measured(model, name, data)
        outputs, total = outputs | found, total + loss.detach()
        if not _is_labelled(model, name, data[1]):
            continue
        model.optimizer.scale_loss(loss).backward()
        variables = model.pass_variables(name)
        with torch.no_grad():
            model.optimizer.apply([each.value.grad for each in variables], variables)
    return update_logs(model, data, outputs, total)


def _step_tensorflow(model, data):
    import tensorflow as tf

    data, outputs, total = keras.utils.unpack_x_y_sample_weight(data), {}, 0.0
    for name in (task.name for task in model.tasks):
        variables = model.pass_variables(name)
        with tf.GradientTape() as tape:
            found, loss = _measured(model, name, data)
            scaled = model.optimizer.scale_loss(loss)
        outputs, total = outputs | found, total + loss
        gradients = tape.gradient(scaled, variables)
        known = [pair for pair in zip(gradients, variables, strict=True) if pair[0] is not None]

        def update(known=known):
            model.optimizer.apply(*zip(*known, strict=True))
            return True

        tf.cond(_is_labelled(model, name, data[1]), update, lambda: False)
    return update_logs(model, data, outputs, total)


def _step_jax(model, state, data):
    import jax

    trainable, others, optimizer, metrics = map(list, state)
    data, outputs, total = keras.utils.unpack_x_y_sample_weight(data), {}, 0.0
    for name in (task.name for task in model.tasks):
        objective = functools.partial(_objective_jax, model, name, data)
        differentiate = jax.value_and_grad(objective, has_aux=True)
        (_, aux), gradients = differentiate(trainable, others, metrics, optimizer)
        found, loss, others, metrics = aux
        outputs, total = outputs | found, total + loss
        used = {id(each) for each in model.pass_variables(name)}
        gradients = [
            gradient if id(variable) in used else None  # which leaves the variable alone
            for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
        ]
        with warnings.catch_warnings():  # Keras warns of those that have none
            warnings.filterwarnings("ignore", "Gradients do not exist")
            after = model.optimizer.stateless_apply(optimizer, gradients, trainable)
        labelled = _is_labelled(model, name, data[1])
        trainable, optimizer = (
            [ops.where(labelled, new, old) for new, old in zip(*pair, strict=True)]
            for pair in zip(after, (trainable, optimizer), strict=True)
        )
    mapping = list(zip(model.metrics_variables, metrics, strict=True))
    with keras.StatelessScope(state_mapping=mapping) as scope:
        logs = update_logs(model, data, outputs, total)
    return logs, (trainable, others, optimizer, values_after(scope, mapping))


def _objective_jax(model, name, data, trainable, others, metrics, optimizer):
    states = [
        list(zip(variables, values, strict=True))
        for variables, values in (
            (model.trainable_variables, trainable),
            (model.non_trainable_variables, others),
            (model.metrics_variables, metrics),
            (model.optimizer.variables, optimizer),
        )
    ]
    with keras.StatelessScope(state_mapping=sum(states, [])) as scope:
        found, loss = _measured(model, name, data)
        scaled = model.optimizer.scale_loss(loss)
    return scaled, (found, loss, values_after(scope, states[1]), values_after(scope, states[2]))


def values_after(scope: keras.StatelessScope, state: Iterable) -> list:
    """What variables have become in a scope, or were.

    Args:
        scope: where they may have been assigned.
        state: pairs of a variable and its value before.
    """
    found = [(scope.get_current_value(variable), value) for variable, value in state]
    return [value if new is None else new for new, value in found]
