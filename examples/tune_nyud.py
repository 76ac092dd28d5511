"""Searches TaskPrompter's or TPANet's hyperparameters for NYUD-v2's tasks with KerasTuner.

    KERAS_BACKEND=jax python examples/tune_nyud.py                      # on generated rooms
    KERAS_BACKEND=jax python examples/tune_nyud.py --data nyud_v2 --single single.json

The objective is Delta_m against single-task scores (--single, the results.json of single-task
training runs, such as `train_nyud.py --tasks depth`), or one task's metric (--headline). A search
that was killed goes on where it was when started again with the same --output; another search is
refused there. Needs the extra `tuning`.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from training import loaded
from training_options import whole_number

import keras_mtl

TASKS = [task.name for task in keras_mtl.tasks.nyud()]


def main() -> None:
    options = _arguments()
    import keras_tuner

    from keras_mtl import tuning

    keras.utils.set_random_seed(options.seed)
    tasks, size = keras_mtl.tasks.nyud(*options.tasks), tuple(options.image_size)
    single = _single_scores(options.single, tasks) if options.single else None
    folder = Path(options.output) / options.method
    _settle(folder, options, single)
    if options.data:
        split = {"image_size": size, "batch_size": options.batch_size}
        training = loaded(options.data, "train", tasks, training=True, **split)
        validation = loaded(options.data, "val", tasks, **split)
    else:
        rooms = keras_mtl.rooms.dataset
        training = rooms(tasks, options.scenes, size, 0, options.batch_size, True, True)
        validation = rooms(tasks, options.held_out, size, 1, options.batch_size)
    kind = tuning.TPANetSearch if options.model == "tpanet" else tuning.TaskPrompterSearch
    build, name = keras_mtl.presets.BACKBONES[options.backbone]
    patch = {"patch_size": 8} if build == "vision_transformer" else {}

    def make_backbone():
        return getattr(keras_mtl.backbones, build)(name, (*size, 3), **patch)

    search = kind(make_backbone, tasks, single, options.headline)
    common = {
        "objective": search.objective,
        "seed": options.seed,
        "directory": options.output,
        "project_name": options.method,
    }
    try:  # the first network is built here
        if options.method == "hyperband":
            tuner = keras_tuner.Hyperband(search, max_epochs=options.epochs, **common)
        else:
            method = {
                "random": keras_tuner.RandomSearch,
                "bayesian": keras_tuner.BayesianOptimization,
            }[options.method]
            tuner = method(search, max_trials=options.trials, **common)
    except ValueError as error:
        sys.exit(f"tune_nyud.py: {error}")
    logs = keras.callbacks.TensorBoard(str(folder / "tensorboard"))
    tuner.search(
        training,
        validation_data=validation,
        epochs=options.epochs,
        steps_per_epoch=options.steps,
        callbacks=[logs, keras.callbacks.TerminateOnNaN()],
        verbose=options.verbose,
    )
    table = tuning.results(tuner)
    print("\n" + table)
    (folder / "results.md").write_text(table + "\n")


def _single_scores(paths: list[str], tasks) -> dict[str, float]:
    """The first metric of each task, from the results of single-task runs."""
    found = {}
    for path in paths:
        try:
            found |= json.loads(Path(path).read_text())
        except (OSError, ValueError, TypeError) as error:
            sys.exit(
                f"tune_nyud.py: {path} cannot be read ({error}); --single takes the results.json "
                "that train_nyud.py writes."
            )
    scores = {}
    for task in tasks:
        metric = f"{task.name}_{task.metrics()[0].name}"
        if metric not in found:
            sys.exit(
                f"tune_nyud.py: {', '.join(paths)} hold no {metric}; add the results.json of "
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
        before = json.loads(path.read_text()) if path.exists() else {}
        changed = [
            f"{name} was {before.get(name, 'not written down')} and is {x}"
            for name, x in settings.items()
            if name not in before or before[name] != x
        ]
        if changed:
            sys.exit(
                f"tune_nyud.py: {folder} holds another search: {', '.join(changed[:3])}; pass "
                "another --output, or remove it."
            )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings, indent=2) + "\n")


# Small enough to train from scratch on rooms.
DEFAULTS = {"taskprompter": "vit_nano", "tpanet": "hrnet18"}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    count = whole_number(1)
    parser.add_argument("--model", choices=list(DEFAULTS), default="taskprompter")
    backbones = keras_mtl.presets.BACKBONES
    text = f"one of {', '.join(backbones)}; default: {DEFAULTS}"
    parser.add_argument("--backbone", choices=list(backbones), metavar="NAME", help=text)
    text = f"search for these only, of {', '.join(TASKS)} (default: all)"
    parser.add_argument(
        "--tasks", nargs="+", choices=TASKS, default=TASKS, metavar="NAME", help=text
    )
    methods = ["random", "bayesian", "hyperband"]
    parser.add_argument("--method", choices=methods, default="bayesian", help="default bayesian")
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
    objective.add_argument("--headline", choices=TASKS, metavar="TASK", help=text)
    parser.add_argument("--seed", type=whole_number(0), default=0, help="default 0")
    parser.add_argument("--output", default="runs/search", help="default runs/search")
    parser.add_argument("--verbose", type=int, default=1, help="0: only the table")
    options = parser.parse_args()
    options.backbone = options.backbone or DEFAULTS[options.model]
    if not options.single:
        options.headline = options.headline or options.tasks[0]
        if options.headline not in options.tasks:
            parser.error(
                f"--headline {options.headline} is none of --tasks {' '.join(options.tasks)}; name "
                "one of them."
            )
    try:
        import keras_tuner  # noqa: F401
    except ImportError:
        sys.exit('tune_nyud.py: KerasTuner is missing; pip install "keras-mtl[tuning]".')
    return options


if __name__ == "__main__":
    main()
