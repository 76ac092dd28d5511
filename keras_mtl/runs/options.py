"""What a training script is told, and the network that it means."""

import argparse
import sys
from collections.abc import Sequence

import keras_mtl
from keras_mtl.commands.command_line import SEEDS, number, whole_number
from keras_mtl.layers.atrc.context_pooling import POOLED
from keras_mtl.models.genotypes import SHIPPED
from keras_mtl.runs import mixed_precision
from keras_mtl.runs.chosen_tasks import tasks_named
from keras_mtl.runs.recipes import RECIPES, make_backbone, recipe_of
from keras_mtl.tasks import Task

# Options of the models and their defaults without a preset, which has settled them.
BUILT_WITH = {
    "patch_size": 8,
    "stochastic_depth": 0.0,
    "variant": "paper",
    "channel_windows": (2, 2),
    "decode_dim": 32,
    "dim": 32,
    "groups": 1,
    "key_value_pooling": 1,
    "head_width": 64,
    "level": "decoder",
    "width": 64,
    "genotype": "t-label",
}

# Of those, what fits the coarsest maps of a Swin Transformer.
BUILT_WITH_ON_SWIN = {"channel_windows": (1, 1)}

# What --balancing may be.
RULES = {rule.__name__: rule for rule in keras_mtl.balancing.RULES}


def build(options: argparse.Namespace, tasks: Sequence[Task]) -> keras_mtl.MultiTaskModel:
    """The network that the options mean.

    Args:
        options: of `parse`.
        tasks: what it predicts.

    Raises:
        ValueError: if the options do not fit together.
    """
    backbone = None
    if options.pretrained:
        shape = (*options.image_size, 3)
        backbone = keras_mtl.backbones.from_preset(options.pretrained, shape)
    if options.preset:
        size = tuple(options.image_size) if backbone is None else None  # which a backbone settles
        return keras_mtl.MultiTaskModel.from_preset(
            options.preset, tasks=tasks, image_size=size, backbone=backbone
        )
    if backbone is None:
        backbone = make_backbone(options.backbone, options.image_size, options.patch_size)
    recipe = RECIPES[options.model]
    arguments = {name: getattr(options, name) for name in recipe.arguments}
    return recipe.model(backbone, tasks, **arguments)


def parse(
    tasks: Sequence[Task],
    dataset: str,
    description: str,
    arguments: Sequence[str] | None = None,
    generated: str = "rooms",
) -> argparse.Namespace:
    """What the command line says, with the recipe's defaults for all that it does not.

    Args:
        tasks: those of `--tasks` by default.
        dataset: name of the list of tasks, `"nyud"` for example: on prepared data the paper's
            preset for it is the default.
        description: of the script, for `--help`.
        arguments: list of str. By default those of the running script.
        generated: what is trained on without data, `"rooms"` or `"streets"`.

    Raises:
        SystemExit: after `--help`, and if an argument is refused.

    Example:

    >>> options = parse(keras_mtl.tasks.nyud(), "nyud", "", ["--model", "tpanet", "--dim", "16"])
    >>> options.backbone, options.steps, options.dim, options.output
    ('hrnet18', 1200, 16, 'runs/tpanet_nyud')
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(generated=generated)
    _add_what_is_trained(parser, tasks, generated)
    defaults, output = _settle(parser, dataset, arguments, generated)
    _add_training(parser, defaults, output, generated)
    _add_devices(parser)
    _add_network(parser)
    options = parser.parse_args(arguments)
    try:
        tasks_named(options.tasks, tasks)
    except ValueError as error:
        parser.error(str(error))
    options.devices = options.devices or ("all" if options.coordinator else 1)
    if (options.processes, options.process) != (None, None) and not options.coordinator:
        parser.error("--processes and --process need a --coordinator.")
    given = {name: getattr(options, name) for name in BUILT_WITH}
    given = {name: value for name, value in given.items() if value is not None}
    if options.preset and given:
        unused = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(given))
        parser.error(
            f"{unused} would change nothing about --preset {options.preset}; name a --backbone "
            "instead, or leave them out."
        )
    if not options.preset:
        function, _ = keras_mtl.presets.BACKBONES.get(options.backbone, (None, None))
        on_swin = BUILT_WITH_ON_SWIN if function == "swin_transformer" else {}
        vars(options).update(BUILT_WITH | on_swin | given)
    return options


def _add_what_is_trained(parser, tasks, generated):
    backbones, presets = keras_mtl.presets.BACKBONES, keras_mtl.presets.PRESETS
    text = "architecture (default taskprompter, or the preset's)"
    parser.add_argument("--model", choices=list(RECIPES), help=text)
    text = "where the tasks of cross_stitch and nddr_cnn exchange features, without a preset: "
    text += "behind one backbone, or between the stages of a backbone for each (default decoder)"
    parser.add_argument("--level", choices=["decoder", "encoder"], help=text)
    names = [task.name for task in tasks]
    parser.add_argument(
        "--tasks",
        nargs="+",
        metavar="NAME",
        help=f"train on these, of {', '.join(names)} (default: all of them), of another dataset's "
        "such as sal, or MODULE:NAME of a task of your own",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help=f"prepared dataset, to run the paper's recipe on; default: generated {generated}",
    )
    one_of = parser.add_mutually_exclusive_group()
    one_of.add_argument(
        "--preset",
        choices=list(presets),
        metavar="NAME",
        help="a paper's configuration, instead of --backbone and the options of the model",
    )
    one_of.add_argument(
        "--backbone", choices=list(backbones), metavar="NAME", help=f"one of {', '.join(backbones)}"
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--pretrained",
        metavar="NAME_OR_FOLDER",
        help="start from these weights of the backbone: a keras-hub preset such as "
        "vit_large_patch16_384_imagenet, or a folder (keras_mtl.backbones.from_preset)",
    )
    text = "on scenes: start from random weights where a backbone comes with the package"
    start.add_argument("--from-scratch", action="store_true", help=text)
    less = parser.add_mutually_exclusive_group()
    text = "train all but the backbone, which stays as it is"
    less.add_argument("--freeze-backbone", action="store_true", help=text)
    text = "train an update of this low rank of each of the backbone's linear maps instead of them "
    text += "(LoRA), such as 8; the best checkpoint has them merged"
    less.add_argument("--lora", type=whole_number(1), metavar="RANK", help=text)


def _settle(parser, dataset, arguments, generated) -> tuple[dict, str]:
    """Model, preset and backbone, on which the other defaults depend; and those."""
    given = [argument for argument in arguments if argument not in ("-h", "--help")]
    known = parser.parse_known_args(given)[0]
    recipe, preset = RECIPES[known.model or "taskprompter"], known.preset
    if preset:
        recipe = recipe_of(preset)
        if known.model not in (None, recipe.name):
            parser.error(
                f"--model {known.model} is not that of --preset {preset}; pass --model "
                f"{recipe.name} or leave it out."
            )
    model, backbone = recipe.name, known.backbone
    said = (known.data, preset, backbone, known.pretrained, known.from_scratch)
    streets = generated == "streets"
    trunk = None if any(said) else recipe.trunk
    parser.set_defaults(pretrained=trunk)
    defaults = recipe.defaults(bool(known.data), bool(trunk), known.level, streets)
    if known.data:
        papers = recipe.preset(dataset)
        if not (papers or preset):
            parser.error(f"No preset of --model {model} is for {dataset!r}; name a --preset.")
        defaults["image_size"] = keras_mtl.presets.PRESETS[papers or preset]["image_size"]
        if not backbone:
            preset = preset or papers
    elif not preset and not trunk:
        backbone = backbone or recipe.backbone
    if preset:
        defaults["image_size"] = keras_mtl.presets.PRESETS[preset]["image_size"]
    weights = defaults["loss_weights"]
    parser.set_defaults(model=model, preset=preset, backbone=backbone, loss_weights=weights)
    built = f"--preset {preset}" if preset else f"--backbone {backbone}"
    built = f"--pretrained {trunk}" if trunk else built
    parser.epilog = f"Defaults are those of --model {model} {built}."
    if not (known.data or known.preset or known.backbone):
        papers = recipe.preset(dataset)
        if papers:
            parser.epilog += f" With --data and no --backbone they are those of --preset {papers}."
    if preset:
        parser.epilog += " It brings its own values of the options without a preset."
    chosen = [name.split(":")[-1] for name in known.tasks or ()]
    return defaults, "_".join([known.preset or f"{model}_{dataset}", *chosen])


def _option(group, name, default, text, **kwargs):
    """An option whose help shows the default in place of %d."""
    kinds = {int: whole_number(1), float: number}
    kwargs.setdefault("type", kinds.get(type(default), type(default)))
    shown = default if not isinstance(default, (list, tuple)) else " ".join(map(str, default))
    group.add_argument(name, default=default, help=text.replace("%d", str(shown)), **kwargs)


def _add_training(parser, defaults, output, generated):
    def option(name, default, text, **kwargs):
        _option(parser, name, default, text, **kwargs)

    option("--scenes", defaults["scenes"], f"{generated} to train on (default %d)")
    option("--held-out", 100, f"{generated} to test on (default %d)")
    parser.add_argument(
        "--no-cache", action="store_true", help="render rooms anew, and keep none for the next run"
    )
    size = "height and width in pixels (default %d)"
    option("--image-size", defaults["image_size"], size, type=whole_number(1), nargs=2)
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
        help="instead of the published weight (on rooms: of 5 for depth, and of 4 for semseg where "
        "a backbone comes with the package; on streets: of 4 for semseg, of 0.2 for depth); "
        "repeatable",
    )
    text = "rule of keras_mtl.balancing that weighs the tasks during training, on top of the "
    text += f"weights: {', '.join(RULES)}"
    parser.add_argument("--balancing", choices=list(RULES), metavar="RULE", help=text)
    option("--seed", 0, "of weights and order (default %d)", type=whole_number(*SEEDS))
    option("--output", f"runs/{output}", "folder for results (default %d)")
    parser.add_argument(
        "--restart",
        action="store_true",
        help="replace what is in the output folder; without it, an interrupted run of the same "
        "settings goes on after its last epoch, and any other run is left alone",
    )
    mixed_precision.add_option(parser)


def _add_devices(parser):
    group = parser.add_argument_group("several devices (docs/distributed.md)")
    group.add_argument(
        "--devices",
        type=_devices_named,
        metavar="N|all",
        help="split each batch over so many devices (default 1, and all with --coordinator)",
    )
    text = "on JAX: split a Vision Transformer over groups of so many of them (default %d)"
    _option(group, "--model-parallel", 1, text, metavar="N")
    group.add_argument(
        "--coordinator",
        metavar="HOST:PORT|auto",
        help="on JAX: train together with other processes that were started with the same "
        "arguments; an address of the first one's machine, or auto on a TPU pod or under SLURM",
    )
    group.add_argument("--processes", type=int, metavar="N", help="how many processes there are")
    group.add_argument("--process", type=int, metavar="N", help="which one this is, from 0")


def _add_network(parser):
    def option(group, name, text, **kwargs):
        _option(group, name, BUILT_WITH[name[2:].replace("-", "_")], text, **kwargs)

    group = parser.add_argument_group(
        "without a preset", "Presets bring their own values of these and of all that follow."
    )
    option(group, "--patch-size", "pixels, for a Vision Transformer (default %d)")
    depth = "drop rate of the last block, or of TPANet's last perceptron (default %d)"
    option(group, "--stochastic-depth", depth)

    group = parser.add_argument_group("taskprompter without a preset")
    variants = ["paper", "released"]
    text = "equations as written, or the released network (default %d)"
    option(group, "--variant", text, choices=variants)
    text = "along height and width (default %d, on a Swin Transformer 1 1)"
    option(group, "--channel-windows", text, type=whole_number(1), nargs=2)
    option(group, "--decode-dim", "channels of the decoded features (default %d)")

    group = parser.add_argument_group("tpanet without a preset")
    option(group, "--dim", "channels of a task's features (default %d)")
    option(group, "--groups", "of the task prior extractor's convolutions (default %d)")
    text = "average pooling of the attention's keys and values (default %d)"
    option(group, "--key-value-pooling", text)

    group = parser.add_argument_group("tpanet, baseline and mtan without a preset")
    option(group, "--head-width", "channels inside a task's head (default %d)")

    with_width = "cross_stitch, nddr_cnn, pad_net, invpt and mq_transformer"
    group = parser.add_argument_group(f"{with_width} without a preset")
    option(group, "--width", "channels of a task's features (default %d)")

    group = parser.add_argument_group("atrc without a preset")
    text = "context of this type from every task, or a published genotype (default %d)"
    option(group, "--genotype", text, choices=[*POOLED, *SHIPPED])

    parser.set_defaults(**dict.fromkeys(BUILT_WITH))  # None: not given


def _devices_named(text: str) -> int | str:
    if text != "all" and not (text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of devices, and not all")
    return text if text == "all" else int(text)


def _task_and_weight(text: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    try:
        return name, number(weight)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not TASK=WEIGHT, such as depth=5") from None
