"""Which rule balances the tasks, of what `compile` was given."""

from typing import Any

from keras_mtl.training.balancing import BalancingRule, GradientWeighting, LossWeighting
from keras_mtl.training.shared_and_own import SharedAndOwn


def rule_of(
    loss: Any, loss_weights: Any, balancing: Any, model: Any
) -> tuple[Any, BalancingRule | None]:
    """The loss weights and the balancing rule of `compile`, whichever way the rule was given.

    Args:
        loss, loss_weights, balancing: what `compile` was given.
        model: the `TaskTrainer` to compile.

    Raises:
        ValueError: if both of the latter are rules, or `balancing` is none, or the rule has nothing
            to weigh in this model.
    """
    weighs_losses = isinstance(loss_weights, LossWeighting)
    if weighs_losses and balancing is not None:
        raise ValueError(
            f"loss_weights is a {type(loss_weights).__name__}, and balancing a "
            f"{type(balancing).__name__}; give one rule, as balancing."
        )
    rule = loss_weights if weighs_losses else balancing
    if rule is None:
        return loss_weights, None
    if not isinstance(rule, LossWeighting | GradientWeighting):
        raise ValueError(
            f"balancing is {rule!r}; expected a rule of keras_mtl.balancing, such as "
            "keras_mtl.balancing.PCGrad()."
        )
    kind = type(rule).__name__
    if loss is None:
        raise ValueError(
            f"loss is None, and balancing a {kind}, which has nothing to weigh then; expected "
            "loss='auto', or a dict with a loss for each task."
        )
    if isinstance(rule, GradientWeighting):
        _check_gradients(rule, model)
        return loss_weights, rule
    if rule.measures_again and model.updates_a_step > 1:
        raise ValueError(
            f"{type(model).__name__} is trained task by task, and {kind} compares the losses "
            "before and after a step; leave balancing out."
        )
    return loss_weights, rule


def _check_gradients(rule: GradientWeighting, model: Any) -> None:
    """Refuses a model whose tasks' gradients cannot be compared."""
    if len(model.supervised_tasks) == 1:
        raise ValueError(
            f"There is one task, {model.tasks[0].name}, and nothing to balance it with; leave "
            "balancing out."
        )
    if model.updates_a_step > 1:
        raise ValueError(
            f"{type(model).__name__} is trained task by task, and {type(rule).__name__} compares "
            "the gradients of one step; leave balancing out."
        )
    shared = SharedAndOwn(model).shared  # refused where nothing is shared
    rule.track(len(model.supervised_tasks), shared)
