"""The networks of the papers' ablations, in the words of the models' own arguments.

A network is named once and may be a row of several tables: the full TaskPrompter is one of Tables
1, 6 and 7 and of Figures 5 and 7, and is trained once for all of them.

What is the same in every row of a table: the rooms, the backbone and the weights it starts from,
the steps, the optimizer and its schedule, the loss weights, the heads' width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from keras_mtl import balancing

TASKS = ("semseg", "depth", "normals", "edge")


@dataclass(frozen=True)
class Network:
    """One network to train.

    Args:
        model: name of a class of `keras_mtl`.
        backbone: key of a scale's `backbones`.
        arguments: of the class, on top of the scale's.
        tasks: names of the tasks it predicts.
        balancing: name of a rule of `keras_mtl.balancing`, or "".
        equal_weights: whether every task's loss counts 1, instead of what it counts in the training
            scripts.
    """

    model: str
    backbone: str
    arguments: Mapping = field(default_factory=dict)
    tasks: tuple[str, ...] = TASKS
    balancing: str = ""
    equal_weights: bool = False


NETWORKS = {}
for _backbone in ("vit", "swin", "hrnet", "se_resnet"):
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
    # The systems that both papers compare with.
    "cross-stitch": Network("CrossStitch", "hrnet"),
    "nddr-cnn": Network("NDDRCNN", "hrnet"),
    "mtan": Network("MTAN", "hrnet"),
    "pad-net": Network("PADNet", "hrnet", {"light": True, "gate": "target"}),
    "mti-net": Network("MTINet", "hrnet"),
    "pap": Network("PAP", "hrnet"),
    "psd": Network("PSD", "hrnet"),
    "atrc": Network("ATRC", "hrnet", {"genotype": "nyud_hrnet18"}),
    "mq-transformer": Network("MQTransformer", "hrnet"),
    "mtformer": Network("MTFormer", "hrnet"),
    "invpt": Network("InvPT", "vit"),
    "astmt": Network("ASTMT", "se_resnet"),
}

# Rules weigh losses that count the same, as in their papers.
_EQUAL = replace(NETWORKS["vit-baseline"], equal_weights=True)
NETWORKS["balanced-equal"] = _EQUAL
for _rule in balancing.RULES:
    _name = _rule.__name__
    NETWORKS[f"balanced-{_name}"] = replace(_EQUAL, balancing=_name)
