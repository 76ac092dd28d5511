"""The problem of two losses that the papers of CAGrad, Nash-MTL and FAMO draw.

Of two variables, with valleys along which the sum of the gradients creeps. The Pareto set lies at
x2 of about -8, x1 from -7 to 7.
"""

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl import balancing

pytestmark = pytest.mark.once("jax", "what every rule computes is tested elsewhere on each")

# Nash-MTL's paper names them.
STARTS = np.array([[-8.5, 7.5], [0.0, 0.0], [9.0, 9.0], [-7.5, -0.5], [9.0, -1.0]], "float32")
STEPS, RATE = 6000, 0.02


def losses_at(point):
    """As in the appendix of CAGrad's paper, raised by 25: some rules want losses above 0."""
    x, y = point[0], point[1]
    above, below = (ops.maximum(ops.tanh(side * y / 2), 0.0) for side in (1, -1))
    valleys = [
        ops.log(ops.maximum(ops.abs(0.5 * (-x - 7) - ops.tanh(-y)), 5e-6)) + 6,
        ops.log(ops.maximum(ops.abs(0.5 * (-x + 3) + ops.tanh(-y) + 2), 5e-6)) + 6,
    ]
    bowls = [((-x + side) ** 2 + 0.1 * (-y - 8) ** 2) / 10 - 20 for side in (7, -7)]
    pairs = zip(valleys, bowls, strict=True)
    return ops.stack([above * valley + below * bowl for valley, bowl in pairs]) + 25


def travel(step, state):
    """From each start Adam's way, whose gradients `step` makes of a point and of a state."""
    import jax

    def move(carry, number):
        point, first, second, state = carry
        gradient, state = step(point, state)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        length = ops.sqrt(second / (1 - 0.999**number)) + 1e-8
        return (point - RATE * first / (1 - 0.9**number) / length, first, second, state), None

    def run(start):
        begin = (start, 0 * start, 0 * start, state)
        return jax.lax.scan(move, begin, ops.arange(1.0, STEPS + 1))[0][0]

    return np.asarray(jax.jit(jax.vmap(run))(STARTS))


def by(rule):
    """A step by a rule, and its state."""
    import jax

    of_losses = isinstance(rule, balancing.LossWeighting)
    if not of_losses:
        rule.track(2, [keras.Variable(np.zeros(2))])
    rule.prepare({"a": 1.0, "b": 1.0})

    def within(state, function):
        mapping = list(zip(rule.variables, state, strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            found = function()
        return found, [scope.get_current_value(variable) for variable in rule.variables]

    def step_by_gradients(point, state):
        gradients = jax.jacrev(losses_at)(point)
        return within(state, lambda: rule.combine([list(gradients)], losses_at(point))[0])

    def step_by_losses(point, state):
        losses = losses_at(point)
        gradient = jax.grad(lambda x: within(state, lambda: rule.total(list(losses_at(x))))[0])
        found = gradient(point)
        _, state = within(state, lambda: rule.after_step(list(losses)))
        after = list(losses_at(point - 1e-3 * found))
        return found, within(state, lambda: rule.after_update(after))[1]

    step = step_by_losses if of_losses else step_by_gradients
    return step, [variable.value for variable in rule.variables]


def reached(points):
    return (np.abs(points[:, 1] + 8) < 0.6) & (np.abs(points[:, 0]) < 7.3)


def test_the_sum_of_the_losses_stays_in_the_valley():
    import jax

    def step(point, state):
        return jax.grad(lambda x: ops.sum(losses_at(x)))(point), state

    assert not reached(travel(step, [])).all()


# GradVac's paper makes no such claim: it turns gradients to be as alike as they usually are.
RULES = {
    "PCGrad": lambda: balancing.PCGrad(seed=0),
    "MGDA": balancing.MGDA,
    "CAGrad": lambda: balancing.CAGrad(c=0.5),
    "IMTLG": balancing.IMTLG,
    "NashMTL": balancing.NashMTL,
    "AlignedMTL": balancing.AlignedMTL,
    "FairGrad": balancing.FairGrad,
    "SDMGrad": balancing.SDMGrad,
    "MoCo": lambda: balancing.MoCo(momentum=0.5),
    "UPGrad": balancing.UPGrad,
    "DBMTL": lambda: balancing.DBMTL(momentum=0.5, of="variables"),
    "GradNorm": balancing.GradNorm,
    "GradDrop": lambda: balancing.GradDrop(seed=0),
    "FAMO": balancing.FAMO,
}


@pytest.mark.parametrize("name", RULES)
def test_the_pareto_set_is_reached_from_every_start(name):
    assert reached(travel(*by(RULES[name]()))).all()
