"""The one training run behind the `train_*.py` scripts."""

import contextlib
import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from training_options import arguments, build

import keras_mtl
from keras_mtl import distribution, rooms
from keras_mtl.data import load
from keras_mtl.export import export_model
from keras_mtl.training import Checkpoint, StopOnDivergence

# The published weights (depth 1, normals 10, boundaries 50) suit pretrained networks; in minutes
# from scratch they leave depth in metres little to learn from.
ROOMS_LOSS_WEIGHTS = {"depth": 5.0}

# What a run leaves in its folder. The last one says that it is finished.
WRITTEN = (
    "checkpoints",
    "tensorboard",
    "saved_model",
    "model.keras",
    "log.csv",
    "panel.png",
    "training_curves.png",
    "results.md",
    "results.json",
)


# Where a run computes: it may go on elsewhere.
DEVICES = ("devices", "model_parallel", "coordinator", "processes", "process")


def main(tasks: Sequence[keras_mtl.tasks.Task], dataset: str, description: str) -> None:
    options = arguments(tasks, dataset, description)
    named = {task.name: task for task in tasks}
    tasks = [named[name] for name in options.tasks or named]
    script, out = Path(sys.argv[0]).name, Path(options.output)
    with contextlib.ExitStack() as stack:
        try:
            devices = _devices(options)
        except ValueError as error:
            sys.exit(f"{script}: {error}")
        if not distribution.first_process():
            # All processes do the same, in step; the files of the first one are kept.
            out = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        if not options.restart:
            occupied = _occupied(out) if distribution.first_process() else ""
            if distribution.from_first_process(occupied.encode()):
                sys.exit(f"{script}: {occupied}" if occupied else 1)
            for folder in (out, out / "checkpoints"):
                distribution.copy_from_first_process(folder)
        with devices:
            scores = _run(options, tasks, script, out)
        if distribution.first_process():
            try:
                export_model(out / "model.keras", out / "saved_model")
            except ValueError as error:  # the trained model is safe
                print(f"There is no SavedModel: {error}")
            (out / "results.json").write_text(json.dumps(scores, indent=2) + "\n")
            shutil.rmtree(out / "checkpoints")
            print(
                f"Wrote {out}/: model.keras, saved_model/, panel.png, training_curves.png, "
                "results.md, results.json, log.csv, tensorboard/"
            )


def _devices(options):
    """A context in which the run computes on the devices asked for."""
    if options.coordinator:
        found = options.coordinator == "auto"
        coordinator = None if found else options.coordinator
        distribution.initialize(coordinator, options.processes, options.process)
    if options.model_parallel > 1:
        return distribution.model_parallel(options.model_parallel, options.devices)
    return distribution.data_parallel(options.devices)


def _jax_on_cpu() -> bool:
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.default_backend() == "cpu"


def _run(options, tasks, script, out) -> dict[str, float]:
    """Trains, and scores the best checkpoint."""
    keras.utils.set_random_seed(options.seed)
    if options.mixed_precision:
        if options.mixed_precision == "float16" and _jax_on_cpu():
            sys.exit(
                f"{script}: JAX cannot compile attention in float16 for a CPU; pass "
                "--mixed-precision bfloat16, or set KERAS_BACKEND to tensorflow or torch."
            )
        keras.config.set_dtype_policy(f"mixed_{options.mixed_precision}")
    print(f"keras {keras.__version__} on {keras.backend.backend()}; results go to {out}")
    try:
        batch_size = distribution.batch_size_here(options.batch_size)
    except ValueError as error:
        sys.exit(f"{script}: {error}")
    if distribution.replicas() > 1:
        print(f"Each batch is split over {distribution.replicas()} devices")

    size = tuple(options.image_size)
    if options.data:  # before the model, which takes longer to build than a mistake to find
        split = {"image_size": size, "batch_size": batch_size}
        validation = loaded(options.data, "val", tasks, **split)

    # === Model ===
    try:
        model = build(options, tasks)
    except ValueError as error:
        sys.exit(f"{script}: {error}")
    weights = {task.name: task.loss_weight for task in tasks}
    if not options.data:
        weights |= {name: w for name, w in ROOMS_LOSS_WEIGHTS.items() if name in weights}
    for name, weight in options.loss_weight:
        if name not in weights:
            sys.exit(f"--loss-weight names {name!r}; the tasks are {', '.join(weights)}.")
        weights[name] = weight
    rate = keras_mtl.schedules.PolynomialDecay(options.learning_rate, options.steps)
    optimizer = keras.optimizers.Adam(
        rate,
        weight_decay=1e-6,
        global_clipnorm=10.0,
        gradient_accumulation_steps=options.accumulate if options.accumulate > 1 else None,
    )
    model.compile(optimizer, loss_weights={task.name: weights[task.name] for task in tasks})
    print(f"{model.count_params() / 1e6:.1f} M parameters, {size[0]}x{size[1]} images")
    if options.data and not options.pretrained:
        print("The backbone starts from random weights; --pretrained starts from ImageNet's.")

    # === Where an interrupted run was ===
    epochs = min(options.epochs, options.steps)
    steps = math.ceil(options.steps / epochs)
    best = keras.callbacks.ModelCheckpoint(out / "model.keras", "val_loss", save_best_only=True)
    log = keras.callbacks.CSVLogger(str(out / "log.csv"))
    board = keras.callbacks.TensorBoard(str(out / "tensorboard"))
    settings = {k: v for k, v in vars(options).items() if k not in ("output", "restart", *DEVICES)}
    if options.data:
        settings["processes"] = distribution.process()[1]  # each draws from its own part
    checkpoint = Checkpoint(out / "checkpoints", settings=settings, callbacks=[best, log, board])
    try:
        epoch = 0 if options.restart else checkpoint.restore(model)
    except ValueError as error:
        sys.exit(f"{script}: {error} (That is --output; --restart replaces what is there.)")
    if epoch:
        print(f"Going on with the run in {out} after {epoch} of {epochs} epochs")

    # === Data ===
    if options.data:
        train = {**split, "training": True, "seed": options.seed}
        shard, begin = distribution.shard(), epoch * steps
        training = loaded(options.data, "train", tasks, first_step=begin, shard=shard, **train)
        held_out = validation
        if shard:
            held_out = loaded(options.data, "val", tasks, shard=shard, **split)
        some = loaded(options.data, "train", tasks, cache=False, **train)
    else:
        print(f"Rendering {options.scenes} rooms to train on and {options.held_out} to test on")
        scenes = rooms.arrays(tasks, options.scenes, size, seed=0, progress=True)
        training = _shuffled(scenes, options, epoch * steps)
        training = distribution.of_this_process(training, tasks)
        some = _shuffled(scenes, options, 0)
        validation = rooms.dataset(
            tasks, options.held_out, size, seed=1, batch_size=options.batch_size, progress=True
        )
        held_out = distribution.of_this_process(validation, tasks)

    # === Training ===
    if not epoch:
        _clear(out)  # also what a run left that did not reach its first checkpoint
    checkpoint.folder.mkdir(parents=True, exist_ok=True)
    panel_images, panel_labels = next(iter(validation.unbatch().batch(3)))
    panel_images = panel_images.numpy()
    panel_labels = {name: label.numpy() for name, label in panel_labels.items()}
    panels = keras_mtl.callbacks.PredictionPanels(out / "tensorboard", panel_images, panel_labels)
    start = time.perf_counter()
    if epoch < epochs:  # or it was interrupted afterwards
        try:
            model.fit(
                training,
                epochs=epochs,
                initial_epoch=epoch,
                steps_per_epoch=steps,
                validation_data=held_out,
                callbacks=[StopOnDivergence(), best, log, board, panels, checkpoint],
            )
        except (FloatingPointError, OSError) as error:
            sys.exit(f"{script}: {error}")
    minutes = (time.perf_counter() - start) / 60
    print(f"Trained {(epochs - epoch) * steps} steps in {minutes:.1f} minutes")

    # === Results ===
    model = keras_mtl.load_model(out / "model.keras")
    model.compile()
    scores = model.evaluate(held_out, return_dict=True, verbose=0)
    maps = model.predict_maps(list(panel_images))
    table = _table(tasks, scores, _constant_scores(tasks, some, validation))
    print("\nThe best checkpoint on held-out images:\n\n" + table + "\n")
    (out / "results.md").write_text(table + "\n")
    maps = {task.name: [each[task.name] for each in maps] for task in tasks}
    figure = keras_mtl.visualize.panel(panel_images, maps, tasks, panel_labels)
    figure.savefig(out / "panel.png")
    keras_mtl.visualize.training_curves(out / "log.csv").savefig(out / "training_curves.png")
    return scores


def _occupied(out: Path) -> str:
    """Whether a folder holds files of another run, which this one would replace; in words."""
    found = [name for name in WRITTEN if (out / name).exists()]
    finished = "results.json" in found
    if not finished and (not found or "checkpoints" in found):
        return ""
    what = "a finished run" if finished else f"{', '.join(found)} of a run without checkpoints"
    return f"{out} holds {what}; pass another --output, or --restart to replace it."


def loaded(data: str, split: str, tasks: Sequence[keras_mtl.tasks.Task], **arguments):
    """`load`; what it refuses ends the script with its sentence."""
    try:
        return load(data, split, tasks=tasks, **arguments)
    except ValueError as error:
        there = []
        for task in tasks:
            with contextlib.suppress(ValueError):
                load(data, split, tasks=[task], image_size=arguments["image_size"], cache=False)
                there.append(task.name)
        advice = f" (--tasks {' '.join(there)} takes what is there.)"
        advice = advice if 0 < len(there) < len(tasks) else ""
        raise SystemExit(f"{Path(sys.argv[0]).name}: {error}{advice}") from None


def _clear(out: Path) -> None:
    for path in (out / name for name in WRITTEN):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _shuffled(scenes, options, first_step: int):
    """Batches without end, in an order that the seed and the epoch settle, as `load` does."""
    import tensorflow as tf

    count = len(scenes[0])
    epoch, done = divmod(first_step * options.batch_size, count)
    with tf.device("CPU"):
        scenes = tf.nest.map_structure(tf.constant, scenes)

    def order(epoch):
        seed = tf.stack([tf.constant(options.seed, tf.int64), epoch])
        numbers = tf.random.experimental.stateless_shuffle(tf.range(count), seed)
        return tf.data.Dataset.from_tensor_slices(numbers)

    def batch(numbers):
        return tf.nest.map_structure(lambda values: tf.gather(values, numbers), scenes)

    numbers = tf.data.Dataset.counter(epoch).flat_map(order).skip(done)
    numbers = numbers.batch(options.batch_size, drop_remainder=True)
    return numbers.map(batch).prefetch(tf.data.AUTOTUNE)


def _constant_scores(tasks, training, validation) -> dict[str, float]:
    """Headline metrics of the best guess that does not look at the image.

    The guess comes from 200 images to train on: as many labels fit into memory at any size.
    """
    seen = [labels for _, labels in training.unbatch().take(200)]
    guesses, metrics = {}, {}
    for task in tasks:
        labels = np.stack([each[task.name].numpy() for each in seen])
        guesses[task.name], metrics[task.name] = task.constant(labels), task.metrics()[0]
    for _, batch in validation:
        for task in tasks:
            truth = batch[task.name].numpy()
            shape = (*truth.shape[:3], task.channels)
            guess = np.broadcast_to(guesses[task.name], shape).copy()
            metrics[task.name].update_state(truth, guess)
    return {name: float(metric.result()) for name, metric in metrics.items()}


def _table(tasks, scores: dict, constant: dict) -> str:
    rows = [("task", "metric", "this model", "constant guess", "")]
    for task in tasks:
        measure = task.metrics()[0].name
        ours, floor = scores[f"{task.name}_{measure}"], constant[task.name]
        better = "higher" if task.higher_is_better else "lower"
        metric = f"{measure} [{task.unit}]"
        rows.append((task.name, metric, f"{ours:.3f}", f"{floor:.3f}", f"{better} is better"))
    rows.insert(1, tuple("-" * max(len(row[i]) for row in rows) for i in range(5)))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = []
    for row in rows:
        cells = " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(f"| {cells} |")
    return "\n".join(lines)
