"""The objective: its terms, its total and the names in the logs, against plain NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.tasks import nyud
from keras_mtl.training.balancing import DynamicWeightAverage, LossWeighting
from keras_mtl.training.objective import (
    AuxiliaryOutput,
    Objective,
    log_name,
    named_by_task,
    output_of_loss,
)

SIZE = (4, 6)
AUXILIARY = {
    "depth/initial": AuxiliaryOutput("depth", 0.5),
    "depth/second": AuxiliaryOutput("depth", 2.0),
}


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    labels = {
        "depth": rng.uniform(1, 9, (2, *SIZE, 1)).astype("float32"),
        "semseg": rng.integers(0, 40, (2, *SIZE)).astype("int32"),
    }
    labels["depth"][0, :2] = 0  # no label
    outputs = {name: rng.normal(size=(2, *SIZE, 1)) for name in ("depth", *AUXILIARY)}
    outputs["semseg"] = rng.normal(size=(2, *SIZE, 40))
    return labels, {name: each.astype("float32") for name, each in outputs.items()}


def reference(labels, outputs):
    """Mean over labelled pixels: of |error|, and of -log softmax."""

    def l1(output):
        labelled = labels["depth"] > 0
        return np.abs(output - labels["depth"])[labelled].mean()

    x = outputs["semseg"].astype("float64")
    log_softmax = x - np.log(np.exp(x).sum(-1, keepdims=True))
    own = np.take_along_axis(log_softmax, labels["semseg"][..., None], -1)
    terms = {name: l1(outputs[name]) for name in outputs if name != "semseg"}
    return {**terms, "semseg": -own.mean()}


def numbers(terms):
    return {name: float(ops.convert_to_numpy(value)) for name, value in terms.items()}


def test_terms(data):
    objective = Objective(nyud("semseg", "depth"), auxiliary=AUXILIARY)
    expected = reference(*data)
    found = numbers(objective.terms(*data))
    assert list(found) == ["semseg", "depth", "depth/initial", "depth/second"]
    assert found == pytest.approx(expected, rel=1e-5)
    labels, outputs = data
    evaluated = {name: outputs[name] for name in ("semseg", "depth")}
    assert set(objective.terms(labels, evaluated)) == {"semseg", "depth"}


@pytest.mark.parametrize("weights", ["auto", {"semseg": 3.0, "depth": 0.1}, None])
def test_total(data, weights):
    objective = Objective(nyud("semseg", "depth"), loss_weights=weights, auxiliary=AUXILIARY)
    terms = reference(*data)
    semseg, depth = weights.values() if isinstance(weights, dict) else (1, 1)
    of_depth = terms["depth"] + 0.5 * terms["depth/initial"] + 2 * terms["depth/second"]
    expected = semseg * terms["semseg"] + depth * of_depth + 0.25
    found = objective(*data, extra=[ops.convert_to_tensor([0.1, 0.15])])
    assert float(ops.convert_to_numpy(found)) == pytest.approx(expected, rel=1e-5)
    logged = {mean.name: float(ops.convert_to_numpy(mean.result())) for mean in objective.means}
    assert logged == pytest.approx({f"{name}_loss": each for name, each in terms.items()}, rel=1e-5)


class Doubled(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return 2 * ops.abs(y_pred)


def test_a_loss_of_its_own(data):
    """It is weighed by its own weight alone, and beside what balances the tasks."""
    auxiliary = {
        "depth/initial": AuxiliaryOutput("depth", 0.5),
        "depth/second": AuxiliaryOutput("depth", 0.25, Doubled(), alone=True),
    }
    terms = reference(*data)
    terms["depth/second"] = 2 * np.abs(data[1]["depth/second"]).mean()
    of_depth = terms["depth"] + 0.5 * terms["depth/initial"]
    for weights in ({"semseg": 3.0, "depth": 10.0}, FirstOnly()):
        objective = Objective(nyud("semseg", "depth"), loss_weights=weights, auxiliary=auxiliary)
        assert numbers(objective.terms(*data)) == pytest.approx(terms, rel=1e-5)
        tasks = 3 * terms["semseg"] + 10 * of_depth
        if objective.weighting is not None:
            tasks = terms["semseg"]
        found = float(ops.convert_to_numpy(objective(*data)))
        assert found == pytest.approx(tasks + 0.25 * terms["depth/second"], rel=1e-5)


class FirstOnly(LossWeighting):
    def total(self, losses):
        return losses[0]


def test_weights_of_images(data):
    labels, outputs = data
    outputs = {name: outputs[name] for name in ("semseg", "depth")}
    objective = Objective(nyud("semseg", "depth"))
    weight = np.array([2.0, 0.0], "float32")
    first = {name: each[:1] for name, each in outputs.items()}
    # The mean is over the labelled pixels of both images.
    share = (labels["depth"][:1] > 0).sum() / (labels["depth"] > 0).sum()
    alone = reference({name: each[:1] for name, each in labels.items()}, first)
    expected = {"semseg": 2 * alone["semseg"] / 2, "depth": 2 * alone["depth"] * share}
    for given in (weight, {"semseg": weight, "depth": weight}):
        found = numbers(objective.terms(labels, outputs, given))
        assert found == pytest.approx(expected, rel=1e-5)


def test_losses_as_keras_takes_them(data):
    labels, outputs = data
    probability = np.exp(outputs["semseg"])
    probability /= probability.sum(-1, keepdims=True)
    outputs, tasks = {**outputs, "semseg": probability}, nyud("semseg", "depth")
    depth = np.abs(outputs["depth"] - labels["depth"]).mean()
    own = np.take_along_axis(probability, labels["semseg"][..., None], -1)
    for semseg in ("crossentropy", "sparse_categorical_crossentropy"):
        for mean in (
            "mae",
            "MeanAbsoluteError",
            keras.losses.mean_absolute_error,
            lambda y, y_pred: ops.abs(y_pred - y),
        ):
            objective = Objective(tasks, {"semseg": semseg, "depth": mean})
            found = numbers(objective.terms(labels, outputs))
            expected = {"semseg": -np.log(own).mean(), "depth": depth}
            assert found == pytest.approx(expected, rel=1e-4)
    only = Objective(tasks, {"semseg": None, "depth": "mae"}, {"semseg": 1.0, "depth": 2.0})
    assert set(only.terms(labels, outputs)) == {"depth"}
    for wrong in (["mae", "mse"], "nothing", 3):
        with pytest.raises(ValueError, match="The loss of depth is .*; expected an object such"):
            Objective(tasks, {"semseg": "ce", "depth": wrong})


def test_weights_that_do_not_fit():
    tasks = nyud("semseg", "depth")
    for weights in ({"depth": 1.0}, [1.0, 2.0], 3.0, {"semseg": 1.0, "depth": 1.0, "edge": 1.0}):
        with pytest.raises(ValueError, match="loss_weights is .*; expected 'auto', a dict with a"):
            Objective(tasks, loss_weights=weights)
    for arguments in ({"loss_weights": {"semseg": 1.0, "dpth": 1.0}}, {"loss": {"dpth": "mae"}}):
        with pytest.raises(
            ValueError, match=r"is of .*dpth; expected .* \(did you mean 'depth'\?\)"
        ):
            Objective(tasks, **arguments)
    rule = DynamicWeightAverage()
    assert Objective(tasks, loss_weights=rule).weighting is rule
    assert rule.fixed == {"semseg": 1.0, "depth": 1.0}


def test_names():
    for output in ("depth", "depth/initial", "human_parts"):
        for name in (log_name(output), f"val_{log_name(output)}"):
            assert output_of_loss(name) == output
    assert output_of_loss("loss") == output_of_loss("val_loss") == ""
    assert output_of_loss(log_name("depth", "RMSE")) is None
    logs = {"loss": 1, "depth_loss": 2, "depth/initial_loss": 3, "RMSE": 4}
    named = {"loss": 1, "depth_loss": 2, "depth/initial_loss": 3, "depth_RMSE": 4}
    assert named_by_task(logs, nyud("depth")) == named
    assert named_by_task(logs, nyud("depth", "edge")) == logs


class Regularized(keras_mtl.MultiTaskModel):
    def __init__(self):
        image = keras.Input((*SIZE, 3))
        how = {"kernel_initializer": "ones", "kernel_regularizer": keras.regularizers.L2(0.5)}
        head = keras.layers.Conv2D(1, 1, **how)
        super().__init__(image, {"depth": head(image / 255)}, nyud("depth"))


def test_what_layers_add_to_the_loss(data):
    images = np.random.default_rng(1).uniform(0, 255, (2, *SIZE, 3)).astype("float32")
    model = Regularized()
    labels = {"depth": data[0]["depth"]}
    added = 0.5 * 3  # three weights of 1
    model.compile()
    scores = model.evaluate(images, labels, verbose=0, return_dict=True)
    assert scores["loss"] == pytest.approx(scores["depth_loss"] + added, rel=1e-5)
    model.compile(loss=None)  # what layers add is all there is
    scores = model.evaluate(images, labels, verbose=0, return_dict=True)
    assert scores["loss"] == pytest.approx(added, rel=1e-5) and "depth_loss" not in scores
