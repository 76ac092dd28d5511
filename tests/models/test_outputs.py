"""What a model is built of: outputs that fit are finished, all others refused in a sentence."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.tasks import ArraySpec, Task, nyud

SIZE = (8, 12)


class Model(keras_mtl.MultiTaskModel):
    """Whatever a test passes on."""

    def __init__(self, outputs, tasks, **arguments):
        image = keras.Input((*SIZE, 3))
        super().__init__(image, outputs(image), tasks, **arguments)


def refused(expected, outputs, tasks=("depth", "normals"), **arguments):
    with pytest.raises(ValueError) as error:
        Model(outputs, nyud(*tasks), **arguments)
    assert str(error.value) == expected


def good(image):
    return {"depth": keras.layers.Conv2D(1, 1)(image), "normals": image}


def test_outputs_that_do_not_fit():
    lacking = "There is no output for depth among normals; pass one for each task."
    refused(lacking, lambda image: {"normals": image})
    refused(
        "outputs has initial_depth, and the model depth, normals; pass it as auxiliary, or leave "
        "it out.",
        lambda image: {**good(image), "initial_depth": image},
    )
    refused(
        "outputs is a KerasTensor; expected a dict by task name with an output for each of depth, "
        "normals.",
        lambda image: image,
    )
    for found, make in (
        (f"of shape (None, {SIZE[0] * SIZE[1]}, 3)", keras.layers.Reshape((-1, 3))),
        (f"of shape (None, {SIZE[0]}, {SIZE[1]}, 5)", keras.layers.Conv2D(5, 1)),
        ("a dict", lambda image: {4: image, 8: image}),
    ):
        refused(
            f"The output for task 'normals' is {found}; expected a map (batch, height, width, 3), "
            "such as a head gives.",
            lambda image, make=make: {**good(image), "normals": make(image)},
        )


def test_auxiliary_outputs_that_do_not_fit():
    image = keras.Input((*SIZE, 3))

    def refused_too(expected, auxiliary, weights=None):
        with pytest.raises(ValueError) as error:
            keras_mtl.MultiTaskModel(
                image, good(image), nyud("depth", "normals"), auxiliary, weights
            )
        assert str(error.value) == expected

    unknown = "auxiliary['initial'] has edge, and the model depth, normals; add its task, or leave "
    refused_too(f"{unknown}it out.", {"initial": {"edge": image}})
    wrong = f"The output for task 'depth' is of shape (None, {SIZE[0]}, {SIZE[1]}, 3); expected a "
    wrong += "map (batch, height, width, 1), such as a head gives."
    refused_too(wrong, {"initial": {"depth": image}})
    for name, group in (("initial", {}), ("initial", image), ("my/initial", {"normals": image})):
        with pytest.raises(ValueError, match=f"auxiliary has '{name}', a .*; expected a dict by"):
            keras_mtl.MultiTaskModel(
                image, good(image), nyud("depth", "normals"), auxiliary={name: group}
            )
    no_such = "auxiliary_weights has first, and the model initial; name what auxiliary has."
    refused_too(no_such, {"initial": {"normals": image}}, {"first": 2.0})


def test_a_forgotten_config(tmp_path):
    model = Model(good, nyud("depth", "normals"))
    for ask in (model.get_config, lambda: model.save(tmp_path / "model.keras")):
        with pytest.raises(NotImplementedError) as error:
            ask()
        assert str(error.value) == (
            "Model does not say how it was built; set self._config to its constructor's arguments, "
            "serialized, at the end of __init__, or define get_config."
        )
    assert not list(tmp_path.iterdir())


def test_tasks_that_are_none():
    with pytest.raises(ValueError, match="tasks is 'depth'; expected a list of keras_mtl.tasks"):
        keras_mtl.MultiTaskModel(keras.Input((*SIZE, 3)), {}, "depth")


# === An output that is no map ===

POINTS = 2


class PointsLoss(keras.losses.Loss):
    """Mean distance of what is labelled."""

    def call(self, y_true, y_pred):
        off = ops.abs(y_pred["xy"] - y_true["xy"]) + ops.abs(y_pred["score"] - 1.0)
        return ops.sum(ops.mean(off, axis=-1) * y_true["known"]) / POINTS


class PointsError(keras.metrics.Mean):
    def update_state(self, y_true, y_pred, sample_weight=None):
        off = ops.mean(ops.abs(y_pred["xy"] - y_true["xy"]), axis=-1)
        super().update_state(off, y_true["known"])


class Points(Task):
    """Up to two points, each with a score: labels are two arrays, and so are outputs."""

    headline, higher_is_better, ignore, output = "error", False, -1, "levels"

    def loss(self):
        return PointsLoss()

    def metrics(self):
        return [PointsError(name="error")]

    def check_output(self, spec):
        if not isinstance(spec, dict) or set(spec) != {"xy", "score"}:
            raise ValueError(f"The output for task {self.name!r} has no xy and score.")

    def label_spec(self, height, width):
        return {"xy": ArraySpec((POINTS, 2), "float32"), "known": ArraySpec((POINTS,), "float32")}


def points_of(image):
    features = keras.layers.Flatten()(image)
    xy = keras.layers.Reshape((POINTS, 2))(keras.layers.Dense(2 * POINTS)(features))
    score = keras.layers.Reshape((POINTS, 1))(keras.layers.Dense(POINTS)(features))
    return {"points": {"xy": xy, "score": score}}


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 1, (3, POINTS, 2)).astype("float32")
    known = np.array([[1, 1], [1, 0], [0, 0]], "float32")
    depth = rng.uniform(1, 9, (3, *SIZE, 1)).astype("float32")
    return {"points": {"xy": xy, "known": known}, "depth": depth}


@pytest.mark.parametrize("names", [("points",), ("depth", "points")], ids=" and ".join)
def test_an_output_of_several_arrays(names, labels):
    """It is passed on, and its loss and its metrics are given both arrays of output and label."""
    images = np.random.default_rng(1).uniform(0, 255, (3, *SIZE, 3)).astype("float32")

    def outputs(image):
        depth = {"depth": keras.layers.Conv2D(1, 1)(image / 255)} if "depth" in names else {}
        return depth | points_of(image / 255)

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = Model(outputs, [*nyud("depth")[: len(names) - 1], Points("points", 2)])
    finally:
        keras.config.set_dtype_policy(before)
    raw = model.predict(images, verbose=0)
    assert raw["points"]["xy"].shape == (3, POINTS, 2)
    assert {each.dtype.name for each in keras.tree.flatten(raw)} == {"float32"}
    model.compile(keras.optimizers.SGD(1e-3))
    own = {name: labels[name] for name in names}
    scores = model.evaluate(images, own, batch_size=3, verbose=0, return_dict=True)
    off = np.abs(raw["points"]["xy"] - labels["points"]["xy"])
    known = labels["points"]["known"]
    assert scores["points_error"] == pytest.approx(
        (off.mean(-1) * known).sum() / known.sum(), rel=1e-2
    )
    off = (off + np.abs(raw["points"]["score"] - 1)).mean(-1) * known
    assert scores["points_loss"] == pytest.approx(off.sum() / POINTS, rel=1e-2)
    logs = model.fit(images, own, validation_data=(images, own), batch_size=3, verbose=0).history
    assert {"points_loss", "points_error", "val_points_loss", "val_points_error"} < set(logs)
    assert ("depth_RMSE" in logs) == ("depth" in names)
    short = {**own, "points": {**own["points"], "xy": own["points"]["xy"][:, :1]}}
    with pytest.raises(ValueError, match=r"Labels of task 'points' have shape \(3, 1, 2\)"):
        model.fit(images, short, verbose=0)
    with pytest.raises(ValueError, match="Labels of task 'points' are one array; expected a dict"):
        model.fit(images, {**own, "points": own["points"]["xy"]}, verbose=0)


def test_several_arrays_from_a_dataset(labels):
    tf = pytest.importorskip("tensorflow")
    images = np.zeros((3, *SIZE, 3), "float32")
    model = Model(points_of, [Points("points", 2)])
    model.compile(keras.optimizers.SGD(1e-3))
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(3)
    logs = model.fit(dataset, verbose=0).history
    assert set(logs) == {"loss", "points_loss", "points_error"}
