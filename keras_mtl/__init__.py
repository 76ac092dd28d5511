"""Multi-task dense prediction in Keras 3: one image in, one map for each task out."""

import importlib
from importlib.metadata import version

from keras_mtl import addresses
from keras_mtl.commands import quiet

addresses.lead()
quiet.start()

from keras_mtl import (  # noqa: E402  (some of these are known by other addresses, too)
    backbones,
    boxes3d,
    callbacks,
    data,
    distribution,
    evaluation,
    layers,
    losses,
    metrics,
    rooms,
    tasks,
    training,
    visualize,
)
from keras_mtl.evaluation.evaluation import evaluate  # noqa: E402
from keras_mtl.models import (  # noqa: E402
    ASTMT,
    ATRC,
    MTAN,
    NDDRCNN,
    PAP,
    PSD,
    ATRCSearch,
    CrossStitch,
    InvPT,
    MQTransformer,
    MTFormer,
    MTINet,
    MultiTaskBaseline,
    MultiTaskModel,
    PADNet,
    TaskPrompter,
    TPANet,
    load_model,
)

__version__ = version("keras-mtl")


def __getattr__(name: str):
    # For some programs only; `tuning` is an extra.
    if name in ("convert", "cost", "export", "tuning") or f"keras_mtl.{name}" in addresses.PLACES:
        return importlib.import_module(f"keras_mtl.{name}")
    raise AttributeError(f"module 'keras_mtl' has no attribute {name!r}")


__all__ = [
    "ATRC",
    "ASTMT",
    "ATRCSearch",
    "CrossStitch",
    "InvPT",
    "MQTransformer",
    "MTAN",
    "MTFormer",
    "MTINet",
    "MultiTaskBaseline",
    "MultiTaskModel",
    "NDDRCNN",
    "PADNet",
    "PAP",
    "PSD",
    "TPANet",
    "TaskPrompter",
    "backbones",
    "balancing",
    "boxes3d",
    "callbacks",
    "data",
    "distribution",
    "evaluate",
    "evaluation",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "presets",
    "resume",
    "rooms",
    "schedules",
    "tasks",
    "training",
    "visualize",
]
