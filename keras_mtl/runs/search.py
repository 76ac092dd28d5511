"""The command that searches for hyperparameters, on prepared data or on generated rooms."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import keras

from keras_mtl import declared, files, rooms
from keras_mtl.arguments import did_you_mean
from keras_mtl.commands.command_line import SEEDS, refusals, script, whole_number
from keras_mtl.commands.heartbeat import heartbeat
from keras_mtl.data import tasks_of
from keras_mtl.models import registry
from keras_mtl.runs import mixed_precision
from keras_mtl.runs.batches import read
from keras_mtl.runs.chosen_tasks import tasks_named
from keras_mtl.runs.options import RULES
from keras_mtl.runs.recipes import RECIPES, make_backbone
from keras_mtl.runs.search_state import KeepState, mend
from keras_mtl.tasks import Task

# What is searched for, and a backbone small enough to train from scratch on rooms.
SEARCHED = (
    "taskprompter",
    "tpanet",
    "cross_stitch",
    "nddr_cnn",
    "mtan",
    "pad_net",
    "mti_net",
    "pap",
    "psd",
)
BACKBONES = {name: RECIPES[name].backbone for name in SEARCHED}


def main(tasks: Sequence[Task], description: str, arguments: Sequence[str] | None = None) -> None:
    """The command line of a script that searches.

    Args:
        tasks: of which `--tasks` chooses.
        description: of the script, for `--help`.
        arguments: list of str. By default those of the running script.

    Raises:
        SystemExit: with one sentence, if something does not fit.
    """
    options = _arguments(tasks, description, arguments)
    keras.utils.set_random_seed(options.seed)
    mixed_precision.set_policy(options.mixed_precision)
    tasks, size = tasks_named(options.tasks, tasks), tuple(options.image_size)
    folder = Path(options.output) / options.method
    with contextlib.ExitStack() as stack:
        stack.enter_context(heartbeat())
        with refusals(ValueError, OSError):
            tasks = tasks_of(options.data, tasks) if options.data else tasks
            single = _single_scores(options.single, tasks) if options.single else None
            if "KERASTUNER_TUNER_ID" not in os.environ:  # then several search it together
                stack.enter_context(files.alone(folder))
            _settle(folder, options, single)
            mend(folder)
            training, validation = _batches(options, tasks, size)
        _search(options, tasks, size, single, folder, training, validation)


def _search(options, tasks, size, single, folder, training, validation):
    from keras_mtl.tuning import SEARCHES, results

    rules = [RULES[name] for name in options.balancing or ()]
    search = SEARCHES[RECIPES[options.model].model](
        lambda: make_backbone(options.backbone, size), tasks, single, options.headline, rules
    )
    with refusals():  # the first network is built here
        tuner = _tuner(search, options)
    logs = keras.callbacks.TensorBoard(str(folder / "tensorboard"))
    tuner.search(
        training,
        validation_data=validation,
        epochs=options.epochs,
        steps_per_epoch=options.steps,
        callbacks=[logs, keras.callbacks.TerminateOnNaN(), KeepState(folder)],
        verbose=options.verbose,
    )
    table = results(tuner)
    print("\n" + table)
    with refusals(OSError):
        files.write_text(folder / "results.md", table + "\n")


def _batches(options, tasks, size):
    """What to train and to validate on."""
    if options.data:
        split = {"image_size": size, "batch_size": options.batch_size}
        training = read(options.data, "train", tasks, training=True, **split)
        return training, read(options.data, "val", tasks, **split)
    how: dict = {"batch_size": options.batch_size, "progress": True, "keep": True}
    training = rooms.dataset(tasks, options.scenes, size, 0, shuffle=True, repeat=True, **how)
    return training, rooms.dataset(tasks, options.held_out, size, 1, **how)


def _tuner(search, options):
    import keras_tuner

    common = {
        "objective": search.objective,
        "seed": options.seed,
        "directory": options.output,
        "project_name": options.method,
    }
    if options.method == "hyperband":
        return keras_tuner.Hyperband(search, max_epochs=options.epochs, **common)
    method = {
        "random": keras_tuner.RandomSearch,
        "bayesian": keras_tuner.BayesianOptimization,
    }[options.method]
    return method(search, max_trials=options.trials, **common)


def _single_scores(paths: list[str], tasks) -> dict[str, float]:
    """The first metric of each task, from the results of single-task runs."""
    found = {}
    for path in paths:
        try:
            found |= declared.read_json(path)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path} cannot be read ({error}); --single takes the results.json "
                "that train_nyud.py writes."
            ) from None
    scores = {}
    for task in tasks:
        metric = f"{task.name}_{task.metrics()[0].name}"
        if metric not in found:
            raise ValueError(
                f"{', '.join(paths)} hold no {metric}; add the results.json of "
                f"train_nyud.py --tasks {task.name}."
            )
        scores[task.name] = found[metric]
    return scores


def _settle(folder: Path, options, single) -> None:
    """Writes what makes a search beside it, or refuses to mix it with another one."""
    path = folder / "settings.json"
    may_change = ("output", "verbose", "trials")
    settings = {name: x for name, x in vars(options).items() if name not in may_change}
    settings["single"] = single  # the scores: they are the objective, wherever they are stored
    settings = json.loads(json.dumps(settings))
    if (folder / "oracle.json").exists():  # which a search writes first
        before = _settings_before(path)
        changed = [
            f"{name} was {before.get(name, 'not written down')} and is {x}"
            for name, x in settings.items()
            if before.get(name) != x  # what was not there before is None by default
        ]
        if changed:
            raise ValueError(
                f"{folder} holds another search: {', '.join(changed[:3])}; pass "
                "another --output, or remove it."
            )
    files.write_text(path, json.dumps(settings, indent=2) + "\n")


def _settings_before(path: Path) -> dict:
    if not path.exists():
        return {}
    try:
        return dict(declared.read_json(path))
    except (ValueError, TypeError):
        raise ValueError(
            f"{path} is no whole JSON, so nobody knows what was searched for; pass another "
            "--output, or remove the folder."
        ) from None


def _arguments(tasks, description, arguments) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    count = whole_number(1)
    parser.add_argument("--model", choices=list(BACKBONES), default="taskprompter")
    backbones = registry.BACKBONES
    text = f"one of {', '.join(backbones)}; default: {BACKBONES}"
    parser.add_argument("--backbone", choices=list(backbones), metavar="NAME", help=text)
    names = ", ".join(task.name for task in tasks)
    text = f"search for these, of {names} (default: all of them), of another dataset's such as "
    text += "sal, or MODULE:NAME of a task of your own"
    parser.add_argument("--tasks", nargs="+", metavar="NAME", help=text)
    methods = ["random", "bayesian", "hyperband"]
    parser.add_argument("--method", choices=methods, default="bayesian", help="default bayesian")
    text = "rules of keras_mtl.balancing to choose from, besides none: " + ", ".join(RULES)
    parser.add_argument("--balancing", nargs="+", choices=list(RULES), metavar="RULE", help=text)
    parser.add_argument("--trials", type=count, default=6, help="of random and bayesian (6)")
    parser.add_argument("--epochs", type=count, default=2, help="of a trial, at most (default 2)")
    parser.add_argument("--steps", type=count, default=150, help="training steps an epoch (150)")
    parser.add_argument("--batch-size", type=count, default=4, help="default 4")
    size = "height and width in pixels (default 48 64)"
    parser.add_argument("--image-size", type=count, nargs=2, default=(48, 64), help=size)
    parser.add_argument("--data", metavar="DATASET", help="prepared dataset; default: rooms")
    parser.add_argument("--scenes", type=count, default=500, help="rooms to train on (500)")
    parser.add_argument("--held-out", type=count, default=40, help="rooms to test on (40)")
    objective = parser.add_mutually_exclusive_group()
    objective.add_argument(
        "--single", nargs="+", metavar="JSON", help="results.json of single-task runs"
    )
    text = "the task whose first metric is the objective without --single (default: the first one)"
    objective.add_argument("--headline", metavar="TASK", help=text)
    parser.add_argument("--seed", type=whole_number(*SEEDS), default=0, help="default 0")
    mixed_precision.add_option(parser)
    parser.add_argument("--output", default="runs/search", help="default runs/search")
    parser.add_argument("--verbose", type=int, default=1, help="0: only the table")
    options = parser.parse_args(arguments)
    options.backbone = options.backbone or BACKBONES[options.model]
    try:
        names = [task.name for task in tasks_named(options.tasks, tasks)]
    except ValueError as error:
        parser.error(str(error))
    options.tasks = options.tasks or names
    if not options.single:
        options.headline = options.headline or names[0]
        if options.headline not in names:
            parser.error(
                f"--headline {options.headline} is none of --tasks {' '.join(names)}; name one of "
                f"them{did_you_mean([options.headline], names)}."
            )
    try:
        import keras_tuner  # noqa: F401
    except ImportError:
        sys.exit(f'{script()}: KerasTuner is missing; pip install "keras-mtl[tuning]".')
    return options
