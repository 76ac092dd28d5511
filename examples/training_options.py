"""What a training script is told, and the network that it means."""

import argparse
import contextlib
import sys

import keras_mtl

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
}


def build(options, tasks):
    if options.preset:
        backbone = _pretrained(options)
        size = tuple(options.image_size) if backbone is None else None  # which a backbone settles
        return keras_mtl.MultiTaskModel.from_preset(
            options.preset, tasks=tasks, image_size=size, backbone=backbone
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
OF_CLASS = {"TaskPrompter": "taskprompter", "TPANet": "tpanet", "MultiTaskBaseline": "baseline"}


def arguments(tasks, dataset: str, description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )

    def option(name, default, text, group=parser, **kwargs):
        kwargs.setdefault("type", whole_number(1) if type(default) is int else type(default))
        shown = default if not isinstance(default, (list, tuple)) else " ".join(map(str, default))
        group.add_argument(name, default=default, help=text.replace("%d", str(shown)), **kwargs)

    backbones, presets = keras_mtl.presets.BACKBONES, keras_mtl.presets.PRESETS
    text = "architecture (default taskprompter, or the preset's)"
    parser.add_argument("--model", choices=list(MODELS), help=text)
    names = [task.name for task in tasks]
    parser.add_argument(
        "--tasks",
        nargs="+",
        choices=names,
        metavar="NAME",
        help=f"train on these only, of {', '.join(names)} (default: all)",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="prepared dataset, to run the paper's recipe on; default: generated rooms",
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
    parser.add_argument(
        "--pretrained",
        metavar="NAME_OR_FOLDER",
        help="start from these weights of the backbone: a keras-hub preset such as "
        "vit_large_patch16_384_imagenet, or a folder (keras_mtl.backbones.from_preset)",
    )
    # The other defaults depend on these.
    given = [argument for argument in sys.argv[1:] if argument not in ("-h", "--help")]
    known = parser.parse_known_args(given)[0]
    model, preset = known.model or "taskprompter", known.preset
    if preset:
        model = OF_CLASS[presets[preset]["model"]]
        if known.model not in (None, model):
            parser.error(
                f"--model {known.model} is not that of --preset {preset}; pass --model {model} or "
                "leave it out."
            )
    defaults = {"batch_size": 4, "image_size": (48, 64)}
    if known.data:
        defaults |= {"steps": 40_000, "epochs": 20, "learning_rate": 2e-5, **ON_DATA[model]}
        papers = defaults["preset"] + {"nyud": "_nyud", "pascal_context": "_pascal"}[dataset]
        defaults["image_size"] = presets[papers]["image_size"]
        if not known.backbone:
            preset = preset or papers
    else:
        defaults |= {"epochs": 5, "learning_rate": 1e-3, **ON_ROOMS[model]}
    if preset:
        defaults["image_size"] = presets[preset]["image_size"]
    backbone = None if preset else known.backbone or defaults.get("backbone")
    parser.set_defaults(model=model, preset=preset, backbone=backbone)
    built = f"--preset {preset}" if preset else f"--backbone {backbone}"
    parser.epilog = f"Defaults are those of --model {model} {built}."
    if preset:
        parser.epilog += " It brings its own values of the options without a preset."
    output = "_".join([known.preset or f"{model}_{dataset}", *(known.tasks or ())])

    option("--scenes", 5000, "rooms to train on (default %d)")
    option("--held-out", 100, "rooms to test on (default %d)")
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
        help="instead of the published weight (for depth on rooms: of 5); repeatable",
    )
    option("--seed", 0, "of weights and order (default %d)", type=whole_number(0))
    option("--output", f"runs/{output}", "folder for results (default %d)")
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

    def built_with(name, text, group, **kwargs):
        option(name, BUILT_WITH[name[2:].replace("-", "_")], text, group, **kwargs)

    group = parser.add_argument_group(
        "without a preset", "Presets bring their own values of these and of all that follow."
    )
    built_with("--patch-size", "pixels, for a Vision Transformer (default %d)", group)
    depth = "drop rate of the last block, or of TPANet's last perceptron (default %d)"
    built_with("--stochastic-depth", depth, group)

    group = parser.add_argument_group("taskprompter without a preset")
    variants = ["paper", "released"]
    text = "equations as written, or the released network (default %d)"
    built_with("--variant", text, group, choices=variants)
    text = "along height and width (default %d)"
    built_with("--channel-windows", text, group, type=whole_number(1), nargs=2)
    built_with("--decode-dim", "channels of the decoded features (default %d)", group)

    group = parser.add_argument_group("tpanet without a preset")
    built_with("--dim", "channels of a task's features (default %d)", group)
    text = "of the task prior extractor's convolutions (default %d)"
    built_with("--groups", text, group)
    text = "average pooling of the attention's keys and values (default %d)"
    built_with("--key-value-pooling", text, group)

    group = parser.add_argument_group("tpanet and baseline without a preset")
    built_with("--head-width", "channels inside a task's head (default %d)", group)

    parser.set_defaults(**dict.fromkeys(BUILT_WITH))  # None: not given
    options = parser.parse_args()
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
        vars(options).update(BUILT_WITH | given)
    return options


def whole_number(least: int):
    """A type of arguments: whole numbers from `least` on."""

    def parse(text: str) -> int:
        with contextlib.suppress(ValueError):
            if int(text) >= least:
                return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of {least} or more")

    return parse


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
