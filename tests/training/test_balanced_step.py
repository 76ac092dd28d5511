"""Training in which a rule weighs the tasks' gradients."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl import balancing, rooms
from keras_mtl.tasks import nyud
from tests import small

SIZE = (16, 24)
TASKS = nyud("semseg", "depth", "edge")


@keras.saving.register_keras_serializable(package="test")
class Given(balancing.GradientWeighting):
    """Weights that are known beforehand."""

    given = (1.0, 1.0, 1.0)

    def weigh(self, gramian, losses):
        return ops.convert_to_tensor(self.given, "float32")


@pytest.fixture(scope="module")
def scenes():
    return rooms.arrays(TASKS, 4, SIZE)


@pytest.fixture(scope="module")
def two(scenes):
    """A batch of them."""
    return scenes[0][:2], {name: label[:2] for name, label in scenes[1].items()}


def network(tasks=TASKS):
    keras.utils.set_random_seed(3)
    return keras_mtl.MultiTaskBaseline(small.vit(SIZE), tasks, head_width=4)


def trained(rule, scenes, model=None, optimizer=None, **arguments):
    model = model or network()
    optimizer = optimizer or keras.optimizers.SGD(1e-2)
    model.compile(optimizer, metrics=None, balancing=rule, **arguments)
    history = model.fit(*scenes, batch_size=2, shuffle=False, verbose=0).history
    return model, history


def values(variables):
    """By number: paths count layers from the process's beginning on."""
    return {n: ops.convert_to_numpy(v) for n, v in enumerate(variables)}


def compare(model, expected):
    """All weights, and what batches left in normalizations."""
    found, expected = (
        [v for layer in each.layers for v in layer.variables] for each in (model, expected)
    )
    found, expected = values(found), values(expected)
    for number, value in expected.items():
        np.testing.assert_allclose(found[number], value, atol=1e-5)


@pytest.mark.parametrize("of", ["features", "variables"])
def test_weights_of_one_are_the_plain_sum(of, scenes):
    """Losses, what batches leave in normalizations, regularization: as without a rule."""

    def regularized():
        model = network()
        for variable in model.trainable_variables:
            if variable.name == "kernel":
                variable.regularizer = keras.regularizers.L2(0.1)
        return model

    expected, losses = trained(None, scenes, regularized())
    found, found_losses = trained(Given(of=of), scenes, regularized())
    for name, value in losses.items():
        np.testing.assert_allclose(found_losses[name], value, rtol=1e-5)
    compare(found, expected)
    logged = found_losses.keys() - losses.keys()
    weights = {f"{task.name}_weight" for task in TASKS}
    cosines = {"semseg_cosine_depth", "semseg_cosine_edge", "depth_cosine_edge"}
    assert logged == weights | cosines
    assert all(found_losses[name] == [1.0] for name in weights)
    assert all(-1 <= found_losses[name][0] <= 1 for name in cosines)


@pytest.mark.parametrize("of", ["features", "variables"])
def test_what_is_shared_goes_by_the_weights_and_branches_by_their_own_losses(of, two):
    rule = Given(of=of)
    rule.given = (0.0, 2.0, 0.0)
    start = values(network().trainable_variables)
    model, _ = trained(rule, two)
    plain, _ = trained(None, two)
    only = network()
    weights = {task.name: 2 * task.loss_weight * (task.name == "depth") for task in TASKS}
    only.compile(keras.optimizers.SGD(1e-2), metrics=None, loss_weights=weights)
    only.train_on_batch(*two)
    found, plain, only = (values(each.trainable_variables) for each in (model, plain, only))
    is_shared = {id(v) for v in model.shared_variables}
    shared = {n for n, v in enumerate(model.trainable_variables) if id(v) in is_shared}
    assert any(not np.array_equal(found[n], start[n]) for n in shared)
    for path, value in found.items():
        expected = only[path] if path in shared else plain[path]
        np.testing.assert_allclose(value, expected, atol=2e-6)


@pytest.mark.parametrize("of", ["features", "variables"])
def test_the_cosines_are_those_of_the_gradients(of, two):
    """By two trainings of one task each: a step of gradient descent shows the gradient."""
    model, _ = trained(Given(of=of), two)
    cosines = ops.convert_to_numpy(model.balancing.cosines)
    np.testing.assert_allclose(np.diag(cosines), 1, rtol=1e-4)
    assert np.abs(cosines - cosines.T).max() < 1e-6
    if of == "features":
        return
    gradients = []
    for chosen in TASKS:
        only = network()
        weights = {task.name: float(task is chosen) for task in TASKS}
        before = values(only.shared_variables)
        only.compile(keras.optimizers.SGD(1.0), metrics=None, loss_weights=weights)
        only.train_on_batch(*two)
        after = values(v for v in only.shared_variables if v.trainable)
        gradients.append(np.concatenate([(before[n] - after[n]).ravel() for n in after]))
    gradients = np.stack(gradients).astype(float)
    lengths = np.linalg.norm(gradients, axis=1)
    expected = gradients @ gradients.T / lengths / lengths[:, None]
    np.testing.assert_allclose(cosines, expected, atol=2e-3)


def test_a_task_without_labels_takes_no_part(scenes):
    images, labels = scenes
    none = np.stack([TASKS[1].no_label(*SIZE)] * len(images))
    model, history = trained(balancing.PCGrad(seed=0), (images, {**labels, "depth": none}))
    assert np.isfinite(history["loss"]).all()
    assert all(np.isfinite(value).all() for value in values(model.weights).values())
    assert model.balancing.weights_by_task()["depth"] == 0


def test_auxiliary_outputs_are_part_of_their_task(scenes):
    """PAD-Net's initial predictions, and what it has of each task from the other tasks."""
    plain, losses = trained(None, scenes, pad_net())
    found, found_losses = trained(Given(), scenes, pad_net())
    assert any("/initial" in name for name in losses)
    for name, value in losses.items():
        np.testing.assert_allclose(found_losses[name], value, rtol=1e-4)
    compare(found, plain)


def pad_net():
    keras.utils.set_random_seed(3)
    return keras_mtl.PADNet(small.vit(SIZE), TASKS, width=4)


def convolutions():
    """Without attention, which JAX has not in float16 on a CPU."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((*SIZE, 3))
    features = keras.layers.Conv2D(4, 3, padding="same")(keras.layers.Rescaling(1 / 255)(inputs))
    outputs = {task.name: keras.layers.Conv2D(task.channels, 1)(features) for task in TASKS}
    return keras_mtl.models.MultiTaskModel(inputs, outputs, TASKS)


def test_float16_scales_the_gradients_alone(scenes):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = convolutions()
    finally:
        keras.config.set_dtype_policy(before)
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1e-3), initial_scale=256)
    halves, _ = trained(balancing.GradNorm(rate=0.1), scenes, model, optimizer)
    whole, _ = trained(
        balancing.GradNorm(rate=0.1), scenes, convolutions(), keras.optimizers.SGD(1e-3)
    )
    assert {v.dtype for v in halves.balancing.variables} == {"float32"}
    found, expected = halves.balancing.weights_by_task(), whole.balancing.weights_by_task()
    assert found == pytest.approx(expected, rel=0.02)
    cosines = (ops.convert_to_numpy(each.balancing.cosines) for each in (halves, whole))
    np.testing.assert_allclose(*cosines, atol=0.05)


def test_gradients_are_accumulated(scenes):
    """Two steps of one update: the weights wait for the second."""
    optimizer = keras.optimizers.SGD(1e-2, gradient_accumulation_steps=2)
    start = values(network().trainable_variables)
    images, labels = scenes
    model = network()
    model.compile(optimizer, metrics=None, balancing=balancing.MGDA())
    model.train_on_batch(images[:2], {n: y[:2] for n, y in labels.items()})
    after = values(model.trainable_variables)
    assert all(np.array_equal(after[path], value) for path, value in start.items())
    model.train_on_batch(images[2:], {n: y[2:] for n, y in labels.items()})
    after = values(model.trainable_variables)
    assert not all(np.array_equal(after[path], value) for path, value in start.items())


def test_the_rule_and_its_state_are_saved(scenes, tmp_path):
    model, _ = trained(balancing.GradNorm(rate=0.1, alpha=0.5), scenes)
    model.save(tmp_path / "model.keras")
    again = keras_mtl.load_model(tmp_path / "model.keras", compile=True)
    assert isinstance(again.balancing, balancing.GradNorm)
    assert again.balancing.alpha == 0.5
    for path, value in values(model.balancing.variables).items():
        np.testing.assert_array_equal(values(again.balancing.variables)[path], value)
    again.fit(*scenes, batch_size=2, verbose=0)


STATEFUL = {
    "famo": lambda: balancing.FAMO(rate=0.2),
    "moco": lambda: balancing.MoCo(),
    "db_mtl": lambda: balancing.DBMTL(momentum=0.5, of="variables"),
    "drop": lambda: balancing.GradDrop(seed=1),
}


@pytest.mark.parametrize("name", STATEFUL)
def test_a_run_that_was_stopped_goes_on_as_if_it_was_not(name, two, tmp_path):
    def run(epochs, folder):
        model = convolutions()
        model.compile(keras.optimizers.Adam(1e-2), metrics=None, balancing=STATEFUL[name]())
        checkpoint = keras_mtl.resume.Checkpoint(tmp_path / folder)
        begin = checkpoint.restore(model)
        options = {"initial_epoch": begin, "epochs": epochs, "callbacks": [checkpoint]}
        model.fit(*two, shuffle=False, verbose=0, **options)
        return begin, values([*model.variables, *model.balancing.variables])

    _, whole = run(3, "whole")
    run(2, "parts")
    begin, parts = run(3, "parts")
    assert begin == 2
    for number, value in whole.items():
        np.testing.assert_array_equal(parts[number], value)


def test_a_run_goes_on_by_its_own_rule_alone(two, tmp_path):
    def compiled(rule):
        model = convolutions()
        model.compile(keras.optimizers.Adam(1e-2), metrics=None, balancing=rule)
        return model, keras_mtl.resume.Checkpoint(tmp_path / "run")

    model, checkpoint = compiled(balancing.MGDA())
    model.fit(*two, verbose=0, callbacks=[checkpoint])
    for rule in (balancing.MGDA(of="variables"), balancing.CAGrad(), None):
        model, checkpoint = compiled(rule)
        with pytest.raises(ValueError, match="balancing"):
            checkpoint.restore(model)


def test_rules_are_on_top_of_the_fixed_weights(two):
    weights = {"semseg": 3.0, "depth": 0.5, "edge": 2.0}
    model = convolutions()
    model.compile(
        keras.optimizers.SGD(0.0), metrics=None, balancing=balancing.FAMO(), loss_weights=weights
    )
    logs = model.fit(*two, verbose=0).history
    losses = np.array([weights[task.name] * logs[f"{task.name}_loss"][0] for task in TASKS])
    shares = (1 / losses) / (1 / losses).sum()
    expected = {task.name: weights[task.name] * shares[n] for n, task in enumerate(TASKS)}
    assert {n: logs[f"{n}_weight"][0] for n in weights} == pytest.approx(expected, rel=1e-3)
    again = convolutions()
    again.compile_from_config(model.get_compile_config())  # as a file does
    assert isinstance(again.balancing, balancing.FAMO) and again.balancing.fixed == weights


def test_famo_measures_the_batch_again_and_leaves_nothing_else(two):
    """It is told what the updated network makes of the batch; normalizations do not know."""

    class Watching(balancing.FAMO):
        def build(self, tasks):
            super().build(tasks)
            self.told = self.add_state("told", (tasks,))

        def after_update(self, losses):
            self.told.assign(ops.stack(losses))

    weights = np.array([1.0, 0.5], "float32")
    model, plain = normalized(), normalized()
    for each, rule in ((model, Watching()), (plain, Unlike())):
        each.compile(keras.optimizers.SGD(1e-2), metrics=None, balancing=rule)
        each.train_on_batch(*two, sample_weight=weights)
    compare(model, plain)
    told = ops.convert_to_numpy(model.balancing.told)
    found = model.train_on_batch(*two, sample_weight=weights, return_dict=True)
    expected = [task.loss_weight * found[f"{task.name}_loss"] for task in TASKS]
    np.testing.assert_allclose(told, expected, rtol=1e-4)


class Unlike(balancing.FAMO):
    """It does not measure again."""

    measures_again = False


def normalized():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((*SIZE, 3))
    features = keras.layers.Conv2D(4, 3, padding="same")(keras.layers.Rescaling(1 / 255)(inputs))
    features = keras.layers.BatchNormalization()(features)
    outputs = {task.name: keras.layers.Conv2D(task.channels, 1)(features) for task in TASKS}
    return keras_mtl.models.MultiTaskModel(inputs, outputs, TASKS)


@pytest.mark.parametrize(
    "make", [balancing.MGDA, balancing.MoCo, lambda: balancing.UPGrad(of="variables")]
)
def test_with_a_frozen_backbone_there_is_nothing_to_weigh(make, two):
    """The tasks' own parts are trained, each by its loss."""
    found = {}
    for rule in (make(), None):
        model = convolutions()
        model.layers[2].trainable = False
        assert len(model.trainable_variables) == 2 * len(TASKS)
        trained(rule, two, model)
        found[rule is None] = values(model.weights)
    for number, value in found[True].items():
        np.testing.assert_allclose(found[False][number], value, atol=1e-6)


def test_a_layer_that_several_branches_have_goes_by_the_weights(two):
    """It is no task's own, though nothing comes after it that is shared."""
    inputs = keras.Input((*SIZE, 3))
    features = keras.layers.Dense(4, name="stem")(keras.layers.Rescaling(1 / 255)(inputs))
    both = keras.layers.Dense(4, name="both")
    outputs = {
        task.name: keras.layers.Dense(task.channels, name=f"last_{task.name}")(
            both(keras.layers.Dense(4, name=f"first_{task.name}")(features))
        )
        for task in TASKS
    }

    def after(rule):
        keras.utils.set_random_seed(1)
        model = keras_mtl.models.MultiTaskModel(inputs, outputs, TASKS)
        model.set_weights([np.random.default_rng(2).normal(0, 0.1, w.shape) for w in model.weights])
        model.compile(keras.optimizers.SGD(1e-2), metrics=None, balancing=rule)
        model.train_on_batch(*two)
        return values(model.trainable_variables)

    plain = after(None)
    for of in ("features", "variables"):
        for path, value in after(Given(of=of)).items():
            np.testing.assert_allclose(value, plain[path], atol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"balancing": "pcgrad"}, "balancing is 'pcgrad'; expected a rule of keras_mtl.balancing"),
        (
            {
                "balancing": balancing.PCGrad(),
                "loss_weights": balancing.UncertaintyWeighting(),
            },
            "loss_weights is a UncertaintyWeighting, and balancing a PCGrad; give one rule",
        ),
        (
            {"balancing": balancing.LogLosses(), "loss_weights": {"depth": 1.0}},
            "loss_weights is of depth; expected 'auto', a dict with a number for each of",
        ),
        ({"balancing": balancing.PCGrad(), "loss": None}, "loss is None, and balancing a PCGrad"),
    ],
)
def test_what_is_no_rule_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        network().compile(**arguments)


def test_one_task_has_nothing_to_balance():
    with pytest.raises(ValueError, match="There is one task, depth"):
        network(nyud("depth")).compile(balancing=balancing.PCGrad())


def test_a_model_trained_task_by_task_is_refused():
    backbone = keras_mtl.backbones.SEResNet((*SIZE, 3), (1, 1, 1, 1), (4, 4, 6, 6), stem=4)
    model = keras_mtl.ASTMT(backbone, TASKS, width=8)
    for rule in (balancing.PCGrad(), balancing.FAMO()):
        with pytest.raises(ValueError, match="ASTMT is trained task by task"):
            model.compile(balancing=rule)


@pytest.mark.once("torch", "each part is tested on every backend")
@pytest.mark.parametrize("rule", balancing.RULES, ids=lambda rule: rule.__name__)
def test_batches_without_a_label_of_any_task(rule, two):
    """All stays a number, and the next batch trains; with bfloat16 and accumulated gradients."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = convolutions()
    finally:
        keras.config.set_dtype_policy(before)
    optimizer = keras.optimizers.SGD(1e-2, gradient_accumulation_steps=2)
    model.compile(optimizer, metrics=None, balancing=rule())
    images, labels = two
    none = {t.name: np.stack([t.no_label(*SIZE)] * len(images)) for t in TASKS}
    start = values(model.trainable_variables)
    for given in (none, none, labels, labels):
        model.train_on_batch(images, given)
        found = values([*model.variables, *model.balancing.variables])
        assert all(np.isfinite(value).all() for value in found.values())
    after = values(model.trainable_variables)
    assert any(not np.array_equal(after[n], value) for n, value in start.items())
