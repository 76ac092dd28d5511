"""What training minimizes: the losses of all outputs, weighed, and their names in the logs."""

import functools
import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_mtl import distribution
from keras_mtl.arguments import did_you_mean
from keras_mtl.tasks import Task
from keras_mtl.training.balancing import BalancingRule, LossWeighting

# === Names in the logs ===


def log_name(output: str, quantity: str = "loss") -> str:
    """What the logs of `fit` call the loss, or another quantity, of an output.

    Args:
        output: name of a task, or of an auxiliary output such as `"depth/initial"`.
        quantity: `"loss"`, or a metric's name.

    Example:

    >>> log_name("depth"), log_name("depth/initial"), log_name("depth", "RMSE")
    ('depth_loss', 'depth/initial_loss', 'depth_RMSE')
    """
    return f"{output}_{quantity}"


def output_of_loss(name: str) -> str | None:
    """The output whose loss is logged by a name; `""` for the total, `None` for what is no loss.

    Args:
        name: key of the logs, of training or validation.

    Example:

    >>> output_of_loss("val_depth/initial_loss"), output_of_loss("loss"), output_of_loss("lr")
    ('depth/initial', '', None)
    """
    name = name.removeprefix("val_")
    if name == "loss":
        return ""
    return name.removesuffix("_loss") if name.endswith("_loss") else None


def named_by_task(logs: Mapping[str, Any], tasks: Sequence[Task]) -> dict[str, Any]:
    """Logs in which also the metrics of an only task are called after it, which Keras leaves out.

    Args:
        logs: what Keras made of the metrics.
        tasks: the model's.

    Example:

    >>> named_by_task({"loss": 3.0, "RMSE": 1.0}, keras_mtl.tasks.nyud("depth"))
    {'loss': 3.0, 'depth_RMSE': 1.0}
    """
    if len(tasks) > 1:
        return dict(logs)
    only = tasks[0].name
    named = ("loss", f"{only}_", f"{only}/")  # the total, and what its name stands before already
    return {
        name if name == named[0] or name.startswith(named[1:]) else log_name(only, name): value
        for name, value in logs.items()
    }


# === The loss ===


class AuxiliaryOutput(NamedTuple):
    """How an output is measured that exists in training only.

    Args:
        task: str, name of the task whose labels it is measured against.
        weight: float. It multiplies the task's weight, or stands alone.
        loss: Keras loss, or `None`: the task's.
        alone: bool. Whether the task's weight, or what balances the tasks, has no say.
    """

    task: str
    weight: float = 1.0
    loss: keras.losses.Loss | None = None
    alone: bool = False


class Objective:
    """The losses of a model's outputs and how they are weighed; what `compile` makes.

    An auxiliary output is measured against its task's labels, by its task's loss or by one of its
    own, which is added to its task's, or alone to the total.

    Args:
        tasks: list of the model's tasks.
        loss: dict by task name of Keras losses, their names or functions of labels and output;
            `None` for a task without one; or `"auto"`, the tasks' own.
        loss_weights: dict by task name of numbers, a `LossWeighting`, `None` for ones, or `"auto"`,
            the tasks' own.
        auxiliary: dict of `AuxiliaryOutput` by name.
        auxiliary_tasks: list of tasks that have auxiliary outputs only; in evaluation, where there
            are none, their losses are 0.
        balancing: the rule on top of the weights, where these are none; with one there must be a
            loss for each task.

    Attributes:
        loss, loss_weights: what `compile` was given, for a saved model.
        weighting: the `LossWeighting`, or `None`.
        means: list of `keras.metrics.Mean`, the losses in the logs.

    Raises:
        ValueError: if the losses or the weights are not one for each task.

    Example:

    >>> objective = Objective(keras_mtl.tasks.nyud("depth"), loss={"depth": "mae"})
    >>> terms = objective.terms({"depth": np.ones((1, 2))}, {"depth": np.zeros((1, 2))})
    >>> {name: float(value) for name, value in terms.items()}
    {'depth': 1.0}
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        loss: Mapping | str = "auto",
        loss_weights: Mapping | LossWeighting | str | None = "auto",
        auxiliary: Mapping[str, AuxiliaryOutput] | None = None,
        auxiliary_tasks: Sequence[Task] = (),
        balancing: BalancingRule | None = None,
    ):
        predicted = [task.name for task in tasks]
        tasks = [*tasks, *auxiliary_tasks]
        own_weights = {task.name: task.loss_weight for task in tasks}
        self.loss = {task.name: task.loss() for task in tasks} if loss == "auto" else loss
        auto = isinstance(loss_weights, str) and loss_weights == "auto"
        self.loss_weights = own_weights if auto else loss_weights
        names = ", ".join(own_weights)
        if not _one_for_each(self.loss, own_weights):
            raise ValueError(
                f"loss is {_said(self.loss)}; expected 'auto', or a dict with a loss for each of "
                f"{names}{_meant(self.loss, own_weights)}."
            )
        rule = loss_weights if isinstance(loss_weights, LossWeighting) else balancing
        self.weighting = rule if isinstance(rule, LossWeighting) else None
        weights = own_weights if rule is loss_weights else self.loss_weights
        if weights is None:
            weights = dict.fromkeys(own_weights, 1.0)
        elif not _one_for_each(weights, own_weights):
            raise ValueError(
                f"loss_weights is {_said(weights)}; expected 'auto', a dict with a number for each "
                f"of {names}, or a keras_mtl.balancing.LossWeighting"
                f"{_meant(weights, own_weights)}."
            )
        for name, weight in weights.items():
            if not (isinstance(weight, numbers.Real) and 0 <= weight < math.inf):
                raise ValueError(
                    f"The loss weight of {name} is {weight!r}; expected a number from 0 on."
                )
        self._losses = {name: _loss_of(name, self.loss[name]) for name in own_weights}
        self._losses = {name: found for name, found in self._losses.items() if found is not None}
        self._weights = {name: weights[name] for name in self._losses}
        if rule is not None:
            rule.prepare({name: float(weight) for name, weight in weights.items()})
        if not self._losses or (rule is not None and len(self._losses) < len(tasks)):
            raise ValueError(
                f"There is no loss for {', '.join(n for n in own_weights if n not in self._losses)}"
                f"; expected 'auto', or a dict with a loss for each of {names}."
            )
        self._auxiliary = {
            name: output
            for name, output in (auxiliary or {}).items()
            if output.task in self._losses
        }
        self._predicted = [name for name in predicted if name in self._losses]
        outputs = [*self._predicted, *self._auxiliary]
        self._means = {name: keras.metrics.Mean(name=log_name(name)) for name in outputs}
        self.means = list(self._means.values())
        self._after_step: Callable | None = None

    def terms(self, y: Mapping, y_pred: Mapping, sample_weight: Any = None) -> dict[str, Any]:
        """The loss of each output, without its weight.

        Args:
            y: labels by task name.
            y_pred: outputs by name; auxiliary ones may be missing, as they are in evaluation, and
                in a pass of one task those of the others.
            sample_weight: weights of images or pixels (see the losses), also as a dict by name.

        Returns:
            Dict by name of scalar tensors. Where TensorFlow's replicas share a batch, each is that
            of the whole batch, or without a weighting in the mean over the replicas.
        """
        measured = {name: AuxiliaryOutput(name) for name in self._predicted if name in y_pred}
        measured |= {name: each for name, each in self._auxiliary.items() if name in y_pred}
        terms = {}
        for name, (task, _, own, _) in measured.items():
            weight = sample_weight
            if isinstance(weight, Mapping):  # a label of several arrays has one beside each
                weight = keras.tree.flatten(weight[task])[0]
            loss = (own or self._losses[task])(y[task], y_pred[name], weight)
            terms[name] = ops.cast(loss, keras.config.floatx())
        parts = distribution.replicas_in_step()
        if parts > 1:
            # On TensorFlow a replica's losses are its shares of those of the whole batch. A sum
            # of them, and a mean in the logs, comes out right from each replica's share alone; a
            # weighting must know the whole, for which there is one exchange.
            if self.weighting is None:
                return {name: parts * value for name, value in terms.items()}
            sums = distribution.sum_over_replicas(ops.stack(list(terms.values())))
            terms = {name: sums[k] for k, name in enumerate(terms)}
        return terms

    def __call__(
        self,
        y: Mapping,
        y_pred: Mapping,
        sample_weight: Any = None,
        extra: Sequence = (),
        training: bool = True,
    ) -> Any:
        """The loss to minimize; what the logs show is updated.

        Args:
            y, y_pred, sample_weight: see `terms`.
            extra: losses of the model's layers, such as regularization.
            training: bool. Whether it is a training step.
        """
        terms = self._measured(y, y_pred, sample_weight)
        weighed = self._weighed(terms)
        total = sum(weighed) if self.weighting is None else self.weighting.total(weighed)
        for name, each in self._auxiliary.items():
            if each.alone and name in terms:
                total = total + each.weight * terms[name]
        for each in extra:
            total = total + ops.sum(ops.cast(each, total.dtype))  # PyTorch would add in place
        if training and self.weighting is not None:
            losses = [ops.stop_gradient(each) for each in weighed]
            self._after_step = functools.partial(self.weighting.after_step, losses)
            if keras.backend.backend() != "torch":
                self.end_step()
        return total / distribution.replicas_in_step()  # Keras sums what the replicas return

    def losses_of_tasks(self, y: Mapping, y_pred: Mapping, sample_weight: Any = None) -> list:
        """What a `LossWeighting` is given: each task's loss times its fixed weight.

        Args:
            y, y_pred, sample_weight: see `terms`.
        """
        return self._weighed(self.terms(y, y_pred, sample_weight))

    def _weighed(self, terms: Mapping) -> list:
        return [self._weights[task] * self._with_auxiliary(task, terms) for task in self._losses]

    def loss_of_task(self, task: str, y: Mapping, y_pred: Mapping, sample_weight: Any = None):
        """One task's part of the loss to minimize, which a rule weighs by its gradient.

        What the logs show is updated. All auxiliary outputs of a task are part of it.

        Args:
            task: its name.
            y, sample_weight: see `terms`.
            y_pred: the task's outputs by name, no others.
        """
        terms = self._measured(y, y_pred, sample_weight)
        total = self._weights[task] * self._with_auxiliary(task, terms)
        alone = [n for n, each in self._auxiliary.items() if each.alone and n in terms]
        return sum((self._auxiliary[name].weight * terms[name] for name in alone), total)

    def _measured(self, y: Mapping, y_pred: Mapping, sample_weight: Any) -> dict[str, Any]:
        """The terms, which the logs are told."""
        terms = self.terms(y, y_pred, sample_weight)
        for name, value in terms.items():
            size = ops.shape(keras.tree.flatten(y_pred[name])[0])[0]  # known in the step only
            self._means[name].update_state(value, sample_weight=size)
        return terms

    def _with_auxiliary(self, task: str, terms: Mapping) -> Any:
        total = terms.get(task, 0.0)
        for name, each in self._auxiliary.items():
            if each.task == task and not each.alone and name in terms:
                total = total + each.weight * terms[name]
        return total

    def losses_of_epoch(self, logs: Mapping) -> list:
        """The mean loss of each task in the logs of an epoch, without its auxiliary outputs.

        Of a task that has no others it is that of the first one.

        Args:
            logs: of `fit`.
        """
        own = {name: each for name, each in self._auxiliary.items() if each.loss is None}
        first = {each.task: name for name, each in reversed(own.items())}
        first |= {name: name for name in self._predicted}
        return [logs[log_name(first[task])] for task in self._losses]

    def end_step(self) -> None:
        """Tells the weighting that a training step is done.

        Called by the model when it is: PyTorch's gradients need the weighting's variables as they
        were until then. On JAX the losses are known inside of the differentiated function only, so
        there, and on TensorFlow, it has been called by then.
        """
        if self._after_step is not None:
            self._after_step()
            self._after_step = None


def _one_for_each(given: Any, names: Mapping) -> bool:
    return isinstance(given, Mapping) and set(given) == set(names)


def _said(given: Any) -> str:
    return f"of {', '.join(map(str, given))}" if isinstance(given, Mapping) else repr(given)


def _meant(given: Any, names: Iterable[str]) -> str:
    return did_you_mean(given, names) if isinstance(given, Mapping) else ""


def _loss_of(name: str, given: Any) -> keras.losses.Loss | None:
    """The loss that a user named, as Keras understands it."""
    if given is None or isinstance(given, keras.losses.Loss):
        return given
    try:
        found = "crossentropy" if given in ("crossentropy", "ce") else keras.losses.get(given)
    except ValueError:
        found = given
    if isinstance(found, keras.losses.Loss):
        return found
    if found != "crossentropy" and not callable(found):
        raise ValueError(
            f"The loss of {name} is {given!r}; expected an object such as "
            "keras.losses.MeanAbsoluteError(), or what Keras calls it, such as 'mae'."
        )
    return _MeanOfFunction(found)


class _MeanOfFunction(keras.losses.Loss):
    """The mean of a function of labels and output: what Keras makes of one, or of its name."""

    def __init__(self, function: Callable | str):
        super().__init__(name=getattr(function, "__name__", str(function)))
        self.function = function

    def call(self, y_true, y_pred):
        function, maps = self.function, len(y_pred.shape) == 4
        if function == "crossentropy":  # which of them the shapes tell
            sparse = len(y_true.shape) < len(y_pred.shape) or y_true.shape[-1] < y_pred.shape[-1]
            kind = "sparse_categorical" if sparse else "categorical"
            kind = "binary" if y_pred.shape[-1] == 1 else kind
            function = getattr(keras.losses, f"{kind}_crossentropy")
        if len(y_true.shape) == len(y_pred.shape) + 1 and y_true.shape[-1] == 1:
            y_true = ops.squeeze(y_true, -1)
        elif len(y_pred.shape) == len(y_true.shape) + 1 and y_pred.shape[-1] == 1:
            y_pred = ops.squeeze(y_pred, -1)
        values = function(y_true, y_pred)
        # One value an image, where the weights of maps have three axes.
        return ops.reshape(values, (-1, 1, 1)) if maps and len(values.shape) == 1 else values
