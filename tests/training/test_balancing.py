"""Loss balancing: the papers' rules, within `fit`, and from a saved file on."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl import rooms
from keras_mtl.tasks import nyud
from keras_mtl.training.balancing import DynamicWeightAverage, LossBalancing, UncertaintyWeighting

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


def test_a_task_without_labels_keeps_its_uncertainty(scenes):
    """Else its weight would grow while there is nothing to learn."""
    images, labels = scenes
    unlabelled = np.stack([nyud("depth")[0].no_label(*SIZE)] * len(images))
    model = network()
    model.compile(keras.optimizers.SGD(1e-2), loss_weights=UncertaintyWeighting())
    before = model.balancing.weights_by_task()
    model.fit(images, {**labels, "depth": unlabelled}, epochs=2, verbose=0)
    after = model.balancing.weights_by_task()
    assert [name for name in after if after[name] == before[name]] == ["depth"]


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


@pytest.mark.parametrize("rule", RULES)
def test_weights_and_presets(rule, scenes, tmp_path):
    """With a balancing and without, files go both ways."""
    images, labels = scenes
    model, plain = network(), network()
    model.compile(keras.optimizers.Adam(1e-2), loss_weights=RULES[rule]())
    model.fit(images, labels, batch_size=2, epochs=1, verbose=0)
    weights = model.balancing.weights_by_task()
    maps = model.predict_on_batch(images)["depth"]
    model.save_weights(tmp_path / "balanced.weights.h5")
    plain.load_weights(tmp_path / "balanced.weights.h5")
    np.testing.assert_allclose(plain.predict_on_batch(images)["depth"], maps, atol=1e-5)
    plain.save_weights(tmp_path / "plain.weights.h5")

    again = network()
    again.compile(loss_weights=RULES[rule]())
    again.load_weights(tmp_path / "plain.weights.h5")
    np.testing.assert_allclose(again.predict_on_batch(images)["depth"], maps, atol=1e-5)
    start = {task.name: task.loss_weight for task in model.tasks}
    assert again.balancing.weights_by_task() == pytest.approx(start)
    again.load_weights(tmp_path / "balanced.weights.h5")
    assert again.balancing.weights_by_task() == pytest.approx(weights)

    model.save_to_preset(tmp_path / "preset")
    shared = keras_mtl.MultiTaskModel.from_preset(tmp_path / "preset")
    np.testing.assert_allclose(shared.predict_on_batch(images)["depth"], maps, atol=1e-5)


def test_compiled_again(scenes):
    """Nothing stays of a balancing that is no longer used."""
    images, labels = scenes
    model, plain = network(), network()
    plain.compile()
    for rule in RULES.values():
        model.compile(loss_weights=rule())
    assert len({metric.name for metric in model.metrics}) == len(model.metrics)
    model.compile()
    found = model.evaluate(images, labels, verbose=0, return_dict=True)
    assert found == pytest.approx(plain.evaluate(images, labels, verbose=0, return_dict=True))
    assert [v.name for v in model.variables] == [v.name for v in plain.variables]


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
    for rule in ("auto", UncertaintyWeighting()):
        with pytest.raises(ValueError, match="loss is of depth; expected 'auto', or a dict with"):
            network().compile(loss={"depth": "mae"}, loss_weights=rule)
    with pytest.raises(ValueError, match="The loss of depth is 'mae'; with a LossBalancing"):
        losses = {name: "mae" for name in ("depth", "edge")}
        network(nyud("depth", "edge")).compile(loss=losses, loss_weights=UncertaintyWeighting())
    with pytest.raises(ValueError, match="loss is None, and loss_weights a LossBalancing"):
        network(nyud("depth", "edge")).compile(loss=None, loss_weights=UncertaintyWeighting())
    with pytest.raises(ValueError, match="loss is 'mse'; expected 'auto'"):
        network().compile(loss="mse")
