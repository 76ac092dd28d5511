"""The papers' ablations as data: which networks a table compares, and how large they are here.

A network is named once and may be a row of several tables: the full TaskPrompter is one of Tables
1, 6 and 7 and of Figures 5 and 7, and is trained once for all of them. `ablate.py` runs them.

What is the same in every row of a table: the rooms, the backbone and the weights it starts from,
the steps, the optimizer and its schedule, the loss weights, the heads' width. What differs is in
`NETWORKS`, in the words of the models' own arguments.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

TASKS = ("semseg", "depth", "normals", "edge")


@dataclass(frozen=True)
class Network:
    """One network to train.

    Args:
        model: name of a class of `keras_mtl`.
        backbone: key of a scale's `backbones`.
        arguments: of the class, on top of the scale's.
        tasks: names of the tasks it predicts.
    """

    model: str
    backbone: str
    arguments: Mapping = field(default_factory=dict)
    tasks: tuple[str, ...] = TASKS


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        label: as in the paper.
        says: what is on and off, in the paper's equations and in the models' arguments.
        networks: key of `NETWORKS`; of a row of single-task networks, the keys of all.
        x: where the row stands on the figure's axis, if it has one.
    """

    label: str
    says: str
    networks: tuple[str, ...]
    x: float | None = None


@dataclass(frozen=True)
class Table:
    """A table or figure of a paper.

    Args:
        title: of the table here.
        rows: rows of single-task networks come before those that are measured against them.
        axis: what the rows' `x` counts, if the paper shows a figure.
    """

    title: str
    rows: tuple[Row, ...]
    axis: str = ""


# === Networks ===

NETWORKS = {}
for _backbone in ("vit", "swin", "hrnet"):
    # TaskPrompter enlarges its features 4 times before the heads; so do the networks it is
    # measured against, or their boundaries would suffer from that alone.
    _how = {"upsampling": 4} if _backbone == "vit" else {}
    for _task in TASKS:
        NETWORKS[f"{_backbone}-single-{_task}"] = Network(
            "MultiTaskBaseline", _backbone, _how, (_task,)
        )
    NETWORKS[f"{_backbone}-baseline"] = Network("MultiTaskBaseline", _backbone, _how)


def _taskprompter(**arguments):
    return Network("TaskPrompter", "vit", arguments)


def _tpanet(backbone="swin", **arguments):
    return Network("TPANet", backbone, arguments)


NETWORKS |= {
    "taskprompter": _taskprompter(),
    "taskprompter-s": _taskprompter(
        channel_prompts=False, cross_task_reweighting=False, prompting_levels=1
    ),
    "taskprompter-s-c": _taskprompter(cross_task_reweighting=False, prompting_levels=1),
    "taskprompter-s-c-rw": _taskprompter(prompting_levels=1),
    "taskprompter-2-levels": _taskprompter(prompting_levels=2),
    "taskprompter-3-levels": _taskprompter(prompting_levels=3),
    "taskprompter-without-c": _taskprompter(channel_prompts=False),
    "taskprompter-without-rw": _taskprompter(cross_task_reweighting=False),
    "taskprompter-encoders": _taskprompter(task_specific_encoders=True),
    "taskprompter-1-head": _taskprompter(channel_windows=(1, 1)),
    "taskprompter-4-heads": _taskprompter(channel_windows=(2, 2)),
    "taskprompter-released": _taskprompter(variant="released"),
    "tpanet": _tpanet(),
    "tpanet-tpe": _tpanet(task_mixing=False, cross_attention=False),
    "tpanet-tpe-atm": _tpanet(cross_attention=False),
    "tpanet-1-scale": _tpanet(scales=1),
    "tpanet-2-scales": _tpanet(scales=2),
    "tpanet-3-scales": _tpanet(scales=3),
    "tpanet-dropout-0.1": _tpanet(dropout=0.1),
    "tpanet-dropout-0.2": _tpanet(dropout=0.2),
    "tpanet-dropout-0.3": _tpanet(dropout=0.3),
    "tpanet-hrnet": _tpanet("hrnet"),
}


# === Tables ===


def _single(backbone):
    return Row(
        "single-task",
        "a backbone and a head for each task by itself: `MultiTaskBaseline` with one task",
        tuple(f"{backbone}-single-{task}" for task in TASKS),
    )


def _row(label, says, network, x=None):
    return Row(label, says, (network,), x)


def _baseline(backbone):
    says = "a shared backbone and a head for each task: `MultiTaskBaseline`"
    return _row("baseline", says, f"{backbone}-baseline")


_ONE_LEVEL = "decoded after the last block only: `prompting_levels=1`"

TABLES = {
    "taskprompter-table1": Table(
        "TaskPrompter, Table 1: components",
        (
            _single("vit"),
            _baseline("vit"),
            _row(
                "+SPrompt",
                "spatial prompts (Eq. 1, 3) and their decoding (Eq. 6, 8), without channel prompts "
                f"and reweighting, {_ONE_LEVEL}, `channel_prompts=False`, "
                "`cross_task_reweighting=False`",
                "taskprompter-s",
            ),
            _row(
                "+SPrompt +CPrompt",
                "and channel prompts (Eq. 2, 4, 5, 7): `cross_task_reweighting=False`, "
                "`prompting_levels=1`",
                "taskprompter-s-c",
            ),
            _row(
                "+SPrompt +CPrompt +RW",
                "and cross-task reweighting (Sec. 3.3): `prompting_levels=1`",
                "taskprompter-s-c-rw",
            ),
            _row(
                "+SPrompt +CPrompt +RW +HP",
                "and hierarchical prompting at 4 levels (Sec. 3.3): the defaults",
                "taskprompter",
            ),
        ),
    ),
    "taskprompter-table6": Table(
        "TaskPrompter, Table 6: task-specific encoders",
        (
            _single("vit"),
            _row("TaskPrompter", "all prompts in one encoder", "taskprompter"),
            _row(
                "TaskPrompter w/ TE",
                "an encoder for each task with one prompt (A.8): `task_specific_encoders=True`",
                "taskprompter-encoders",
            ),
        ),
    ),
    "taskprompter-table7": Table(
        "TaskPrompter, Table 7: without one component",
        (
            _single("vit"),
            _row("TaskPrompter", "everything on", "taskprompter"),
            _row(
                "- CPrompt",
                "without Eq. 2, 4, 5, 7: `channel_prompts=False`",
                "taskprompter-without-c",
            ),
            _row(
                "- RW",
                "without reweighting: `cross_task_reweighting=False`",
                "taskprompter-without-rw",
            ),
        ),
    ),
    "taskprompter-fig5": Table(
        "TaskPrompter, Fig. 5: heads of the channel attention",
        (
            _single("vit"),
            _row("1 head", "`channel_windows=(1, 1)`", "taskprompter-1-head", 1),
            _row("4 heads", "`channel_windows=(2, 2)`", "taskprompter-4-heads", 4),
            _row("16 heads", "`channel_windows=(4, 4)`", "taskprompter", 16),
        ),
        axis="channel heads",
    ),
    "taskprompter-fig7": Table(
        "TaskPrompter, Fig. 7: levels of hierarchical prompting",
        (
            _single("vit"),
            _row("1 level", "`prompting_levels=1`", "taskprompter-s-c-rw", 1),
            _row("2 levels", "`prompting_levels=2`", "taskprompter-2-levels", 2),
            _row("3 levels", "`prompting_levels=3`", "taskprompter-3-levels", 3),
            _row("4 levels", "`prompting_levels=4`", "taskprompter", 4),
        ),
        axis="levels",
    ),
    "taskprompter-variants": Table(
        "TaskPrompter: the equations and the released network",
        (
            _single("vit"),
            _row("paper", '`variant="paper"`', "taskprompter"),
            _row("released", '`variant="released"`', "taskprompter-released"),
        ),
    ),
    "tpanet-table3a": Table(
        "TPANet, Table 3a: modules",
        (
            _single("swin"),
            _baseline("swin"),
            _row(
                "w/ TPE",
                "the task prior extractor (Eq. 1-3): `task_mixing=False`, `cross_attention=False`",
                "tpanet-tpe",
            ),
            _row(
                "w/ TPE+ATM",
                "and adaptive task mixing (Eq. 4-7): `cross_attention=False`",
                "tpanet-tpe-atm",
            ),
            _row("w/ TPE+ATM+CA", "and cross attention (Eq. 8-12): the defaults", "tpanet"),
        ),
    ),
    "tpanet-table3b": Table(
        "TPANet, Table 3b: scales",
        (
            _single("swin"),
            _row("1/32", "`scales=1`", "tpanet-1-scale", 1),
            _row("1/16, 1/32", "`scales=2`", "tpanet-2-scales", 2),
            _row("1/8, 1/16, 1/32", "`scales=3`", "tpanet-3-scales", 3),
            _row("1/4, 1/8, 1/16, 1/32", "`scales=4`", "tpanet", 4),
        ),
        axis="scales",
    ),
    "tpanet-table4": Table(
        "TPANet, Table 4: dropout",
        (
            _single("swin"),
            _row("0", "`dropout=0.0` (Eq. 12)", "tpanet", 0.0),
            _row("0.1", "`dropout=0.1`", "tpanet-dropout-0.1", 0.1),
            _row("0.2", "`dropout=0.2`", "tpanet-dropout-0.2", 0.2),
            _row("0.3", "`dropout=0.3`", "tpanet-dropout-0.3", 0.3),
        ),
        axis="drop rate",
    ),
    "backbones": Table(
        "Backbones: each model against single-task networks on its own backbone",
        tuple(
            Row(f"{name}: {row.label}", row.says, row.networks)
            for name, key, model in (
                ("ViT", "vit", _row("TaskPrompter", "the defaults", "taskprompter")),
                ("Swin", "swin", _row("TPANet", "the defaults", "tpanet")),
                ("HRNet", "hrnet", _row("TPANet", "the defaults", "tpanet-hrnet")),
            )
            for row in (
                _single(key),
                _baseline(key),
                model,
            )
        ),
    ),
}

# Counted, not trained, and on the published configuration at every scale.
COST_TABLE = "taskprompter-table8"
COST_PRESET = "taskprompter_vit_large_pascal"
COST_ORDER = ("semseg", "human_parts", "sal", "normals", "edge")


# === Scales ===


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Args:
        image_size: `(height, width)` in pixels.
        rooms: number of rooms by use: "pretraining", "training", "validation", "test".
        pretraining_steps: of the backbone.
        steps: of every network.
        batch_size: images in a step.
        learning_rate: at the start of the polynomial decay.
        backbones: by name, function of `keras_mtl.backbones`, size, and further arguments.
        arguments: of the models, by backbone and class, and of the head that a backbone is
            pretrained with, if not the baseline's. On Swin D is such that TPANet's decoder is
            about as large as the baseline's heads, as in the paper; no head has fewer channels
            than there are classes, which would hold segmentation back.
        odsf: whether boundaries are scored by odsF, or by F_within_1px, which is quick.
        threads: of a run on a processor, whatever the machine has: another number adds up in
            another order, rounds otherwise, and training enlarges that to another result. None:
            the cores divided among the runs.
        jobs: runs side by side, if `--jobs` does not say.
    """

    image_size: tuple[int, int]
    rooms: Mapping[str, int]
    pretraining_steps: int
    steps: int
    batch_size: int
    learning_rate: float
    backbones: Mapping[str, tuple[str, str, Mapping]]
    arguments: Mapping[str, Mapping[str, Mapping]]
    odsf: bool
    threads: int | None
    jobs: int


SCALES = {
    # Two CPU cores: two to five minutes of one of them for a run.
    "small": Scale(
        image_size=(64, 64),
        rooms={"pretraining": 3000, "training": 500, "validation": 150, "test": 300},
        pretraining_steps=3000,
        steps=1500,
        batch_size=8,
        learning_rate=1e-3,
        backbones={
            "vit": ("vision_transformer", "nano", {"patch_size": 8}),
            "swin": (
                "swin_transformer",
                "tiny",
                {
                    "embed_dim": 32,
                    "depths": (2, 2, 2, 2),
                    "num_heads": (1, 2, 4, 8),
                    "window_size": 4,
                },
            ),
            "hrnet": ("hrnet", "18_small", {}),
        },
        arguments={
            "vit": {
                "TaskPrompter": {
                    "channel_windows": (4, 4),
                    "decode_dim": 64,
                    "stochastic_depth": 0.0,
                },
                "MultiTaskBaseline": {"head_width": 64},
            },
            "swin": {
                "TPANet": {"dim": 120, "groups": 8, "head_width": 64, "stochastic_depth": 0.0},
                "MultiTaskBaseline": {"head_width": 64},
                "pretraining": {"head_width": 32},
            },
            "hrnet": {
                "TPANet": {"dim": 108, "groups": 2, "stochastic_depth": 0.0},
                "MultiTaskBaseline": {},
            },
        },
        odsf=False,
        threads=1,
        jobs=2,
    ),
    # One GPU. It has not been run as a whole: no table of it is in docs/results.md.
    "full": Scale(
        image_size=(128, 128),
        rooms={"pretraining": 20_000, "training": 800, "validation": 300, "test": 650},
        pretraining_steps=20_000,
        steps=10_000,
        batch_size=16,
        learning_rate=3e-4,
        backbones={
            "vit": ("vision_transformer", "small", {"patch_size": 8}),
            "swin": ("swin_transformer", "tiny", {"window_size": 4}),
            "hrnet": ("hrnet", "18_small", {}),
        },
        arguments={
            "vit": {
                "TaskPrompter": {"channel_windows": (4, 4), "decode_dim": 128},
                "MultiTaskBaseline": {"head_width": 128},
            },
            "swin": {
                "TPANet": {"dim": 256, "groups": 8, "head_width": 64},
                "MultiTaskBaseline": {"head_width": 96},
            },
            "hrnet": {"TPANet": {"dim": 108, "groups": 2}, "MultiTaskBaseline": {}},
        },
        odsf=True,
        threads=None,
        jobs=1,
    ),
    # Seconds: shows that everything runs, and nothing else.
    "tiny": Scale(
        image_size=(32, 32),
        rooms={"pretraining": 4, "training": 4, "validation": 2, "test": 3},
        pretraining_steps=2,
        steps=2,
        batch_size=2,
        learning_rate=1e-3,
        backbones={
            "vit": (
                "vision_transformer",
                "nano",
                {"patch_size": 8, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 16},
            ),
            "swin": (
                "swin_transformer",
                "tiny",
                {
                    "embed_dim": 8,
                    "depths": (1, 1, 1, 1),
                    "num_heads": (1, 1, 2, 2),
                    "window_size": 2,
                },
            ),
            "hrnet": (
                "hrnet",
                "18_small",
                {"width": 4, "bottlenecks": 1, "modules": (1, 1, 1), "blocks": 1},
            ),
        },
        arguments={
            "vit": {
                "TaskPrompter": {
                    "channel_windows": (4, 4),
                    "decode_dim": 8,
                    "stochastic_depth": 0.0,
                },
                "MultiTaskBaseline": {"head_width": 8},
            },
            **{
                name: {
                    "TPANet": {"dim": 8, "head_width": 8, "stochastic_depth": 0.0},
                    "MultiTaskBaseline": {"head_width": 8},
                }
                for name in ("swin", "hrnet")
            },
        },
        odsf=False,
        threads=None,
        jobs=1,
    ),
}
