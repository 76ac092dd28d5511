"""What balancing does after every epoch of `fit`: tells rules the losses, and logs the rest."""

from itertools import combinations

import keras
from keras import ops

from keras_mtl.training.balancing import BalancingRule, GradientWeighting, LossWeighting
from keras_mtl.training.objective import Objective, log_name


def balancing_callbacks(rule: BalancingRule | None, objective: Objective | None) -> list:
    """The callbacks that a model's rule needs in `fit`, before all others.

    Args:
        rule: of the model, or `None`.
        objective: what its losses are measured by.
    """
    if isinstance(rule, GradientWeighting):
        return [LogGradients(rule)]
    if isinstance(rule, LossWeighting) and objective is not None:
        return [BalanceEachEpoch(rule, objective)]
    return []


class BalanceEachEpoch(keras.callbacks.Callback):
    """Tells a model's `LossWeighting` what the tasks' losses were, and logs what they weigh.

    For tasks `depth` and `edge` the logs have `depth_weight` and `edge_weight`, if the rule defines
    `task_factors`.

    Args:
        weighting: `LossWeighting`.
        objective: what the losses are measured by.
    """

    def __init__(self, weighting: LossWeighting, objective: Objective):
        super().__init__()
        self.weighting, self.objective = weighting, objective

    def on_epoch_end(self, epoch, logs=None):
        self.weighting.on_epoch_end(self.objective.losses_of_epoch(logs))
        if type(self.weighting).task_factors is not LossWeighting.task_factors:
            for name, weight in self.weighting.weights_by_task().items():
                logs[log_name(name, "weight")] = weight


class LogGradients(keras.callbacks.Callback):
    """Logs what the tasks' gradients weighed, and the cosines between them, in the last step.

    For tasks `depth` and `edge` the logs have `depth_weight`, `edge_weight` and
    `depth_cosine_edge`; `keras_mtl.visualize.training_curves` and TensorBoard show them.

    Args:
        rule: `GradientWeighting`.

    Example:

    >>> rule = keras_mtl.balancing.MGDA()
    >>> rule.prepare({"depth": 1.0, "edge": 1.0})
    >>> logs = {}
    >>> LogGradients(rule).on_epoch_end(0, logs)
    >>> list(logs)
    ['depth_weight', 'edge_weight', 'depth_cosine_edge']
    """

    def __init__(self, rule: GradientWeighting):
        super().__init__()
        self.rule = rule

    def on_epoch_end(self, epoch, logs=None):
        cosines = ops.convert_to_numpy(self.rule.cosines)
        for name, weight in self.rule.weights_by_task().items():
            logs[log_name(name, "weight")] = weight
        for (t, name), (u, other) in combinations(enumerate(self.rule.fixed), 2):
            logs[log_name(name, f"cosine_{other}")] = float(cosines[t, u])
