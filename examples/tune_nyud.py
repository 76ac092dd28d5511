"""Searches TaskPrompter's or TPANet's hyperparameters for NYUD-v2's tasks with KerasTuner.

    KERAS_BACKEND=jax python examples/tune_nyud.py                      # on generated rooms
    KERAS_BACKEND=jax python examples/tune_nyud.py --data nyud_v2 --single single.json

The objective is Delta_m against single-task scores (--single, the results.json of single-task
training runs), or one task's metric (--headline). A search that was killed goes on where it was
when started again with the same --output. Needs the extra `tuning`.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main() -> None:
    options = _arguments()
    import keras
    import keras_tuner

    import keras_mtl
    from keras_mtl import tuning

    keras.utils.set_random_seed(options.seed)
    tasks, size = keras_mtl.tasks.nyud(), tuple(options.image_size)
    split = {"tasks": tasks, "image_size": size, "batch_size": options.batch_size}
    if options.data:
        training = keras_mtl.data.load(options.data, "train", training=True, **split)
        validation = keras_mtl.data.load(options.data, "val", **split)
    else:
        rooms = keras_mtl.data.rooms.dataset
        training = rooms(tasks, options.scenes, size, 0, options.batch_size, True, True)
        validation = rooms(tasks, options.held_out, size, 1, options.batch_size)
    single = None
    if options.single:
        found = {}
        for path in options.single:
            found |= json.loads(Path(path).read_text())
        single = {task.name: found[f"{task.name}_{task.metrics()[0].name}"] for task in tasks}
    kind = tuning.TPANetSearch if options.model == "tpanet" else tuning.TaskPrompterSearch
    build, name = keras_mtl.presets.BACKBONES[options.backbone or DEFAULTS[options.model]]
    patch = {"patch_size": 8} if build == "vision_transformer" else {}

    def make_backbone():
        return getattr(keras_mtl.backbones, build)(name, (*size, 3), **patch)

    headline = None if single else options.headline
    search = kind(make_backbone, tasks, single, headline)
    common = {
        "objective": search.objective,
        "seed": options.seed,
        "directory": options.output,
        "project_name": options.method,
    }
    if options.method == "hyperband":
        tuner = keras_tuner.Hyperband(search, max_epochs=options.epochs, **common)
    else:
        method = {
            "random": keras_tuner.RandomSearch,
            "bayesian": keras_tuner.BayesianOptimization,
        }[options.method]
        tuner = method(search, max_trials=options.trials, **common)
    logs = keras.callbacks.TensorBoard(str(Path(options.output) / options.method / "tensorboard"))
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
    (Path(options.output) / options.method / "results.md").write_text(table + "\n")


# Small enough to train from scratch on rooms.
DEFAULTS = {"taskprompter": "vit_nano", "tpanet": "hrnet18"}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=list(DEFAULTS), default="taskprompter")
    parser.add_argument("--backbone", metavar="NAME", help=f"default: {DEFAULTS}")
    methods = ["random", "bayesian", "hyperband"]
    parser.add_argument("--method", choices=methods, default="bayesian", help="default bayesian")
    parser.add_argument("--trials", type=int, default=6, help="of random and bayesian (default 6)")
    parser.add_argument("--epochs", type=int, default=2, help="of a trial, at most (default 2)")
    parser.add_argument("--steps", type=int, default=150, help="training steps an epoch (150)")
    parser.add_argument("--batch-size", type=int, default=4, help="default 4")
    size = "height and width in pixels (default 48 64)"
    parser.add_argument("--image-size", type=int, nargs=2, default=(48, 64), help=size)
    parser.add_argument("--data", metavar="DATASET", help="prepared dataset; default: rooms")
    parser.add_argument("--scenes", type=int, default=500, help="rooms to train on (500)")
    parser.add_argument("--held-out", type=int, default=40, help="rooms to test on (40)")
    parser.add_argument(
        "--single", nargs="+", metavar="JSON", help="results.json of single-task runs"
    )
    parser.add_argument(
        "--headline", metavar="TASK", default="semseg", help="without --single (default semseg)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="runs/search", help="default runs/search")
    parser.add_argument("--verbose", type=int, default=1, help="0: only the table")
    options = parser.parse_args()
    try:
        import keras_tuner  # noqa: F401
    except ImportError:
        sys.exit('tune_nyud.py: KerasTuner is missing; pip install "keras-mtl[tuning]".')
    return options


if __name__ == "__main__":
    main()
