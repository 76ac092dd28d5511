"""A trained model written as a file, checked, and only then given its name."""

import dataclasses
import importlib.util
import math
import os
import time
from pathlib import Path

import keras
import numpy as np

from keras_mtl.arguments import check_number, check_path
from keras_mtl.computation.sublayers import every_layer
from keras_mtl.export.agreement import check_images, compared, raw_maps
from keras_mtl.export.formats import (
    FORMATS,
    OPSETS,
    TOLERANCES,
    Form,
    in_another_process,
    write_and_run,
)
from keras_mtl.files import sweep, whole, whole_folder
from keras_mtl.models import MultiTaskModel, load_model


@dataclasses.dataclass
class Exported:
    """What `export_model` wrote; printed, it is a line for people.

    Attributes:
        path: `Path` of the file or the SavedModel's folder.
        format: str.
        size: int, bytes.
        seconds: float, that writing and checking took.
        differences: dict by task name: the largest difference between the file's maps and the
            model's, in units of the largest value of the model's map.
        tolerance: float, the difference that was allowed.
        weights: str, how the file stores them.
        note: str. What there is to know besides; empty most of the time.
    """

    path: Path
    format: str
    size: int
    seconds: float
    differences: dict[str, float]
    tolerance: float = TOLERANCES["float32"]
    weights: str = "float32"
    note: str = ""

    def __str__(self) -> str:
        differences = ", ".join(f"{name} {x:.1e}" for name, x in self.differences.items())
        stored = "" if self.weights == "float32" else f" with {self.weights} weights"
        text = f"{self.path}: {self.format}{stored}, {self.size / 1e6:.1f} MB, "
        text += f"{self.seconds:.0f} s; largest difference to the model, of scale, of which "
        text += f"{self.tolerance:g} is allowed: {differences}"
        return f"{text}. {self.note}" if self.note else text


def export_model(
    model: MultiTaskModel | str | Path,
    path: str | Path,
    format: str = "saved_model",
    decoded: bool = False,
    tolerance: float | None = None,
    verbose: bool = True,
    opset: int | None = None,
    weights: str = "float32",
) -> Exported:
    """Writes a model for programs that have no Keras, and checks that it gives the same maps.

    The file takes a batch of any number of images, float32 `(B, H, W, 3)` RGB in 0..255 at the
    model's size, as the input `image`, and returns a map for each task, named as the task. Its
    weights are float32 unless `weights` says otherwise, also where the model was trained in mixed
    precision.

    The check runs the file on noise and on generated rooms, one image and three at a time.

    Args:
        model: a model under any backend, or the path of a `.keras` file.
        path: where to write. What this function wrote there before is replaced once the new one
            is whole and checked.
        format: `"saved_model"` (a folder), `"onnx"` (a file that ends in `.onnx`) or `"litert"`
            (a file that ends in `.tflite`).
        decoded: bool. Whether the file gives final maps, as `task.decode` makes them (class ids,
            metres, unit vectors, probabilities), instead of raw ones.
        tolerance: float. The largest difference allowed, in units of the largest value of the
            model's map; `None` means 1e-4, or what `weights` says. For class ids it is how much
            lower the model scores the file's class than its own; for normals it is weighted by
            the length of the raw vectors.
        verbose: bool. Whether the answer is printed.
        opset: int, 12 to 18: ONNX's set of operators, for a runtime that knows an older one only;
            `None` means 18. Of ONNX alone.
        weights: how LiteRT stores them: `"float32"`; `"float16"`, half the size, a tolerance of
            0.01; or `"int8"`, a quarter of the size, where activations are rounded to 8 bits too
            while the file runs, a tolerance of 0.1. Of LiteRT alone.

    Returns:
        `Exported`.

    Raises:
        ValueError: if the model cannot be written in this format or the file differs from it;
            what was at `path` is then as it was.
        OSError: if the disk is full, for instance; likewise.
        ImportError: if a library that this format needs is not installed.

    Example:

    >>> backbone = keras_mtl.backbones.vision_transformer(
    ...     "tiny", (32, 32, 3), num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8
    ... )
    >>> model = keras_mtl.MultiTaskBaseline(backbone, keras_mtl.tasks.nyud("depth"), head_width=4)
    >>> exported = export_model(model, "depth_network", verbose=False)
    >>> exported.differences["depth"] < 1e-4
    True
    """
    start = time.perf_counter()
    path = check_path("path", path)
    _check_target(path, format)
    _check_options(format, opset, weights)
    _check_libraries(format)
    if not isinstance(model, MultiTaskModel):
        if not isinstance(model, (str, os.PathLike)):
            raise ValueError(
                f"model is a {type(model).__name__}; expected a model of keras_mtl, such as "
                "TaskPrompter, or the path of a .keras file."
            )
        found = load_model(model)
    else:
        found = model.merged()
    model = _in_float32(found)
    for task in model.tasks:
        if isinstance(model.output[task.name], dict):
            raise ValueError(
                f"The output of task {task.name!r} is several tensors, which exported files do "
                "not hold; give the task one tensor as its output."
            )
    form = Form(format, decoded, opset or OPSETS[-1], weights)
    tolerance = TOLERANCES[weights] if tolerance is None else tolerance
    if tolerance != math.inf:  # whatever the difference is
        tolerance = check_number("tolerance", tolerance)
    images = check_images(model.image_size)
    raw = raw_maps(model, images)
    for name, value in raw.items():
        if not np.isfinite(value).all():
            raise ValueError(f"The model's own map of {name} is not finite; train it again.")
    sweep(path.parent)  # what exports left there that were killed
    with whole(path) if FORMATS[format] else whole_folder(path, replace=True) as fresh:
        if keras.backend.backend() == "tensorflow":
            found = write_and_run(model, fresh, form, images)
        else:
            found = in_another_process(model, fresh, form, images)
        differences, note = compared(model, images, raw, found, decoded, tolerance)
        size = sum(f.stat().st_size for f in (fresh, *fresh.rglob("*")) if f.is_file())
    seconds = time.perf_counter() - start
    exported = Exported(path, format, size, seconds, differences, tolerance, weights, note)
    if verbose:
        print(exported)
    return exported


# === What can be done ===


def _check_target(path: Path, format: str) -> None:
    if format not in FORMATS:
        raise ValueError(f"Unknown format {format!r}; choose one of {', '.join(FORMATS)}.")
    ending = FORMATS[format]
    if ending and path.suffix != ending:
        raise ValueError(f"The path is {path}; expected a name that ends in {ending}.")
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {path.parent} to write {path.name} into.")
    if ending:
        replaceable = not path.is_dir()
    else:
        replaceable = not path.exists() or (path / "saved_model.pb").is_file()
        replaceable |= path.is_dir() and not any(path.iterdir())
    if not replaceable:
        raise ValueError(f"{path} is something else than an exported model; name another path.")


def _check_options(format: str, opset: int | None, weights: str) -> None:
    if opset is not None and (format != "onnx" or opset not in OPSETS):
        raise ValueError(
            f"opset is {opset} for {format}; give one of {OPSETS[0]} to {OPSETS[-1]} with "
            'format="onnx", or leave it out.'
        )
    if weights not in TOLERANCES:
        raise ValueError(f"Unknown weights {weights!r}; choose one of {', '.join(TOLERANCES)}.")
    if weights != "float32" and format != "litert":
        raise ValueError(
            f'{format} keeps weights in float32, but weights is {weights!r}; use format="litert", '
            "or leave weights out."
        )


def _check_libraries(format: str) -> None:
    needed = {"tensorflow": "tensorflow"}
    if format == "onnx":
        needed |= {"tf2onnx": "export", "onnxruntime": "export"}
    for library, extra in needed.items():
        if importlib.util.find_spec(library) is None:
            raise ImportError(
                f"Writing {format} needs {library}, which is not installed: "
                f'pip install "keras-mtl[{extra}]".'
            )


def _in_float32(model: MultiTaskModel) -> MultiTaskModel:
    """The model, or one with its weights that computes in float32."""
    if all(layer.compute_dtype == "float32" for layer in every_layer(model)):
        return model
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        config = _with_float32(keras.saving.serialize_keras_object(model))
        twin = keras.saving.deserialize_keras_object(config)
    finally:
        keras.config.set_dtype_policy(policy)
    twin.set_weights(model.get_weights())
    return twin


def _with_float32(config):
    """A serialized object with every dtype policy replaced."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return {**config, "config": {"name": "float32"}}
        config = {key: _with_float32(value) for key, value in config.items()}
        if isinstance(config.get("dtype"), str) and "float" in config["dtype"]:
            config["dtype"] = "float32"
        return config
    return [_with_float32(x) for x in config] if isinstance(config, (list, tuple)) else config
