"""Search for hyperparameters with KerasTuner (extra `tuning`).

search = keras_mtl.tuning.TaskPrompterSearch(make_backbone, tasks, single=single_task_scores)
tuner = keras_tuner.Hyperband(search, search.objective, directory="runs", project_name="search")
tuner.search(training, validation_data=validation, steps_per_epoch=200)
print(keras_mtl.tuning.results(tuner))
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import keras_tuner

from keras_mtl.backbones.trunk import trunk_of
from keras_mtl.evaluation.single_task import delta_m
from keras_mtl.layers.feature_propagation import GROUPINGS
from keras_mtl.layers.multi_modal_distillation import GATES
from keras_mtl.models import (
    MTAN,
    NDDRCNN,
    PAP,
    PSD,
    CrossStitch,
    MTINet,
    MultiTaskModel,
    PADNet,
    TaskPrompter,
    TPANet,
)
from keras_mtl.tables import markdown
from keras_mtl.tasks import Task, check_tasks
from keras_mtl.training.balancing import BalancingRule


class DeltaM(keras.callbacks.Callback):
    """Adds `val_delta_m` to an epoch's logs: the mean gain over single-task networks, in percent.

    Args:
        single: score of a single-task network by task name, each in the task's first metric of
            training (`task.metrics()[0]`; of boundaries that is F_within_2px, not odsF).

    Example:

    ```python
    scores = keras_mtl.tuning.DeltaM({"semseg": 40.1, "depth": 0.61})
    best = keras.callbacks.ModelCheckpoint("best.keras", "val_delta_m", "max", save_best_only=True)
    model.fit(training, validation_data=validation, callbacks=[scores, best])
    ```
    """

    def __init__(self, single: Mapping[str, float]):
        super().__init__()
        self.single = dict(single)

    def on_epoch_end(self, epoch, logs=None):
        tasks = {task.name: task for task in self.model.tasks}
        scores = {n: logs[f"val_{n}_{task.metrics()[0].name}"] for n, task in tasks.items()}
        up = {name: task.higher_is_better for name, task in tasks.items()}
        logs["val_delta_m"] = delta_m(scores, self.single, up)


class Search(keras_tuner.HyperModel):
    """What is searched for every architecture: optimization and loss weights.

    A subclass builds the architecture in `network`.

    Args:
        make_backbone: function without arguments that returns a new backbone, pretrained or not.
        tasks: list of tasks.
        single: single-task scores by task name (see `DeltaM`), to maximize Delta_m; or `None`.
        headline: name of the task whose first metric is the objective instead.
        balancing: classes of `keras_mtl.balancing` to choose from, besides none.

    Attributes:
        objective: `keras_tuner.Objective` for the tuner.

    Raises:
        ValueError: if not exactly one of `single` and `headline` is given, or they do not fit the
            tasks.
    """

    def __init__(
        self,
        make_backbone: Callable[[], object],
        tasks: Sequence[Task],
        single: Mapping[str, float] | None = None,
        headline: str | None = None,
        balancing: Sequence[type[BalancingRule]] = (),
    ):
        super().__init__()
        self.balancing = {rule.__name__: rule for rule in balancing}
        self.make_backbone = make_backbone
        self.tasks = check_tasks(tasks)
        self.single = single
        names = [task.name for task in self.tasks]
        if (single is None) == (headline is None):
            raise ValueError("Give either single, for Delta_m, or headline, the name of a task.")
        if single is None:
            if headline not in names:
                raise ValueError(f"headline is {headline!r}, expected one of {', '.join(names)}.")
            task = self.tasks[names.index(headline)]
            name = f"val_{headline}_{task.metrics()[0].name}"
            direction = "max" if task.higher_is_better else "min"
        else:
            if set(single) != set(names):
                raise ValueError(
                    f"single has scores of {', '.join(single)}, expected {', '.join(names)}."
                )
            name, direction = "val_delta_m", "max"
        self.objective = keras_tuner.Objective(name, direction)

    def build(self, hp) -> MultiTaskModel:
        """The network of one trial, compiled.

        Args:
            hp: `keras_tuner.HyperParameters`.
        """
        model = self.network(hp)
        rate = hp.Float("learning_rate", 1e-5, 3e-3, sampling="log", default=1e-3)
        decay = hp.Float("weight_decay", 1e-7, 1e-3, sampling="log", default=1e-6)
        weights = {}
        for task in self.tasks:
            factor = hp.Float(f"{task.name}_weight", 0.25, 4.0, sampling="log", default=1.0)
            weights[task.name] = factor * task.loss_weight
        optimizer = keras.optimizers.Adam(rate, weight_decay=decay, global_clipnorm=10.0)
        rule = None
        if self.balancing:
            chosen = hp.Choice("balancing", ["none", *self.balancing])
            rule = self.balancing[chosen]() if chosen != "none" else None
        model.compile(optimizer, loss_weights=weights, balancing=rule)
        return model

    def network(self, hp) -> MultiTaskModel:
        """The network of one trial; subclasses define it.

        Args:
            hp: `keras_tuner.HyperParameters`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define network(hp).")

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        """Trains one trial; its logs for TensorBoard are in a folder of its own, with HParams."""
        callbacks = list(callbacks)
        if self.single is not None:
            callbacks.insert(0, DeltaM(self.single))
        boards = [each for each in callbacks if isinstance(each, keras.callbacks.TensorBoard)]
        if boards and keras.backend.backend() != "tensorflow":  # there KerasTuner does it
            trials = (callback.trial for callback in callbacks if hasattr(callback, "trial"))
            trial = next((each.trial_id for each in trials), "trial")
            for board in boards:
                board.log_dir = str(Path(board.log_dir) / trial)
                _write_hyperparameters(board.log_dir, trial, hp.values)
        return model.fit(*args, callbacks=callbacks, **kwargs)


class TaskPrompterSearch(Search):
    """`keras_mtl.TaskPrompter`: decoder width, channel heads, prompting levels, stochastic depth.

    The factors of loss weights are on top of the tasks' own. See `Search` for the arguments.
    """

    def network(self, hp):
        backbone = self.make_backbone()
        grid = trunk_of(backbone).grid
        sides = [n for n in (1, 2, 4) if not any(length % n for length in grid)]
        levels = [n for n in (1, 2, 3, 4) if n <= backbone.num_layers]
        side = hp.Choice("channel_windows_a_side", sides, default=sides[-1])
        return TaskPrompter(
            backbone,
            self.tasks,
            channel_windows=(side, side),
            decode_dim=hp.Choice("decode_dim", [16, 32, 64, 128], default=32),
            prompting_levels=hp.Choice("prompting_levels", levels, default=levels[-1]),
            stochastic_depth=hp.Float("stochastic_depth", 0.0, 0.3, step=0.05),
        )


class TPANetSearch(Search):
    """`keras_mtl.TPANet`: width, dropout, stochastic depth. See `Search` for the arguments."""

    def network(self, hp):
        return TPANet(
            self.make_backbone(),
            self.tasks,
            dim=hp.Choice("dim", [16, 32, 64, 128], default=32),
            head_width=hp.Choice("head_width", [16, 32, 64], default=64),
            dropout=hp.Float("dropout", 0.0, 0.5, step=0.05, default=0.15),
            stochastic_depth=hp.Float("stochastic_depth", 0.0, 0.3, step=0.05),
        )


class CrossStitchSearch(Search):
    """`keras_mtl.CrossStitch`: width, the share of a task's own features at the beginning.

    See `Search` for the arguments.
    """

    architecture: type[CrossStitch] | type[NDDRCNN] = CrossStitch

    def network(self, hp):
        return self.architecture(
            self.make_backbone(),
            self.tasks,
            width=hp.Choice("width", [16, 32, 64], default=64),
            alpha=hp.Float("alpha", 0.5, 1.0, step=0.1, default=0.9),
        )


class NDDRCNNSearch(CrossStitchSearch):
    """`keras_mtl.NDDRCNN`: as for cross-stitch networks."""

    architecture = NDDRCNN


class MTANSearch(Search):
    """`keras_mtl.MTAN`: the width of heads. See `Search` for the arguments."""

    def network(self, hp):
        width = hp.Choice("head_width", [16, 32, 64], default=64)
        return MTAN(self.make_backbone(), self.tasks, head_width=width)


class PAPSearch(Search):
    """`keras_mtl.PAP`: width, grid, steps, share of what was diffused. See `Search`."""

    def network(self, hp):
        return PAP(
            self.make_backbone(),
            self.tasks,
            width=hp.Choice("width", [16, 32, 64, 128], default=64),
            grid_stride=hp.Choice("grid_stride", [8, 16], default=8),
            iterations=hp.Int("iterations", 1, 9, default=9),
            beta=hp.Float("beta", 0.05, 0.5, step=0.05),
        )


class PSDSearch(Search):
    """`keras_mtl.PSD`: width, window, steps. See `Search` for the arguments."""

    def network(self, hp):
        return PSD(
            self.make_backbone(),
            self.tasks,
            width=hp.Choice("width", [16, 32, 64, 128], default=64),
            window=hp.Choice("window", [3, 5, 7], default=5),
            steps=hp.Int("steps", 1, 4),
        )


class PADNetSearch(Search):
    """`keras_mtl.PADNet`: width, and whose gates pass messages. See `Search` for the arguments."""

    def network(self, hp):
        return PADNet(
            self.make_backbone(),
            self.tasks,
            gate=hp.Choice("gate", list(GATES)),
            width=hp.Choice("width", [16, 32, 64, 128], default=64),
        )


class MTINetSearch(Search):
    """`keras_mtl.MTINet`: how masks are grouped. See `Search` for the arguments."""

    def network(self, hp):
        grouping = hp.Choice("mask_grouping", list(GROUPINGS))
        return MTINet(self.make_backbone(), self.tasks, mask_grouping=grouping)


SEARCHES = {
    TaskPrompter: TaskPrompterSearch,
    TPANet: TPANetSearch,
    CrossStitch: CrossStitchSearch,
    NDDRCNN: NDDRCNNSearch,
    MTAN: MTANSearch,
    PAP: PAPSearch,
    PSD: PSDSearch,
    PADNet: PADNetSearch,
    MTINet: MTINetSearch,
}


def _write_hyperparameters(folder, trial, values):
    """For TensorBoard's tab HParams."""
    import tensorflow as tf
    from tensorboard.plugins.hparams import api

    own = {name: value for name, value in values.items() if not name.startswith("tuner/")}
    with tf.summary.create_file_writer(folder).as_default():
        api.hparams(own, trial_id=trial)


def results(tuner, count: int = 100) -> str:
    """The finished trials of a tuner, the best first, as a Markdown table.

    Args:
        tuner: a tuner of KerasTuner.
        count: int. How many at most.
    """
    trials = [trial for trial in tuner.oracle.get_best_trials(count) if trial.score is not None]
    names = [name for name in (trials[0].hyperparameters.values if trials else ())]
    names = [name for name in names if not name.startswith("tuner/")]
    rows = [["trial", tuner.oracle.objective.name, *names]]
    for trial in trials:
        values = [trial.hyperparameters.values.get(name) for name in names]
        rows.append([trial.trial_id, *(_shown(value) for value in (trial.score, *values))])
    return markdown(rows, padded=False)


def _shown(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
