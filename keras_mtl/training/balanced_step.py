"""A training step in which a rule weighs the tasks' gradients.

What the tasks share runs once, and then the branch of each task. A branch is trained by its own
task's loss; what is shared by what `GradientWeighting.combine` makes of all tasks' gradients, of
the features where the branches begin, or of the shared variables.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl import distribution
from keras_mtl.training.shared_and_own import SharedAndOwn
from keras_mtl.training.task_by_task import update_logs, values_after


def train_balanced(model, *arguments):
    """One step; what `keras.Model.train_step` takes and gives.

    Args:
        model: a compiled `keras_mtl.MultiTaskModel` whose balancing is a `GradientWeighting`.
        *arguments: those of `train_step`.

    Raises:
        ValueError: if several TensorFlow replicas share the batch.
    """
    if distribution.replicas_in_step() > 1:
        raise ValueError(
            f"{type(model.balancing).__name__} compares gradients, and on TensorFlow those of one "
            "device only; train outside of keras_mtl.distribution.data_parallel, or on JAX."
        )
    step = {"jax": _step_jax, "tensorflow": _step_tensorflow, "torch": _step_torch}
    return step[keras.backend.backend()](model, *arguments)


class _Gradients:
    """The gradients of a step: what `GradientWeighting` makes of the tasks' own.

    Args:
        model: the one that is trained.
        variables: `SharedAndOwn`.
        by_task: for each task a list of gradients: of the features, then of `variables.crossing`.
        pull: function of a list of gradients of the features, and of one of what was added to the
            loss, that returns the gradients of `variables.shared`.
        losses: list of scalar tensors.
        scale: what all gradients are multiplied by.
    """

    def __init__(self, model, variables: SharedAndOwn, by_task, pull, losses, scale):
        self.rule, self.variables = model.balancing, variables
        self.by_task, self.pull, self.scale = by_task, pull, scale
        self.losses = ops.stack([ops.cast(each, "float32") for each in losses])

    def of_shared(self) -> list:
        """Those of `variables.shared`, `None` for what has none."""
        if not self.variables.shared:  # such as a frozen backbone
            return []
        if self.rule.of == "features":
            together = self._combined(self.by_task)
            return self._pulled(together, self.scale)
        of_tasks = [self._pulled(each, None) for each in self.by_task]
        added = self._pulled([None] * len(self.by_task[0]), self.scale)
        return [_sum(*pair) for pair in zip(self._combined(of_tasks), added, strict=True)]

    def _combined(self, by_task) -> list:
        return self.rule.combine(list(zip(*by_task, strict=True)), self.losses, self.scale)

    def _pulled(self, gradients: list, of_added) -> list:
        """From the features and `crossing` to all shared variables."""
        crossing = self.variables.crossing
        features = len(gradients) - len(crossing)
        direct = {id(v): g for v, g in zip(crossing, gradients[features:], strict=True)}
        pulled = self.pull(gradients[:features], of_added)
        pairs = zip(self.variables.shared, pulled, strict=True)
        return [_sum(gradient, direct.get(id(variable))) for variable, gradient in pairs]


def _sum(*gradients):
    known = [each for each in gradients if each is not None]
    return sum(known[1:], known[0]) if known else None


def _run_shared(model, images):
    """The shared features, and what layers on the way add to the loss: a tensor, or 0."""
    shared = model.branches.shared
    features = keras.tree.flatten(shared(images, training=True))
    return features, _added(shared)


def _run_branch(model, task: str, features: Sequence, data):
    """A task's outputs, and its loss with its weight."""
    images, labels, sample_weight = data
    places, branch = model.branches.own[task]
    taken = [features[place] for place in places]
    outputs = branch(taken if len(taken) > 1 else taken[0], training=True)
    loss = model.loss_of_task(task, images, labels, outputs, sample_weight)
    return outputs, loss + _added(branch)


def _added(part: keras.Model) -> Any:
    """Such as regularization."""
    return sum((ops.sum(ops.cast(each, "float32")) for each in part.losses), 0.0)


def _step_torch(model, data):
    import torch

    data, variables = keras.utils.unpack_x_y_sample_weight(data), SharedAndOwn(model)
    scale = model.optimizer.scale_loss(1.0)
    features, added = _run_shared(model, data[0])
    # Some come from others: branches are differentiated by each as if it came from nowhere.
    begins = [each.detach().requires_grad_() for each in features]
    outputs, losses, by_task, gradients = {}, [], [], []
    crossing = [each.value for each in variables.crossing]
    for task, own in variables.own.items():
        found, loss = _run_branch(model, task, begins, data)
        given = [*begins, *crossing, *(each.value for each in own)]
        of_all = list(torch.autograd.grad(loss * scale, given, allow_unused=True))
        by_task.append(of_all[: len(features) + len(crossing)])
        gradients += zip(own, of_all[len(by_task[-1]) :], strict=True)
        losses.append(loss.detach())
        outputs |= found

    def pull(of_features, of_added):
        pairs = [(f, g) for f, g in zip(features, of_features, strict=True) if g is not None]
        if of_added is not None and not isinstance(added, float):
            pairs.append((added, torch.as_tensor(of_added, dtype=added.dtype)))
        shared = [each.value for each in variables.shared]
        if not pairs or not shared:
            return [None] * len(shared)
        ends, seeds = zip(*pairs, strict=True)
        return torch.autograd.grad(ends, shared, seeds, allow_unused=True, retain_graph=True)

    with torch.no_grad():
        of_shared = _Gradients(model, variables, by_task, pull, losses, scale).of_shared()
        gradients += zip(variables.shared, of_shared, strict=True)
        model.optimizer.apply(*zip(*_known(gradients), strict=True))
        return update_logs(model, data, outputs, sum(losses) + added)


def _known(gradients: list) -> list:
    """Pairs of a gradient and its variable, without those that have none."""
    return [(gradient, variable) for variable, gradient in gradients if gradient is not None]


def _step_tensorflow(model, data):
    import tensorflow as tf

    data, variables = keras.utils.unpack_x_y_sample_weight(data), SharedAndOwn(model)
    scale = model.optimizer.scale_loss(tf.ones(()))
    outputs, losses = {}, []
    with tf.GradientTape(persistent=True) as tape:
        features, added = _run_shared(model, data[0])
        # Some come from others: branches are differentiated by each as if it came from nowhere.
        begins = [tf.stop_gradient(each) for each in features]
        for each in begins:
            tape.watch(each)
        for task in variables.own:
            found, loss = _run_branch(model, task, begins, data)
            losses.append(loss)
            outputs |= found
        scaled = [loss * scale for loss in losses]
    crossing, by_task, gradients = variables.crossing, [], []
    for loss, own in zip(scaled, variables.own.values(), strict=True):
        given = [*begins, *(each.value for each in (*crossing, *own))]
        of_all = [_dense(each) for each in tape.gradient(loss, given)]
        by_task.append(of_all[: len(features) + len(crossing)])
        gradients += zip(own, of_all[len(by_task[-1]) :], strict=True)

    def pull(of_features, of_added):
        pairs = [(f, g) for f, g in zip(features, of_features, strict=True) if g is not None]
        if of_added is not None and not isinstance(added, float):
            pairs.append((added, of_added))
        shared = [each.value for each in variables.shared]
        if not pairs or not shared:
            return [None] * len(shared)
        ends, seeds = (list(each) for each in zip(*pairs, strict=True))
        return [_dense(each) for each in tape.gradient(ends, shared, output_gradients=seeds)]

    of_shared = _Gradients(model, variables, by_task, pull, losses, scale).of_shared()
    gradients += zip(variables.shared, of_shared, strict=True)
    model.optimizer.apply(*zip(*_known(gradients), strict=True))
    return update_logs(model, data, outputs, sum(losses) + added)


def _dense(gradient):
    """Of rows that were looked up TensorFlow gives these alone."""
    return None if gradient is None else ops.convert_to_tensor(gradient)


def _step_jax(model, state, data):
    import jax

    trainable, others, optimizer, metrics = map(list, state)
    data, variables = keras.utils.unpack_x_y_sample_weight(data), SharedAndOwn(model)
    place = {id(each): n for n, each in enumerate(model.trainable_variables)}

    def within(function, others, metrics, given=()):
        """What a function returns, and the state after it, with variables of given values."""
        states = [
            list(zip(variables, values, strict=True))
            for variables, values in (
                (model.trainable_variables, trainable),
                (model.non_trainable_variables, others),
                (model.metrics_variables, metrics),
                (model.optimizer.variables, optimizer),
            )
        ]
        mapping = [*sum(states, []), *given]
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True) as scope:
            found = function()
        return found, values_after(scope, states[1]), values_after(scope, states[2])

    def values(wanted):
        return [trainable[place[id(each)]] for each in wanted]

    def shared(given):
        def run():
            features, added = _run_shared(model, data[0])
            return features, ops.convert_to_tensor(added, "float32")

        pairs = list(zip(variables.shared, given, strict=True))
        found, *after = within(run, others, metrics, pairs)
        return found, after

    (features, added), back, (others, metrics) = jax.vjp(
        shared, values(variables.shared), has_aux=True
    )

    def pull(of_features, of_added):
        pairs = zip(features, of_features, strict=True)
        seeds = [ops.zeros_like(f) if g is None else g for f, g in pairs]
        of_added = ops.convert_to_tensor(0.0 if of_added is None else of_added, "float32")
        return back((seeds, of_added))[0]

    def branch(task, features, crossing, own, others, metrics):
        def run():
            found, loss = _run_branch(model, task, features, data)
            return found, loss, model.optimizer.scale_loss(loss)

        given = zip([*variables.crossing, *variables.own[task]], [*crossing, *own], strict=True)
        (found, loss, scaled), *after = within(run, others, metrics, list(given))
        return scaled, (found, loss, after)

    outputs, losses, by_task, gradients = {}, [], [], list(trainable)
    for task, own in variables.own.items():
        differentiate = jax.grad(branch, argnums=(1, 2, 3), has_aux=True)
        given = (features, values(variables.crossing), values(own), others, metrics)
        (of_features, of_crossing, of_own), aux = differentiate(task, *given)
        found, loss, (others, metrics) = aux
        by_task.append([*of_features, *of_crossing])
        for variable, gradient in zip(own, of_own, strict=True):
            gradients[place[id(variable)]] = gradient
        losses.append(loss)
        outputs |= found

    def balance():
        scale = model.optimizer.scale_loss(ops.ones(()))
        return _Gradients(model, variables, by_task, pull, losses, scale).of_shared()

    of_shared, others, metrics = within(balance, others, metrics)
    for variable, gradient in zip(variables.shared, of_shared, strict=True):
        gradients[place[id(variable)]] = gradient
    trainable, optimizer = model.optimizer.stateless_apply(optimizer, gradients, trainable)
    total = sum(losses) + added
    logs, others, metrics = within(
        lambda: update_logs(model, data, outputs, total), others, metrics
    )
    return logs, (list(trainable), others, list(optimizer), metrics)
