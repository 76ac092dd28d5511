"""Models in files: `.keras` files, and folders to share trained models in."""

import io
import json
import zipfile
from importlib.metadata import version
from pathlib import Path

import keras

from keras_mtl.files import whole_folder

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


def read_preset(folder: str | Path):
    """The model that `write_preset` wrote, weights included.

    Args:
        folder: its path.

    Raises:
        ValueError: if it is not such a folder, or a broken one.
    """
    folder = Path(folder)
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
    return model


def first_sentence(error: BaseException) -> str:
    """What a library's error, which may be pages long, begins with; without a full stop."""
    text = str(error).split("Exception encountered: ")[-1]  # which Keras puts a page in front of
    line = next(filter(None, map(str.strip, text.splitlines())), type(error).__name__)
    return line.split(". ")[0][:150].rstrip(".")


def _checked(model, path):
    from keras_mtl.models.multi_task_model import MultiTaskModel

    if not isinstance(model, MultiTaskModel):
        raise ValueError(
            f"{path} holds a {type(model).__name__}, not a model of keras_mtl such as TaskPrompter."
        )
    return model
