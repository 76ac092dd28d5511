"""Architectures of a user's own, outside the package: with auxiliary outputs, and presets."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl import rooms
from keras_mtl.tasks import nyud
from keras_mtl.training.objective import AuxiliaryOutput
from tests import small

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")

SIZE = (16, 24)
TASKS = nyud("semseg", "depth")
INITIAL = [f"{task.name}/initial" for task in TASKS]


def tiny_backbone(image_shape):
    return small.resnet(image_shape[:2])


@keras_mtl.models.register_architecture
@keras.saving.register_keras_serializable(package="tests.extension")
class InitialThenFinal(keras_mtl.MultiTaskModel):
    """Initial predictions of every task are supervised, and refined by what all of them say."""

    presets = {
        "initial_then_final_rooms": {
            "backbone": tiny_backbone,
            "image_size": SIZE,
            "tasks": lambda: nyud("semseg", "depth"),
            "arguments": {"width": 4},
        }
    }
    recipe = {**keras_mtl.MultiTaskModel.recipe, "learning_rate": 1e-3, "batch_size": 2}

    def __init__(self, backbone, tasks, width=4, initial_weight=0.5, **kwargs):
        pyramid = keras_mtl.backbones.feature_pyramid(backbone)
        inputs = keras.Input(pyramid.image_shape)
        stride = min(pyramid.channels)
        x = keras.layers.Conv2D(width, 1, name="shared")(pyramid(inputs / 255)[stride])
        features = {t.name: keras.layers.Conv2D(width, 1, name=f"{t.name}_own")(x) for t in tasks}
        initial = {
            t.name: keras.layers.Conv2D(t.channels, 1, name=f"{t.name}_guess")(features[t.name])
            for t in tasks
        }
        together = keras.layers.concatenate([features[t.name] for t in tasks])
        final = {
            t.name: keras.layers.Conv2D(t.channels, 1, name=f"{t.name}_refined")(together)
            for t in tasks
        }
        super().__init__(
            inputs,
            final,
            tasks,
            auxiliary={"initial": initial},
            auxiliary_weights={"initial": initial_weight},
            **kwargs,
        )
        self._config = {
            "backbone": keras.saving.serialize_keras_object(pyramid),
            "tasks": [keras.saving.serialize_keras_object(task) for task in tasks],
            "width": width,
            "initial_weight": initial_weight,
        }


@pytest.fixture(scope="module")
def scenes():
    return rooms.arrays(TASKS, 2, SIZE)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras_mtl.MultiTaskModel.from_preset("initial_then_final_rooms")


def as_arrays(raw):
    return {name: ops.convert_to_numpy(each) for name, each in raw.items()}


def test_initial_predictions_exist_in_training_only(model, scenes):
    assert type(model) is InitialThenFinal
    images, _ = scenes
    raw = as_arrays(model(images, training=True))
    assert set(raw) == {"semseg", "depth", *INITIAL}
    evaluated = as_arrays(model(images))  # the backbone normalises by the batch in training
    assert all(np.abs(raw[name] - each).max() > 1e-3 for name, each in evaluated.items())
    for task in TASKS:
        assert raw[f"{task.name}/initial"].shape == (2, *SIZE, task.channels)
        assert raw[f"{task.name}/initial"].dtype == "float32"
    names = {"semseg", "depth"}
    for found in (model(images), model(images, training=False), model.output):
        assert set(found) == names
    assert set(model.predict(images, verbose=0)) == set(model.predict_on_batch(images)) == names
    assert set(model.predict_maps(images[0])) == names
    ran = []
    guess = model.get_layer("depth_guess")
    call = guess.call
    guess.call = lambda *arguments: ran.append(1) or call(*arguments)
    model(images, training=False)
    assert not ran  # it is not computed where nothing reads it
    model(images, training=True)
    assert ran
    guess.call = call


def test_each_initial_prediction_is_supervised(model, scenes):
    images, labels = scenes
    model.compile(keras.optimizers.SGD(0.0), metrics=None)
    expected = as_arrays(model(images, training=True))
    logs = model.train_on_batch(images, labels, return_dict=True)
    assert set(logs) == {"loss", *(f"{name}_loss" for name in expected)}
    total = 0
    for task in TASKS:
        for name, weight in ((task.name, 1.0), (f"{task.name}/initial", 0.5)):
            loss = task.loss()(labels[task.name], expected[name])
            loss = float(ops.convert_to_numpy(loss))
            assert logs[f"{name}_loss"] == pytest.approx(loss, rel=1e-4), name
            total += task.loss_weight * weight * loss
    assert logs["loss"] == pytest.approx(total, rel=1e-4)
    # In evaluation they are not there.
    scores = model.evaluate(images, labels, verbose=0, return_dict=True)
    weighed = [task.loss_weight * scores[f"{task.name}_loss"] for task in TASKS]
    assert scores["loss"] == pytest.approx(sum(weighed), rel=1e-5)


def test_training_and_files(model, scenes, tmp_path):
    images, labels = scenes
    model.compile()  # by its recipe
    assert float(ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(1e-3)
    before = [np.array(each) for each in model.get_layer("depth_guess").get_weights()]
    model.fit(images, labels, validation_data=scenes, batch_size=2, verbose=0)
    after = model.get_layer("depth_guess").get_weights()
    assert not any(np.array_equal(a, b) for a, b in zip(before, after, strict=True))

    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = [
        keras_mtl.load_model(tmp_path / "model.keras", compile=True),
        keras_mtl.MultiTaskModel.from_preset(tmp_path / "preset"),
        keras_mtl.MultiTaskModel.from_preset("initial_then_final_rooms"),
    ]
    loaded[2].load_weights(tmp_path / "model.weights.h5")
    wanted = as_arrays(model(images, training=True))
    for each in loaded:
        wanted_auxiliary = {n: AuxiliaryOutput(n.split("/")[0], 0.5) for n in INITIAL}
        assert each.auxiliary == model.auxiliary == wanted_auxiliary
        found = as_arrays(each(images, training=True))
        assert found.keys() == wanted.keys()
        for name, values in wanted.items():
            np.testing.assert_allclose(found[name], values, atol=1e-5)
    assert len(loaded[0].optimizer.variables) == len(model.optimizer.variables)
    loaded[0].fit(images, labels, batch_size=2, verbose=0)


def test_nothing_auxiliary_is_exported(model, tmp_path):
    pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("under JAX and PyTorch Keras' own export is refused")
    import tensorflow as tf

    model.export(tmp_path / "saved")
    loaded = tf.saved_model.load(tmp_path / "saved")
    assert set(loaded.serve(np.zeros((1, *SIZE, 3), "float32"))) == {"semseg", "depth"}


def test_variables_of_tasks(model):
    """A guess is its task's own; what both outputs are refined from is shared."""
    of_depth = {variable.path for variable in model.task_variables("depth")}
    assert of_depth == {
        f"depth_{layer}/{kind}" for layer in ("guess", "refined") for kind in ("kernel", "bias")
    }
    shared = {variable.path for variable in model.shared_variables}
    assert {"shared/kernel", "depth_own/kernel", "semseg_own/bias"} < shared
    own = [model.task_variables(task.name) for task in TASKS]
    assert len(model.shared_variables) + sum(map(len, own)) == len(model.weights)
    with pytest.raises(ValueError, match="The model has no task 'edge'; it has semseg, depth."):
        model.task_variables("edge")


def test_with_balancing(scenes):
    """A rule weighs a task's losses together."""
    images, labels = scenes
    model = keras_mtl.MultiTaskModel.from_preset("initial_then_final_rooms")
    rule = keras_mtl.balancing.UncertaintyWeighting()
    model.compile(keras.optimizers.SGD(0.0), loss_weights=rule, metrics=None)
    rule.log_variance.assign([0.5, -1.0])
    logs = model.fit(images, labels, batch_size=2, verbose=0).history
    semseg, depth = (
        logs[f"{task.name}_loss"][0] + 0.5 * logs[f"{task.name}/initial_loss"][0] for task in TASKS
    )
    wanted = np.exp(-0.5) * semseg + 0.25 + np.exp(1.0) * depth - 0.5
    assert logs["loss"] == [pytest.approx(wanted, rel=1e-4)]


# === An encoder for each task, stage by stage ===


@keras_mtl.models.register_architecture
@keras.saving.register_keras_serializable(package="tests.extension")
class OneEncoderEach(keras_mtl.MultiTaskModel):
    """Every task has a backbone of its own; after each stage they see each other's features."""

    def __init__(self, backbone, tasks, **kwargs):
        inputs = images = keras.Input(backbone.image_shape)
        copies = [backbone, *(keras_mtl.backbones.copy_backbone(backbone) for _ in tasks[1:])]
        encoders = [
            keras_mtl.backbones.stages(each, name=task.name)
            for task, each in zip(tasks, copies, strict=True)
        ]
        states = [images / 255] * len(tasks)
        for parts in zip(*encoders, strict=True):
            states = [part(state) for part, state in zip(parts, states, strict=True)]
            mean = [keras.layers.average(maps) for maps in zip(*states, strict=True)]
            states = [
                [keras.layers.add(pair) for pair in zip(state, mean, strict=True)]
                for state in states
            ]
        raw = {
            task.name: keras.layers.Conv2D(task.channels, 1, name=f"{task.name}_head")(state[0])
            for task, state in zip(tasks, states, strict=True)
        }
        super().__init__(inputs, raw, tasks, **kwargs)
        self._config = {
            "backbone": keras.saving.serialize_keras_object(backbone),
            "tasks": [keras.saving.serialize_keras_object(task) for task in tasks],
        }


def test_one_encoder_each(scenes, tmp_path):
    images, labels = scenes
    backbone = tiny_backbone((*SIZE, 3))
    model = OneEncoderEach(backbone, TASKS)
    of_backbones = {id(variable) for variable in model.backbone_variables}
    assert len(of_backbones) == len(TASKS) * len(backbone.weights)
    # Through what they exchange, both encoders feed both outputs.
    assert of_backbones == {id(variable) for variable in model.shared_variables}
    assert [v.path for v in model.task_variables("depth")] == [
        "depth_head/kernel",
        "depth_head/bias",
    ]
    model.compile(keras.optimizers.SGD(1e-3))
    assert np.isfinite(model.fit(images, labels, batch_size=2, verbose=0).history["loss"]).all()
    model.save(tmp_path / "model.keras")
    loaded = keras_mtl.load_model(tmp_path / "model.keras")
    assert type(loaded) is OneEncoderEach
    expected, found = model.predict_on_batch(images), loaded.predict_on_batch(images)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5 * np.abs(values).max())
    model.freeze_backbone()
    assert len(model.trainable_weights) == 2 * len(TASKS)


def test_names_that_are_taken():
    class Another(keras_mtl.MultiTaskModel):
        presets = {"tpanet_hrnet18_nyud": {}}

    with pytest.raises(ValueError, match="a preset 'tpanet_hrnet18_nyud' already, of TPANet; give"):
        keras_mtl.models.register_architecture(Another)
    impostor = type("TPANet", (keras_mtl.MultiTaskModel,), {"__module__": "mine"})
    with pytest.raises(ValueError, match="an architecture TPANet already, of keras_mtl"):
        keras_mtl.models.register_architecture(impostor)
    assert "Another" not in keras_mtl.models.registry.ARCHITECTURES
    again = keras_mtl.models.register_architecture(InitialThenFinal)  # as a notebook does
    assert again is InitialThenFinal
    assert keras_mtl.presets.PRESETS["initial_then_final_rooms"]["model"] == "InitialThenFinal"
