"""A training step after which the losses are measured again, for a rule that asks what it did."""

from collections.abc import Callable
from typing import Any

import keras

from keras_mtl import distribution
from keras_mtl.training.objective import Objective
from keras_mtl.training.sample_weights import weights_of
from keras_mtl.training.task_by_task import values_after


def step_and_measure(step: Callable, model: Any, objective: Objective | None, *arguments):
    """One step; what `keras.Model.train_step` takes and gives.

    Where the weighting says `measures_again`, the network computes the same batch's losses once
    more, as in training: nothing else of that second pass is kept.

    Args:
        step: function of `arguments` that trains where there are no TensorFlow replicas.
        model: a compiled `keras_mtl.MultiTaskModel`.
        objective: what its losses are measured by.
        *arguments: those of `train_step`.
    """
    if distribution.runs_on_replicas(model):
        found = distribution.train_replica(model, *arguments)
    else:
        found = step(*arguments)
    weighting = objective.weighting if objective is not None else None
    if weighting is None or not weighting.measures_again:
        return found
    images, labels, weights = keras.utils.unpack_x_y_sample_weight(arguments[-1])
    if weights is not None:
        weights = weights_of(weights, labels, model.supervised_tasks, model.image_size)
    trainable, others = model.trainable_variables, model.non_trainable_variables
    state: list = []  # of JAX, which hands the variables' values on; elsewhere they have them
    if keras.backend.backend() == "jax":
        logs, (values, other_values, optimizer, metrics) = found
        state = list(zip((*trainable, *others), (*values, *other_values), strict=True))

    with keras.StatelessScope(state_mapping=state):  # normalizations stay as they are
        losses = objective.losses_of_tasks(labels, model(images, training=True), weights)
    losses = [keras.ops.stop_gradient(loss) for loss in losses]
    if not state:
        weighting.after_update(losses)
        return found
    with keras.StatelessScope(state_mapping=state) as scope:
        weighting.after_update(losses)
    after = values_after(scope, state[len(trainable) :])
    return logs, (values, after, optimizer, metrics)
