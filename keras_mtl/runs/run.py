"""One training run, from its options to a folder of results: what the training scripts call.

from keras_mtl import tasks
from keras_mtl.runs import run

run.main(tasks.nyud(), dataset="nyud", description=__doc__)
"""

import argparse
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

import keras

import keras_mtl
from keras_mtl import distribution, files
from keras_mtl.arguments import did_you_mean
from keras_mtl.commands.command_line import refusals, script
from keras_mtl.commands.heartbeat import heartbeat
from keras_mtl.commands.quiet import find_devices
from keras_mtl.data import tasks_of
from keras_mtl.export import export_model
from keras_mtl.runs import batches, mixed_precision, prospect, report
from keras_mtl.runs.chosen_tasks import tasks_named
from keras_mtl.runs.options import RULES, build, parse
from keras_mtl.tasks import Task
from keras_mtl.training.checkpoint import Checkpoint
from keras_mtl.training.divergence import StopOnDivergence
from keras_mtl.visualize.panels import write_figure

# What a run leaves in its folder. The last one says that it is finished.
WRITTEN = (
    "checkpoints",
    "tensorboard",
    "saved_model",
    "model.keras",
    "log.csv",
    "panel.png",
    "training_curves.png",
    "balancing.png",
    "results.md",
    "results.json",
)


# Where a run computes: it may go on elsewhere.
DEVICES = ("devices", "model_parallel", "coordinator", "processes", "process")


def main(
    tasks: Sequence[Task],
    dataset: str,
    description: str,
    arguments: Sequence[str] | None = None,
    generated: str = "rooms",
    lighter: Sequence[Task] = (),
) -> None:
    """The command line of a training script.

    Args:
        tasks: those of `--tasks` by default.
        dataset: name of the list of tasks, `"nyud"` for example: on prepared data the paper's
            preset for it is the default.
        description: of the script, for `--help`.
        arguments: list of str. By default those of the running script.
        generated: what is trained on without data, `"rooms"` or `"streets"`.
        lighter: tasks that take the place of those of the same names there, such as with smaller
            heads.

    Raises:
        SystemExit: with one sentence, if something does not fit.
    """
    options = parse(tasks, dataset, description, arguments, generated)
    if not options.data:
        others = {task.name: task for task in lighter}
        tasks = [others.get(task.name, task) for task in tasks]
    find_devices()  # TensorFlow reads the data on every backend
    tasks = tasks_named(options.tasks, tasks)
    out = Path(options.output)
    with contextlib.ExitStack() as stack:
        with refusals():
            devices = _devices(options)
            if options.data:
                tasks = tasks_of(options.data, tasks)
        if not distribution.first_process():
            # All processes do the same, in step; the files of the first one are kept.
            out = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        stack.enter_context(heartbeat())
        taken = _taken(out, options, stack) if distribution.first_process() else ""
        if distribution.from_first_process(taken.encode()):
            sys.exit(f"{script()}: {taken}" if taken else 1)
        if not options.restart:
            for folder in (out, out / "checkpoints"):
                distribution.copy_from_first_process(folder)
        with devices:
            scores = _run(options, tasks, out)
        if distribution.first_process():
            print("Exporting the best checkpoint as a SavedModel")
            try:
                export_model(out / "model.keras", out / "saved_model")
            except (ValueError, OSError) as error:  # the trained model is safe
                print(f"There is no SavedModel: {error}")
            with refusals(OSError):
                files.write_text(out / "results.json", json.dumps(scores, indent=2) + "\n")
            shutil.rmtree(out / "checkpoints")
            print(
                f"Wrote {out}/: model.keras, saved_model/, panel.png, training_curves.png, "
                f"{'balancing.png, ' if options.balancing else ''}results.md, results.json, "
                "log.csv, tensorboard/"
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


def _taken(out: Path, options: argparse.Namespace, stack: contextlib.ExitStack) -> str:
    """Why a folder is not for this run, in words; if it is, it is so until the stack is closed."""
    try:
        stack.enter_context(files.alone(out))
    except OSError as error:
        return f"{error} (That is --output.)"
    return "" if options.restart else _occupied(out)


def _occupied(out: Path) -> str:
    """Whether a folder holds files of another run, which this one would replace; in words."""
    found = [name for name in WRITTEN if (out / name).exists()]
    finished = "results.json" in found
    if not finished and (not found or "checkpoints" in found):
        return ""
    what = "a finished run" if finished else f"{', '.join(found)} of a run without checkpoints"
    return f"{out} holds {what}; pass another --output, or --restart to replace it."


def _clear(out: Path) -> None:
    for path in (out / name for name in WRITTEN):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


# === The run ===


def _run(options, tasks, out) -> dict[str, float]:
    """Trains, and scores the best checkpoint."""
    keras.utils.set_random_seed(options.seed)
    mixed_precision.set_policy(options.mixed_precision)
    print(f"keras {keras.__version__} on {keras.backend.backend()}; results go to {out}")
    print(prospect.plan(options, tasks))
    with refusals():
        distribution.batch_size_here(options.batch_size)
    if distribution.replicas() > 1:
        print(f"Each batch is split over {distribution.replicas()} devices")
    with refusals():
        if options.data:  # before the model, which takes longer to build than a mistake to find
            validation = batches.held_out_data(options, tasks)
        height, width = options.image_size
        if options.preset:
            print(
                f"Building {options.preset} at {height}x{width}, a paper's network; --backbone, "
                "with vit_pico for instance, builds a small one"
            )
        model = build(options, tasks)
        if options.freeze_backbone:
            model.freeze_backbone()
        if options.lora:
            model.enable_lora(options.lora)
        _compile(model, options, tasks)
    parameters, trained = model.count_params(), model.trained_parameters
    megabytes = 4 * (parameters + 3 * trained) / 1e6  # in float32
    print(
        f"{parameters / 1e6:.1f} M parameters, of which {trained / 1e6:.1f} M are trained, "
        f"{height}x{width} images; weights, gradients and Adam's averages take "
        f"{megabytes:,.0f} MB, and features of each image more"
    )
    if options.data and not options.pretrained:
        print("The backbone starts from random weights; --pretrained starts from ImageNet's.")

    # === Where an interrupted run was ===
    epochs = min(options.epochs, options.steps)
    steps = math.ceil(options.steps / epochs)
    best = keras.callbacks.ModelCheckpoint(out / "model.keras", "val_loss", save_best_only=True)
    log = keras.callbacks.CSVLogger(str(out / "log.csv"))
    board = keras.callbacks.TensorBoard(str(out / "tensorboard"))
    checkpoint = Checkpoint(
        out / "checkpoints", settings=_settings(options), callbacks=[best, log, board]
    )
    advice = " (That is --output; --restart replaces what is there.)"
    with refusals(ValueError, OSError, advice=advice):
        epoch = 0 if options.restart else checkpoint.restore(model)
    if epoch:
        print(f"Going on with the run in {out} after {epoch} of {epochs} epochs")

    # === Data ===
    if options.data:
        with refusals():
            data = batches.of_data(options, tasks, validation, epoch * steps)
    else:
        if options.generated == "rooms" and not options.no_cache:
            print(f"Rooms are kept in {files.cache_folder() / 'rooms'}: the next run reads them")
        data = batches.of_scenes(options, tasks, epoch * steps)

    # === Training ===
    if not epoch:
        _clear(out)  # also what a run left that did not reach its first checkpoint
    images, labels = next(iter(data.validation.unbatch().batch(3)))
    images, labels = keras.tree.map_structure(lambda values: values.numpy(), (images, labels))
    panels = keras_mtl.callbacks.PredictionPanels(out / "tensorboard", images, labels)
    start = time.perf_counter()
    if epoch < epochs:  # or it was interrupted afterwards
        print("Compiling the network, and then training it")
        say = prospect.SayHowLong((epochs - epoch) * steps)
        with refusals(FloatingPointError, OSError):
            model.fit(
                data.training,
                epochs=epochs,
                initial_epoch=epoch,
                steps_per_epoch=steps,
                validation_data=data.held_out,
                callbacks=[StopOnDivergence(), best, log, board, panels, checkpoint, say],
            )
    minutes = (time.perf_counter() - start) / 60
    print(f"Trained {(epochs - epoch) * steps} steps in {minutes:.1f} minutes")
    with refusals(OSError):
        return _results(tasks, data, images, labels, out, bool(options.balancing))


def _compile(model, options, tasks):
    weights = {task.name: task.loss_weight for task in tasks}
    weights |= {name: w for name, w in options.loss_weights.items() if name in weights}
    for name, weight in options.loss_weight:
        if name not in weights:
            raise ValueError(
                f"--loss-weight names {name!r}; the tasks are {', '.join(weights)}"
                f"{did_you_mean([name], weights)}."
            )
        weights[name] = weight
    # In minutes from scratch one optimizer serves all.
    recipe = {} if options.data else keras_mtl.MultiTaskModel.recipe
    optimizer = keras_mtl.training.recipe_optimizer(
        model,
        options.steps,
        options.accumulate if options.accumulate > 1 else None,
        **{**recipe, "learning_rate": options.learning_rate},
    )
    rule = RULES[options.balancing]() if options.balancing else None
    model.compile(optimizer, loss_weights=weights, balancing=rule)


def _settings(options: argparse.Namespace) -> dict:
    """What a run depends on, which one that goes on must share."""
    # The checkpoint knows what balances the tasks, as one of an earlier version does not.
    aside = ("output", "restart", "no_cache", "loss_weights", "balancing", "generated", *DEVICES)
    settings = {k: v for k, v in vars(options).items() if k not in aside}
    if options.data:
        settings["processes"] = distribution.process()[1]  # each draws from its own part
    return settings


def _results(tasks, data, images, labels, out, balanced) -> dict[str, float]:
    """Scores the best checkpoint, and shows its maps of some images."""
    print("Scoring and drawing the best checkpoint")
    model = keras_mtl.load_model(out / "model.keras")
    model.compile()
    scores = model.evaluate(data.held_out, return_dict=True, verbose=0)
    scores |= report.headlines(model, data.validation)
    maps = model.predict_maps(list(images))
    guesses = report.best_guesses(tasks, data.some, data.validation)
    table = report.table(tasks, scores, guesses)
    print("\nThe best checkpoint on held-out images:\n\n" + table + "\n")
    files.write_text(out / "results.md", table + "\n")
    maps = {task.name: [each[task.name] for each in maps] for task in tasks}
    figure = keras_mtl.visualize.panel(images, maps, tasks, labels, legend=True)
    write_figure(figure, out / "panel.png")
    write_figure(keras_mtl.visualize.training_curves(out / "log.csv"), out / "training_curves.png")
    if balanced:
        figure = keras_mtl.visualize.balancing_curves(out / "log.csv")
        write_figure(figure, out / "balancing.png")
    return scores
