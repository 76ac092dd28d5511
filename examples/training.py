"""The one training run behind the `train_*.py` scripts."""

import argparse
import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_mtl
from keras_mtl import distribution
from keras_mtl.data import load, rooms
from keras_mtl.resume import Checkpoint, StopOnDivergence

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
    options = _arguments(dataset, description)
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
            _export(out)
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

    # === Model ===
    size = tuple(options.image_size)
    try:
        model = _model(options, tasks)
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
        split = {"tasks": tasks, "image_size": size, "batch_size": batch_size}
        train = {**split, "training": True, "seed": options.seed}
        shard = distribution.shard()
        training = load(options.data, "train", first_step=epoch * steps, shard=shard, **train)
        validation = load(options.data, "val", **split)
        held_out = load(options.data, "val", shard=shard, **split) if shard else validation
        some = load(options.data, "train", cache=False, **train).take(50)
    else:
        print(f"Rendering {options.scenes} rooms to train on and {options.held_out} to test on")
        scenes = rooms.arrays(tasks, options.scenes, size, seed=0, progress=True)
        training = _shuffled(scenes, options, epoch * steps)
        training = distribution.of_this_process(training, tasks)
        some = _shuffled(scenes, options, 0).take(50)
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


# What trains from scratch on rooms in minutes on a CPU.
ON_ROOMS = {
    "taskprompter": {"backbone": "vit_nano", "steps": 4000},
    "tpanet": {"backbone": "hrnet18", "steps": 1200},
    "baseline": {"backbone": "hrnet18", "steps": 1200},
}
# The papers' recipes, on prepared data: a preset of the dataset, and its batch size.
ON_DATA = {
    "taskprompter": {"preset": "taskprompter_vit_large", "batch_size": 4},
    "tpanet": {"preset": "tpanet_swin_tiny", "batch_size": 8},
    "baseline": {"preset": "multitask_baseline_swin_tiny", "batch_size": 8},
}


# Options of the models, which presets have settled.
BUILT_WITH = (
    "--variant",
    "--channel-windows",
    "--decode-dim",
    "--dim",
    "--groups",
    "--key-value-pooling",
    "--head-width",
    "--stochastic-depth",
)


def _model(options, tasks):
    if options.preset:
        return keras_mtl.MultiTaskModel.from_preset(
            options.preset,
            tasks=tasks,
            image_size=tuple(options.image_size),
            backbone=_pretrained(options),
        )
    return MODELS[options.model](options, tasks)


def _pretrained(options):
    if not options.pretrained:
        return None
    return keras_mtl.backbones.from_preset(options.pretrained, (*options.image_size, 3))


def _backbone(options):
    if options.pretrained:
        return _pretrained(options)
    build, size = keras_mtl.presets.BACKBONES[options.backbone]
    arguments = {"patch_size": options.patch_size} if build == "vision_transformer" else {}
    return getattr(keras_mtl.backbones, build)(size, (*options.image_size, 3), **arguments)


def _taskprompter(options, tasks):
    return keras_mtl.TaskPrompter(
        _backbone(options),
        tasks,
        variant=options.variant,
        channel_windows=tuple(options.channel_windows),
        decode_dim=options.decode_dim,
        stochastic_depth=options.stochastic_depth,
    )


def _tpanet(options, tasks):
    return keras_mtl.TPANet(
        _backbone(options),
        tasks,
        dim=options.dim,
        groups=options.groups,
        head_width=options.head_width,
        key_value_pooling=options.key_value_pooling,
        stochastic_depth=options.stochastic_depth,
    )


def _baseline(options, tasks):
    return keras_mtl.MultiTaskBaseline(_backbone(options), tasks, head_width=options.head_width)


MODELS = {"taskprompter": _taskprompter, "tpanet": _tpanet, "baseline": _baseline}


def _arguments(dataset: str, description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def option(name, default, text, group=parser, **kwargs):
        kwargs.setdefault("type", type(default))
        shown = default if not isinstance(default, (list, tuple)) else " ".join(map(str, default))
        group.add_argument(name, default=default, help=text.replace("%d", str(shown)), **kwargs)

    backbones, presets = keras_mtl.presets.BACKBONES, keras_mtl.presets.PRESETS
    option("--model", "taskprompter", "architecture (default %d)", choices=list(MODELS))
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="prepared dataset, to run the paper's recipe on; default: generated rooms",
    )
    parser.add_argument(
        "--preset",
        choices=list(presets),
        metavar="NAME",
        help="a paper's configuration, instead of --backbone and the options of the model",
    )
    parser.add_argument(
        "--backbone", choices=list(backbones), metavar="NAME", help=f"one of {', '.join(backbones)}"
    )
    parser.add_argument(
        "--pretrained",
        metavar="NAME_OR_FOLDER",
        help="start from these weights of the backbone: a keras-hub preset such as "
        "vit_large_patch16_384_imagenet, or a folder (keras_mtl.backbones.from_preset)",
    )
    # The other defaults depend on these.
    given = [argument for argument in sys.argv[1:] if argument not in ("-h", "--help")]
    known = parser.parse_known_args(given)[0]
    defaults = {"batch_size": 4, "image_size": (48, 64)}
    if known.data:
        defaults |= {"steps": 40_000, "epochs": 20, "learning_rate": 2e-5, **ON_DATA[known.model]}
        defaults["preset"] += {"nyud": "_nyud", "pascal_context": "_pascal"}[dataset]
        defaults["image_size"] = presets[defaults["preset"]]["image_size"]
    else:
        defaults |= {"epochs": 5, "learning_rate": 1e-3, **ON_ROOMS[known.model]}
    if known.backbone and not known.preset:
        defaults.pop("preset", None)
    preset = known.preset or defaults.get("preset")
    if preset:
        defaults["image_size"] = presets[preset]["image_size"]
    backbone = known.backbone or defaults.get("backbone")
    parser.set_defaults(preset=preset, backbone=backbone)
    built = f"--preset {preset}" if preset else f"--backbone {backbone}"
    parser.epilog = f"Defaults are those of --model {known.model} {built}."

    option("--scenes", 5000, "rooms to train on (default %d)")
    option("--held-out", 100, "rooms to test on (default %d)")
    size = "height and width in pixels (default %d)"
    option("--image-size", defaults["image_size"], size, type=int, nargs=2)
    option("--steps", defaults["steps"], "training steps (default %d)")
    option("--epochs", defaults["epochs"], "times to validate, over all steps (default %d)")
    option("--batch-size", defaults["batch_size"], "images in a step (default %d)")
    text = "update the weights once in so many steps, by the mean of their gradients (default %d): "
    text += "like a batch so many times larger where every pixel is labelled, in less memory; each "
    text += "step counts the same, however many of its pixels are labelled, and batch "
    text += "normalization and --steps know of the small batches only"
    option("--accumulate", 1, text, metavar="N")
    rate = "at the start of the polynomial decay (default %d)"
    option("--learning-rate", defaults["learning_rate"], rate)
    parser.add_argument(
        "--loss-weight",
        action="append",
        type=_task_and_weight,
        default=[],
        metavar="TASK=WEIGHT",
        help="instead of the published weight (for depth on rooms: of 5); repeatable",
    )
    depth = "drop rate of the last block, or of TPANet's last perceptron (default %d)"
    option("--stochastic-depth", 0.0, depth)
    option("--seed", 0, "of weights and order (default %d)")
    option("--output", f"runs/{known.model}_{dataset}", "folder for results (default %d)")
    parser.add_argument(
        "--restart",
        action="store_true",
        help="replace what is in the output folder; without it, an interrupted run of the same "
        "settings goes on after its last epoch, and any other run is left alone",
    )
    parser.add_argument(
        "--mixed-precision",
        nargs="?",
        choices=("bfloat16", "float16"),
        const="bfloat16",
        metavar="bfloat16|float16",
        help="compute in this dtype (bfloat16 unless named), losses and outputs in float32; with "
        "float16 the loss is scaled, and steps whose gradients overflow are skipped",
    )
    option("--patch-size", 8, "pixels, for a Vision Transformer (default %d)")

    group = parser.add_argument_group("several devices (docs/distributed.md)")
    group.add_argument(
        "--devices",
        type=_devices_named,
        metavar="N|all",
        help="split each batch over so many devices (default 1, and all with --coordinator)",
    )
    text = "on JAX: split a Vision Transformer over groups of so many of them (default %d)"
    option("--model-parallel", 1, text, group, metavar="N")
    group.add_argument(
        "--coordinator",
        metavar="HOST:PORT|auto",
        help="on JAX: train together with other processes that were started with the same "
        "arguments; an address of the first one's machine, or auto on a TPU pod or under SLURM",
    )
    group.add_argument("--processes", type=int, metavar="N", help="how many processes there are")
    group.add_argument("--process", type=int, metavar="N", help="which one this is, from 0")

    group = parser.add_argument_group("taskprompter")
    variants = ["paper", "released"]
    text = "equations as written, or the released network (default %d)"
    option("--variant", "paper", text, group, choices=variants)
    text = "along height and width (default %d)"
    option("--channel-windows", (2, 2), text, group, type=int, nargs=2)
    option("--decode-dim", 32, "channels of the decoded features (default %d)", group)

    group = parser.add_argument_group("tpanet")
    option("--dim", 32, "channels of a task's features (default %d)", group)
    option("--groups", 1, "of the task prior extractor's convolutions (default %d)", group)
    text = "average pooling of the attention's keys and values (default %d)"
    option("--key-value-pooling", 1, text, group)

    group = parser.add_argument_group("tpanet and baseline")
    option("--head-width", 64, "channels inside a task's head (default %d)", group)
    options = parser.parse_args()
    if options.accumulate < 1:
        parser.error(f"--accumulate is {options.accumulate}; pass a positive number of steps.")
    options.devices = options.devices or ("all" if options.coordinator else 1)
    if (options.processes, options.process) != (None, None) and not options.coordinator:
        parser.error("--processes and --process need a --coordinator.")
    unused = sorted({"--patch-size", *BUILT_WITH} & set(sys.argv)) if options.preset else []
    if unused:
        parser.error(
            f"{', '.join(unused)} would change nothing about --preset {options.preset}; name a "
            "--backbone instead, or leave them out."
        )
    return options


def _devices_named(text: str) -> int | str:
    if text != "all" and not (text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of devices, and not all")
    return text if text == "all" else int(text)


def _task_and_weight(text: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    try:
        return name, float(weight)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not TASK=WEIGHT, such as depth=5") from None


def _constant_scores(tasks, some, validation) -> dict[str, float]:
    """Headline metrics of the best guess that does not look at the image.

    The guess comes from some batches to train on.
    """
    seen = [labels for _, labels in some]
    scores = {}
    for task in tasks:
        guess = task.constant(np.concatenate([labels[task.name].numpy() for labels in seen]))
        metric = task.metrics()[0]
        for _, batch in validation:
            truth = batch[task.name].numpy()
            shape = (*truth.shape[:3], task.channels)
            metric.update_state(truth, np.broadcast_to(guess, shape).copy())
        scores[task.name] = float(metric.result())
    return scores


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


def _export(out: Path) -> None:
    """Writes the SavedModel, from TensorFlow if this is PyTorch, which cannot."""
    code = "import sys, keras_mtl; keras_mtl.load_model(sys.argv[1]).export(sys.argv[2])"
    if keras.backend.backend() == "torch":
        subprocess.run(
            [sys.executable, "-c", code, str(out / "model.keras"), str(out / "saved_model")],
            env={**os.environ, "KERAS_BACKEND": "tensorflow"},
            check=True,
        )
    else:
        keras_mtl.load_model(out / "model.keras").export(out / "saved_model")
