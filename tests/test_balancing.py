"""Loss balancing: the papers' rules, within `fit`, and from a saved file on."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.balancing import DynamicWeightAverage, LossBalancing, UncertaintyWeighting
from keras_mtl.data import rooms
from keras_mtl.tasks import nyud

SIZE = (16, 24)
RULES = {"uncertainty": UncertaintyWeighting, "dwa": DynamicWeightAverage}


def network(tasks=None):
    keras.utils.set_random_seed(3)
    backbone = keras_mtl.backbones.HRNet((*SIZE, 3), 4, 1, (1, 1, 1), 1)
    return keras_mtl.MultiTaskBaseline(backbone, tasks or nyud(), head_width=4)


@pytest.fixture(scope="module")
def scenes():
    return rooms.arrays(nyud(), 4, SIZE)


def test_uncertainty_weighting_is_the_formula():
    rule = UncertaintyWeighting()
    rule.prepare({"a": 1.0, "b": 5.0})
    rule.log_variance.assign([0.5, -1.0])
    losses = [2.0, 3.0]  # the fixed weights are in them
    expected = np.exp(-0.5) * 2 + 0.5 / 2 + np.exp(1.0) * 3 - 1.0 / 2
    total = rule.total([ops.convert_to_tensor(x) for x in losses])
    assert float(ops.stop_gradient(total)) == pytest.approx(expected)
    weights = rule.weights_by_task()
    assert weights == pytest.approx({"a": np.exp(-0.5), "b": 5 * np.exp(1.0)})


def test_dynamic_weight_average_is_the_formula():
    rule = DynamicWeightAverage(temperature=1.5)
    rule.prepare({"a": 1.0, "b": 2.0, "c": 1.0})
    assert rule.weights_by_task() == {"a": 1.0, "b": 2.0, "c": 1.0}
    epochs = np.array([[4.0, 2.0, 0.0], [3.0, 2.2, 0.0], [2.0, 0.5, 1.0], [1.9, 0.4, 0.5]])
    for e, losses in enumerate(epochs):
        rule.on_epoch_end(losses.tolist())
        ratio = np.ones(3)
        if e:
            there = (losses > 0) & (epochs[e - 1] > 0)
            ratio[there] = losses[there] / epochs[e - 1][there]
        share = np.exp(ratio / 1.5) / np.exp(ratio / 1.5).sum()
        found = np.array(list(rule.weights_by_task().values())) / [1, 2, 1]
        np.testing.assert_allclose(found, 3 * share, rtol=1e-6)
        assert found.sum() == pytest.approx(3)
    with pytest.raises(ValueError, match="temperature is 0, expected a number above 0"):
        DynamicWeightAverage(temperature=0)


def test_fixed_weights_are_the_start(scenes):
    """Before anything has been learned, both are the tasks' own weights."""
    images, labels = scenes
    plain = network()
    plain.compile()
    expected = plain.evaluate(images, labels, verbose=0, return_dict=True)
    for rule in RULES.values():
        model = network()
        model.compile(loss_weights=rule())
        found = model.evaluate(images, labels, verbose=0, return_dict=True)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, rel=1e-5), key


@pytest.mark.parametrize("rule", RULES)
def test_it_learns_and_is_saved(rule, scenes, tmp_path):
    images, labels = scenes
    model = network()
    model.compile(keras.optimizers.Adam(1e-2), loss_weights=RULES[rule]())
    before = model.balancing.weights_by_task()
    history = model.fit(images, labels, batch_size=2, epochs=2, verbose=0).history
    assert {f"{task.name}_loss" for task in model.tasks} < set(history)
    after = model.balancing.weights_by_task()
    assert all(after[name] != value for name, value in before.items())
    if rule == "dwa":  # Eq. 7 on the means that `fit` reported
        losses = np.array([history[f"{task.name}_loss"] for task in model.tasks])
        share = np.exp(losses[:, 1] / losses[:, 0] / 2)
        expected = 4 * share / share.sum() * [task.loss_weight for task in model.tasks]
        np.testing.assert_allclose(list(after.values()), expected, rtol=1e-5)

    model.save(tmp_path / "model.keras")
    again = keras_mtl.load_model(tmp_path / "model.keras", compile=True)
    assert again.balancing.weights_by_task() == pytest.approx(after)
    found = again.evaluate(images, labels, verbose=0, return_dict=True)
    expected = model.evaluate(images, labels, verbose=0, return_dict=True)
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-4), key
    again.fit(images, labels, epochs=1, verbose=0)
    # Without the balancing, the file is a model like any other.
    plain = keras_mtl.load_model(tmp_path / "model.keras")
    assert plain.balancing is None
    np.testing.assert_allclose(
        plain.predict_on_batch(images)["depth"], model.predict_on_batch(images)["depth"], atol=1e-5
    )


def test_another_rule_is_a_class(scenes):
    class Largest(LossBalancing):
        def total(self, losses):
            return ops.max(ops.stack(losses))

    images, labels = scenes
    model = network()
    model.compile(loss_weights=Largest())
    found = model.evaluate(images, labels, batch_size=4, verbose=0, return_dict=True)
    weighed = [task.loss_weight * found[f"{task.name}_loss"] for task in model.tasks]
    assert found["loss"] == pytest.approx(max(weighed), rel=1e-5)


def test_refusals(scenes):
    images, labels = scenes
    rule = UncertaintyWeighting()
    network().compile(loss_weights=rule)
    with pytest.raises(ValueError, match="belongs to a model of semseg, depth, normals, edge"):
        network(nyud("depth")).compile(loss_weights=rule)
    model = network()
    model.compile(loss_weights=UncertaintyWeighting())
    with pytest.raises(ValueError, match="sample_weight and a LossBalancing"):
        model.fit(images, labels, sample_weight=np.ones(len(images)), verbose=0)
