"""Loss balancing: the papers' rules, within `fit`, and from a saved file on."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl import rooms
from keras_mtl.tasks import nyud
from keras_mtl.training.balancing import (
    DynamicWeightAverage,
    LossBalancing,
    LossWeighting,
    UncertaintyWeighting,
)
from tests import small

SIZE = (16, 24)
RULES = {"uncertainty": UncertaintyWeighting, "dwa": DynamicWeightAverage}


def network(tasks=None):
    keras.utils.set_random_seed(3)
    return keras_mtl.MultiTaskBaseline(small.vit(SIZE), tasks or nyud(), head_width=4)


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
    rule = UncertaintyWeighting()
    model.compile(keras.optimizers.SGD(1e-2), loss_weights=rule, metrics=None)
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
    model.compile(keras.optimizers.Adam(1e-2), loss_weights=RULES[rule](), metrics=None)
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
    model.compile(loss_weights=Largest(), metrics=None)
    found = model.evaluate(images, labels, batch_size=4, verbose=0, return_dict=True)
    weighed = [task.loss_weight * found[f"{task.name}_loss"] for task in model.tasks]
    assert found["loss"] == pytest.approx(max(weighed), rel=1e-5)


def test_with_weights_of_images_and_losses_by_name(scenes):
    """The rule weighs what comes of them."""
    images, labels = scenes
    tasks = nyud("depth", "edge")
    data = images, {task.name: labels[task.name] for task in tasks}
    model, rule = network(tasks), UncertaintyWeighting()
    for loss, weights in (
        ("auto", np.array([2.0, 0.0, 0.0, 0.5], "float32")),
        ({"depth": "mae", "edge": keras.losses.MeanSquaredError()}, None),
    ):
        model.compile(loss=loss, loss_weights=rule, metrics=None)
        rule.log_variance.assign([0.5, -1.0])
        how = {"sample_weight": weights, "batch_size": 4, "verbose": 0, "return_dict": True}
        found = model.evaluate(*data, **how)
        raw = model.predict_on_batch(images)
        if weights is None:
            depth = np.abs(raw["depth"] - data[1]["depth"]).mean()
            edge = ((raw["edge"] - data[1]["edge"]) ** 2).mean()
        else:
            depth, edge = (
                float(ops.convert_to_numpy(t.loss()(data[1][t.name], raw[t.name], weights)))
                for t in tasks
            )
        assert found["depth_loss"] == pytest.approx(depth, rel=1e-4)
        assert found["edge_loss"] == pytest.approx(edge, rel=1e-4)
        total = np.exp(-0.5) * depth + 0.25 + np.exp(1.0) * 50 * edge - 0.5
        assert found["loss"] == pytest.approx(total, rel=1e-4)


def test_after_every_step(scenes):
    """A rule may look at every step's losses; evaluation is none."""

    class ByLastLosses(LossWeighting):
        def build(self, tasks):
            def variable(value, name):
                return self.add_weight(
                    shape=(tasks,), initializer=value, trainable=False, name=name
                )

            self.last, self.steps = variable("ones", "last"), variable("zeros", "steps")

        def total(self, losses):
            return ops.sum(ops.stack(losses) / self.last)

        def after_step(self, losses):
            self.last.assign(ops.stack(losses))
            self.steps.assign(self.steps + 1)

    images, labels = scenes
    model = network()
    model.compile(keras.optimizers.SGD(1e-3), loss_weights=ByLastLosses(), metrics=None)
    weights = np.array([task.loss_weight for task in model.tasks])
    last = np.ones(4)
    for step in range(3):
        logs = model.train_on_batch(images, labels, return_dict=True)
        losses = weights * [logs[f"{task.name}_loss"] for task in model.tasks]
        assert logs["loss"] == pytest.approx((losses / last).sum(), rel=1e-4)
        last = losses
        model.evaluate(images, labels, verbose=0)
        np.testing.assert_allclose(ops.convert_to_numpy(model.balancing.last), last, rtol=1e-5)
        assert (ops.convert_to_numpy(model.balancing.steps) == step + 1).all()


def test_refusals(scenes):
    images, labels = scenes
    rule = UncertaintyWeighting()
    network().compile(loss_weights=rule)
    with pytest.raises(ValueError, match="belongs to a model of semseg, depth, normals, edge"):
        network(nyud("depth")).compile(loss_weights=rule)
    for rule in ("auto", UncertaintyWeighting()):
        with pytest.raises(ValueError, match="loss is of depth; expected 'auto', or a dict with"):
            network().compile(loss={"depth": "mae"}, loss_weights=rule)
    with pytest.raises(ValueError, match="The loss of depth is 'xyz'; expected an object"):
        losses = {name: "xyz" for name in ("depth", "edge")}
        network(nyud("depth", "edge")).compile(loss=losses, loss_weights=UncertaintyWeighting())
    with pytest.raises(ValueError, match="There is no loss for edge; expected"):
        losses = {"depth": "mae", "edge": None}
        network(nyud("depth", "edge")).compile(loss=losses, loss_weights=UncertaintyWeighting())
    with pytest.raises(ValueError, match="loss is None, and balancing a"):
        network(nyud("depth", "edge")).compile(loss=None, loss_weights=UncertaintyWeighting())
    with pytest.raises(ValueError, match="loss is 'mse'; expected 'auto'"):
        network().compile(loss="mse")
