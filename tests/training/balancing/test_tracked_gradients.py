"""Rules on moving averages of gradients, against the papers' steps in NumPy."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops
from scipy.optimize import minimize

from keras_mtl.training.balancing import DBMTL, MoCo

TASKS, SHAPES = 3, [(2, 3), (4,)]
MAKE = {
    "moco": lambda: MoCo(momentum=0.6, rate=0.3, ridge=0.1),
    "db_mtl": lambda: DBMTL(momentum=0.6, of="variables"),
}


def draw(seed):
    """Of two variables the tasks' gradients `(tasks, *shape)`, and losses."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(TASKS, *shape)) for shape in SHAPES], rng.uniform(0.5, 4, TASKS)


def prepared(rule):
    rule.track(TASKS, [SimpleNamespace(shape=shape) for shape in SHAPES])
    rule.prepare(dict.fromkeys("abc", 1.0))
    return rule


def combine(rule, gradients, losses, scale=1.0):
    given = [[tensor(scale * each) for each in of_one] for of_one in gradients]
    found = rule.combine(given, tensor(losses), scale)
    return np.concatenate([ops.convert_to_numpy(each).ravel() for each in found]) / scale


def tensor(x):
    return ops.convert_to_tensor(x, "float32")


def flat(gradients):
    return np.concatenate([each.reshape(TASKS, -1) for each in gradients], 1)


def shortest_step(weights, tracked):
    """MoCo's Eq. 7, for averages of mean squared length 1."""
    gramian = tracked @ tracked.T * len(tracked) / (tracked**2).sum()
    to = weights - 0.3 * (gramian + 0.1 * np.eye(len(weights))) @ weights
    simplex = {"type": "eq", "fun": lambda w: w.sum() - 1}
    bounds = [(0, 1)] * len(weights)
    return minimize(
        lambda w: ((w - to) ** 2).sum(), weights, bounds=bounds, constraints=[simplex], tol=1e-14
    ).x


@pytest.mark.parametrize("name", MAKE)
def test_the_papers_steps(name):
    """In the second, the task in the middle has no label."""
    rule = prepared(MAKE[name]())
    averages, weights = np.zeros((TASKS, 10)), np.full(TASKS, 1 / TASKS)
    for step, there in enumerate([[0, 1, 2], [0, 2], [0, 1, 2]]):
        gradients, losses = draw(step)
        absent = [t for t in range(TASKS) if t not in there]
        for each in gradients:
            each[absent] = 0
        losses[absent] = 0
        found = combine(rule, gradients, losses, scale=8.0)
        new = flat(gradients)
        if name == "db_mtl":
            new[there] /= losses[there, None]  # of the logarithms: Eq. 2
        averages[there] = 0.6 * averages[there] + 0.4 * new[there]  # Eq. 3; MoCo's Eq. 6
        tracked = averages[there]
        if name == "db_mtl":
            lengths = np.linalg.norm(tracked, axis=1)
            expected = (lengths.max() / lengths) @ tracked  # Eq. 4
        else:
            share = weights[there].sum()
            solved = shortest_step(weights[there] / share, tracked)
            weights[there] = share * solved
            expected = solved @ tracked
        np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("name", MAKE)
def test_a_step_that_overflows_leaves_no_trace(name):
    rule = prepared(MAKE[name]())
    combine(rule, *draw(0))
    state = [*rule.averages, *([rule.kept] if name == "moco" else [])]
    before = [ops.convert_to_numpy(each).copy() for each in state]
    gradients, losses = draw(1)
    gradients[0][0] = np.inf
    assert np.isnan(combine(rule, gradients, losses)).all()  # the optimizer leaves it out
    for variable, value in zip(state, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)


def test_variables_that_some_tasks_or_none_have():
    rule = prepared(MAKE["moco"]())
    (first, _), losses = draw(0)
    some = [tensor(first[0]), None, tensor(first[2])]
    found = rule.combine([some, [None] * TASKS], tensor(losses))
    assert found[1] is None
    assert np.isfinite(ops.convert_to_numpy(found[0])).all()
    assert (ops.convert_to_numpy(rule.averages[0])[1] == 0).all()


@pytest.mark.parametrize("name", MAKE)
def test_no_task_has_a_label(name):
    rule = prepared(MAKE[name]())
    nothing = [np.zeros((TASKS, *shape)) for shape in SHAPES]
    assert (combine(rule, nothing, np.zeros(TASKS)) == 0).all()
    assert all(np.isfinite(ops.convert_to_numpy(v)).all() for v in rule.variables)


@pytest.mark.parametrize("name", MAKE)
def test_a_rule_is_what_its_configuration_says(name):
    rule = MAKE[name]()
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rule))
    assert type(again) is type(rule)
    assert again.get_config() == rule.get_config()


def test_refusals():
    for make in (lambda: DBMTL(momentum=0.5), lambda: MoCo(of="features")):
        with pytest.raises(ValueError, match="momentum is 0.5, and of 'features', which are"):
            make()
    MoCo(momentum=0, of="features")
    with pytest.raises(ValueError, match="momentum is 1, expected a number from 0 to below 1"):
        MoCo(momentum=1)
    rule = prepared(MoCo())
    with pytest.raises(ValueError, match="This MoCo keeps gradients of other variables than"):
        rule.track(TASKS, [SimpleNamespace(shape=(2, 3))])
