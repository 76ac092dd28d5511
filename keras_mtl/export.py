"""Trained models as files for other programs: SavedModel, ONNX, LiteRT.

Every format is written by TensorFlow, whatever backend the model runs on: under JAX and PyTorch a
process of its own loads the model there. A file is kept only if it gives the model's own maps.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import keras
import numpy as np
from keras import ops

from keras_mtl.backbones.feature_pyramid import attention_mask_accepted
from keras_mtl.data.rooms import render
from keras_mtl.layers import attention
from keras_mtl.models import MultiTaskModel, load_model
from keras_mtl.tasks import DepthEstimation, SemanticSegmentation, SurfaceNormals

FORMATS = {"saved_model": "", "onnx": ".onnx", "litert": ".tflite"}  # and how their names end
TOLERANCE = 1e-4  # of the largest value of a task's map
DESCRIPTION = "assets.extra/keras_mtl.json"  # in a SavedModel: what its maps are
OPSET = 18  # of ONNX
# Queries that share one block of scores in ONNX and LiteRT, which have no loop to save memory by.
QUERIES = 1024


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
        note: str. What there is to know besides; empty most of the time.
    """

    path: Path
    format: str
    size: int
    seconds: float
    differences: dict[str, float]
    note: str = ""

    def __str__(self) -> str:
        differences = ", ".join(f"{name} {x:.1e}" for name, x in self.differences.items())
        text = f"{self.path}: {self.format}, {self.size / 1e6:.1f} MB, {self.seconds:.0f} s; "
        text += f"largest difference to the model, of scale: {differences}"
        return f"{text}. {self.note}" if self.note else text


def export_model(
    model: MultiTaskModel | str | Path,
    path: str | Path,
    format: str = "saved_model",
    decoded: bool = False,
    tolerance: float = TOLERANCE,
    verbose: bool = True,
) -> Exported:
    """Writes a model for programs that have no Keras, and checks that it gives the same maps.

    The file takes a batch of any number of images, float32 `(B, H, W, 3)` RGB in 0..255 at the
    model's size, as the input `image`, and returns a map for each task, named as the task. It
    computes in float32, also where the model was trained in mixed precision.

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
            model's map. For class ids it is how much lower the model scores the file's class
            than its own; for normals it is weighted by the length of the raw vectors.
        verbose: bool. Whether the answer is printed.

    Returns:
        `Exported`.

    Raises:
        ValueError: if the model cannot be written in this format or the file differs from it;
            what was at `path` is then as it was.
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
    path = Path(path)
    _check_target(path, format)
    _check_libraries(format)
    if not isinstance(model, MultiTaskModel):
        if not isinstance(model, (str, os.PathLike)):
            raise ValueError(
                f"model is a {type(model).__name__}; expected a model of keras_mtl, such as "
                "TaskPrompter, or the path of a .keras file."
            )
        model = load_model(model)
    model = _in_float32(model)
    images = _check_images(model.image_size)
    raw = _maps(model, images)
    for name, value in raw.items():
        if not np.isfinite(value).all():
            raise ValueError(f"The model's own map of {name} is not finite; train it again.")
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".exporting-") as folder:
            fresh = Path(folder) / path.name
            if keras.backend.backend() == "tensorflow":
                found = _write_and_run(model, fresh, format, decoded, images)
            else:
                found = _in_another_process(model, fresh, format, decoded, images)
            differences, note = _compared(model, images, raw, found, decoded, tolerance)
            size = sum(f.stat().st_size for f in (fresh, *fresh.rglob("*")) if f.is_file())
            _replace(fresh, path)
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror or error}).") from error
    exported = Exported(path, format, size, time.perf_counter() - start, differences, note)
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
    if all(layer.compute_dtype == "float32" for layer in model._flatten_layers()):
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


# === Writing, in TensorFlow ===


def _in_another_process(model, fresh: Path, format: str, decoded: bool, images) -> dict:
    """`_write_and_run` where Keras runs on TensorFlow."""
    folder = fresh.parent / "work"
    folder.mkdir()
    model.save(folder / "model.keras")
    np.save(folder / "images.npy", images)
    here = str(Path(__file__).parents[1])
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",  # this process holds the GPU's memory
        "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    code = "import sys; from keras_mtl.export import _work; _work(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(fresh), format, *["decoded"] * decoded],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if (folder / "error.txt").exists():
        raise ValueError((folder / "error.txt").read_text())
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
        raise ValueError(
            f"TensorFlow's process, which writes {format}, ended with code {done.returncode}: "
            f"{last.rstrip('.')}."
        )
    with np.load(folder / "found.npz") as arrays:
        found = {}
        for key, value in arrays.items():
            count, name = key.split(" ", 1)
            found.setdefault(int(count), {})[name] = value
    shutil.rmtree(folder)
    return found


def _work(folder: str, fresh: str, format: str, decoded: str = "") -> None:
    """What `_in_another_process` starts."""
    folder = Path(folder)
    try:
        try:
            model = load_model(folder / "model.keras")
        except ValueError as error:
            reason = _first_sentence(error.__cause__ or error)
            raise ValueError(
                f"The model cannot be loaded under TensorFlow ({reason}); if it has classes of "
                "your own, export it in a program that runs with KERAS_BACKEND=tensorflow."
            ) from error
        images = np.load(folder / "images.npy")
        found = _write_and_run(model, Path(fresh), format, bool(decoded), images)
    except ValueError as error:
        (folder / "error.txt").write_text(str(error))
        return
    named = {f"{n} {name}": x for n, maps in found.items() for name, x in maps.items()}
    np.savez(folder / "found.npz", **named)


def _write_and_run(model, fresh: Path, format: str, decoded: bool, images) -> dict:
    """Writes the model and runs what was written.

    Returns:
        Dict by number of images of dicts by task name of arrays.
    """
    write = {"saved_model": _saved_model, "onnx": _onnx, "litert": _litert}[format]
    try:
        with _quiet():
            run = write(model, fresh, decoded)
            return {len(batch): run(batch) for batch in (images[:1], images)}
    except Exception as error:
        raise ValueError(
            f"This {type(model).__name__} cannot be written as {format}: {_first_sentence(error)}."
        ) from error


def _first_sentence(error: BaseException) -> str:
    """What a library's error, which may be pages long, begins with; without a full stop."""
    line = next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
    return line.split(". ")[0][:150].rstrip(".")


def _saved_model(model, fresh: Path, decoded: bool) -> Callable:
    import tensorflow as tf

    # keras.export.ExportArchive would store every weight twice.
    holder = _holder(model)
    holder.serve = tf.function(_function(model, decoded), input_signature=[_image_spec(model)])
    signatures = {"serving_default": holder.serve}
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)  # not to be trained
    with attention_mask_accepted():
        tf.saved_model.save(holder, str(fresh), signatures, options)
    description = fresh / DESCRIPTION
    description.parent.mkdir()
    description.write_text(json.dumps(_description(model, decoded), indent=2) + "\n")
    loaded = tf.saved_model.load(str(fresh))
    return lambda images: {k: v.numpy() for k, v in loaded.serve(tf.constant(images)).items()}


def _onnx(model, fresh: Path, decoded: bool) -> Callable:
    import onnx
    import onnxruntime
    import tf2onnx
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    # tf2onnx itself takes constants that Keras has computed for inputs of the network.
    graph = convert_variables_to_constants_v2(_traced(model, decoded), lower_control_flow=False)
    outputs = [tensor.name for tensor in graph.outputs]
    names = sorted(task.name for task in model.tasks)  # the order in which TensorFlow has a dict
    network, _ = tf2onnx.convert.from_graph_def(
        graph.graph.as_graph_def(),
        name=model.name,
        input_names=[graph.inputs[0].name],
        output_names=outputs,
        tensors_to_rename={graph.inputs[0].name: "image", **dict(zip(outputs, names, strict=True))},
        opset=OPSET,
        custom_op_handlers={"Erfc": (_erfc, [])},
    )
    for value in (*network.graph.input, *network.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    properties = {"keras_mtl": json.dumps(_description(model, decoded))}
    onnx.helper.set_model_props(network, properties)
    onnx.checker.check_model(network)
    onnx.save(network, str(fresh))
    session = onnxruntime.InferenceSession(str(fresh), providers=["CPUExecutionProvider"])
    return lambda images: dict(zip(names, session.run(names, {"image": images}), strict=True))


def _erfc(graph, node, name, args) -> None:
    """ONNX has no 1 - erf(x), which TensorFlow's exact GELU is made of."""
    node.type = "Erf"
    erf = node.output[0]
    shape, dtype = graph.get_shape(erf), graph.get_dtype(erf)
    users = graph.find_output_consumers(erf)
    one = graph.make_const(f"{name}_one", np.ones((), "float32")).output[0]
    complement = graph.make_node("Sub", [one, erf], shapes=[shape], dtypes=[dtype])
    graph.replace_all_inputs(erf, complement.output[0], ops=users)


def _litert(model, fresh: Path, decoded: bool) -> Callable:
    import tensorflow as tf

    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        Interpreter = tf.lite.Interpreter  # the same, as long as TensorFlow brings it

    function = _traced(model, decoded)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], _holder(model))
    fresh.write_bytes(converter.convert())
    runner = Interpreter(model_path=str(fresh)).get_signature_runner()
    return lambda images: {name: np.array(x) for name, x in runner(image=images).items()}


def _holder(model):
    """What keeps the weights for TensorFlow's own writers."""
    import tensorflow as tf

    holder = tf.Module()
    holder.weights = [weight.value for weight in model.weights]
    return holder


def _image_spec(model):
    import tensorflow as tf

    return tf.TensorSpec((None, *model.image_size, 3), tf.float32, name="image")


def _function(model, decoded: bool) -> Callable:
    def serve(image):
        maps = model(image, training=False)
        return {t.name: t.decode(maps[t.name]) if decoded else maps[t.name] for t in model.tasks}

    return serve


def _traced(model, decoded: bool):
    """The model as a `tf.function`, of operations that other formats have too."""
    import tensorflow as tf

    function = tf.function(_function(model, decoded), input_signature=[_image_spec(model)])
    with (
        attention_mask_accepted(),
        attention.as_written(),
        mock.patch.object(attention, "_chunked", functools.partial(_unrolled, attention._chunked)),
        mock.patch.object(tf, "roll", _roll),
        mock.patch.object(ops, "argmax", _argmax),
    ):
        return function.get_concrete_function()


def _unrolled(attend, query, key, value, chunk: int):
    """Attention of some queries after another, without a loop."""
    pieces = [
        attend(query[:, i : i + QUERIES], key, value, QUERIES)
        for i in range(0, query.shape[1], QUERIES)
    ]
    return pieces[0] if len(pieces) == 1 else ops.concatenate(pieces, axis=1)


def _roll(x, shift, axis):
    """`tf.roll`, which LiteRT does not have."""
    for by, along in zip(np.atleast_1d(shift), np.atleast_1d(axis), strict=True):
        length = x.shape[along]
        order = np.roll(np.arange(length), by)
        cut = int(order.argmin())  # where the first one comes to lie
        first, last = ops.split(x, [length - cut], axis=int(along))
        x = ops.concatenate([last, first], axis=int(along))
    return x


def _argmax(x, axis=None, keepdims=False):
    """Without Keras' care for negative zeros, whose bits neither ONNX nor LiteRT can look at."""
    import tensorflow as tf

    index = tf.argmax(x, axis=axis, output_type="int32")
    return tf.expand_dims(index, axis) if keepdims else index


def _description(model, decoded: bool) -> dict:
    tasks = [
        {
            "name": task.name,
            "kind": type(task).__name__,
            **({"labels": task.labels} if hasattr(task, "labels") else {}),
        }
        for task in model.tasks
    ]
    return {"image_size": list(model.image_size), "decoded": decoded, "tasks": tasks}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what the converters report of themselves, and Python's warnings, from the screen."""
    import warnings

    loggers = [logging.getLogger(name) for name in ("tensorflow", "tf2onnx", "absl")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _replace(fresh: Path, path: Path) -> None:
    """Gives what was written its name; a folder cannot be renamed onto another."""
    old = fresh.with_name("earlier")
    if path.is_dir():
        os.replace(path, old)
    try:
        os.replace(fresh, path)
    except OSError:
        if old.exists():
            os.replace(old, path)
        raise


# === Checking ===


def _check_images(size: tuple[int, int]) -> np.ndarray:
    """A room, noise and another room, float32 `(3, H, W, 3)`."""
    noise = np.random.default_rng(0).uniform(0, 255, (*size, 3))
    rooms = [render(0, size, index)["image"] for index in range(2)]
    return np.stack([rooms[0], noise, rooms[1]]).astype("float32")


def _maps(model, images) -> dict[str, np.ndarray]:
    """The raw maps, one image at a time: three of a large model need not fit into memory."""
    with _full_precision():
        maps = [model.predict_on_batch(images[i : i + 1]) for i in range(len(images))]
    return {t.name: np.concatenate([each[t.name] for each in maps]) for t in model.tasks}


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """GPUs multiply float32 with 10 bits (TF32) unless they are told not to."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        with jax.default_matmul_precision("highest"):
            yield
    elif backend == "torch":
        import torch

        with torch.backends.cudnn.flags(allow_tf32=False):
            yield
    else:
        import tensorflow as tf

        before = tf.config.experimental.tensor_float_32_execution_enabled()
        tf.config.experimental.enable_tensor_float_32_execution(False)
        try:
            yield
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(before)


def _compared(model, images, raw, found, decoded, tolerance) -> tuple[dict[str, float], str]:
    """The differences by task and a note, or an error if a task has too large a one."""
    differences = {}
    for task in model.tasks:
        each = [
            _differences(task, raw[task.name][:count], maps[task.name], decoded)
            for count, maps in found.items()
        ]
        each = [np.pad(x, (0, len(images) - len(x))) for x in each]
        differences[task.name] = np.max(each, axis=0)
    worst = {name: float(each.max()) for name, each in differences.items()}
    if max(worst.values()) <= tolerance:
        return worst, ""
    own = _sensitivity(model, images, raw, decoded)
    for name, each in differences.items():
        # Where the model itself turns rounding errors into more than that, no file can do better.
        wrong = each > np.maximum(tolerance, 10 * own[name])
        if wrong.any():
            raise ValueError(
                f"The file's map of {name} differs from the model's by {each[wrong].max():.1e} of "
                f"its largest value, more than {tolerance:g}; nothing was written."
            )
    moved = ", ".join(f"{n} by {own[n].max():.1e}" for n, x in worst.items() if x > tolerance)
    note = f"The model itself is as unsteady: an image changed by a millionth moves {moved}."
    return worst, note


def _sensitivity(model, images, raw, decoded: bool) -> dict[str, np.ndarray]:
    """How much of scale each image's maps move when its pixels change by about a millionth."""
    draw = np.random.default_rng(1)
    own = {task.name: np.zeros(len(images)) for task in model.tasks}
    for _ in range(4):
        changed = images * (1 + 1e-6 * draw.standard_normal(images.shape))
        moved = _maps(model, changed.astype("float32"))
        for task in model.tasks:
            maps = _decoded(task, moved[task.name]) if decoded else moved[task.name]
            each = _differences(task, raw[task.name], maps, decoded)
            own[task.name] = np.maximum(own[task.name], each)
    return own


def _decoded(task, raw) -> np.ndarray:
    return ops.convert_to_numpy(task.decode(ops.convert_to_tensor(raw)))


def _differences(task, raw, found, decoded: bool) -> np.ndarray:
    """The largest difference of each image, of scale; infinite where the shape or a value is off.

    Final maps are compared as far as the raw ones say anything: where two classes score the same,
    or the vector to normalize is zero, any answer is as good.
    """
    wanted = _decoded(task, raw) if decoded else raw
    largest = np.abs(raw).max()
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return np.full(len(raw), np.inf)
    if decoded and isinstance(task, SemanticSegmentation):
        scores = np.take_along_axis(raw, found[..., None].astype(int), axis=-1)[..., 0]
        errors, scale = raw.max(axis=-1) - scores, largest
    elif decoded and isinstance(task, SurfaceNormals):
        errors = np.abs(found - wanted) * np.linalg.norm(raw, axis=-1, keepdims=True)
        scale = largest
    elif decoded and isinstance(task, DepthEstimation):
        errors, scale = np.abs(found - wanted), largest
    else:
        errors, scale = np.abs(found.astype("float64") - wanted), np.abs(wanted).max()
    return errors.reshape(len(raw), -1).max(axis=1) / max(float(scale), 1e-30)
