"""Models in files: `.keras` files, and folders to share trained models in."""

import io
import json
import os
import zipfile
from collections.abc import Mapping, MutableMapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from keras_mtl import declared
from keras_mtl.arguments import check_path
from keras_mtl.computation.declared_network import check_network
from keras_mtl.computation.overwritten_weights import drawn_for_a_file
from keras_mtl.files import make_folder, sweep, whole, whole_folder
from keras_mtl.models.low_rank import begin_anew, own_weights
from keras_mtl.models.other_tasks import with_tasks
from keras_mtl.training.given_weights import check_finite
from keras_mtl.training.trainer import TaskTrainer

FORMAT = "keras_mtl preset 1"
_FILES = ("metadata.json", "config.json", "model.weights.h5")
_TASKS = "tasks"  # beside the network's own variables: the tasks' names, as JSON in bytes


class Content(NamedTuple):
    """What a `.keras` or `.weights.h5` file holds.

    Attributes:
        arrays: int. How many of the layers.
        size: int. Bytes of all arrays' file.
        tasks: list of the tasks' names in their order, or `None` of an earlier version's file.
        config: dict. What a `.keras` file says of the network; empty of the other.
    """

    arrays: int
    size: int
    tasks: list[str] | None
    config: dict


def look_at(filepath: str | Path) -> Content:
    """Looks at all that a `.keras` or `.weights.h5` file declares, and at its numbers.

    Args:
        filepath: path of the file.

    Raises:
        keras_mtl.declared.Refused: if it must not be read.
        Exception: whatever a broken file causes.
    """
    import h5py

    path = Path(filepath)
    content: Path | io.BytesIO = path
    held, config = path.stat().st_size, {}
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            declared.check_zip(archive, path)
            weights = archive.read("model.weights.h5")
            content, held = io.BytesIO(weights), len(weights)
            config = json.loads(archive.read("config.json"))
    with h5py.File(content, "r") as file:
        declared.check_hdf5(file, path, held)
        arrays = []
        if "layers" in file:
            file["layers"].visit(lambda name: arrays.append(name) if "/vars/" in name else None)
        own = file.get("vars", {})
        return Content(len(arrays), held, stored_tasks(own) if _TASKS in own else None, config)


def store_tasks(model, store: MutableMapping) -> None:
    """Writes the names of a model's tasks among its variables.

    Args:
        model: `MultiTaskModel`.
        store: what `save_own_variables` is given.
    """
    names = json.dumps([task.name for task in model.supervised_tasks])
    store[_TASKS] = np.frombuffer(names.encode(), "uint8")


def stored_tasks(store: Mapping) -> list[str]:
    """The names that `store_tasks` has written."""
    return json.loads(np.asarray(store[_TASKS], "uint8").tobytes())


def variables_of(model, store: Mapping) -> dict:
    """What a model's own variables find in a file, once its tasks are those of the model.

    Args:
        model: `MultiTaskModel`.
        store: what `load_own_variables` is given.

    Raises:
        ValueError: if the file's tasks are others, or in another order.
    """
    if _TASKS in store:
        _check_tasks(model, stored_tasks(store), "The file")
    return {name: store[name] for name in store.keys() if name != _TASKS}


def _check_tasks(model, found: list[str] | None, what: str | Path) -> None:
    names = [task.name for task in model.supervised_tasks]
    if found is not None and found != names:
        raise OtherTasks(
            f"{what} holds weights for the tasks {', '.join(map(str, found))}, in this order, and "
            f"this {type(model).__name__} has {', '.join(names)}; build it with the file's tasks "
            "in the file's order (what it predicts is called by name)."
        )


class OtherTasks(ValueError):
    """A file's weights are of other tasks, or of the same in another order."""


def write_whole(
    model, save, filepath, overwrite: bool, endings=(".keras", ".h5", ".hdf5"), **kwargs
) -> None:
    """Saves to a file under another name, which gets its own when it is whole.

    Args:
        model: what is saved.
        save: function that writes a file.
        filepath: its path.
        endings: those that Keras knows of such files.
        overwrite: bool. Whether a file that is there is replaced.
        **kwargs: for `save`.

    Raises:
        ValueError: if the file is there and not to be replaced, its folder is not there, its
            name ends otherwise, or a weight is not finite, which no loader would take.
        OSError: if the disk is full, for instance.
    """
    target = check_path("filepath", filepath)
    if not target.parent.is_dir():
        raise ValueError(f"There is no folder {target.parent} to save {target.name} in.")
    if not target.is_dir() and not target.name.endswith(endings):
        raise ValueError(f"The path is {target}; expected a name that ends in {endings[0]}.")
    if os.path.lexists(target) and not overwrite:
        raise ValueError(f"{target} exists; pass overwrite=True to replace it.")
    for weight in model.weights:
        check_finite(keras.ops.convert_to_numpy(weight), f"{weight.path} of this model")
    sweep(target.parent)
    with whole(target, size=_stored_size(model)) as fresh:
        save(fresh, overwrite=True, **kwargs)


def write_weights(model, save, filepath, overwrite: bool, max_shard_size) -> None:
    """Saves weights, as `write_whole` does.

    Args:
        model, save, filepath, overwrite: as there.
        max_shard_size: `None`.

    Raises:
        ValueError: as there, or if there should be several files.
    """
    if max_shard_size is not None:
        raise ValueError(
            f"max_shard_size is {max_shard_size}, but weights of a {type(model).__name__} are one "
            "file, which is whole or not there; leave it out."
        )
    write_whole(model, save, filepath, overwrite, (".weights.h5",))


def _stored_size(model) -> int:
    """About how many bytes a file of a model's weights takes: numbers, and what names them."""
    return 4 * model.count_params() + 2000 * len(model.weights)


def load_weights(model, load, filepath, **kwargs) -> None:
    """Loads weights into a model, or leaves it as it was; see `MultiTaskModel.load_weights`.

    Args:
        model: `MultiTaskModel`.
        load: function that loads them.
        filepath: path of a `.weights.h5` or `.keras` file.
        **kwargs: for `load`.

    Raises:
        ValueError: if the file holds another architecture, other tasks or another order of them,
            or cannot be read.
        FileNotFoundError: if there is no such file.
    """
    if not check_path("filepath", filepath).exists():
        raise FileNotFoundError(f"There is no file {filepath}.")
    before = model.get_weights()
    try:
        # Keras itself reads on over weights that the model or the file lacks.
        content, expected = look_at(filepath), len(own_weights(model))
        _check_tasks(model, content.tasks, filepath)
        if content.arrays != expected and not kwargs.get("skip_mismatch"):
            raise ValueError(f"The file holds {content.arrays} weights; this model has {expected}.")
        load(filepath, **kwargs)
        begin_anew(model)
    except (declared.Refused, OtherTasks):  # before anything was assigned
        raise
    except BaseException as error:
        for weight, values in zip(model.weights, before, strict=True):
            weight.assign(values)
        if not isinstance(error, Exception):  # Ctrl-C
            raise
        raise ValueError(
            f"{filepath} does not hold weights of this {type(model).__name__} with tasks "
            f"{', '.join(task.name for task in model.tasks)}; load it into a model built with "
            "the same arguments as the saved one, and for images of the same size."
        ) from error


def load_model(filepath, compile: bool = False):
    """Loads a `.keras` file saved under any backend.

    Args:
        filepath: path of the file.
        compile: bool. Whether to restore the optimizer and the compiled losses too; an
            optimizer saved under PyTorch loads under PyTorch only.

    Raises:
        ValueError: if the file is broken or not a model of this package.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (32, 32, 3), num_layers=4)
    >>> model = keras_mtl.TaskPrompter(
    ...     backbone, keras_mtl.tasks.nyud(), channel_windows=(1, 1), decode_dim=8
    ... )
    >>> model.save("model.keras")
    >>> keras_mtl.load_model("model.keras").image_size
    (32, 32)
    """
    path = check_path("filepath", filepath)
    if path.is_dir():
        raise ValueError(
            f"{filepath} is a folder; expected a .keras file (a folder that save_to_preset wrote "
            "is loaded by keras_mtl.MultiTaskModel.from_preset)."
        )
    if not path.is_file():
        raise ValueError(f"There is no file {filepath}.")
    import keras_hub  # noqa: F401  (registers the backbone's class before it is looked up)

    try:
        content = look_at(filepath)
        _check_network(filepath, content.config | {"compile_config": None}, content.size)
        with drawn_for_a_file(content.size):
            model = keras.saving.load_model(filepath, compile=compile)
    except declared.Refused:
        raise
    except Exception as error:
        raise _unreadable(filepath, ".keras model", error) from error
    return _checked(model, filepath)


def write_preset(model, folder: str | Path) -> None:
    """Writes a model's configuration and weights as a folder; see `MultiTaskModel.save_to_preset`.

    Args:
        model: `MultiTaskModel`.
        folder: path of a folder that does not exist yet.

    Raises:
        ValueError: if there is something at this path.
    """
    folder = check_path("folder", folder)
    if os.path.lexists(folder):
        raise ValueError(f"{folder} exists; name a folder that does not, or remove it first.")
    make_folder(folder.parent)
    metadata = {
        "format": FORMAT,
        "class": type(model).__name__,
        "tasks": [task.name for task in model.tasks],
        "image_size": list(model.image_size),
        "parameters": model.count_params(),
        "keras_mtl": version("keras-mtl"),
        "keras": keras.__version__,
    }
    with whole_folder(folder) as fresh:
        fresh.mkdir()
        config = keras.saving.serialize_keras_object(model)
        (fresh / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        (fresh / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")
        model.save_weights(fresh / "model.weights.h5")


def read_preset(folder: str | Path, architecture: type, changes: Mapping):
    """The model that `write_preset` wrote, weights included.

    Args:
        folder: its path.
        architecture: what it must be.
        changes: what it is asked to be different in; `None` where it is not.

    Raises:
        ValueError: if it is not such a folder, or a broken one, of another architecture, or a
            change is asked for that is none of the tasks.
    """
    folder = Path(folder)
    others = [name for name, value in changes.items() if value is not None and name != "tasks"]
    if others:
        raise ValueError(
            f"{folder} holds a trained model, whose {', '.join(others)} cannot change; leave them "
            "out."
        )
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"{folder} has no {', '.join(missing)}; name a folder that save_to_preset wrote."
        )
    import keras_hub  # noqa: F401  (registers the backbone's class before it is looked up)

    try:
        metadata = declared.read_json(folder / "metadata.json")
        if metadata["format"] != FORMAT:
            raise ValueError(f"its format is {metadata['format']!r}")
        config = declared.read_json(folder / "config.json")
    except Exception as error:
        raise _unreadable(folder, "model of keras_mtl", error) from error
    size = (folder / "model.weights.h5").stat().st_size
    _check_network(folder, config, size)
    try:
        with drawn_for_a_file(size):
            model = keras.saving.deserialize_keras_object(config)
    except Exception as error:
        raise _unreadable(folder, "model of keras_mtl", error) from error
    _checked(model, folder).load_weights(folder / "model.weights.h5")
    if not isinstance(model, architecture):
        raise ValueError(
            f"{folder} holds a {type(model).__name__}, not a {architecture.__name__}; load it with "
            f"keras_mtl.{type(model).__name__}.from_preset."
        )
    return model if changes.get("tasks") is None else with_tasks(model, changes["tasks"])


def _check_network(path, config: dict, held: int) -> None:
    check_network(path, config, lambda: keras.saving.deserialize_keras_object(config), held)


def _unreadable(path, what: str, error: Exception) -> ValueError:
    return ValueError(
        f"{path} cannot be read as a {what} ({first_sentence(error)}): it is broken, not one, or "
        "has classes of your own; import and register those first."
    )


def first_sentence(error: BaseException) -> str:
    """What a library's error, which may be pages long, begins with; without a full stop."""
    text = str(error).split("Exception encountered: ")[-1]  # which Keras puts a page in front of
    line = next(filter(None, map(str.strip, text.splitlines())), type(error).__name__)
    return line.split(". ")[0][:150].rstrip(".")


def _checked(model, path):
    if not isinstance(model, TaskTrainer):
        raise ValueError(
            f"{path} holds a {type(model).__name__}, not a model of keras_mtl such as TaskPrompter."
        )
    return model
