"""The file of a checkpoint: all of it is looked at before any of it is used."""

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_mtl import declared

FORMAT = "keras_mtl checkpoint 1"

# What Keras' callbacks remember from epoch to epoch, and as what: the one that keeps the best
# model, the ones that wait for progress, the columns of a CSV log and the step of TensorBoard.
# Nothing else is stored, and nothing else is read back, whatever a file says.
MEMORY: dict[str, tuple[type, ...]] = {
    "best": (int, float, type(None)),
    "best_epoch": (int,),
    "best_weights": (list, type(None)),
    "wait": (int,),
    "cooldown_counter": (int,),
    "keys": (list, type(None)),
    "_global_train_batch": (int,),
}
_LOG = "log"  # beside them: what is in the file of a CSVLogger

# What a checkpoint says about itself, besides its format.
_ABOUT: dict[str, tuple[type, ...]] = {
    "epoch": (int,),
    "steps": (int, type(None)),
    "torch_seed": (int, type(None)),
    "settings": (dict,),
    "run": (dict,),
    "variables": (dict,),
    "callbacks": (list,),
}

_UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, RecursionError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, RuntimeError),  # the last for what is encrypted
)


class Broken(Exception):
    """What keeps a checkpoint from being read, without the file's name."""


@dataclass(frozen=True)
class Contents:
    """What a whole checkpoint holds.

    Args:
        values: an array for each variable of the run, in their order.
        memories: a dict for each callback: what it remembers, by the name of its attribute.
        logs: the text of its file for each callback; `None` where it is no `CSVLogger`.
    """

    values: list[np.ndarray]
    memories: list[dict]
    logs: list[str | None]


# === Writing ===


def stored_value(variable: keras.Variable) -> np.ndarray:
    """A variable's value as it is stored.

    Args:
        variable: of a model or an optimizer.
    """
    return _storable(keras.ops.convert_to_numpy(variable))


def store(archive: zipfile.ZipFile, member: str, value: np.ndarray) -> None:
    """Writes an array.

    Args:
        archive: the file.
        member: name in it.
        value: the array.
    """
    with archive.open(member, "w", force_zip64=True) as file:
        np.lib.format.write_array(file, value, allow_pickle=False)


def store_memories(archive: zipfile.ZipFile, callbacks: Sequence) -> list[dict]:
    """What callbacks remember, as plain data; the arrays among it are written.

    Args:
        archive: the file.
        callbacks: whose memory it is.
    """
    memories = []
    for k, callback in enumerate(callbacks):
        memory = {name: getattr(callback, name) for name in MEMORY if hasattr(callback, name)}
        if isinstance(callback, keras.callbacks.CSVLogger):
            memory[_LOG] = Path(callback.filename).read_bytes().decode()
        if memory.get("best_weights"):
            weights = memory["best_weights"]
            memory["best_weights"] = _members(k, len(weights))
            for member, value in zip(memory["best_weights"], weights, strict=True):
                store(archive, member, _storable(np.asarray(value)))
        memories.append(memory)
    return memories


def _storable(value: np.ndarray) -> np.ndarray:
    # NumPy's files know no bfloat16; float32 holds it exactly.
    return value.astype("float32") if value.dtype.kind == "V" else value


def _members(callback: int, count: int) -> list[str]:
    return [f"callbacks/{callback}/{number}.npy" for number in range(count)]


# === Reading ===


def read_about(path: Path) -> dict:
    """What a checkpoint says about itself, once every byte of it is checked.

    Args:
        path: of the file, whose name tells the epoch.

    Returns:
        Its JSON; of another format it is not looked at further.

    Raises:
        Broken: if it is damaged, cut short, declares too much, or is of another epoch than its
            name.
    """
    with _breaking(path), zipfile.ZipFile(path) as archive:
        declared.check_zip(archive, path)
        damaged = archive.testzip()
        if damaged:
            raise Broken(f"{damaged} is damaged")
        about = json.loads(archive.read("about.json"))
        if not isinstance(about, dict):
            raise Broken("about.json does not describe a checkpoint")
        if about.get("format") == FORMAT:
            for name, types in _ABOUT.items():
                if type(about.get(name)) not in types:
                    raise Broken(f"about.json says {_short(about.get(name))} for {name}")
            if about["epoch"] < 1 or path.name != file_name(about["epoch"]):
                raise Broken(f"it is the checkpoint of epoch {about['epoch']} under another name")
        return about


def file_name(epoch: int) -> str:
    """The name of the checkpoint of an epoch.

    Args:
        epoch: how many are done.
    """
    return f"epoch-{epoch:05d}.npz"


def read_contents(
    path: Path,
    about: Mapping,
    variables: Mapping[str, keras.Variable],
    weights: Sequence[keras.Variable],
    callbacks: Sequence,
) -> Contents:
    """All that a checkpoint holds; nothing is assigned.

    Args:
        path: of the file.
        about: of `read_about`.
        variables: those of the run by the names of their files.
        weights: those of the model, of which `EarlyStopping` keeps the best.
        callbacks: whose memory it is.

    Raises:
        Broken: if an array is missing, no finite numbers, or of another shape or type than its
            variable; or if a callback's memory is none that is ever stored.
    """
    with _breaking(path), zipfile.ZipFile(path) as archive:
        values = [_read(archive, path, name, like=v) for name, v in variables.items()]
        if len(about["callbacks"]) != len(callbacks):
            raise Broken("it has the memory of other callbacks")
        memories, logs = [], []
        for k, (callback, memory) in enumerate(zip(callbacks, about["callbacks"], strict=True)):
            memory = dict(memory)
            logs.append(None)
            if isinstance(callback, keras.callbacks.CSVLogger):
                logs[-1] = memory.pop(_LOG, None)
                if not isinstance(logs[-1], str):
                    raise Broken("it lacks the rows of the log")
            _check_memory(memory, type(callback).__name__)
            if memory.get("best_weights"):
                members = memory["best_weights"]
                if members != _members(k, len(members)):
                    raise Broken("it names other files than its own")
                early = isinstance(callback, keras.callbacks.EarlyStopping)
                if early and len(members) != len(weights):
                    raise Broken(f"it has {len(members)} best weights of {len(weights)}")
                likes = weights if early else [None] * len(members)
                pairs = zip(members, likes, strict=True)
                memory["best_weights"] = [_read(archive, path, name, v) for name, v in pairs]
            memories.append(memory)
        return Contents(values, memories, logs)


def _check_memory(memory: Mapping, owner: str) -> None:
    for name, value in memory.items():
        if name not in MEMORY:
            raise Broken(f"it sets {name!r} of {owner}, which no checkpoint stores")
        if type(value) not in MEMORY[name]:
            raise Broken(f"it has {_short(value)} for {name} of {owner}")
        if name == "keys" and not all(isinstance(key, str) for key in value or ()):
            raise Broken(f"it has {_short(value)} for {name} of {owner}")


def _read(archive, path, member, like=None) -> np.ndarray:
    """An array of finite numbers; of a variable's shape and type, if there is one."""
    if member not in archive.namelist():
        raise Broken(f"it lacks {member}")
    with archive.open(member) as file:
        value = declared.read_npy(file, path, archive.getinfo(member).file_size)
    if like is not None:
        expected = stored_value(like)
        if (value.shape, value.dtype) != (expected.shape, expected.dtype):
            raise Broken(
                f"{member} is {value.dtype} {value.shape}, and {like.path} is {expected.dtype} "
                f"{expected.shape}"
            )
    if value.dtype.kind not in "biuf" or not np.isfinite(value).all():
        raise Broken(f"{member} holds no finite numbers")
    return value


@contextmanager
def _breaking(path: Path) -> Iterator[None]:
    """Whatever a library says of a broken file, in a few words."""
    try:
        yield
    except _UNREADABLE as error:
        said = error.strerror if isinstance(error, OSError) else None
        words = " ".join((said or str(error) or type(error).__name__).split())
        raise Broken(words.removeprefix(f"{path} ").rstrip(".")[:200]) from error


def _short(value) -> str:
    return repr(value)[:40]
