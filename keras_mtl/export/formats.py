"""Writing and running SavedModel, ONNX and LiteRT, all by TensorFlow.

A process that runs Keras on another backend starts one that runs it on TensorFlow.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from keras_mtl.backbones.feature_pyramid import attention_mask_accepted
from keras_mtl.computation.as_written import as_written
from keras_mtl.models import load_model
from keras_mtl.models.files import first_sentence

FORMATS = {"saved_model": "", "onnx": ".onnx", "litert": ".tflite"}  # and how their names end
DESCRIPTION = "assets.extra/keras_mtl.json"  # in a SavedModel: what its maps are
OPSETS = range(12, 19)  # of ONNX: from the first that has all operations to tf2onnx's last
# How LiteRT stores weights, and the difference of a file's maps from the model's that is allowed,
# of their largest value: weights of 11 bits, and weights and activations of 8.
TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "int8": 0.1}


@dataclass(frozen=True)
class Form:
    """What is to be written: arguments of `export_model`."""

    format: str
    decoded: bool = False
    opset: int = OPSETS[-1]
    weights: str = "float32"


def in_another_process(model, fresh: Path, form: Form, images) -> dict:
    """`write_and_run` where Keras runs on TensorFlow."""
    with tempfile.TemporaryDirectory() as folder:
        return _in_another_process(Path(folder), model, fresh, form, images)


def _in_another_process(folder: Path, model, fresh: Path, form: Form, images):
    model.save(folder / "model.keras")
    np.save(folder / "images.npy", images)
    here = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",  # this process holds the GPU's memory
        "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    code = "import sys; from keras_mtl.export.formats import work; work(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(fresh), json.dumps(asdict(form))],
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
            f"TensorFlow's process, which writes {form.format}, ended with code {done.returncode}: "
            f"{last.rstrip('.')}."
        )
    with np.load(folder / "found.npz") as arrays:
        found = {}
        for key, value in arrays.items():
            count, name = key.split(" ", 1)
            found.setdefault(int(count), {})[name] = value
    return found


def work(folder: str, fresh: str, form: str) -> None:
    """What `in_another_process` starts."""
    folder = Path(folder)
    try:
        try:
            model = load_model(folder / "model.keras")
        except ValueError as error:
            reason = first_sentence(error.__cause__ or error)
            raise ValueError(
                f"The model cannot be loaded under TensorFlow ({reason}); if it has classes of "
                "your own, export it in a program that runs with KERAS_BACKEND=tensorflow."
            ) from error
        images = np.load(folder / "images.npy")
        found = write_and_run(model, Path(fresh), Form(**json.loads(form)), images)
    except ValueError as error:
        (folder / "error.txt").write_text(str(error))
        return
    named = {f"{n} {name}": x for n, maps in found.items() for name, x in maps.items()}
    np.savez(folder / "found.npz", **named)


def write_and_run(model, fresh: Path, form: Form, images) -> dict:
    """Writes the model and runs what was written.

    Returns:
        Dict by number of images of dicts by task name of arrays.
    """
    write = {"saved_model": _saved_model, "onnx": _onnx, "litert": _litert}[form.format]
    try:
        with _quiet():
            run = write(model, fresh, form)
            return {len(batch): run(batch) for batch in (images[:1], images)}
    except Exception as error:
        raise ValueError(
            f"This {type(model).__name__} cannot be written as {form.format}: {reason(error)}."
        ) from error


def _saved_model(model, fresh: Path, form: Form) -> Callable:
    import tensorflow as tf

    # keras.export.ExportArchive would store every weight twice.
    holder = _holder(model)
    holder.serve = tf.function(_function(model, form.decoded), input_signature=[_image_spec(model)])
    holder.final_maps = _final_maps(model)
    signatures = {"serving_default": holder.serve}
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)  # not to be trained
    with attention_mask_accepted():
        tf.saved_model.save(holder, str(fresh), signatures, options)
    description = fresh / DESCRIPTION
    description.parent.mkdir()
    description.write_text(json.dumps(describe(model, form.decoded), indent=2) + "\n")
    loaded = tf.saved_model.load(str(fresh))
    return lambda images: {k: v.numpy() for k, v in loaded.serve(tf.constant(images)).items()}


def _onnx(model, fresh: Path, form: Form) -> Callable:
    import onnx
    import onnxruntime
    import tf2onnx

    # TensorFlow has no public name for this; tests/test_export.py fails without it. tf2onnx's own
    # way takes constants that Keras has computed for inputs of the network.
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    graph = convert_variables_to_constants_v2(
        _traced(model, form.decoded), lower_control_flow=False
    )
    outputs = [tensor.name for tensor in graph.outputs]
    names = sorted(task.name for task in model.tasks)  # the order in which TensorFlow has a dict
    network, _ = tf2onnx.convert.from_graph_def(
        graph.graph.as_graph_def(),
        name=model.name,
        input_names=[graph.inputs[0].name],
        output_names=outputs,
        tensors_to_rename={graph.inputs[0].name: "image", **dict(zip(outputs, names, strict=True))},
        opset=form.opset,
        custom_op_handlers={"Erfc": (_erfc, []), **{name: (_resize, []) for name in RESIZES}},
    )
    for value in (*network.graph.input, *network.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    properties = {"keras_mtl": json.dumps(describe(model, form.decoded))}
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


RESIZES = ("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic")


def _resize(graph, node, name, args) -> None:
    """tf2onnx's own, with the size that is wanted.

    Of a size that it knows tf2onnx makes a factor, and a runtime multiplies with it and rounds
    down: from 5 to 9 pixels this can be 8.
    """
    from tf2onnx.onnx_opset.nn import Resize

    size = graph.make_node("Identity", [node.input[1]])  # no constant any more
    graph.replace_input(node, node.input[1], size.output[0], 1)
    Resize.version_11(graph, node)


def _litert(model, fresh: Path, form: Form) -> Callable:
    import tensorflow as tf

    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        Interpreter = tf.lite.Interpreter  # the same, as long as TensorFlow brings it

    function = _traced(model, form.decoded)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], _holder(model))
    if form.weights != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]  # 8 bits, if nothing else is said
    if form.weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
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


def _final_maps(model):
    """As `MultiTaskModel.predict_maps`, but the photograph lies in an image of the model's already:
    raw maps are cut out and scaled to its size, and only then decoded."""
    import tensorflow as tf

    def final_maps(image, inside, size):
        raw = model(image[None], training=False)
        top, left, height, width = tf.unstack(inside)
        found = {}
        for task in model.tasks:
            if task.output == "map":
                cut = raw[task.name][0, top : top + height, left : left + width]
                found[task.name] = task.decode(tf.image.resize(cut, size))
        return found

    image = tf.TensorSpec((*model.image_size, 3), tf.float32, name="image")
    inside = tf.TensorSpec((4,), tf.int32, name="inside")  # top, left, height, width
    size = tf.TensorSpec((2,), tf.int32, name="size")  # height, width of the photograph
    return tf.function(final_maps, input_signature=[image, inside, size])


def _traced(model, decoded: bool):
    """The model as a `tf.function`, of operations that other formats have too."""
    import tensorflow as tf

    function = tf.function(_function(model, decoded), input_signature=[_image_spec(model)])
    with attention_mask_accepted(), as_written(model):
        return function.get_concrete_function()


def describe(model, decoded: bool) -> dict:
    """What an exported file says of itself: its images' size, and what each task's map is."""
    tasks = [
        {
            "name": task.name,
            "kind": type(task).__name__,
            **({"labels": task.labels} if hasattr(task, "labels") else {}),
            "measured_in": task.measured_in,
            "colours": task.colours(),
        }
        for task in model.tasks
    ]
    return {"image_size": list(model.image_size), "decoded": decoded, "tasks": tasks}


def reason(error: Exception) -> str:
    """The first line of what a converter says, whole: what is wrong stands at its end."""
    return next(filter(None, map(str.strip, str(error).splitlines())), repr(error)).rstrip(".")


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
