"""Several devices compute what one does.

Devices are settled when a program starts, so that each run is one: this file with arguments.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl import distribution
from keras_mtl.training.checkpoint import Checkpoint

BACKEND = keras.backend.backend()
SIZE, BATCH, STEPS = (16, 24), 8, 10
TASKS = [
    keras_mtl.tasks.SemanticSegmentation(channels=5),
    keras_mtl.tasks.DepthEstimation(),
    keras_mtl.tasks.SurfaceNormals(),
    keras_mtl.tasks.BoundaryDetection(),
    keras_mtl.tasks.SaliencyDetection(),
]
if BACKEND == "jax":  # which shares one computation out; on TensorFlow every loss is put together
    del TASKS[4], TASKS[2]


# === The program ===


@keras.saving.register_keras_serializable(package="tests.distribution")
class Tiny(keras_mtl.MultiTaskModel):
    def __init__(self, count=None, **kwargs):
        image = keras.Input((*SIZE, 3))
        x = keras.layers.Conv2D(6, 3, padding="same")(image / 255)
        x = keras.layers.BatchNormalization(momentum=0.7)(x)
        first = TASKS[:count]
        maps = {
            task.name: keras_mtl.layers.PredictionHead(task.channels, width=4)(x) for task in first
        }
        super().__init__(image, maps, first, **kwargs)
        self._config = {"count": count}


def examples(count, seed):
    """Images and labels; depth only on the first images of a batch, edges on one."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 255, (count, *SIZE, 3)).astype("float32")
    normals = rng.normal(size=(count, *SIZE, 3))
    labels = {
        "semseg": rng.integers(0, 5, (count, *SIZE)),
        "depth": rng.uniform(1, 9, (count, *SIZE, 1)),
        "normals": normals / np.linalg.norm(normals, axis=-1, keepdims=True),
        "edge": rng.integers(0, 2, (count, *SIZE, 1)),
        "sal": rng.integers(0, 2, (count, *SIZE)),
    }
    labels = {task.name: labels[task.name].astype(task.label_dtype) for task in TASKS}
    for task in TASKS:
        for i in range(count):
            place = i % BATCH
            share = rng.uniform(0.1, 0.9)  # of the rows
            if (task.name == "depth" and place >= 2) or (task.name == "edge" and place != 5):
                share = 0
            rows = round(SIZE[0] * share)
            labels[task.name][i, rows:] = task.no_label(*SIZE)[rows:]
    return images, labels


class Record(keras.callbacks.Callback):
    """The losses of each step; Keras reports the mean of the epoch so far."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def on_train_batch_end(self, batch, logs=None):
        logs = {name: float(value) for name, value in logs.items() if name.endswith("loss")}
        self.steps.append(logs)
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        self.model.reset_metrics()


def build(balancing=None, count=None):
    keras.utils.set_random_seed(5)
    model = Tiny(count)
    # Adam would hide a wrong scale of the gradients, and so would clipping that always acts.
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9, global_clipnorm=2.0)
    model.compile(optimizer, balancing=balancing)
    return model


def here(examples, training=False):
    """Batches for this process."""
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(examples).batch(BATCH, drop_remainder=training)
    return distribution.of_this_process(data, TASKS)


def trained(out, name="fixed", balancing=None):
    """Losses of each step, all variables, metrics and predictions."""
    model, record = build(balancing), Record()
    model.fit(here(examples(BATCH * STEPS, seed=0), True), verbose=0, callbacks=[record])
    found = {key: [step[key] for step in record.steps] for key in record.steps[0]}
    for k, variable in enumerate(model.variables):
        found[f"{k} {variable.path}"] = numpy(variable)
    # The losses of batches are averaged, and the last one weighs more where it is filled up.
    scores = model.evaluate(here(examples(BATCH + 3, seed=1)), return_dict=True, verbose=0)
    found |= {f"test {k}": v for k, v in scores.items() if not k.endswith("loss")}
    scores = model.evaluate(here(examples(BATCH, seed=1)), return_dict=True, verbose=0)
    found |= {f"test {k}": v for k, v in scores.items() if k.endswith("loss")}
    found = {f"{name} {key}": value for key, value in found.items()}
    if balancing:
        return found
    images = examples(3, seed=2)[0]
    maps = model.predict_maps(list(images.astype("uint8")))
    found |= {f"map {i} {k}": values for i, each in enumerate(maps) for k, values in each.items()}
    if distribution.process()[1] == 1:
        found |= {f"raw {k}": values for k, values in model.predict(images, verbose=0).items()}
        if distribution.replicas() > 1:
            refused(model)
    model.save(f"{out}-{distribution.process()[0]}.keras")  # every process, in step
    return found


def refused(model):
    import tensorflow as tf

    parts = distribution.replicas()
    images, labels = examples(parts + 1, seed=0)
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(parts + 1)
    for data in ((images, labels), (batches,)):
        with pytest.raises(ValueError, match=f"Every batch must divide by {parts} devices, and"):
            model.fit(*data, verbose=0)
    with pytest.raises(ValueError, match=f"divide by {parts} devices, and it holds {parts + 1};"):
        endless = batches.repeat().unbatch().batch(parts + 1, True)
        model.fit(endless, steps_per_epoch=1, verbose=0)
    with pytest.raises(ValueError, match="any number; give an array"):
        model.predict(batches)
    with pytest.raises(ValueError, match=f"of {parts + 1} does not divide by {parts} devices"):
        distribution.batch_size_here(parts + 1)


def balanced(out):
    return trained(out, "balanced", keras_mtl.balancing.UncertaintyWeighting())


RULES = {
    "features": lambda: keras_mtl.balancing.SDMGrad(rate=0.1),
    "variables": keras_mtl.balancing.MoCo,
    "losses": keras_mtl.balancing.FAMO,
}


def weighed(out):
    """By gradients with respect to features and to variables, and by losses measured again."""
    found = {}
    for name, rule in RULES.items():
        model, record = build(rule()), Record()
        batches = here(examples(BATCH * 3, seed=0), True)
        model.fit(batches, verbose=0, callbacks=[record])
        found |= {f"{name} {key}": [step[key] for step in record.steps] for key in record.steps[0]}
        for k, variable in enumerate([*model.variables, *model.balancing.variables]):
            found[f"{name} {k}"] = numpy(variable)
    return {f"weighed {key}": value for key, value in found.items()}


def resumed(out):
    """Three epochs; and two, and from their checkpoint, which one process writes, the third."""
    found, folder = {}, Path(f"{out}-checkpoints")
    for name, epochs in (("whole", 3), ("begun", 2), ("resumed", 3)):
        model = build(count=1)
        checkpoint = Checkpoint(folder / ("whole" if name == "whole" else "parts"))
        begin = checkpoint.restore(model)
        assert begin == (2 if name == "resumed" else 0)
        model.fit(
            here(examples(2 * BATCH, seed=0), True),
            initial_epoch=begin,
            epochs=epochs,
            verbose=0,
            callbacks=[checkpoint],
        )
        if name != "begun":
            for k, variable in enumerate([*model.variables, *model.optimizer.variables]):
                found[f"{name} {k}"] = numpy(variable)
        waiting = time.monotonic() + 60
        while len(list(checkpoint.folder.glob("epoch-*"))) < 2 and time.monotonic() < waiting:
            time.sleep(0.1)  # the first process writes
    return found


def transformer(out):
    """A TaskPrompter of an attention with two heads."""
    keras.utils.set_random_seed(5)
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
    backbone = keras_mtl.backbones.vision_transformer("tiny", (*SIZE, 3), patch_size=8, **size)
    options = {"channel_windows": (1, 1), "decode_dim": 4, "prompting_levels": 1}
    model = keras_mtl.TaskPrompter(backbone, TASKS[:2], stochastic_depth=0.0, **options)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9, global_clipnorm=2.0))
    record = Record()
    batches = here(examples(BATCH * STEPS, seed=0), True)
    model.fit(batches, verbose=0, callbacks=[record])
    found = {f"vit {key}": [step[key] for step in record.steps] for key in record.steps[0]}
    for k, variable in enumerate(model.variables):
        found[f"vit {k}"] = numpy(variable)
    if distribution.replicas() > 1:
        split = [
            variable.path
            for variable in [*model.variables, *model.optimizer.variables]
            if variable.value.addressable_shards[0].data.size < variable.value.size
        ]
        found["split"] = split
    return found


def unweighed(out):
    """Rules by the gradients, which one device alone has on TensorFlow."""
    model = build(keras_mtl.balancing.PCGrad())
    with pytest.raises(ValueError, match="PCGrad compares gradients, and on TensorFlow"):
        model.fit(*examples(BATCH, seed=0), batch_size=BATCH, verbose=0)
    return {}


PARTS = (trained, balanced, weighed, unweighed, resumed, transformer)
WHAT = {each.__name__: each for each in PARTS}


def numpy(variable):
    return keras.ops.convert_to_numpy(variable)


def program(what, out, devices, model_devices="1", port="", processes="1", process="0"):
    if port:
        distribution.initialize(f"localhost:{port}", int(processes), int(process))
    if BACKEND == "tensorflow":
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        logical = [tf.config.LogicalDeviceConfiguration()] * int(devices)
        tf.config.set_logical_device_configuration(cpu, logical)
    if int(model_devices) > 1:
        context = distribution.model_parallel(int(model_devices), int(devices))
    else:
        context = distribution.data_parallel(int(devices))
    with context:
        found = {}
        for each in what.split(","):
            found |= WHAT[each](Path(out))
    if distribution.first_process():
        np.savez(f"{out}.npz", **found)


# === The tests ===


def start(folder, name, what, devices=1, model_devices=1, processes=1):
    """Runs the program, in one process or several; what it found."""
    for attempt in range(3):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = str(free.getsockname()[1]) if processes > 1 else ""
        flags = f" --xla_force_host_platform_device_count={devices // processes}"
        env = {**os.environ, "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + flags}
        out = folder / name
        arguments = [sys.executable, __file__, what, str(out), str(devices), str(model_devices)]
        files = [open(f"{out}-{number}-{attempt}.txt", "w+") for number in range(processes)]
        running = [
            subprocess.Popen(
                [*arguments, port, str(processes), str(number)], env=env, stdout=file, stderr=file
            )
            for number, file in enumerate(files)
        ]
        try:
            while any(each.poll() is None for each in running):
                if any(each.poll() for each in running):
                    break  # the others wait for it
                time.sleep(0.05)
        finally:
            for each in running:
                each.kill()
                each.wait()
        said = ""
        for file in files:
            file.seek(0)
            said += file.read()[-3000:]
            file.close()
        if all(each.returncode == 0 for each in running):
            with np.load(f"{out}.npz") as found:
                return dict(found)
        if "address already in use" not in said.lower():
            break  # another program did not take the port before ours
    pytest.fail(f"{name}: {said}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("distribution")


@pytest.fixture(scope="module")
def one(folder):
    what = {"jax": "trained,weighed,transformer", "tensorflow": "trained,balanced"}
    return start(folder, "one", what[BACKEND])


def check_same(found, expected, kind=""):
    names = {name for name in expected if name.startswith(kind)}
    assert names == {name for name in found if name.startswith(kind)} and len(names) > 20
    for name in sorted(names):
        np.testing.assert_allclose(found[name], expected[name], 1e-5, 1e-5, err_msg=name)


only_jax = pytest.mark.skipif(BACKEND != "jax", reason="keras.distribution is for JAX")
only_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.distribute")


@only_jax
def test_four_devices(folder, one):
    found = start(folder, "four", "trained,weighed", devices=4)
    check_same(found, one, "fixed")
    check_same(found, one, "weighed")
    check_saved(folder / "four-0.keras", found)


@only_jax
def test_two_processes(folder, one):
    found = start(folder, "processes", "trained,weighed,resumed", devices=2, processes=2)
    check_same(found, one, "fixed")
    check_same(found, one, "weighed")
    check_resumed(found)
    check_saved(folder / "processes-1.keras", found)


@only_jax
def test_a_model_split_over_devices(folder, one):
    """Two groups of two devices."""
    found = start(folder, "groups", "transformer", devices=4, model_devices=2)
    check_same(found, one, "vit")
    split = " ".join(found["split"])
    for name in ("query", "key", "value", "attention_output", "dense_1", "dense_2", "conv2d"):
        assert f"{name}/kernel" in split or f"{name}_" in split, name
    assert "momentum" in split and "ln_1" not in split


@only_tensorflow
def test_two_replicas(folder, one):
    found = start(folder, "replicas", "trained,balanced,resumed,unweighed", devices=2)
    check_same(found, one, "fixed")
    check_same(found, one, "balanced")
    check_resumed(found)
    check_saved(folder / "replicas-0.keras", found)


def check_resumed(found):
    whole = {name: value for name, value in found.items() if name.startswith("whole")}
    assert len(whole) > 20
    for name, value in whole.items():
        again = found[name.replace("whole", "resumed")]
        np.testing.assert_array_equal(again, value, err_msg=name)


def check_saved(path, found):
    """The model loads here, on one device, and predicts what several did."""
    model = keras_mtl.load_model(path)
    images = examples(3, seed=2)[0]
    for i, each in enumerate(model.predict_maps(list(images.astype("uint8")))):
        for name, values in each.items():
            np.testing.assert_allclose(found[f"map {i} {name}"], values, 1e-5, 1e-5)
    if "raw depth" in found:
        for name, values in model.predict(images, verbose=0).items():
            np.testing.assert_allclose(found[f"raw {name}"], values, 1e-5, 1e-5)


def test_devices_that_there_are_not(monkeypatch):
    if BACKEND == "torch":
        said = "Keras trains on several devices only with JAX and TensorFlow, .* is torch; set"
    else:
        said = "devices is 99, but there are .*; pass 'all', a number up to that"
    with pytest.raises(ValueError, match=said):
        distribution.data_parallel(99)
    said = "devices is 99" if BACKEND == "jax" else "only on JAX"
    with pytest.raises(ValueError, match=said):
        distribution.model_parallel(2, 99)
    if BACKEND == "tensorflow":
        monkeypatch.setenv("TF_CONFIG", "{}")
        with pytest.raises(ValueError, match="TF_CONFIG names several workers, .*; use JAX"):
            distribution.data_parallel(2)


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch computes on one device only")
def test_one_device_by_its_name(tmp_path):
    """Of two, the second."""
    code = (
        "import keras, keras_mtl\n"
        "if keras.backend.backend() == 'tensorflow':\n"
        "    import tensorflow as tf\n"
        "    two = [tf.config.LogicalDeviceConfiguration()] * 2\n"
        "    cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "    tf.config.set_logical_device_configuration(cpu, two)\n"
        "with keras_mtl.distribution.data_parallel(['cpu:1']):\n"
        "    print(keras.Variable(1.0).value.device)\n"
    )
    flags = "--xla_force_host_platform_device_count=2"
    environment = {**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip().lower().endswith("cpu:1"), done.stdout + done.stderr


def test_processes_that_there_are_not():
    said = "process is missing; give all of" if BACKEND == "jax" else "only on JAX, and the backend"
    with pytest.raises(ValueError, match=said):
        distribution.initialize("localhost:1", processes=2)
    assert distribution.process() == (0, 1) and distribution.first_process()
    assert distribution.shard() is None and distribution.replicas() == 1
    assert distribution.from_first_process(b"as it is") == b"as it is"


def test_batches_are_filled_up():
    tf = pytest.importorskip("tensorflow")
    images, labels = examples(6, seed=0)
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(5)
    filled = list(distribution.fill_up(batches, TASKS, 4).as_numpy_iterator())
    assert [len(batch) for batch, _ in filled] == [8, 4]
    for (found, said), begin, end in zip(filled, (0, 5), (5, 6), strict=True):
        expected, own = distribution.fill_up(
            (images[begin:end], {name: label[begin:end] for name, label in labels.items()}),
            TASKS,
            4,
        )
        np.testing.assert_array_equal(found, expected)
        assert not found[end - begin :].any()
        for task in TASKS:
            np.testing.assert_array_equal(said[task.name], own[task.name])
            assert said[task.name].dtype == labels[task.name].dtype
            assert (said[task.name][end - begin :] == task.no_label(*SIZE)).all()
            np.testing.assert_array_equal(
                said[task.name][: end - begin], labels[task.name][begin:end]
            )
    divides = batches.unbatch().batch(4, drop_remainder=True)
    assert distribution.fill_up(divides, TASKS, 4) is divides


if __name__ == "__main__":
    program(*sys.argv[1:])
