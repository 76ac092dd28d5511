"""Weights of the tasks' losses that change during training: what `compile` takes as `loss_weights`.

model.compile(loss_weights=keras_mtl.balancing.UncertaintyWeighting())
"""

from keras_mtl.training.balancing.dynamic_weight_average import DynamicWeightAverage
from keras_mtl.training.balancing.loss_weighting import LossWeighting
from keras_mtl.training.balancing.uncertainty_weighting import UncertaintyWeighting

LossBalancing = LossWeighting  # as it was called

__all__ = ["DynamicWeightAverage", "LossBalancing", "LossWeighting", "UncertaintyWeighting"]
