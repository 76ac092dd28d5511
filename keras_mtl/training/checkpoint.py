"""Runs that survive: checkpoints to go on from after a crash.

    checkpoint = keras_mtl.resume.Checkpoint("runs/mine/checkpoints", settings={"seed": 0})
    epoch = checkpoint.restore(model)  # 0 the first time
    batches = keras_mtl.data.load(..., training=True, first_step=epoch * steps)
    model.fit(batches, initial_epoch=epoch, steps_per_epoch=steps, callbacks=[checkpoint], ...)

The same program, started again after it was killed, ends with the weights of a run that was not.
"""

import contextlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_mtl.arguments import check_integer, check_path
from keras_mtl.distribution import first_process
from keras_mtl.files import alone, sweep, whole, write_text
from keras_mtl.training.checkpoint_file import (
    FORMAT,
    Broken,
    Contents,
    file_name,
    read_about,
    read_contents,
    store,
    store_memories,
    stored_value,
)
from keras_mtl.training.divergence import diverged
from keras_mtl.training.run_identity import describe, difference


class Checkpoint(keras.callbacks.Callback):
    """Writes all that a run needs to go on, after every epoch; `restore` puts it back.

    That is the weights, the optimizer's state (and with it the position in a schedule), the state
    of the random generators of dropout and stochastic depth, which a `.keras` file lacks, a loss
    balancing's, and what other callbacks remember. Data begins where it stopped if it comes from
    `keras_mtl.data.load` with `first_step`; arrays given to `fit` come in another order than in a
    run that was not interrupted, unless `shuffle=False`.

    Of several processes that use the folder, one trains at a time (of one that trains together with
    others, the first), and a folder is free again when its process ends, however it ends.

    The newest two checkpoints are kept. A file gets its name only when it is whole and on the
    disk, and every byte is checked before it is read. Weights that are not finite are not written.

    Attributes:
        stopped: bool. Whether the run that `restore` found had been ended before its last epoch, by
            `EarlyStopping` or the like: there is nothing left to `fit`.

    Args:
        folder: path of a folder for nothing else.
        every: int. Epochs from one checkpoint to the next; the last epoch always has one.
        settings: dict of numbers, strings and lists: what else must be the same for a run to go on,
            such as the seed and the batch size. The model, its precision, losses and optimizer
            and the backend are compared anyway.
        callbacks: those of `fit` whose memory belongs to the run: `ModelCheckpoint`, `CSVLogger`,
            `EarlyStopping`, `ReduceLROnPlateau`, `TensorBoard`, in the same order each time. This
            callback belongs after them, and after all that change the model, in the list for `fit`.

    Raises:
        ValueError: if `every` is no positive integer.
        OSError: in `fit`, if a checkpoint cannot be written; those before stay as they are.
        FloatingPointError: in `fit`, if weights are not finite.

    Example:

    >>> def run(epochs):
    ...     keras.utils.set_random_seed(0)
    ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    ...     model.compile(keras.optimizers.Adam(0.1), "mse")
    ...     log = keras.callbacks.CSVLogger("log.csv")
    ...     checkpoint = Checkpoint("checkpoints", callbacks=[log])
    ...     epoch = checkpoint.restore(model)
    ...     x, y = np.ones((4, 2)), np.ones((4, 1))
    ...     _ = model.fit(
    ...         x, y, epochs=epochs, initial_epoch=epoch, shuffle=False, verbose=0,
    ...         callbacks=[log, checkpoint],
    ...     )
    ...     return epoch
    >>> run(epochs=3), run(epochs=5)  # the second goes on after the third epoch
    (0, 3)
    >>> len(open("log.csv").readlines())  # with a line of names
    6
    """

    def __init__(
        self,
        folder: str | Path,
        every: int = 1,
        settings: Mapping | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ):
        super().__init__()
        check_integer("every", every, 1)
        self.folder = check_path("folder", folder)
        self.every = every
        self.settings = dict(settings or {})
        self.others = list(callbacks)
        self.stopped = False
        self._run = None  # what makes it this run and no other, as it was at the start
        self._first_epoch = None
        self._restored = self._memories = None
        self._torch_seed = None
        self._alone = contextlib.ExitStack()  # while no other process may write to the folder

    # === Going on ===

    def restore(self, model: keras.Model) -> int:
        """Puts a compiled model, and the other callbacks, where the newest whole checkpoint was.

        A broken checkpoint is passed over for the one before, and a sentence says so.

        Args:
            model: the model as it was built and compiled when the run began.

        Returns:
            How many epochs are done, for `initial_epoch` of `fit`; 0 if there is no checkpoint.

        Raises:
            ValueError: if the checkpoint is of another run (the model, the optimizer or a setting
                differs), or no checkpoint can be read, or the model is not compiled.
            OSError: if another process trains with this folder, or it cannot be written. Whatever
                is raised, the model is as it was.
        """
        if getattr(model, "optimizer", None) is None or not model.built:
            raise ValueError("The model is not built and compiled; compile it before restore.")
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        self._begin()
        self._run = describe(model, self.settings, self.others)
        self._first_epoch = 0
        found = self._newest(model)
        if found is None:
            return 0
        about, contents = found
        for callback, text in zip(self.others, contents.logs, strict=True):
            if text is not None:  # rows of epochs that are not in the checkpoint come again
                write_text(callback.filename, text)
                callback.append = True
        for variable, value in zip(_variables(model).values(), contents.values, strict=True):
            variable.assign(value)
        self._torch_seed = about["torch_seed"]
        self.stopped = bool(about.get("stopped", False))  # older checkpoints do not say
        self._restored, self._memories = about, contents.memories
        self._first_epoch = about["epoch"]
        return about["epoch"]

    def _newest(self, model) -> tuple[dict, Contents] | None:
        """The newest checkpoint that is whole: what it says about itself, and all it holds."""
        paths = sorted(self.folder.glob("epoch-*.npz"), reverse=True)
        for path in paths:
            if path.is_dir():
                raise ValueError(
                    f"{path} is a folder, where a checkpoint's file belongs; remove it or name "
                    "another folder."
                )
            try:
                about = read_about(path)
                self._check_run(path, about, model)
                variables = _variables(model)
                return about, read_contents(path, about, variables, model.weights, self.others)
            except Broken as why:
                print(f"{path} cannot be read ({why}) and is passed over for the one before it.")
        if paths:
            raise ValueError(
                f"No checkpoint in {self.folder} can be read; remove the folder to begin anew."
            )
        return None

    def _check_run(self, path, about, model):
        if about.get("format") != FORMAT:
            raise ValueError(
                f"{path} has format {about.get('format')!r}, expected {FORMAT!r}; go on with "
                "the version of keras_mtl that wrote it, or name another folder."
            )
        changed = difference(about, self._run | {"variables": _shapes(model)})
        if changed:
            raise ValueError(
                f"{self.folder} belongs to another run: {changed}; go on with the same settings "
                "or name another folder."
            )

    def _begin(self):
        """An error now rather than after an epoch, if the folder cannot be written."""
        self._alone.close()
        if first_process():
            self._alone.enter_context(alone(self.folder))

    def on_train_begin(self, logs=None):
        self._begin()
        if self._run is None:
            if any(self.folder.glob("epoch-*.npz")):
                raise ValueError(
                    f"{self.folder} holds checkpoints of a run; call restore(model) before fit to "
                    "go on with it, or name another folder."
                )
            self._run = describe(self.model, self.settings, self.others)
        if self._torch_seed is None and keras.backend.backend() == "torch":
            # There Keras' dropout draws from PyTorch's own generator, from which data loaders draw
            # too, more often in a run that goes on: it is seeded for each epoch.
            import torch

            self._torch_seed = torch.initial_seed()
        if self._restored and self.params.get("steps") != self._restored["steps"]:
            raise ValueError(
                f"An epoch has {self.params.get('steps')} steps, in the run that {self.folder} "
                f"belongs to {self._restored['steps']}; pass the same data and steps_per_epoch."
            )

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        if self._first_epoch is not None and epoch != self._first_epoch:
            raise ValueError(
                f"The model is where epoch {self._first_epoch} begins, but fit begins with epoch "
                f"{epoch}; pass what restore returned as initial_epoch."
            )
        self._first_epoch = None
        if self._restored:  # not before: some callbacks forget when training begins
            for callback, memory in zip(self.others, self._memories, strict=True):
                for name, value in memory.items():
                    setattr(callback, name, value)
            self._restored = self._memories = None

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0 and self._torch_seed is not None:
            import torch

            seed = np.random.SeedSequence([self._torch_seed, self._epoch])
            torch.manual_seed(int(seed.generate_state(1)[0]))

    def on_train_end(self, logs=None):
        self._alone.close()

    # === Writing ===

    def on_epoch_end(self, epoch, logs=None):
        done = epoch + 1
        last = done == self.params.get("epochs") or self.model.stop_training
        if (done % self.every == 0 or last) and first_process():
            self._write(done, logs or {})

    def _write(self, epoch, logs):
        target = self.folder / file_name(epoch)
        try:
            sweep(self.folder)
            with whole(target, durable=True) as fresh, zipfile.ZipFile(fresh, "w") as archive:
                self._fill(archive, epoch, logs)
            paths = sorted(self.folder.glob("epoch-*.npz"))
            kept = [path for path in paths if path <= target][-2:]
            for path in paths:
                if path not in kept:
                    path.unlink()
        except OSError as error:
            kept = [path.name for path in sorted(self.folder.glob("epoch-*.npz"))]
            raise OSError(
                f"The checkpoint of epoch {epoch} cannot be written to {self.folder} "
                f"({error.strerror or error}); {' and '.join(kept) or 'what was there'} stayed as "
                "before: make room and run again."
            ) from error

    def _fill(self, archive, epoch, logs):
        for member, variable in _variables(self.model).items():
            value = stored_value(variable)
            if not np.isfinite(value).all():
                reason = diverged(logs)
                raise FloatingPointError(
                    f"After epoch {epoch} {variable.path} is not finite"
                    f"{f' ({reason})' if reason else ''}, and no checkpoint of it is written; "
                    "lower the learning rate or check the labels."
                )
            store(archive, member, value)
        about = {
            "format": FORMAT,
            "epoch": epoch,
            "steps": self.params.get("steps"),
            "stopped": bool(self.model.stop_training),
            "torch_seed": self._torch_seed,
            **self._run,
            "variables": _shapes(self.model),
            "callbacks": store_memories(archive, self.others),
        }
        archive.writestr("about.json", json.dumps(about, default=_plain))


# === What is stored ===


def _plain(number) -> int | float:
    """A number of NumPy's as one of Python's."""
    return int(number) if isinstance(number, np.integer) else float(number)


def _variables(model) -> dict[str, keras.Variable]:
    """Each variable of a run by the name of its file: the random generators' too."""
    kinds = {"model": model.variables, "optimizer": model.optimizer.variables}
    return {
        f"{kind}/{number}.npy": variable
        for kind, variables in kinds.items()
        for number, variable in enumerate(variables)
    }


def _shapes(model) -> dict:
    return {
        f"the shape of {member.removesuffix('.npy')}": list(variable.shape)
        for member, variable in _variables(model).items()
    }
