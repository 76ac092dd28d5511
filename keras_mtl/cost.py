"""Parameters and multiply-accumulates of a model: `python -m keras_mtl.cost PRESET`.

MACs are counted from the computation that the backend traces for one image, without running
it: matrix products and convolutions. Interpolation is not counted (JAX writes it as matrix
products; the other backends do not).
"""

import argparse
import json
import math

import keras

from keras_mtl.models import MultiTaskModel
from keras_mtl.presets import PRESETS


def parameters(model: keras.Model) -> int:
    """Number of trainable parameters."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def macs(model: keras.Model) -> int:
    """Multiply-accumulates of one forward pass of one image.

    Args:
        model: model with a single image input of known size.

    Returns:
        Multiply-accumulates of all matrix products and convolutions.
    """
    shape = (1, *model.input_shape[1:])
    count = {"jax": _macs_jax, "tensorflow": _macs_tensorflow, "torch": _macs_torch}
    return count[keras.backend.backend()](model, shape)


def _macs_jax(model, shape):
    import jax
    import jax.extend

    def count(jaxpr):
        total = 0
        for equation in jaxpr.eqns:
            if equation.params.get("name") == "_resize":
                continue
            if equation.primitive.name == "dot_general":
                left = equation.invars[0].aval.shape
                (contracted, _), _ = equation.params["dimension_numbers"]
                length = math.prod(left[axis] for axis in contracted)
                total += math.prod(equation.outvars[0].aval.shape) * length
            elif equation.primitive.name == "conv_general_dilated":
                kernel = equation.invars[1].aval.shape
                out_axis = equation.params["dimension_numbers"].rhs_spec[0]
                per_output = math.prod(kernel) // kernel[out_axis]
                total += math.prod(equation.outvars[0].aval.shape) * per_output
            repeats = equation.params["length"] if equation.primitive.name == "scan" else 1
            total += repeats * sum(
                count(inner) for inner in jax.extend.core.jaxprs_in_params(equation.params)
            )
        return total

    def forward(trainable, non_trainable, images):
        return model.stateless_call(trainable, non_trainable, images, training=False)[0]

    def abstract(variables):
        return [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in variables]

    traced = jax.make_jaxpr(forward)(
        abstract(model.trainable_variables),
        abstract(model.non_trainable_variables),
        jax.ShapeDtypeStruct(shape, "float32"),
    )
    return count(traced.jaxpr)


def _macs_tensorflow(model, shape):
    import tensorflow as tf

    forward = tf.function(lambda images: model(images, training=False), jit_compile=False)
    graph = forward.get_concrete_function(tf.TensorSpec(shape, "float32")).graph
    total = 0
    for operation in graph.get_operations():
        shapes = [tuple(tensor.shape) for tensor in operation.inputs]
        if operation.type == "Einsum":
            terms = operation.get_attr("equation").decode().split("->")[0].split(",")
            lengths = {
                index: length
                for term, shape in zip(terms, shapes, strict=True)
                for index, length in zip(term, shape, strict=True)
            }
            total += math.prod(lengths.values())
        elif operation.type in ("MatMul", "BatchMatMulV2"):
            transposed = operation.get_attr(
                "transpose_a" if operation.type == "MatMul" else "adj_x"
            )
            length = shapes[0][-2 if transposed else -1]
            total += math.prod(operation.outputs[0].shape) * length
        elif operation.type == "Conv2D":
            total += math.prod(operation.outputs[0].shape) * math.prod(shapes[1][:-1])
    return total


def _macs_torch(model, shape):
    import torch
    from torch._subclasses import FakeTensorMode
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False) as counter:
        # The counter does not know the CPU's fused attention, and fails under no_grad.
        with sdpa_kernel(SDPBackend.MATH), torch.inference_mode():
            model(torch.zeros(shape), training=False)
    return counter.get_total_flops() // 2


def main(arguments: list[str] | None = None) -> None:
    """The command line; `python -m keras_mtl.cost --help` explains it."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_mtl.cost",
        description="Prints a preset's parameters and multiply-accumulates (for one image).",
    )
    parser.add_argument("preset", metavar="PRESET", help="one of: " + ", ".join(PRESETS))
    parser.add_argument("--tasks", type=int, metavar="N", help="only the preset's first N tasks")
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    options = parser.parse_args(arguments)
    if options.preset not in PRESETS:
        parser.error(f"unknown preset {options.preset!r}; choose one of {', '.join(PRESETS)}.")
    tasks = MultiTaskModel.preset_tasks(options.preset)
    if options.tasks is not None and not 1 <= options.tasks <= len(tasks):
        parser.error(f"--tasks is {options.tasks}; {options.preset} has 1 to {len(tasks)} tasks.")
    tasks = tasks[: options.tasks]
    model = MultiTaskModel.from_preset(options.preset, tasks=tasks)
    height, width = model.image_size
    found = {
        "preset": options.preset,
        "tasks": [task.name for task in tasks],
        "image_size": [height, width],
        "parameters": parameters(model),
        "macs": macs(model),
    }
    if options.json:
        print(json.dumps(found))
        return
    print(f"{options.preset}: {', '.join(found['tasks'])} at {height}x{width}")
    print(f"parameters  {found['parameters'] / 1e6:10.2f} M")
    print(f"MACs        {found['macs'] / 1e9:10.1f} G  (one image)")


if __name__ == "__main__":
    main()
