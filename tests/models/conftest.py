"""What the models' tests share: one training step on any backend."""

import keras
import numpy as np
import pytest
from keras import ops


@pytest.fixture(scope="session")
def training_step():
    """`training_step(model, images, loss)`: what one step in training mode computes.

    `loss` maps the model's outputs to a scalar, to which those of its layers are added. Returns the
    sum, the outputs, and a dict from the id of every trainable variable to its gradient, as arrays.
    No weight is updated but for running statistics.
    """

    def step(model, images, loss):
        backend = keras.backend.backend()
        variables = model.trainable_variables
        if backend == "jax":
            import jax

            def objective(values):
                state = [variable.value for variable in model.non_trainable_variables]
                outputs, state, losses = model.stateless_call(
                    values, state, images, training=True, return_losses=True
                )
                return loss(outputs) + sum(losses), (outputs, state)

            differentiate = jax.jit(jax.value_and_grad(objective, has_aux=True))
            (total, (outputs, state)), gradients = differentiate([v.value for v in variables])
            for variable, value in zip(model.non_trainable_variables, state, strict=True):
                variable.assign(value)
        elif backend == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                outputs = model(images, training=True)
                total = loss(outputs) + sum(model.losses)
            gradients = tape.gradient(
                total,
                [variable.value for variable in variables],
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
        else:
            model.zero_grad()
            outputs = model(images, training=True)
            total = loss(outputs) + sum(model.losses)
            total.backward()
            gradients = [
                ops.zeros_like(v.value) if v.value.grad is None else v.value.grad for v in variables
            ]
        arrays = map(ops.convert_to_numpy, gradients)
        by_variable = {id(v): np.array(array) for v, array in zip(variables, arrays, strict=True)}
        outputs = keras.tree.map_structure(ops.convert_to_numpy, outputs)
        return float(ops.convert_to_numpy(total)), outputs, by_variable

    return step
