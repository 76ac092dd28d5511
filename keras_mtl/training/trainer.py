"""Training of a model with tasks: `compile`, `fit` and `evaluate`."""

import contextlib
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import keras

from keras_mtl import distribution
from keras_mtl.tasks import Task
from keras_mtl.training.balanced_step import train_balanced
from keras_mtl.training.balancing import BalancingRule, GradientWeighting
from keras_mtl.training.balancing_epochs import balancing_callbacks
from keras_mtl.training.balancing_rule import rule_of
from keras_mtl.training.call_arguments import (
    check_arguments,
    check_compiled,
    checked_metrics,
    checked_optimizer,
)
from keras_mtl.training.compiler_memory import compiler_memory_given_back
from keras_mtl.training.followed_scores import choose_modes
from keras_mtl.training.given_weights import checked_weights
from keras_mtl.training.inputs import Inputs
from keras_mtl.training.kept_arrays import KeptStep
from keras_mtl.training.measured_again import step_and_measure
from keras_mtl.training.objective import (
    AuxiliaryOutput,
    Objective,
    named_by_task,
    output_of_loss,
)
from keras_mtl.training.optimizer_numbers import CheckOptimizerEachEpoch, check_optimizer
from keras_mtl.training.recipe_optimizer import BASE_RECIPE, recipe_optimizer
from keras_mtl.training.sample_weights import weights_of


class TaskTrainer(keras.Model):
    """The part of `keras_mtl.MultiTaskModel` that trains it and measures it as in training.

    Attributes:
        recipe: dict of the published training settings; those of the optimizer are what `compile`
            takes for `"auto"`.
        tasks: list of the model's tasks.
        auxiliary: dict of its auxiliary outputs by name, `AuxiliaryOutput`.
        auxiliary_tasks: list of tasks that have auxiliary outputs only.
    """

    recipe: Mapping[str, Any] = BASE_RECIPE
    tasks: Sequence[Task]
    auxiliary: Mapping[str, AuxiliaryOutput] = {}
    auxiliary_tasks: Sequence[Task] = ()
    _objective: Objective | None = None
    _fitting: int | None = None  # the thread that trains
    _trained: tuple[str, ...] | None = None  # since it was compiled

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._balancing: list = []  # as Keras lets go of what leaves a list, and of no attribute
        self._predicting = threading.RLock()  # JAX's arrays leave the model while it predicts

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images this model takes."""
        return tuple(self.input_shape[1:3])

    @property
    def supervised_tasks(self) -> list[Task]:
        """The tasks whose labels training takes: the model's, then those of `auxiliary_tasks`."""
        return [*self.tasks, *self.auxiliary_tasks]

    @property
    def updates_a_step(self) -> int:
        """How often a step of training applies the optimizer."""
        return 1

    @property
    def balancing(self) -> BalancingRule | None:
        """The rule that `compile` was given, if any."""
        return self._balancing[0] if self._balancing else None

    def compile(
        self,
        optimizer="auto",
        loss="auto",
        *,
        loss_weights="auto",
        metrics="auto",
        balancing=None,
        **kwargs,
    ):
        """Configures training; whatever is `"auto"` comes from the tasks.

        The logs of `fit` name a metric after its task, `val_depth_RMSE`, also where there is only
        one task.

        Args:
            optimizer: `"auto"` (as in `recipe`, without its schedule, made for a pretrained
                backbone; with Adam one from scratch wants a learning rate of about 1e-3; see
                `keras_mtl.training.recipe_optimizer`) or a Keras optimizer.
            loss: `"auto"`, or a dict by task name of Keras losses, one for each task.
            loss_weights: `"auto"`, a dict by task name, or `None` for ones.
            metrics: `"auto"`, or a dict by task name. Of an output or a label that is a dict, they
                are given a read-only one.
            balancing: rule of `keras_mtl.balancing` that says during training how much each task
                counts, on top of `loss_weights`: a `LossWeighting`, which may also be given in
                their place, or a `GradientWeighting`.
            **kwargs: as in `keras.Model.compile`.

        Raises:
            ValueError: if the losses or the weights are not one for each task, or the optimizer,
                a metric or another argument is none.
        """
        if isinstance(optimizer, str) and optimizer == "auto":
            optimizer = recipe_optimizer(self)
        check_compiled(kwargs)
        optimizer = checked_optimizer(optimizer)
        check_optimizer(optimizer)
        if isinstance(metrics, str) and metrics == "auto":
            metrics = {task.name: task.metrics() for task in self.tasks}
        metrics = checked_metrics(metrics, self.tasks)
        loss_weights, balancing = rule_of(loss, loss_weights, balancing, self)
        objective = None
        if loss is not None:
            given = (loss, loss_weights, self.auxiliary, self.auxiliary_tasks, balancing)
            objective = Objective(self.tasks, *given)
        super().compile(optimizer=optimizer, loss=None, metrics=metrics, **kwargs)
        self._objective = objective  # after all that may be refused
        self._trained = None
        self._balancing.clear()
        if balancing is not None:
            self._balancing.append(balancing)
        distribution.synchronize_normalization(self)

    def train_step(self, *arguments):
        """One step; see `keras.Model.train_step`."""
        if isinstance(self.balancing, GradientWeighting):
            return train_balanced(self, *arguments)
        return step_and_measure(super().train_step, self, self._objective, *arguments)

    @property
    def metrics(self):
        return [*super().metrics, *(self._objective.means if self._objective else ())]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss to minimize; see `keras.Model.compute_loss`."""
        if self._objective is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        sample_weight = self._weights_of_checked(x, y, sample_weight, training)
        return self._objective(y, y_pred, sample_weight, self.losses, training)

    def loss_of_task(self, task: str, x, y, y_pred, sample_weight=None):
        """One task's part of the loss to minimize; see `Objective.loss_of_task`."""
        sample_weight = self._weights_of_checked(x, y, sample_weight, training=True)
        return self._objective.loss_of_task(task, y, y_pred, sample_weight)

    def _weights_of_checked(self, x, y, sample_weight, training):
        """The sample weights as losses take them, after a look at the batch's shapes."""
        tasks = self.supervised_tasks if training else self.tasks
        Inputs(tasks, self.image_size).check_shapes(x.shape, y)
        if sample_weight is None:
            return None
        return weights_of(sample_weight, y, tasks, self.image_size)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """What the logs hold; see `keras.Model.compute_metrics`."""
        # One output is one thing to measure, also where it is a dict, and Keras looks into dicts.
        y, y_pred = (
            {task.name: _closed(each[task.name]) for task in self.tasks} for each in (y, y_pred)
        )
        results = super().compute_metrics(x, y, y_pred, sample_weight)
        if self._objective is not None:
            self._objective.end_step()
        return results

    def get_metrics_result(self):
        """What the logs of `fit` hold; see `keras.Model.get_metrics_result`."""
        return named_by_task(super().get_metrics_result(), self.tasks)

    def get_compile_config(self):
        config = super().get_compile_config()
        if config and self._objective is not None:
            for name in ("loss", "loss_weights"):
                given = getattr(self._objective, name)
                config[name] = keras.saving.serialize_keras_object(given)
            if self.balancing is not self._objective.loss_weights:
                config["balancing"] = keras.saving.serialize_keras_object(self.balancing)
        return config

    def compile_from_config(self, config):
        """Restores what `compile` was given; Keras asks for it where `compile` is overridden."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def fit(self, x=None, y=None, *, validation_data=None, **kwargs):
        """Trains; see `keras.Model.fit`.

        Args:
            x: images `(n, H, W, 3)` with `y`, or a `tf.data.Dataset` (or any other dataset
                Keras takes) of `(images, labels)`.
            y: dict by task name of labels; keys that are not the model's are dropped, from arrays
                and a `tf.data.Dataset`.
            validation_data: `(images, labels)` or a dataset.
            **kwargs: as in `keras.Model.fit`.

        Raises:
            ValueError: if images or labels do not fit the model, or an epoch would never end.
        """
        self._check_trains()
        takes = self._takes_in_training
        x, y, validation_data = takes.for_fit(x, y, validation_data, kwargs)
        (kwargs["sample_weight"],) = takes.for_weights([kwargs.get("sample_weight")], x, y)
        given = keras.tree.flatten(kwargs.get("callbacks") or [])
        choose_modes(
            given, self, validation_data is not None or bool(kwargs.get("validation_split"))
        )
        given = [*balancing_callbacks(self.balancing, self._objective), *given]
        kwargs["callbacks"] = [*given, CheckOptimizerEachEpoch()]  # after what sets learning rates
        if y is None and not isinstance(x, keras.utils.PyDataset):
            kwargs.setdefault("shuffle", False)  # a dataset shuffles itself; Keras warns otherwise
        trains = kwargs.get("epochs", 1) > kwargs.get("initial_epoch", 0)
        with self._arrays_of_this_thread():  # once no other predicts
            before, self._fitting = self._fitting, threading.get_ident()
        try:
            with compiler_memory_given_back(), takes.in_our_words(reads=trains):
                return super().fit(x, y, validation_data=validation_data, **kwargs)
        finally:
            self._fitting = before  # of a `fit` whose callback called this one

    def evaluate(self, x=None, y=None, **kwargs):
        """Measures loss and metrics as in training; `keras_mtl.evaluate` does as the papers do.

        Args:
            x: images, or a dataset; see `fit`.
            y: dict by task name of labels; see `fit`.
            **kwargs: as in `keras.Model.evaluate`.

        Raises:
            ValueError: if images or labels do not fit the model, or there would be no end.
        """
        # `fit` has seen to its own data, and gives what Keras made of its callbacks.
        if self._fitting and isinstance(kwargs.get("callbacks"), keras.callbacks.CallbackList):
            return self._without_auxiliary(super().evaluate(x, y, **kwargs))
        takes = self._takes
        x, y = takes.for_evaluate(x, y, kwargs)
        (kwargs["sample_weight"],) = takes.for_weights([kwargs.get("sample_weight")], x, y)
        with self._arrays_put_back(), takes.in_our_words(reads=True):
            return self._without_auxiliary(super().evaluate(x, y, **kwargs))

    def _without_auxiliary(self, logs):
        """A dict of scores without the losses of outputs that evaluation does not have."""
        if not isinstance(logs, dict):
            return logs
        return {n: value for n, value in logs.items() if output_of_loss(n) not in self.auxiliary}

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """One step on one batch; see `keras.Model.train_on_batch` and `fit`."""
        self._check_trains()
        check_arguments({"class_weight": class_weight})
        x, y, sample_weight = self._takes_in_training.for_batch(x, y, sample_weight)
        with self._arrays_of_this_thread():
            return super().train_on_batch(x, y, sample_weight, return_dict=return_dict)

    def _check_trains(self):
        if self.compiled and self.optimizer is None:
            raise ValueError(
                "The model was compiled with optimizer=None and cannot train; compile it with "
                "'auto' or an optimizer."
            )
        if self.compiled:
            with self._arrays_of_this_thread():
                check_optimizer(self.optimizer)
        trained = tuple(variable.path for variable in self.trainable_variables)
        if self._trained not in (None, trained):
            raise ValueError(
                "Layers were frozen, or no longer are, since the model was trained; compile it "
                "again, so that the optimizer knows."
            )
        self._trained = trained

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """Loss and metrics of one batch; see `keras.Model.test_on_batch` and `fit`."""
        x, y, sample_weight = self._takes.for_batch(x, y, sample_weight)
        with self._arrays_of_this_thread():
            return super().test_on_batch(x, y, sample_weight, return_dict=return_dict)

    def outputs_of_checked(self, images) -> dict:
        """Raw outputs for one batch of images that have been looked at; see `predict_on_batch`.

        Args:
            images: array `(B, H, W, 3)`, RGB in 0..255.
        """
        with self._arrays_of_this_thread():
            found = super().predict_on_batch(images)
        # Each TensorFlow replica predicts all of it.
        return keras.tree.map_structure(lambda values: values[: len(images)], found)

    # === JAX's arrays ===

    def make_train_function(self, force=False):
        super().make_train_function(force)
        self.train_function = self._kept(
            self.train_function,
            lambda: (
                self.trainable_variables,
                self.non_trainable_variables,
                self.optimizer.variables,
                self.metrics_variables,
            ),
        )

    def make_test_function(self, force=False):
        super().make_test_function(force)
        self.test_function = self._kept(
            self.test_function,
            lambda: (
                self.trainable_variables,
                self.non_trainable_variables,
                self.metrics_variables,
            ),
        )

    def make_predict_function(self, force=False):
        super().make_predict_function(force)
        self.predict_function = self._kept(
            self.predict_function,
            lambda: (self.trainable_variables, self.non_trainable_variables),
        )
        return self.predict_function

    def _kept(self, step, variables):
        if keras.backend.backend() != "jax" or isinstance(step, KeptStep):
            return step
        return KeptStep(step, self, variables)

    @contextlib.contextmanager
    def _arrays_of_this_thread(self):
        """Inside, no other thread has the model's arrays, which on JAX leave it for a step."""
        others = self._fitting not in (None, threading.get_ident())
        if others and keras.backend.backend() == "jax":
            raise RuntimeError(
                "Another thread trains this model, and on JAX has its weights until fit ends; "
                "wait for it, or ask in a callback of fit."
            )
        with self._predicting:
            if hasattr(self, "jax_state_sync"):
                self.jax_state_sync()  # a callback of `fit` asks, between two steps
            yield

    @contextlib.contextmanager
    def _arrays_put_back(self):
        """Inside, Keras may stop half-way, and outside the model has its arrays, also on JAX."""
        with self._arrays_of_this_thread():
            try:
                yield
            finally:
                if hasattr(self, "jax_state_sync"):
                    self.jax_state_sync()

    def get_weights(self):
        with self._arrays_of_this_thread():
            return super().get_weights()

    def set_weights(self, weights):
        with self._arrays_of_this_thread():
            super().set_weights(checked_weights(weights, self.weights))

    def save(self, *args, **kwargs):
        with self._arrays_of_this_thread():
            super().save(*args, **kwargs)

    def save_weights(self, *args, **kwargs):
        with self._arrays_of_this_thread():
            super().save_weights(*args, **kwargs)

    def load_weights(self, *args, **kwargs):
        with self._arrays_of_this_thread():
            super().load_weights(*args, **kwargs)

    @property
    def _takes(self) -> Inputs:
        strategy = getattr(self, "distribute_strategy", None)  # TensorFlow's
        with strategy.scope() if strategy is not None else contextlib.nullcontext():
            parts = math.ceil(distribution.replicas() / distribution.process()[1])
        return Inputs(self.tasks, self.image_size, parts)

    @property
    def _takes_in_training(self) -> Inputs:
        return replace(self._takes, tasks=self.supervised_tasks, evaluated=self.tasks)


def _closed(value):
    """A dict as something that Keras does not look into."""
    return MappingProxyType(value) if isinstance(value, dict) else value
