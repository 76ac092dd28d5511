"""The papers' tables and figures as data: which networks each of them compares."""

from dataclasses import dataclass

from keras_mtl.balancing import RULES

from benchmarks.ablations.networks import TASKS


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
        against_cost: whether the figure shows Delta_m against what it costs.
    """

    title: str
    rows: tuple[Row, ...]
    axis: str = ""
    against_cost: bool = False


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


def _table(title, backbone, *rows, axis=""):
    """A table whose rows are measured against the single-task networks on one backbone."""
    return Table(title, (_single(backbone), *rows), axis)


def _on(name, backbone, *rows):
    """The rows of one backbone in a table of several, from its single-task networks on."""
    return [
        Row(f"{name}: {row.label}", row.says, row.networks)
        for row in (_single(backbone), _baseline(backbone), *rows)
    ]


def _sweep(argument, *rows):
    """Rows that differ in one argument: label, value, network, and place on the axis."""
    return [_row(label, f"`{argument}={value}`", *rest) for label, value, *rest in rows]


SYSTEMS, BALANCING = "systems", "balancing"
_ONE_LEVEL = "decoded after the last block only: `prompting_levels=1`"

TABLES = {
    "taskprompter-table1": _table(
        "TaskPrompter, Table 1: components",
        "vit",
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
    "taskprompter-table6": _table(
        "TaskPrompter, Table 6: task-specific encoders",
        "vit",
        _row("TaskPrompter", "all prompts in one encoder", "taskprompter"),
        _row(
            "TaskPrompter w/ TE",
            "an encoder for each task with one prompt (A.8): `task_specific_encoders=True`",
            "taskprompter-encoders",
        ),
    ),
    "taskprompter-table7": _table(
        "TaskPrompter, Table 7: without one component",
        "vit",
        _row("TaskPrompter", "everything on", "taskprompter"),
        _row(
            "- CPrompt", "without Eq. 2, 4, 5, 7: `channel_prompts=False`", "taskprompter-without-c"
        ),
        _row(
            "- RW", "without reweighting: `cross_task_reweighting=False`", "taskprompter-without-rw"
        ),
    ),
    "taskprompter-fig5": _table(
        "TaskPrompter, Fig. 5: heads of the channel attention",
        "vit",
        *_sweep(
            "channel_windows",
            ("1 head", (1, 1), "taskprompter-1-head", 1),
            ("4 heads", (2, 2), "taskprompter-4-heads", 4),
            ("16 heads", (4, 4), "taskprompter", 16),
        ),
        axis="channel heads",
    ),
    "taskprompter-fig7": _table(
        "TaskPrompter, Fig. 7: levels of hierarchical prompting",
        "vit",
        *_sweep(
            "prompting_levels",
            ("1 level", 1, "taskprompter-s-c-rw", 1),
            ("2 levels", 2, "taskprompter-2-levels", 2),
            ("3 levels", 3, "taskprompter-3-levels", 3),
            ("4 levels", 4, "taskprompter", 4),
        ),
        axis="levels",
    ),
    "taskprompter-variants": _table(
        "TaskPrompter: the equations and the released network",
        "vit",
        _row("paper", '`variant="paper"`', "taskprompter"),
        _row("released", '`variant="released"`', "taskprompter-released"),
    ),
    "tpanet-table3a": _table(
        "TPANet, Table 3a: modules",
        "swin",
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
    "tpanet-table3b": _table(
        "TPANet, Table 3b: scales",
        "swin",
        *_sweep(
            "scales",
            ("1/32", 1, "tpanet-1-scale", 1),
            ("1/16, 1/32", 2, "tpanet-2-scales", 2),
            ("1/8, 1/16, 1/32", 3, "tpanet-3-scales", 3),
            ("1/4, 1/8, 1/16, 1/32", 4, "tpanet", 4),
        ),
        axis="scales",
    ),
    "tpanet-table4": _table(
        "TPANet, Table 4: dropout",
        "swin",
        _row("0", "`dropout=0.0` (Eq. 12)", "tpanet", 0.0),
        *_sweep(
            "dropout",
            *((f"{rate}", rate, f"tpanet-dropout-{rate}", rate) for rate in (0.1, 0.2, 0.3)),
        ),
        axis="drop rate",
    ),
    "backbones": Table(
        "Backbones: each model against single-task networks on its own backbone",
        (
            *_on("ViT", "vit", _row("TaskPrompter", "the defaults", "taskprompter")),
            *_on("Swin", "swin", _row("TPANet", "the defaults", "tpanet")),
            *_on("HRNet", "hrnet", _row("TPANet", "the defaults", "tpanet-hrnet")),
        ),
    ),
    SYSTEMS: Table(
        "The systems that both papers compare, each against single-task networks on its own "
        "backbone",
        (
            *_on(
                "HRNet",
                "hrnet",
                _row("Cross-Stitch", "`CrossStitch`, behind one backbone", "cross-stitch"),
                _row("NDDR-CNN", "`NDDRCNN`, behind one backbone", "nddr-cnn"),
                _row("MTAN", "`MTAN`", "mtan"),
                _row("PAD-Net", "`PADNet`, the form of TPANet's Table 1: `light=True`", "pad-net"),
                _row("MTI-Net", "`MTINet`, with initial predictions at four scales", "mti-net"),
                _row("PAP", "`PAP`", "pap"),
                _row("PSD", "`PSD`", "psd"),
                _row("ATRC", "`ATRC`, with the genotype published for NYUD-v2", "atrc"),
                _row("MQTransformer", "`MQTransformer`", "mq-transformer"),
                _row("MTFormer", "`MTFormer`, with the loss weights of all others", "mtformer"),
                _row("TPANet", "`TPANet`", "tpanet-hrnet"),
            ),
            *_on(
                "ViT",
                "vit",
                _row("InvPT", "`InvPT`", "invpt"),
                _row("TaskPrompter", "`TaskPrompter`, its equations as written", "taskprompter"),
            ),
            *_on(
                "SE-ResNet",
                "se_resnet",
                _row(
                    "ASTMT",
                    "`ASTMT`, which has an encoder of its own kind: it runs once for each task, "
                    "and a step updates the weights once for each",
                    "astmt",
                ),
            ),
        ),
        against_cost=True,
    ),
    BALANCING: _table(
        "Rules that balance the tasks",
        "vit",
        _row("fixed weights", "those of the training scripts, tuned", "vit-baseline"),
        _row("equal weights", "every task's loss counts 1", "balanced-equal"),
        *(
            _row(
                rule.__name__,
                f"`balancing=keras_mtl.balancing.{rule.__name__}()` on equal weights",
                f"balanced-{rule.__name__}",
            )
            for rule in RULES
        ),
    ),
}
