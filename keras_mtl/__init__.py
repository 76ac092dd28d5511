"""Multi-task dense prediction in Keras 3: one image in, one map for each task out."""

import importlib
from importlib.metadata import version

from keras_mtl import (
    backbones,
    balancing,
    callbacks,
    data,
    distribution,
    evaluation,
    layers,
    losses,
    metrics,
    presets,
    resume,
    schedules,
    tasks,
    visualize,
)
from keras_mtl.evaluation.evaluation import evaluate
from keras_mtl.models import MultiTaskBaseline, MultiTaskModel, TaskPrompter, TPANet, load_model

__version__ = version("keras-mtl")


def __getattr__(name: str):
    if name in ("convert", "cost", "export", "tuning"):  # for some programs; `tuning` is an extra
        return importlib.import_module(f"keras_mtl.{name}")
    raise AttributeError(f"module 'keras_mtl' has no attribute {name!r}")


__all__ = [
    "MultiTaskBaseline",
    "MultiTaskModel",
    "TPANet",
    "TaskPrompter",
    "backbones",
    "balancing",
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
    "schedules",
    "tasks",
    "visualize",
]
