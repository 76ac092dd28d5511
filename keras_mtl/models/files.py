"""Models in files: `.keras` files, and folders to share trained models in."""

import io
import json
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import keras

from keras_mtl.files import whole, whole_folder
from keras_mtl.training.trainer import TaskTrainer

FORMAT = "keras_mtl preset 1"
_FILES = ("metadata.json", "config.json", "model.weights.h5")


def stored_weights(filepath) -> int:
    """How many arrays of the layers a `.keras` or `.weights.h5` file holds."""
    import h5py

    if str(filepath).endswith(".keras"):
        with zipfile.ZipFile(filepath) as archive:
            filepath = io.BytesIO(archive.read("model.weights.h5"))
    arrays = []
    with h5py.File(filepath, "r") as file:
        file["layers"].visit(lambda name: arrays.append(name) if "/vars/" in name else None)
    return len(arrays)


def write_whole(save, filepath, overwrite: bool, **kwargs) -> None:
    """Saves to a file under another name, which gets its own when it is whole.

    Args:
        save: function that writes a file.
        filepath: its path.
        overwrite: bool. Whether a file that is there is replaced.
        **kwargs: for `save`.

    Raises:
        ValueError: if the file is there and not to be replaced, or its folder is not there.
    """
    target = Path(filepath)
    if not target.parent.is_dir():
        raise ValueError(f"There is no folder {target.parent} to save {target.name} in.")
    if target.exists() and not overwrite:
        raise ValueError(f"{target} exists; pass overwrite=True to replace it.")
    with whole(target) as fresh:
        save(fresh, overwrite=True, **kwargs)


def load_weights(model, load, filepath, **kwargs) -> None:
    """Loads weights into a model, or leaves it as it was; see `MultiTaskModel.load_weights`.

    Args:
        model: `MultiTaskModel`.
        load: function that loads them.
        filepath: path of a `.weights.h5` or `.keras` file.
        **kwargs: for `load`.

    Raises:
        ValueError: if the file holds another architecture or cannot be read.
    """
    before = model.get_weights()
    try:
        # Keras itself reads on over weights that the model or the file lacks.
        found, expected = stored_weights(filepath), len(model.weights)
        if model.balancing is not None:
            expected -= len(model.balancing.weights)  # not of the network
        if found != expected and not kwargs.get("skip_mismatch"):
            raise ValueError(f"The file holds {found} weights; this model has {expected}.")
        load(filepath, **kwargs)
    except FileNotFoundError:
        raise
    except Exception as error:
        model.set_weights(before)
        raise ValueError(
            f"{filepath} does not hold weights of this {type(model).__name__} with tasks "
            f"{', '.join(task.name for task in model.tasks)}; load it into a model built with "
            "the same arguments as the saved one."
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
    if Path(filepath).is_dir():
        raise ValueError(
            f"{filepath} is a folder; expected a .keras file (a folder that save_to_preset wrote "
            "is loaded by keras_mtl.MultiTaskModel.from_preset)."
        )
    if not Path(filepath).is_file():
        raise ValueError(f"There is no file {filepath}.")
    import keras_hub  # noqa: F401  (registers the backbone's class before it is looked up)

    try:
        model = keras.saving.load_model(filepath, compile=compile)
    except Exception as error:
        raise ValueError(
            f"{filepath} cannot be read as a .keras model ({first_sentence(error)}): it is broken, "
            "not one, or has classes of your own; import and register those first."
        ) from error
    return _checked(model, filepath)


def write_preset(model, folder: str | Path) -> None:
    """Writes a model's configuration and weights as a folder; see `MultiTaskModel.save_to_preset`.

    Args:
        model: `MultiTaskModel`.
        folder: path of a folder that does not exist yet.

    Raises:
        ValueError: if there is something at this path.
    """
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"{folder} exists; name a folder that does not, or remove it first.")
    folder.parent.mkdir(parents=True, exist_ok=True)
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
            change is asked for.
    """
    folder = Path(folder)
    changes = [name for name, value in changes.items() if value is not None]
    if changes:
        raise ValueError(
            f"{folder} holds a trained model, whose {', '.join(changes)} cannot change; leave them "
            "out."
        )
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"{folder} has no {', '.join(missing)}; name a folder that save_to_preset wrote."
        )
    import keras_hub  # noqa: F401  (registers the backbone's class before it is looked up)

    try:
        metadata = json.loads((folder / "metadata.json").read_text())
        if metadata["format"] != FORMAT:
            raise ValueError(f"its format is {metadata['format']!r}")
        config = json.loads((folder / "config.json").read_text())
        model = keras.saving.deserialize_keras_object(config)
    except Exception as error:
        raise ValueError(
            f"{folder} cannot be read as a model of keras_mtl ({first_sentence(error)}): it is "
            "broken, not one, or has classes of your own; import and register those first."
        ) from error
    _checked(model, folder).load_weights(folder / "model.weights.h5")
    if not isinstance(model, architecture):
        raise ValueError(
            f"{folder} holds a {type(model).__name__}, not a {architecture.__name__}; load it with "
            f"keras_mtl.{type(model).__name__}.from_preset."
        )
    return model


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
