"""Multi-task dense prediction in Keras 3: one image in, one map for each task out."""

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
