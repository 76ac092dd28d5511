"""Parameters and multiply-accumulates of a model: `python -m keras_mtl.cost PRESET`.

MACs are counted from the computation that the backend traces for one image, without running
it: matrix products and convolutions. Products of one activation with another are attention's;
many tools of the field do not see them, so they are given by themselves too. Others count batch
normalization (2 for each number) and bilinear resizing (4 for each number that it gives), which
are not among these; they are given besides.
"""

import argparse
import json
import math
from typing import NamedTuple

import keras

from keras_mtl.computation.as_written import as_written
from keras_mtl.models import MultiTaskModel
from keras_mtl.models.registry import PRESETS


def parameters(model: keras.Model, in_training: bool = False) -> int:
    """Number of trainable parameters.

    Args:
        model: any Keras model.
        in_training: bool. Whether to count those of outputs, too, that exist in training only.

    Example:

    >>> parameters(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
    8
    """
    _check_model(model)
    if getattr(model, "auxiliary", None) and not in_training:
        model = keras.Model(model.inputs, model.outputs)
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


class Macs(NamedTuple):
    """Multiply-accumulates of one forward pass of one image.

    Attributes:
        total: int. All matrix products and convolutions.
        attention: int. Those among them of activations with activations, not with weights.
        elementwise: int. What tools such as fvcore count besides: 2 for each number that a batch
            normalization at inference gives, and 4 for each that bilinear resizing gives.
        resizing: int. The latter alone, which is all that some papers count besides.
    """

    total: int
    attention: int
    elementwise: int = 0
    resizing: int = 0


def macs(model: keras.Model) -> Macs:
    """Counts the multiply-accumulates of one forward pass of one image.

    Args:
        model: model with a single image input of known size.

    Returns:
        `Macs`.

    Example:

    >>> model = keras.Sequential([keras.Input((4, 6, 3)), keras.layers.Conv2D(5, 1)])
    >>> macs(model).total  # 4 * 6 * 3 * 5
    360
    """
    _check_model(model)
    shape = (1, *model.input_shape[1:])
    count = {"jax": _macs_jax, "tensorflow": _macs_tensorflow, "torch": _macs_torch}
    with as_written(model):
        return count[keras.backend.backend()](model, shape)


def _check_model(model) -> None:
    if not isinstance(model, keras.Model):
        raise ValueError(f"model is a {type(model).__name__}; expected a Keras model.")


# What a tensor is computed from; an activation may have been computed from the others too. Of no
# activation the only root that anything is divided by is a running variance's: what is multiplied
# by its inverse is normalised.
_CONSTANT, _WEIGHT, _DEVIATION, _ACTIVATION = range(4)
_NORMALIZED, _RESIZED = 2, 4  # for each number


def _macs_jax(model, shape):
    import jax
    import jax.extend

    def count(jaxpr, sources):
        """Counts in a jaxpr, given what its arguments are computed from."""
        total = between = normalization = resizing = 0
        known = dict(zip(jaxpr.invars, sources, strict=True))
        for equation in jaxpr.eqns:
            operands = [
                _CONSTANT if isinstance(v, jax.extend.core.Literal) else known.get(v, _CONSTANT)
                for v in equation.invars
            ]
            source = max(operands, default=_CONSTANT)
            kind, size = equation.primitive.name, math.prod(equation.outvars[0].aval.shape)
            if kind == "rsqrt" and source < _ACTIVATION:
                source = _DEVIATION
            elif kind == "mul" and sorted(operands) == [_DEVIATION, _ACTIVATION]:
                normalization += _NORMALIZED * size
            elif equation.params.get("name") == "_resize" and source == _ACTIVATION:
                inner = equation.params["jaxpr"].eqns
                if any(each.primitive.name == "dot_general" for each in inner):  # not the nearest
                    resizing += _RESIZED * size
            known.update(dict.fromkeys(equation.outvars, source))
            if kind == "dot_general" and min(operands) > _CONSTANT:
                left = equation.invars[0].aval.shape
                (contracted, _), _ = equation.params["dimension_numbers"]
                length = math.prod(left[axis] for axis in contracted)
                products = size * length
                total += products
                between += products * (min(operands) == _ACTIVATION)
            elif kind == "conv_general_dilated":
                kernel = equation.invars[1].aval.shape
                out_axis = equation.params["dimension_numbers"].rhs_spec[0]
                per_output = math.prod(kernel) // kernel[out_axis]
                total += size * per_output
            repeats = equation.params["length"] if kind == "scan" else 1
            for inner in jax.extend.core.jaxprs_in_params(equation.params):
                same = len(inner.invars) == len(operands)
                inside = operands if same else [source] * len(inner.invars)
                found = count(inner, inside)
                total += repeats * found.total
                between += repeats * found.attention
                normalization += repeats * (found.elementwise - found.resizing)
                resizing += repeats * found.resizing
        return Macs(total, between, normalization + resizing, resizing)

    def forward(images, trainable, non_trainable):
        return model.stateless_call(trainable, non_trainable, images, training=False)[0]

    def abstract(variables):
        return [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in variables]

    jaxpr = jax.make_jaxpr(forward)(
        jax.ShapeDtypeStruct(shape, "float32"),
        abstract(model.trainable_variables),
        abstract(model.non_trainable_variables),
    ).jaxpr
    return count(jaxpr, [_ACTIVATION, *[_WEIGHT] * (len(jaxpr.invars) - 1)])


def _macs_tensorflow(model, shape):
    import tensorflow as tf

    forward = tf.function(lambda images: model(images, training=False), jit_compile=False)
    traced = forward.get_concrete_function(tf.TensorSpec(shape, "float32"))
    total = between = normalization = resizing = 0
    deviations = set()
    activations = {traced.inputs[0].ref()}
    for operation in traced.graph.get_operations():  # in an order in which they can be run
        operands = [tensor.ref() in activations for tensor in operation.inputs]
        if any(operands):
            activations.update(tensor.ref() for tensor in operation.outputs)
        divides = any(tensor.ref() in deviations for tensor in operation.inputs)
        if not any(operands) and (operation.type == "Rsqrt" or divides):
            deviations.update(tensor.ref() for tensor in operation.outputs)
        elif operation.type == "Mul" and any(operands) and divides:
            normalization += _NORMALIZED * math.prod(operation.outputs[0].shape)
        elif operation.type == "ResizeBilinear" and any(operands):
            resizing += _RESIZED * math.prod(operation.outputs[0].shape)
        shapes = [tuple(tensor.shape) for tensor in operation.inputs]
        products = 0
        if operation.type == "Einsum":
            terms = operation.get_attr("equation").decode().split("->")[0].split(",")
            lengths = {
                index: length
                for term, shape in zip(terms, shapes, strict=True)
                for index, length in zip(term, shape, strict=True)
            }
            products = math.prod(lengths.values())
        elif operation.type in ("MatMul", "BatchMatMulV2"):
            transposed = operation.get_attr(
                "transpose_a" if operation.type == "MatMul" else "adj_x"
            )
            length = shapes[0][-2 if transposed else -1]
            products = math.prod(operation.outputs[0].shape) * length
        elif operation.type == "Conv2D":
            products = math.prod(operation.outputs[0].shape) * math.prod(shapes[1][:-1])
        total += products
        between += products * all(operands)
    return Macs(total, between, normalization + resizing, resizing)


def _macs_torch(model, shape):
    try:
        with keras.device("meta"):  # tensors without values
            return _flops_torch(model, shape)
    except (RuntimeError, ValueError):  # a layer looks at values, or Keras casts no weight there
        return _flops_torch(model, shape)


def _flops_torch(model, shape):
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.overrides import TorchFunctionMode
    from torch.utils.flop_counter import FlopCounterMode

    flops = FlopCounterMode(display=False)

    class Counter(TorchFunctionMode):
        between = normalization = resizing = 0
        activations: dict = {}  # by identity; kept alive, so that no identity is used again
        deviations: dict = {}

        def __torch_function__(self, function, types, arguments=(), options=None):
            before = flops.get_total_flops()
            results = function(*arguments, **(options or {}))
            given = keras.tree.flatten((arguments, options))
            operands = sum(id(x) in self.activations for x in given if torch.is_tensor(x))
            divides = any(id(x) in self.deviations for x in given)
            name = getattr(function, "__name__", "").rstrip("_")  # "rsqrt_" is in place
            if not operands and torch.is_tensor(results) and (name == "rsqrt" or divides):
                self.deviations[id(results)] = results
            elif operands and divides and name == "mul":
                self.normalization += _NORMALIZED * results.numel()
            elif operands and name == "interpolate" and (options or {}).get("mode") == "bilinear":
                self.resizing += _RESIZED * results.numel()
            if operands:
                for result in keras.tree.flatten(results):
                    self.activations[id(result)] = result
            if operands > 1:  # where the other one is a weight, it is 1
                self.between += (flops.get_total_flops() - before) // 2
            return results

    images = keras.ops.zeros(shape)
    # The fused attention is one operation; its formula is two products.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), flops, Counter() as counter:
        counter.activations[id(images)] = images
        model(images, training=False)
    elementwise = counter.normalization + counter.resizing
    return Macs(flops.get_total_flops() // 2, counter.between, elementwise, counter.resizing)


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
    preset = PRESETS[options.preset]
    as_published = preset.get("as_published")
    height, width = model.image_size
    counted = macs(model)
    found = {
        "preset": options.preset,
        "tasks": [task.name for task in tasks],
        "image_size": [height, width],
        "parameters": parameters(model, preset.get("counted_in_training", False)),
        "macs": counted.total,
        "attention_macs": counted.attention,
        "macs_with_resizing": counted.total + counted.resizing,
        "macs_with_elementwise": counted.total + counted.elementwise,
    }
    if never_called := preset.get("never_called"):
        found["parameters_as_published"] = found["parameters"] + never_called
    if as_published is not None:
        dearer = MultiTaskModel.from_preset(options.preset, tasks=tasks, **as_published)
        counted_so = macs(dearer)
        found["macs_as_published"] = counted_so.total + counted_so.elementwise
    if options.json:
        print(json.dumps(found))
        return
    print(f"{options.preset}: {', '.join(found['tasks'])} at {height}x{width}")
    print(f"parameters  {found['parameters'] / 1e6:10.2f} M")
    if never_called:
        with_those = found["parameters_as_published"] / 1e6
        print(
            f"  published {with_those:10.2f} M  (with layers that its code makes and never calls)"
        )
    print(f"MACs        {counted.total / 1e9:10.1f} G  (one image)")
    print(f"  attention {counted.attention / 1e9:10.1f} G  (activations with activations)")
    print(f"with resizing {(counted.total + counted.resizing) / 1e9:8.1f} G")
    with_others = (counted.total + counted.elementwise) / 1e9
    print(f"as fvcore   {with_others:10.1f} G  (with batch normalizations and resizing)")
    if as_published is not None:
        dearer = found["macs_as_published"] / 1e9
        print(f"  published {dearer:10.1f} G  (computed as the paper counts it)")


if __name__ == "__main__":
    main()
