"""All that training is besides a network: its data, losses, schedules, and runs that survive."""

from keras_mtl.training.checkpoint import Checkpoint
from keras_mtl.training.class_weights import median_frequency_weights
from keras_mtl.training.compiler_memory import compiler_memory_given_back
from keras_mtl.training.divergence import StopOnDivergence
from keras_mtl.training.recipe_optimizer import recipe_optimizer

__all__ = [
    "Checkpoint",
    "StopOnDivergence",
    "compiler_memory_given_back",
    "median_frequency_weights",
    "recipe_optimizer",
]
