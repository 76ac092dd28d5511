"""Runs that survive: checkpoints to go on from after a crash.

    checkpoint = keras_mtl.resume.Checkpoint("runs/mine/checkpoints", settings={"seed": 0})
    epoch = checkpoint.restore(model)  # 0 the first time
    batches = keras_mtl.data.load(..., training=True, first_step=epoch * steps)
    model.fit(batches, initial_epoch=epoch, steps_per_epoch=steps, callbacks=[checkpoint], ...)

The same program, started again after it was killed, ends with the weights of a run that was not.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_mtl.arguments import check_integer
from keras_mtl.distribution import first_process
from keras_mtl.files import sweep, whole
from keras_mtl.training.divergence import diverged
from keras_mtl.training.run_identity import describe, difference

FORMAT = "keras_mtl checkpoint 1"

# What Keras' callbacks remember from epoch to epoch: the one that keeps the best model, the ones
# that wait for progress, the columns of a CSV log and the step of TensorBoard.
MEMORY = (
    "best",
    "best_epoch",
    "best_weights",
    "wait",
    "cooldown_counter",
    "keys",
    "_global_train_batch",
)


class Checkpoint(keras.callbacks.Callback):
    """Writes all that a run needs to go on, after every epoch; `restore` puts it back.

    That is the weights, the optimizer's state (and with it the position in a schedule), the state
    of the random generators of dropout and stochastic depth, which a `.keras` file lacks, a loss
    balancing's, and what other callbacks remember. Data begins where it stopped if it comes from
    `keras_mtl.data.load` with `first_step`; arrays given to `fit` come in another order than in a
    run that was not interrupted, unless `shuffle=False`.

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
        self.folder = Path(folder)
        self.every = every
        self.settings = dict(settings or {})
        self.others = list(callbacks)
        self.stopped = False
        self._run = None  # what makes it this run and no other, as it was at the start
        self._first_epoch = None
        self._restored = None
        self._torch_seed = None

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
        """
        if getattr(model, "optimizer", None) is None or not model.built:
            raise ValueError("The model is not built and compiled; compile it before restore.")
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        self._run = describe(model, self.settings, self.others)
        self._first_epoch = 0
        found = self._newest()
        if found is None:
            return 0
        path, about = found
        changed = difference(about, self._run | {"variables": _shapes(model)})
        if changed:
            raise ValueError(
                f"{self.folder} belongs to another run: {changed}; go on with the same settings "
                "or name another folder."
            )
        with zipfile.ZipFile(path) as archive:
            for member, variable in _variables(model):
                variable.assign(_read(archive, member))
            self._remember(archive, about["callbacks"])
        self._torch_seed = about["torch_seed"]
        self.stopped = about.get("stopped", False)  # older checkpoints do not say
        self._restored, self._first_epoch = about, int(about["epoch"])
        return int(about["epoch"])

    def _newest(self):
        """The newest checkpoint that is whole, and what it says about itself."""
        paths = sorted(self.folder.glob("epoch-*.npz"), reverse=True)
        for path in paths:
            try:
                with zipfile.ZipFile(path) as archive:
                    broken = archive.testzip()
                    if broken:
                        raise zipfile.BadZipFile(f"{broken} is damaged")
                    about = json.loads(archive.read("about.json"))
            except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as why:
                print(f"{path} cannot be read ({why}) and is passed over for the one before it.")
                continue
            if about.get("format") != FORMAT:
                raise ValueError(
                    f"{path} has format {about.get('format')!r}, expected {FORMAT!r}; go on with "
                    "the version of keras_mtl that wrote it, or name another folder."
                )
            return path, about
        if paths:
            raise ValueError(
                f"No checkpoint in {self.folder} can be read; remove the folder to begin anew."
            )
        return None

    def _remember(self, archive, memories):
        for callback, memory in zip(self.others, memories, strict=True):
            if isinstance(callback, keras.callbacks.CSVLogger):
                # Rows of epochs that are not in the checkpoint come again.
                Path(callback.filename).write_bytes(memory.pop("log").encode())
                callback.append = True
            if "best_weights" in memory:
                members = memory["best_weights"]
                memory["best_weights"] = members and [_read(archive, each) for each in members]

    def on_train_begin(self, logs=None):
        self.folder.mkdir(parents=True, exist_ok=True)  # an error now rather than after an epoch
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
            for callback, memory in zip(self.others, self._restored["callbacks"], strict=True):
                for name, value in memory.items():
                    setattr(callback, name, value)
            self._restored = None

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0 and self._torch_seed is not None:
            import torch

            seed = np.random.SeedSequence([self._torch_seed, self._epoch])
            torch.manual_seed(int(seed.generate_state(1)[0]))

    # === Writing ===

    def on_epoch_end(self, epoch, logs=None):
        done = epoch + 1
        last = done == self.params.get("epochs") or self.model.stop_training
        if (done % self.every == 0 or last) and first_process():
            self._write(done, logs or {})

    def _write(self, epoch, logs):
        target = self.folder / f"epoch-{epoch:05d}.npz"
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
        for member, variable in _variables(self.model):
            value = keras.ops.convert_to_numpy(variable)
            if not np.isfinite(value).all():
                reason = diverged(logs)
                raise FloatingPointError(
                    f"After epoch {epoch} {variable.path} is not finite"
                    f"{f' ({reason})' if reason else ''}, and no checkpoint of it is written; "
                    "lower the learning rate or check the labels."
                )
            _store(archive, member, value)
        memories = []
        for k, callback in enumerate(self.others):
            memory = {name: getattr(callback, name) for name in MEMORY if hasattr(callback, name)}
            if isinstance(callback, keras.callbacks.CSVLogger):
                memory["log"] = Path(callback.filename).read_bytes().decode()
            if memory.get("best_weights"):
                members = []
                for number, value in enumerate(memory["best_weights"]):
                    members.append(f"callbacks/{k}/{number}.npy")
                    _store(archive, members[-1], np.asarray(value))
                memory["best_weights"] = members
            memories.append(memory)
        about = {
            "format": FORMAT,
            "epoch": epoch,
            "steps": self.params.get("steps"),
            "stopped": bool(self.model.stop_training),
            "torch_seed": self._torch_seed,
            **self._run,
            "variables": _shapes(self.model),
            "callbacks": memories,
        }
        archive.writestr("about.json", json.dumps(about, default=float))


# === Files ===


def _variables(model) -> Iterator:
    """Each variable of a run and the name of its file: the random generators' too."""
    for kind, variables in (("model", model.variables), ("optimizer", model.optimizer.variables)):
        for number, variable in enumerate(variables):
            yield f"{kind}/{number}.npy", variable


def _shapes(model) -> dict:
    return {
        f"the shape of {member.removesuffix('.npy')}": list(variable.shape)
        for member, variable in _variables(model)
    }


def _store(archive, member, value):
    # NumPy's files know no bfloat16; float32 holds it exactly.
    value = value.astype("float32") if value.dtype.kind == "V" else value
    with archive.open(member, "w", force_zip64=True) as file:
        np.lib.format.write_array(file, value, allow_pickle=False)


def _read(archive, member) -> np.ndarray:
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
